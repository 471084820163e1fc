/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sorting candidates: radix sort by the two highest digits that differ, then insertion for the few that are still out of
 * place; where there are many, radix sort by all digits. Linear time whatever the scores are.
 */
#include <string.h>

#include "boxes/boxes.h"

enum { KEY_SHIFT = 32, FEW = 4096, DIGIT_OF_FEW = 10, MOST_DIGIT_BITS = 11, DIGITS = 2, MOVES_PER_KEY = 4 };

/* Where digits start in a key, and how wide they are. */
typedef struct digits {
    uint32_t least; /* of all keys: taken off, so that scores close together differ in few bits */
    unsigned shift, width;
} digits;

static inline uint32_t digit_of(uint64_t item, digits d, unsigned digit) {
    return ((uint32_t)(item >> KEY_SHIFT) - d.least) >> (d.shift + digit * d.width) & ((1U << d.width) - 1);
}

/* The bits in which keys differ, and the least key. */
static unsigned find_spread(const uint64_t *keys, size_t count, uint32_t *least) {
    uint32_t low = UINT32_MAX, high = 0;
    for (size_t i = 0; i < count; i++) {
        const uint32_t key = (uint32_t)(keys[i] >> KEY_SHIFT);
        low = key < low ? key : low;
        high = key > high ? key : high;
    }
    unsigned bits = 0;
    for (uint32_t rest = high - low; rest != 0; rest >>= 1) bits++;
    *least = low;
    return bits;
}

static void scatter(const uint64_t *from, uint64_t *to, size_t count, digits d, unsigned digit, uint32_t *start) {
    uint32_t next = 0;
    for (uint32_t value = 0; value < 1U << d.width; value++) {
        const uint32_t here = start[value];
        start[value] = next;
        next += here;
    }
    for (size_t i = 0; i < count; i++) to[start[digit_of(from[i], d, digit)]++] = from[i];
}

/* Stable by two digits, the lower first; the result is in `keys`. */
static void sort_by_two(uint64_t *keys, uint64_t *spare, size_t count, digits d) {
    uint32_t counts[DIGITS][1 << MOST_DIGIT_BITS];
    for (unsigned digit = 0; digit < DIGITS; digit++) memset(counts[digit], 0, sizeof(uint32_t) << d.width);
    for (size_t i = 0; i < count; i++) {
        counts[0][digit_of(keys[i], d, 0)]++;
        counts[1][digit_of(keys[i], d, 1)]++;
    }
    scatter(keys, spare, count, d, 0, counts[0]);
    scatter(spare, keys, count, d, 1, counts[1]);
}

/* False when it would take long; the keys are then in between, and equal scores still in order. */
static bool insert_the_rest(uint64_t *keys, size_t count) {
    size_t moves = count * MOVES_PER_KEY;
    for (size_t i = 1; i < count; i++) {
        const uint64_t key = keys[i];
        size_t at = i;
        if (key >= keys[i - 1]) continue;
        for (; at > 0 && keys[at - 1] > key && moves > 0; at--, moves--) keys[at] = keys[at - 1];
        keys[at] = key;
        if (moves == 0) return false;
    }
    return true;
}

uint64_t *sl_order_sort(uint64_t *keys, uint64_t *spare, size_t count) {
    digits d = {0, 0, count < FEW ? DIGIT_OF_FEW : MOST_DIGIT_BITS};
    if (count < 2) return keys;
    const unsigned bits = find_spread(keys, count, &d.least);
    if (bits > DIGITS * d.width)
        d.shift = bits - DIGITS * d.width;
    else
        d.width = (bits + DIGITS - 1) / DIGITS;
    if (bits > 0) sort_by_two(keys, spare, count, d);
    if (d.shift == 0 || insert_the_rest(keys, count)) return keys;
    /* At most 22 bits from the lowest on, then the rest. */
    digits low = {d.least, 0, (d.shift + DIGITS - 1) / DIGITS};
    sort_by_two(keys, spare, count, low);
    sort_by_two(keys, spare, count, d);
    return keys;
}
