/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the C tests share. Every buffer is a heap block of the exact size (`exact`), so that one byte too far is seen.
 *   test_NAME [LEVEL]   run the checks with nothing better than sl_cpu_level LEVEL; status 0 when all hold. Prints a
 *                       number over all that was given to add_to_checksum(): the same at each level and on each
 *                       processor. So never two random numbers in one argument list: its order is the compiler's.
 */
#ifndef SL_CHECK_H
#define SL_CHECK_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sightline_core.h"

static int failures;

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            failures++;                                                         \
        }                                                                       \
    } while (0)

static uint64_t state = 88172645463325252U;
static uint64_t checksum = 14695981039346656037U;

static inline uint32_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static inline float unit(void) { return (float)(next_random() >> 8) / 16777216.0F; }

static inline int32_t between(int32_t low, int32_t high) {
    return low + (int32_t)(next_random() % (uint32_t)(high - low + 1));
}

static inline void *exact(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (memory == NULL) exit(2);
    return memory;
}

static inline void add_to_checksum(const void *data, size_t bytes) {
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++) checksum = (checksum ^ at[i]) * 1099511628211U;
}

static inline void start_checks(int argc, char **argv) {
    if (argc > 1) sl_cpu_limit((sl_cpu_level)atoi(argv[1]));
}

static inline int finish_checks(void) {
    printf("%016llx\n", (unsigned long long)checksum);
    return failures == 0 ? 0 : 1;
}

#endif
