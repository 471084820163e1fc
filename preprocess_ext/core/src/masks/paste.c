/* SPDX-License-Identifier: Apache-2.0 */
/* Mask R-CNN: a small map of probabilities into its box, as torchvision's paste_masks_in_image. */
#include <math.h>
#include <string.h>

#include "masks/masks.h"

enum { MARGIN = 1, MOST_COORDINATE = 1 << 23 };

typedef struct span {
    int32_t first; /* pixel where the padded mask begins, perhaps outside the frame */
    int32_t count;
} span;

/* The padded mask along one axis of the frame, in float32 in torchvision's order. */
static bool span_of(float from, float to, int32_t cells, span *out) {
    if (!isfinite(from) || !isfinite(to)) return false;
    const float half = (to - from) * 0.5F * (float)((double)(cells + 2 * MARGIN) / cells), centre = (to + from) * 0.5F;
    const float first = truncf(centre - half), last = truncf(centre + half);
    if (!(fabsf(first) <= (float)MOST_COORDINATE) || !(fabsf(last) <= (float)MOST_COORDINATE)) return false;
    out->first = (int32_t)first;
    out->count = (int32_t)last - out->first + 1;
    return true;
}

static void clip(const span *whole, int32_t most, int32_t *first, int32_t *count) {
    int32_t low = whole->first > 0 ? whole->first : 0;
    int32_t high = whole->first + whole->count < most ? whole->first + whole->count : most;
    *first = low;
    *count = high > low ? high - low : 0;
}

static sl_status place(const float *box, int32_t width, int32_t height, int32_t frame_width, int32_t frame_height,
                       span spans[2], sl_region *region) {
    if (!sl_side_ok(width, SL_MAX_MASK_SIDE) || !sl_side_ok(height, SL_MAX_MASK_SIDE)) return SL_ERROR_SIZE;
    if (!sl_side_ok(frame_width, SL_MAX_SIDE) || !sl_side_ok(frame_height, SL_MAX_SIDE)) return SL_ERROR_SIZE;
    if (!span_of(box[0], box[2], width, spans) || !span_of(box[1], box[3], height, spans + 1)) return SL_ERROR_VALUE;
    clip(spans, frame_width, &region->x, &region->width);
    clip(spans + 1, frame_height, &region->y, &region->height);
    if (region->width == 0 || region->height == 0) *region = (sl_region){0, 0, 0, 0};
    return SL_OK;
}

sl_status sl_paste_region(const float *box, int32_t width, int32_t height, int32_t frame_width, int32_t frame_height,
                          sl_region *region) {
    span spans[2];
    if (box == NULL || region == NULL) return SL_ERROR_NULL;
    return place(box, width, height, frame_width, frame_height, spans, region);
}

typedef struct padded {
    float *cells;
    size_t stride;
} padded;

static void take(sl_sampling *sampling, padded *map, sl_arena *arena, int32_t width, int32_t height,
                 int32_t frame_width, int32_t frame_height) {
    sl_sampling_take(sampling, arena, (size_t)frame_width, (size_t)frame_height);
    map->stride = (size_t)width + 2 * MARGIN + 1;
    map->cells = sl_arena_take(arena, map->stride * ((size_t)height + 2 * MARGIN), sizeof(float));
}

size_t sl_paste_scratch_bytes(int32_t width, int32_t height, int32_t frame_width, int32_t frame_height) {
    if (!sl_side_ok(width, SL_MAX_MASK_SIDE) || !sl_side_ok(height, SL_MAX_MASK_SIDE)) return 0;
    if (!sl_side_ok(frame_width, SL_MAX_SIDE) || !sl_side_ok(frame_height, SL_MAX_SIDE)) return 0;
    sl_sampling sampling;
    padded map;
    sl_arena arena = sl_arena_over(NULL, 0);
    take(&sampling, &map, &arena, width, height, frame_width, frame_height);
    return sl_arena_bytes(&arena);
}

static void pad(const float *mask, size_t width, size_t height, padded *map) {
    memset(map->cells, 0, map->stride * (height + 2 * MARGIN) * sizeof(float));
    for (size_t y = 0; y < height; y++)
        memcpy(map->cells + (y + MARGIN) * map->stride + MARGIN, mask + y * width, width * sizeof(float));
}

typedef struct row_state {
    const padded *map;
    int32_t from;
} row_state;

static const float *row_of(void *state, int32_t number) {
    const row_state *rows = state;
    return rows->map->cells + (size_t)number * rows->map->stride + (size_t)rows->from;
}

sl_status sl_paste_mask(const float *mask, int32_t width, int32_t height, const float *box, int32_t frame_width,
                        int32_t frame_height, float threshold, const sl_region *region, uint64_t *bits, void *scratch,
                        size_t scratch_bytes) {
    span spans[2];
    sl_region own;
    if (mask == NULL || box == NULL || region == NULL || scratch == NULL) return SL_ERROR_NULL;
    sl_status status = place(box, width, height, frame_width, frame_height, spans, &own);
    if (status != SL_OK) return status;
    if (memcmp(&own, region, sizeof own) != 0) return SL_ERROR_SIZE;
    if (sl_region_words(region) == 0) return SL_OK;
    if (bits == NULL) return SL_ERROR_NULL;
    sl_sampling sampling = {.last_row = height + 2 * MARGIN - 1, .threshold = threshold};
    padded map;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    take(&sampling, &map, &arena, width, height, frame_width, frame_height);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    pad(mask, (size_t)width, (size_t)height, &map);
    const sl_map_axis x = {width + 2 * MARGIN, spans[0].count, region->x - spans[0].first, region->width};
    const sl_map_axis y = {height + 2 * MARGIN, spans[1].count, region->y - spans[1].first, region->height};
    sl_taps_fill(&sampling.x, &x);
    sl_taps_fill(&sampling.y, &y);
    row_state state = {&map, sampling.x.from};
    sampling.row = row_of;
    sampling.state = &state;
    sl_sample_region(&sampling, region, bits);
    return SL_OK;
}
