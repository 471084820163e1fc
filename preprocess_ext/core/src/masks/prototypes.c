/* SPDX-License-Identifier: Apache-2.0 */
/* Coefficients and prototypes into the bits of a region: logits of the cells below it, enlarged, thresholded. */
#include "masks/view.h"

/* The cells below a region, and how rows of the map that is sampled come from them. */
typedef struct cells {
    float *logits; /* rows of `stride`, each with a copy of its last cell behind it */
    size_t stride;
    /* only when the map is enlarged first */
    sl_taps x;
    sl_taps y;
    float *wide; /* rows of logits, enlarged along x */
    float *row;
    size_t width; /* of a row of `wide` */
    size_t wide_stride;
    int32_t first_row; /* number of the row that y begins with */
    int32_t last_row;  /* of the logits held */
} cells;

typedef struct work {
    sl_sampling sampling;
    cells map;
} work;

static size_t least(int32_t a, int32_t b) { return (size_t)(a < b ? a : b); }

static void take(work *w, sl_arena *arena, const sl_mask_view *view) {
    size_t map_width = (size_t)view->map_width, map_height = (size_t)view->map_height;
    sl_sampling_take(&w->sampling, arena, (size_t)view->out_width, (size_t)view->out_height);
    w->map.stride = map_width + 1;
    w->map.logits = sl_arena_take(arena, w->map.stride * map_height, sizeof(float));
    if (view->factor == 1) return;
    size_t width = least(view->width, view->map_width * view->factor);
    size_t height = least(view->height, view->map_height * view->factor);
    sl_taps_take(&w->map.x, arena, width);
    sl_taps_take(&w->map.y, arena, height);
    w->map.wide_stride = width;
    w->map.wide = sl_arena_take(arena, width * map_height, sizeof(float));
    w->map.row = sl_arena_take(arena, width + 1, sizeof(float));
}

size_t sl_mask_scratch_bytes(const sl_mask_view *view) {
    if (view == NULL || !sl_mask_view_ok(view)) return 0;
    work w;
    sl_arena arena = sl_arena_over(NULL, 0);
    take(&w, &arena, view);
    return sl_arena_bytes(&arena);
}

static const float *plain_row(void *state, int32_t number) {
    const cells *map = state;
    return map->logits + (size_t)(number - map->first_row) * map->stride;
}

static const float *enlarged_row(void *state, int32_t number) {
    const cells *map = state;
    const size_t at = (size_t)(number - map->first_row);
    const int32_t low = map->y.low[at], high = low < map->last_row ? low + 1 : low;
    const float *top = map->wide + (size_t)low * map->wide_stride;
    const float *bottom = map->wide + (size_t)high * map->wide_stride;
    const float weight = map->y.weight[at];
    for (size_t i = 0; i < map->width; i++) map->row[i] = top[i] + (bottom[i] - top[i]) * weight;
    map->row[map->width] = map->row[map->width - 1];
    return map->row;
}

static void compute_logits(const sl_prototypes *prototypes, const float *coefficients, const sl_region *at,
                           cells *map) {
    const size_t row = (size_t)prototypes->width, plane = row * (size_t)prototypes->height;
    sl_window window = {.data = prototypes->data + (size_t)at->y * row + (size_t)at->x, .plane_stride = plane};
    window.row_stride = row;
    window.channels = (size_t)prototypes->channels;
    window.width = (size_t)at->width;
    window.height = (size_t)at->height;
    sl_mask_kernels_now()->logits(&window, coefficients, map->logits, map->stride);
    for (size_t y = 0; y < window.height; y++)
        map->logits[y * map->stride + window.width] = map->logits[y * map->stride + window.width - 1];
}

/* Which cells of the map lie below the enlarged ones, and these along x. */
static void enlarge(const sl_prototypes *prototypes, const float *coefficients, const sl_mask_view *view,
                    const sl_region *fine, cells *map) {
    const sl_map_axis x = {view->map_width, view->map_width * view->factor, fine->x, fine->width};
    const sl_map_axis y = {view->map_height, view->map_height * view->factor, fine->y, fine->height};
    sl_taps_fill(&map->x, &x);
    sl_taps_fill(&map->y, &y);
    const sl_region coarse = {map->x.from, map->y.from, map->x.span, map->y.span};
    compute_logits(prototypes, coefficients, &coarse, map);
    map->width = (size_t)fine->width;
    map->last_row = coarse.height - 1;
    for (int32_t i = 0; i < coarse.height; i++)
        sl_mask_kernels_now()->pick(map->logits + (size_t)i * map->stride, map->x.low, map->x.weight,
                                    map->wide + (size_t)i * map->wide_stride, map->width);
}

static sl_status check(const sl_prototypes *prototypes, const sl_mask_view *view, const float *coefficients,
                       const sl_region *region, const uint64_t *bits) {
    if (prototypes == NULL || view == NULL || region == NULL || coefficients == NULL) return SL_ERROR_NULL;
    if (!sl_mask_view_ok(view) || !sl_side_ok(prototypes->channels, SL_MAX_MASK_CHANNELS)) return SL_ERROR_SIZE;
    if (prototypes->width != view->map_width || prototypes->height != view->map_height) return SL_ERROR_SIZE;
    if (!sl_region_inside(region, view->out_width, view->out_height)) return SL_ERROR_SIZE;
    return prototypes->data == NULL || (bits == NULL && sl_region_words(region) > 0) ? SL_ERROR_NULL : SL_OK;
}

/*
 * Taps along one axis of the region; returns where they begin in the enlarged map, whose last cell of the cut *last gets,
 * counted as the taps are.
 */
static int32_t fill_axis(sl_taps *taps, const sl_map_axis *axis, int32_t left, int32_t whole, int32_t *last) {
    sl_taps_fill(taps, axis);
    if (!sl_mask_cut_covers(left, axis->samples, whole)) {
        *last = axis->samples - 1;
        return left + taps->from;
    }
    sl_taps_clamp(taps, axis->count, left, whole);
    *last = whole - 1;
    return taps->from;
}

sl_status sl_mask_from_prototypes(const sl_prototypes *prototypes, const sl_mask_view *view, const float *coefficients,
                                  const sl_region *region, uint64_t *bits, void *scratch, size_t scratch_bytes) {
    sl_status status = check(prototypes, view, coefficients, region, bits);
    if (status != SL_OK || sl_region_words(region) == 0) return status;
    work w = {.sampling = {.threshold = 0.0F}};
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    if (scratch == NULL) return SL_ERROR_NULL;
    take(&w, &arena, view);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    sl_sampling *sampling = &w.sampling;
    const sl_map_axis x = {view->width, view->out_width, region->x, region->width};
    const sl_map_axis y = {view->height, view->out_height, region->y, region->height};
    int32_t last_column;
    const int32_t left = fill_axis(&sampling->x, &x, view->left, view->map_width * view->factor, &last_column);
    const int32_t top = fill_axis(&sampling->y, &y, view->top, view->map_height * view->factor, &sampling->last_row);
    const sl_region cut = {left, top, sampling->x.span, sampling->y.span};
    w.map.first_row = sampling->y.from;
    sampling->state = &w.map;
    sampling->row = view->factor == 1 ? plain_row : enlarged_row;
    if (view->factor == 1)
        compute_logits(prototypes, coefficients, &cut, &w.map);
    else
        enlarge(prototypes, coefficients, view, &cut, &w.map);
    sl_sample_region(sampling, region, bits);
    return SL_OK;
}
