/* SPDX-License-Identifier: Apache-2.0 */
#include "scratch.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64 };

static void drop(scratch *memory, size_t index) {
    free(memory->block[index]);
    memory->total -= memory->bytes[index];
    memory->block[index] = NULL;
    memory->bytes[index] = 0;
}

void *scratch_take(scratch *memory, size_t index, size_t bytes, failure *why) {
    if (bytes == 0) bytes = 1;
    if (index >= SCRATCH_BLOCKS) {
        (void)fail(why, FAILURE_INTERNAL, "scratch block %zu does not exist", index);
        return NULL;
    }
    if (memory->bytes[index] >= bytes) return memory->block[index];
    drop(memory, index);
    size_t rounded = bytes > SCRATCH_MAX_BYTES ? bytes : (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (rounded > SCRATCH_MAX_BYTES - memory->total) {
        (void)fail(why, FAILURE_UNAVAILABLE, "the request needs %zu bytes of memory; at most %zu are given", bytes,
                   SCRATCH_MAX_BYTES);
        return NULL;
    }
    memory->block[index] = aligned_alloc(ALIGNMENT, rounded);
    if (memory->block[index] == NULL) {
        (void)fail(why, FAILURE_UNAVAILABLE, "no memory for %zu bytes", bytes);
        return NULL;
    }
    memory->bytes[index] = rounded;
    memory->total += rounded;
    return memory->block[index];
}

void *scratch_grow(scratch *memory, size_t index, size_t used, size_t bytes, failure *why) {
    if (index >= SCRATCH_BLOCKS || memory->bytes[index] >= bytes) return scratch_take(memory, index, bytes, why);
    void *old = memory->block[index];
    memory->total -= memory->bytes[index];
    memory->block[index] = NULL;
    memory->bytes[index] = 0;
    void *grown = scratch_take(memory, index, bytes, why);
    if (grown != NULL && used > 0) memcpy(grown, old, used);
    free(old);
    return grown;
}

void scratch_free(scratch *memory) {
    for (size_t index = 0; index < SCRATCH_BLOCKS; index++) drop(memory, index);
}
