/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that an instance keeps from request to request: grown as needed, never above a bound. */
#ifndef SIGHTLINE_BACKEND_SCRATCH_H
#define SIGHTLINE_BACKEND_SCRATCH_H

#include <stddef.h>

#include "failure.h"

enum { SCRATCH_BLOCKS = 32 };
#define SCRATCH_MAX_BYTES ((size_t)1 << 30)

typedef struct scratch {
    void *block[SCRATCH_BLOCKS];
    size_t bytes[SCRATCH_BLOCKS];
    size_t total;
} scratch;

/* Block `index` with room for `bytes` (0 counts as 1), aligned to 64; what it held before is lost when it grows. */
void *scratch_take(scratch *memory, size_t index, size_t bytes, failure *why);
/* The same, but the first `used` bytes are kept when it grows. */
void *scratch_grow(scratch *memory, size_t index, size_t used, size_t bytes, failure *why);
void scratch_free(scratch *memory);

#endif
