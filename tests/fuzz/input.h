/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a fuzzer's bytes apart into numbers; when they run out the rest is zeros. */
#ifndef SL_FUZZ_INPUT_H
#define SL_FUZZ_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sightline_core.h"

#ifdef __cplusplus
extern "C"
#endif
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct fuzz_input {
    const uint8_t *data;
    size_t left;
} fuzz_input;

static inline void fuzz_bytes(fuzz_input *input, void *out, size_t count) {
    size_t have = count < input->left ? count : input->left;
    if (count == 0) return;
    if (have > 0) memcpy(out, input->data, have);
    memset((unsigned char *)out + have, 0, count - have);
    if (have > 0) input->data += have;
    input->left -= have;
}

static inline uint32_t fuzz_u32(fuzz_input *input) {
    uint32_t value;
    fuzz_bytes(input, &value, sizeof value);
    return value;
}

static inline uint8_t fuzz_u8(fuzz_input *input) {
    uint8_t value;
    fuzz_bytes(input, &value, 1);
    return value;
}

/* low..high, both included */
static inline int32_t fuzz_between(fuzz_input *input, int32_t low, int32_t high) {
    return low + (int32_t)(fuzz_u32(input) % (uint32_t)(high - low + 1));
}

/* A heap block of exactly this size, so that the sanitizer sees one byte too far. */
static inline void *fuzz_block(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (memory == NULL) abort();
    return memory;
}

#define FUZZ_CHECK(condition)                                                       \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                \
        }                                                                           \
    } while (0)

#endif
