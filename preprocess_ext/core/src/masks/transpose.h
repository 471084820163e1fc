/* SPDX-License-Identifier: Apache-2.0 */
/* 64 x 64 bits mirrored on their diagonal, in plain C that compilers turn into vectors of the file's width. */
#ifndef SL_TRANSPOSE_H
#define SL_TRANSPOSE_H

#include "masks/masks.h"

/* Swap the upper right and the lower left quarter of each block of 2 * half rows and columns. */
static inline void sl_swap_quarters(uint64_t *block, unsigned half, uint64_t low) {
    for (unsigned first = 0; first < SL_WORD; first += 2 * half)
        for (unsigned i = first; i < first + half; i++) {
            uint64_t change = (block[i] >> half ^ block[i + half]) & low;
            block[i + half] ^= change;
            block[i] ^= change << half;
        }
}

static inline void sl_transpose_block(uint64_t *block) {
    sl_swap_quarters(block, 32, UINT64_C(0x00000000FFFFFFFF));
    sl_swap_quarters(block, 16, UINT64_C(0x0000FFFF0000FFFF));
    sl_swap_quarters(block, 8, UINT64_C(0x00FF00FF00FF00FF));
    sl_swap_quarters(block, 4, UINT64_C(0x0F0F0F0F0F0F0F0F));
    sl_swap_quarters(block, 2, UINT64_C(0x3333333333333333));
    sl_swap_quarters(block, 1, UINT64_C(0x5555555555555555));
}

#endif
