/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting candidates: least significant digit radix sort, linear time whatever the scores are. */
#include <string.h>

#include "internal.h"

uint64_t sl_order_key(float score, uint32_t index) {
    uint32_t bits;
    score += 0.0F; /* -0 and +0 are equal scores */
    memcpy(&bits, &score, sizeof bits);
    uint32_t ascending = bits & 0x80000000U ? ~bits : bits | 0x80000000U;
    return (uint64_t)~ascending << 32 | index;
}

static bool one_digit(const size_t *histogram, size_t count) {
    for (int digit = 0; digit < 256; digit++)
        if (histogram[digit] != 0) return histogram[digit] == count;
    return true;
}

static void scatter(const uint64_t *from, uint64_t *to, size_t count, int shift, size_t *start) {
    size_t next = 0;
    for (int digit = 0; digit < 256; digit++) {
        size_t here = start[digit];
        start[digit] = next;
        next += here;
    }
    for (size_t i = 0; i < count; i++) to[start[from[i] >> shift & 255]++] = from[i];
}

uint64_t *sl_order_sort(uint64_t *keys, uint64_t *spare, size_t count) {
    for (int shift = 32; shift < 64; shift += 8) {
        size_t histogram[256] = {0};
        for (size_t i = 0; i < count; i++) histogram[keys[i] >> shift & 255]++;
        if (one_digit(histogram, count)) continue;
        scatter(keys, spare, count, shift, histogram);
        uint64_t *swap = keys;
        keys = spare;
        spare = swap;
    }
    return keys;
}
