/* SPDX-License-Identifier: Apache-2.0 */
/* Where each output column reads: bilinear taps, and the same as byte shuffles of short windows of the source row. */
#include <string.h>

#include "pixels/pixels.h"

enum { NO_SAMPLE = 128 }; /* a shuffle gives 0 for it */

sl_columns sl_columns_take(sl_arena *arena, int32_t count) {
    size_t padded = sl_padded(count);
    sl_columns columns = {.padded = (int32_t)padded};
    columns.lo = sl_arena_take(arena, padded, sizeof(int32_t));
    columns.hi = sl_arena_take(arena, padded, sizeof(int32_t));
    columns.weight = sl_arena_take(arena, padded, sizeof(float));
    columns.window = sl_arena_take(arena, padded / SL_WINDOW_OUTPUTS, sizeof(int32_t));
    columns.pick_lo = sl_arena_take(arena, padded * SL_WINDOW_OUTPUTS, 1);
    columns.pick_hi = sl_arena_take(arena, padded * SL_WINDOW_OUTPUTS, 1);
    return columns;
}

/* Begin of the window for outputs i .. i + 3, or -1 when they lie too far apart. */
static int32_t window_at(const sl_columns *columns, int32_t i, int32_t row_bytes) {
    int32_t begin = columns->lo[i], end = columns->hi[i + SL_WINDOW_OUTPUTS - 1] + 1;
    if (end - begin > SL_WINDOW_BYTES || row_bytes < SL_WINDOW_BYTES) return -1;
    return begin + SL_WINDOW_BYTES > row_bytes ? row_bytes - SL_WINDOW_BYTES : begin;
}

static bool fill_windows(sl_columns *columns) {
    memset(columns->pick_lo, NO_SAMPLE, (size_t)columns->padded * 4);
    memset(columns->pick_hi, NO_SAMPLE, (size_t)columns->padded * 4);
    for (int32_t i = 0; i < columns->padded; i += SL_WINDOW_OUTPUTS) {
        int32_t begin = window_at(columns, i, columns->row_bytes);
        if (begin < 0) return false;
        columns->window[i / SL_WINDOW_OUTPUTS] = begin;
        for (int32_t k = i; k < i + SL_WINDOW_OUTPUTS; k++) {
            columns->pick_lo[4 * k] = (uint8_t)(columns->lo[k] - begin);
            columns->pick_hi[4 * k] = (uint8_t)(columns->hi[k] - begin);
        }
    }
    return true;
}

void sl_columns_fill(sl_columns *columns, const sl_axis *axis) {
    columns->count = axis->count;
    columns->padded = (int32_t)sl_padded(axis->count);
    columns->step = axis->step;
    /* Of interleaved samples the last one ends the row: what precedes it is readable for each of them. */
    columns->row_bytes = (axis->samples - 1) * axis->step + 1;
    columns->weighted = false;
    columns->contiguous = true;
    for (int32_t i = 0; i < columns->padded; i++) {
        /* Past the end the last output again: its window is inside the row. */
        int32_t position = i < axis->count ? i : axis->count - 1;
        sl_tap tap = sl_tap_at(axis->first + position, axis->ratio, axis->samples);
        columns->lo[i] = tap.lo * axis->step;
        columns->hi[i] = tap.hi * axis->step;
        columns->weight[i] = tap.weight;
        columns->weighted = columns->weighted || tap.weight > 0.0F;
        if (columns->lo[i] != columns->lo[0] + position) columns->contiguous = false;
    }
    columns->contiguous = columns->contiguous && !columns->weighted;
    columns->windowed = fill_windows(columns);
}
