/* SPDX-License-Identifier: Apache-2.0 */
/* Bilinear windows of a map of numbers, thresholded to bits. */
#include <string.h>

#include "masks/masks.h"

void sl_taps_take(sl_taps *taps, sl_arena *arena, size_t count) {
    taps->low = sl_arena_take(arena, count, sizeof *taps->low);
    taps->weight = sl_arena_take(arena, count, sizeof *taps->weight);
}

/* Positions as torch computes them in float32 (area_pixel_compute_source_index). */
void sl_taps_fill(sl_taps *taps, const sl_map_axis *axis) {
    const float scale = (float)axis->samples / (float)axis->outputs;
    const int32_t last = axis->samples - 1;
    for (int32_t i = 0; i < axis->count; i++) {
        float at = scale * ((float)(axis->first + i) + 0.5F) - 0.5F;
        at = at < 0.0F ? 0.0F : at;
        int32_t low = (int32_t)at;
        low = low > last ? last : low;
        float weight = at - (float)low;
        taps->low[i] = low;
        taps->weight[i] = weight > 1.0F ? 1.0F : weight;
    }
    int32_t high = taps->low[axis->count - 1] + 1;
    taps->from = taps->low[0];
    taps->span = (high > last ? last : high) - taps->from + 1;
    for (int32_t i = 0; i < axis->count; i++) taps->low[i] -= taps->from;
}

void sl_taps_clamp(sl_taps *taps, int32_t count, int32_t left, int32_t cells) {
    const int32_t last = cells - 1, shift = taps->from + left;
    for (int32_t i = 0; i < count; i++) {
        const int32_t at = taps->low[i] + shift;
        if (at < 0 || at >= last) taps->weight[i] = 0.0F;
        taps->low[i] = at < 0 ? 0 : at > last ? last : at;
    }
    const int32_t high = taps->low[count - 1] + 1;
    taps->from = taps->low[0];
    taps->span = (high > last ? last : high) - taps->from + 1;
    for (int32_t i = 0; i < count; i++) taps->low[i] -= taps->from;
}

void sl_sampling_take(sl_sampling *sampling, sl_arena *arena, size_t width, size_t height) {
    size_t floats = (width + SL_WORD - 1) / SL_WORD * SL_WORD;
    sl_taps_take(&sampling->x, arena, width);
    sl_taps_take(&sampling->y, arena, height);
    sampling->rows[0] = sl_arena_take(arena, floats, sizeof(float));
    sampling->rows[1] = sl_arena_take(arena, floats, sizeof(float));
}

/* The row interpolated along x, in one of the two buffers: the one that has it, else the one that is not `keep`. */
static int row_at(sl_sampling *sampling, int32_t number, int32_t held[2], int keep, size_t width) {
    for (int slot = 0; slot < 2; slot++)
        if (held[slot] == number) return slot;
    int slot = keep == 0 ? 1 : 0;
    const float *row = sampling->row(sampling->state, number);
    sl_mask_kernels_now()->pick(row, sampling->x.low, sampling->x.weight, sampling->rows[slot], width);
    held[slot] = number;
    return slot;
}

static int32_t at_most(int32_t value, int32_t most) { return value < most ? value : most; }

void sl_sample_region(sl_sampling *sampling, const sl_region *region, uint64_t *bits) {
    const size_t width = (size_t)region->width, words = sl_region_row_words(region->width);
    const sl_taps *rows = &sampling->y;
    int32_t held[2] = {-1, -1};
    for (int i = 0; i < 2; i++) memset(sampling->rows[i], 0, words * SL_WORD * sizeof(float));
    for (int32_t y = 0, next; y < region->height; y = next) {
        for (next = y + 1; next < region->height && rows->low[next] == rows->low[y];) next++;
        int32_t top_row = rows->from + rows->low[y], bottom_row = at_most(top_row + 1, sampling->last_row);
        int top = row_at(sampling, top_row, held, held[1] == bottom_row ? 1 : 0, width);
        int bottom = row_at(sampling, bottom_row, held, top, width);
        sl_band band = {sampling->rows[top], sampling->rows[bottom], rows->weight + y, (size_t)(next - y), width,
                        sampling->threshold};
        sl_mask_kernels_now()->threshold(&band, bits + (size_t)y * words, words);
    }
}
