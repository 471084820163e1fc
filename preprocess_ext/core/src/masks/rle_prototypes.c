/* SPDX-License-Identifier: Apache-2.0 */
/* An object's coefficients straight to its text. */
#include "masks/rle.h"
#include "masks/view.h"

typedef struct parts {
    uint64_t *bits;
    unsigned char *mask;
    size_t mask_bytes;
    unsigned char *rle;
    size_t rle_bytes;
} parts;

static parts take(sl_arena *arena, const sl_mask_view *view) {
    parts p = {.mask_bytes = sl_mask_scratch_bytes(view), .rle_bytes = sl_rle_scratch_bytes(view->out_height)};
    p.bits = sl_arena_take(arena, sl_region_row_words(view->out_width) * (size_t)view->out_height, sizeof *p.bits);
    p.mask = sl_arena_take(arena, p.mask_bytes, 1);
    p.rle = sl_arena_take(arena, p.rle_bytes, 1);
    return p;
}

size_t sl_rle_from_prototypes_scratch_bytes(const sl_mask_view *view) {
    if (view == NULL || !sl_mask_view_ok(view)) return 0;
    sl_arena arena = sl_arena_over(NULL, 0);
    (void)take(&arena, view);
    return sl_arena_bytes(&arena);
}

sl_status sl_rle_from_prototypes(const sl_prototypes *prototypes, const sl_mask_view *view, const float *coefficients,
                                 const float *box, char *text, size_t capacity, size_t *length, void *scratch,
                                 size_t scratch_bytes) {
    sl_region region;
    sl_status status = sl_mask_region(view, box, &region);
    if (status != SL_OK) return status;
    if (scratch == NULL) return SL_ERROR_NULL;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    const parts p = take(&arena, view);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    status = sl_mask_from_prototypes(prototypes, view, coefficients, &region, p.bits, p.mask, p.mask_bytes);
    if (status != SL_OK) return status;
    return sl_rle_encode(&region, p.bits, view->out_width, view->out_height, text, capacity, length, p.rle,
                         p.rle_bytes);
}
