/* SPDX-License-Identifier: Apache-2.0 */
/* Masks into COCO's text: 64 columns at a time, the blocks with changes are turned round and read off bit by bit. */
#include <string.h>

#include "masks/rle.h"

/* Where columns of pixels come from: 64 rows and up to 64 columns as words of a row each. */
typedef struct source {
    const sl_region *region;
    const uint64_t *bits; /* or else */
    const uint8_t *bytes;
    size_t stride;
} source;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static void load_block(const source *from, size_t word, size_t first_row, size_t rows, uint64_t *block) {
    const size_t width = (size_t)from->region->width, columns = smaller(width - word * SL_WORD, SL_WORD);
    if (rows < SL_WORD) memset(block + rows, 0, (SL_WORD - rows) * sizeof *block);
    if (from->bits == NULL) {
        const uint8_t *bytes = from->bytes + first_row * from->stride + word * SL_WORD;
        sl_mask_kernels_now()->pack(bytes, from->stride, rows, columns, block);
        return;
    }
    const size_t words = sl_region_row_words(from->region->width);
    const uint64_t *at = from->bits + first_row * words + word, keep = sl_low_bits(columns);
    for (size_t y = 0; y < rows; y++) block[y] = at[y * words] & keep;
}

/*
 * Where pixels differ from the ones above, for 64 columns: words[64 * i + column] are rows 64 * places[i] and on.
 * Blocks without a change, which most are, are left out.
 */
typedef struct changes {
    uint64_t *words;
    uint32_t *places;
    size_t count;
    uint64_t last_row; /* of the 64 columns: their last pixel, when nothing behind it shows its end */
} changes;

static void load_changes(const source *from, size_t word, changes *out) {
    const size_t height = (size_t)from->region->height, blocks = sl_region_row_words(from->region->height);
    uint64_t above = 0;
    out->count = 0;
    for (size_t k = 0; k < blocks; k++) {
        uint64_t *block = out->words + out->count * SL_WORD, any = 0;
        load_block(from, word, k * SL_WORD, smaller(height - k * SL_WORD, SL_WORD), block);
        for (size_t y = 0; y < SL_WORD; y++) {
            const uint64_t row = block[y];
            block[y] = row ^ above;
            any |= block[y];
            above = row;
        }
        if (any == 0) continue;
        sl_mask_kernels_now()->transpose(block);
        out->places[out->count++] = (uint32_t)k;
    }
    out->last_row = above;
}

/* Runs of ones in column `i`, whose first pixel is pixel `base` of the frame. */
static void put_column(sl_rle_writer *writer, const changes *in, size_t i, uint64_t base, uint64_t height) {
    uint64_t start = 0;
    bool inside = false;
    for (size_t k = 0; k < in->count; k++) {
        const uint64_t first = base + (uint64_t)in->places[k] * SL_WORD;
        for (uint64_t word = in->words[k * SL_WORD + i]; word != 0; word &= word - 1) {
            const uint64_t at = first + (uint64_t)__builtin_ctzll(word);
            if (inside)
                sl_rle_run(writer, start, at);
            else
                start = at;
            inside = !inside;
        }
    }
    if ((in->last_row >> i & 1) != 0) sl_rle_run(writer, start, base + height);
}

static void encode(const source *from, int32_t frame_height, changes *columns, sl_rle_writer *writer) {
    const sl_region *region = from->region;
    const size_t width = (size_t)region->width;
    for (size_t first = 0; first < width; first += SL_WORD) {
        load_changes(from, first / SL_WORD, columns);
        if (columns->count == 0) continue;
        for (size_t i = 0; i < SL_WORD && first + i < width; i++) {
            const uint64_t x = (uint64_t)region->x + first + i;
            put_column(writer, columns, i, x * (uint64_t)frame_height + (uint64_t)region->y, (uint64_t)region->height);
        }
    }
}

static void take(sl_arena *arena, changes *columns, int32_t height) {
    const size_t blocks = sl_region_row_words(height);
    columns->words = sl_arena_take(arena, SL_WORD * (blocks + 1), sizeof *columns->words);
    columns->places = sl_arena_take(arena, blocks, sizeof *columns->places);
}

size_t sl_rle_scratch_bytes(int32_t height) {
    if (height < 0 || height > SL_MAX_SIDE) return 0;
    sl_arena arena = sl_arena_over(NULL, 0);
    changes columns;
    take(&arena, &columns, height);
    return sl_arena_bytes(&arena);
}

size_t sl_rle_bytes_bound(int32_t region_width, int32_t region_height, int32_t frame_width, int32_t frame_height) {
    if (!sl_frame_ok(frame_width, frame_height) || region_width < 0 || region_height < 0) return 0;
    if (region_width > frame_width || region_height > frame_height) return 0;
    /* Every second pixel set gives most runs. A count takes a byte, and one more for each 16 that its difference is
       long at the least; the differences sum up to twice the frame at most. */
    const uint64_t runs = (uint64_t)region_width * (((uint64_t)region_height + 1) / 2), counts = 2 * runs + 1;
    const uint64_t by_count = counts * SL_RLE_NUMBER_BYTES;
    const uint64_t by_length = counts + sl_frame_pixels(frame_width, frame_height) / 8 + 1;
    return (size_t)(by_count < by_length ? by_count : by_length);
}

static sl_status run(const source *from, int32_t frame_width, int32_t frame_height, sl_rle_writer *writer,
                     size_t *length, void *scratch, size_t scratch_bytes) {
    if (sl_region_words(from->region) > 0) {
        if (scratch == NULL) return SL_ERROR_NULL;
        sl_arena arena = sl_arena_over(scratch, scratch_bytes);
        changes columns;
        take(&arena, &columns, from->region->height);
        if (arena.overflow) return SL_ERROR_SCRATCH;
        encode(from, frame_height, &columns, writer);
    }
    return sl_rle_finish(writer, sl_frame_pixels(frame_width, frame_height), length);
}

sl_status sl_rle_encode(const sl_region *region, const uint64_t *bits, int32_t frame_width, int32_t frame_height,
                        char *text, size_t capacity, size_t *length, void *scratch, size_t scratch_bytes) {
    if (region == NULL || length == NULL || (text == NULL && capacity > 0)) return SL_ERROR_NULL;
    if (!sl_frame_ok(frame_width, frame_height)) return SL_ERROR_SIZE;
    if (!sl_region_inside(region, frame_width, frame_height)) return SL_ERROR_SIZE;
    if (bits == NULL && sl_region_words(region) > 0) return SL_ERROR_NULL;
    const source from = {region, bits, NULL, 0};
    sl_rle_writer writer = {.text = text, .capacity = capacity};
    return run(&from, frame_width, frame_height, &writer, length, scratch, scratch_bytes);
}

sl_status sl_rle_encode_bytes(const uint8_t *mask, size_t stride, int32_t width, int32_t height, char *text,
                              size_t capacity, size_t *length, void *scratch, size_t scratch_bytes) {
    if (mask == NULL || length == NULL || (text == NULL && capacity > 0)) return SL_ERROR_NULL;
    if (!sl_frame_ok(width, height)) return SL_ERROR_SIZE;
    if (stride < (size_t)width) return SL_ERROR_STRIDE;
    const sl_region region = {0, 0, width, height};
    const source from = {&region, NULL, mask, stride};
    sl_rle_writer writer = {.text = text, .capacity = capacity};
    return run(&from, width, height, &writer, length, scratch, scratch_bytes);
}
