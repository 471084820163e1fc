/* SPDX-License-Identifier: Apache-2.0 */
/* Counts into a mask of one byte a pixel: runs fill 64 columns of bits, which are turned round. */
#include <string.h>

#include "masks/rle.h"

/* Where reading stopped: a run may go on into the next columns. */
typedef struct reader {
    const uint32_t *counts;
    size_t count;
    size_t next;
    uint64_t left;
} reader;

static void set_bits(uint64_t *words, size_t first, size_t end) {
    size_t k = first / SL_WORD;
    const size_t last = (end - 1) / SL_WORD;
    uint64_t from = UINT64_MAX << (first % SL_WORD);
    for (; k < last; k++, from = UINT64_MAX) words[k] |= from;
    words[k] |= from & sl_low_bits(end - last * SL_WORD);
}

/* The next `height` pixels. */
static void fill_column(reader *r, size_t height, uint64_t *column) {
    for (size_t y = 0; y < height;) {
        while (r->left == 0 && r->next < r->count) r->left = r->counts[r->next++];
        if (r->left == 0) return;
        const size_t rest = height - y, length = r->left < rest ? (size_t)r->left : rest;
        if (r->next % 2 == 0) set_bits(column, y, y + length);
        r->left -= length;
        y += length;
    }
}

/* A word of pixels as bytes 0 and 1. */
static void write_pixels(uint64_t word, size_t count, uint8_t *out) {
    size_t x = 0;
    for (; x + 8 <= count; x += 8) {
        uint64_t spread = (word >> x & 0xFF) * UINT64_C(0x0101010101010101) & UINT64_C(0x8040201008040201);
        spread = (spread + UINT64_C(0x7F7F7F7F7F7F7F7F)) >> 7 & UINT64_C(0x0101010101010101);
        for (unsigned i = 0; i < 8; i++) out[x + i] = (uint8_t)(spread >> (8 * i));
    }
    for (; x < count; x++) out[x] = (uint8_t)(word >> x & 1);
}

static void write_columns(const uint64_t *columns, size_t words, size_t width, size_t height, uint8_t *out,
                          size_t stride) {
    uint64_t block[SL_WORD];
    for (size_t k = 0; k < words; k++) {
        for (size_t i = 0; i < SL_WORD; i++) block[i] = columns[i * words + k];
        sl_mask_kernels_now()->transpose(block);
        for (size_t i = 0; i < SL_WORD && k * SL_WORD + i < height; i++)
            write_pixels(block[i], width, out + (k * SL_WORD + i) * stride);
    }
}

size_t sl_rle_decode_scratch_bytes(int32_t frame_height) {
    if (!sl_side_ok(frame_height, SL_MAX_SIDE)) return 0;
    sl_arena arena = sl_arena_over(NULL, 0);
    (void)sl_arena_take(&arena, SL_WORD * sl_region_row_words(frame_height), sizeof(uint64_t));
    return sl_arena_bytes(&arena);
}

sl_status sl_rle_decode(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height, uint8_t *out,
                        size_t stride, void *scratch, size_t scratch_bytes) {
    if (out == NULL || scratch == NULL) return SL_ERROR_NULL;
    sl_status status = sl_rle_check(counts, count, frame_width, frame_height);
    if (status != SL_OK) return status;
    const size_t width = (size_t)frame_width, height = (size_t)frame_height, words = sl_region_row_words(frame_height);
    if (stride < width) return SL_ERROR_STRIDE;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    uint64_t *columns = sl_arena_take(&arena, SL_WORD * words, sizeof *columns);
    if (columns == NULL) return SL_ERROR_SCRATCH;
    reader r = {counts, count, 0, 0};
    for (size_t first = 0; first < width; first += SL_WORD) {
        const size_t here = width - first < SL_WORD ? width - first : SL_WORD;
        memset(columns, 0, SL_WORD * words * sizeof *columns);
        for (size_t i = 0; i < here; i++) fill_column(&r, height, columns + i * words);
        write_columns(columns, words, here, height, out + first, stride);
    }
    return SL_OK;
}
