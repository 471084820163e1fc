/* SPDX-License-Identifier: Apache-2.0 */
/* Bilinear interpolation: rows are mixed first (contiguous, vectorises well), then columns are picked by table. */
#include <math.h>

#include "internal.h"

sl_tap sl_tap_at(int32_t position, double ratio, int32_t samples) {
    double centre = ((double)position + 0.5) * ratio - 0.5;
    double last = (double)(samples - 1);
    centre = centre < 0.0 ? 0.0 : centre > last ? last : centre;
    int32_t lo = (int32_t)centre;
    return (sl_tap){lo, lo + 1 < samples ? lo + 1 : lo, (float)(centre - (double)lo)};
}

void sl_columns_fill(const sl_columns *columns, int32_t count, double ratio, int32_t samples, int32_t step) {
    for (int32_t i = 0; i < count; i++) {
        sl_tap tap = sl_tap_at(i, ratio, samples);
        columns->lo[i] = tap.lo * step;
        columns->hi[i] = tap.hi * step;
        columns->weight[i] = tap.weight;
    }
}

SL_CLONES
void sl_blend_rows(const uint8_t *restrict top, const uint8_t *restrict bottom, float weight, float *restrict out,
                   size_t count) {
    for (size_t i = 0; i < count; i++) {
        float level = (float)top[i];
        out[i] = level + ((float)bottom[i] - level) * weight;
    }
}

SL_CLONES
static void pick(const float *restrict row, const int32_t *restrict lo, const int32_t *restrict hi,
                 const float *restrict weight, float *restrict out, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        float level = row[lo[i]];
        out[i] = level + (row[hi[i]] - level) * weight[i];
    }
}

void sl_pick_columns(const float *row, const sl_columns *columns, float *out, int32_t count) {
    pick(row, columns->lo, columns->hi, columns->weight, out, count);
}
