/* SPDX-License-Identifier: Apache-2.0 */
/* A mask of Mask R-CNN straight to its text. */
#include "masks/rle.h"

typedef struct parts {
    uint64_t *bits;
    unsigned char *paste;
    size_t paste_bytes;
    unsigned char *rle;
    size_t rle_bytes;
} parts;

static parts take(sl_arena *arena, int32_t width, int32_t height, int32_t frame_width, int32_t frame_height) {
    parts p = {.paste_bytes = sl_paste_scratch_bytes(width, height, frame_width, frame_height),
               .rle_bytes = sl_rle_scratch_bytes(frame_height)};
    p.bits = sl_arena_take(arena, sl_region_row_words(frame_width) * (size_t)frame_height, sizeof *p.bits);
    p.paste = sl_arena_take(arena, p.paste_bytes, 1);
    p.rle = sl_arena_take(arena, p.rle_bytes, 1);
    return p;
}

size_t sl_rle_from_paste_scratch_bytes(int32_t width, int32_t height, int32_t frame_width, int32_t frame_height) {
    if (sl_paste_scratch_bytes(width, height, frame_width, frame_height) == 0) return 0;
    sl_arena arena = sl_arena_over(NULL, 0);
    (void)take(&arena, width, height, frame_width, frame_height);
    return sl_arena_bytes(&arena);
}

sl_status sl_rle_from_paste(const float *mask, int32_t width, int32_t height, const float *box, int32_t frame_width,
                            int32_t frame_height, float threshold, char *text, size_t capacity, size_t *length,
                            void *scratch, size_t scratch_bytes) {
    sl_region region;
    sl_status status = sl_paste_region(box, width, height, frame_width, frame_height, &region);
    if (status != SL_OK) return status;
    if (scratch == NULL) return SL_ERROR_NULL;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    const parts p = take(&arena, width, height, frame_width, frame_height);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    status = sl_paste_mask(mask, width, height, box, frame_width, frame_height, threshold, &region, p.bits, p.paste,
                           p.paste_bytes);
    if (status != SL_OK) return status;
    return sl_rle_encode(&region, p.bits, frame_width, frame_height, text, capacity, length, p.rle, p.rle_bytes);
}
