/* SPDX-License-Identifier: Apache-2.0 */
/* Antialiased filters: each output is the weighted mean of all source samples under it, rows first, then columns. */
#include <math.h>

#include "pixels/pixels.h"

/* Besides twice the source: rounding at both ends, and outputs above the source's size. */
enum { WEIGHTS_PER_OUTPUT = 5 };

typedef struct support {
    int32_t first;
    int32_t end;
    double centre;
    double scale; /* source samples per output sample, at least 1 */
    bool box;
} support;

static int32_t within(double value, int32_t low, int32_t high) {
    return value < (double)low ? low : value > (double)high ? high : (int32_t)value;
}

/* The triangle reaches one output sample to both sides, as in Pillow; the box is the output sample itself. */
static support support_of(int32_t position, double ratio, int32_t samples, sl_filter filter) {
    support s = {.centre = ((double)position + 0.5) * ratio, .scale = ratio > 1.0 ? ratio : 1.0};
    s.box = filter == SL_FILTER_BOX && ratio >= 1.0;
    double reach = s.box ? s.scale / 2.0 : s.scale;
    double first = s.box ? floor(s.centre - reach) : floor(s.centre - reach + 0.5);
    double end = s.box ? ceil(s.centre + reach) : floor(s.centre + reach + 0.5);
    s.first = within(first, 0, samples - 1);
    s.end = within(end, s.first + 1, samples);
    return s;
}

static double weight_of(const support *s, int32_t sample) {
    if (s->box) {
        double begin = fmax((double)sample, s->centre - s->scale / 2.0);
        double end = fmin((double)sample + 1.0, s->centre + s->scale / 2.0);
        return end > begin ? end - begin : 0.0;
    }
    double distance = fabs((double)sample + 0.5 - s->centre) / s->scale;
    return distance < 1.0 ? 1.0 - distance : 0.0;
}

static double total_weight(const support *s) {
    double total = 0.0;
    for (int32_t k = s->first; k < s->end; k++) total += weight_of(s, k);
    return total > 0.0 ? total : 1.0;
}

sl_spans sl_spans_take(sl_arena *arena, int32_t source_width, int32_t count) {
    sl_spans spans = {.taps = 0};
    size_t outputs = (size_t)count, most = 2 * (size_t)source_width + WEIGHTS_PER_OUTPUT * outputs;
    spans.first = sl_arena_take(arena, outputs, sizeof(int32_t));
    spans.weights = sl_arena_take(arena, most, sizeof(float));
    return spans;
}

void sl_spans_fill(sl_spans *spans, const sl_axis *axis, sl_filter filter) {
    spans->taps = 0;
    for (int32_t i = 0; i < axis->count; i++) {
        support s = support_of(axis->first + i, axis->ratio, axis->samples, filter);
        if (s.end - s.first > spans->taps) spans->taps = s.end - s.first;
    }
    for (int32_t i = 0; i < axis->count; i++) {
        support s = support_of(axis->first + i, axis->ratio, axis->samples, filter);
        double total = total_weight(&s);
        /* All outputs have as many taps; at the right edge they begin earlier. */
        int32_t first = s.first + spans->taps > axis->samples ? axis->samples - spans->taps : s.first;
        float *weights = spans->weights + (size_t)i * (size_t)spans->taps;
        spans->first[i] = first * axis->step;
        for (int32_t k = 0; k < spans->taps; k++) {
            int32_t sample = first + k;
            bool inside = sample >= s.first && sample < s.end;
            weights[k] = inside ? (float)(weight_of(&s, sample) / total) : 0.0F;
        }
    }
}

void sl_area_sum_rows(const sl_area_row *row, float *sums) {
    const sl_kernels *kernels = sl_kernels_in_use();
    support s = support_of(row->position, row->ratio, row->rows, row->filter);
    double total = total_weight(&s);
    for (size_t i = 0; i < row->row_bytes; i++) sums[i] = 0.0F;
    for (int32_t k = s.first; k < s.end; k++) {
        float weight = (float)(weight_of(&s, k) / total);
        kernels->accumulate(row->data + row->stride * (size_t)k, weight, sums, row->row_bytes);
    }
}

static inline void sum_columns(const float *restrict sums, const sl_spans *spans, int32_t count, int32_t step,
                               int32_t taps, float *restrict out) {
    for (int32_t i = 0; i < count; i++) {
        const float *at = sums + spans->first[i], *weights = spans->weights + (size_t)i * (size_t)taps;
        float sum = 0.0F;
        for (int32_t k = 0; k < taps; k++) sum += at[k * step] * weights[k];
        out[i] = sum;
    }
}

/* Usual numbers of taps as constants, for which the compiler unrolls the loop. */
void sl_area_sum_columns(const float *sums, const sl_spans *spans, int32_t count, int32_t step, float *out) {
    if (step == 1 && spans->taps == 3) sum_columns(sums, spans, count, 1, 3, out);
    else if (step == 1 && spans->taps == 4) sum_columns(sums, spans, count, 1, 4, out);
    else if (step == 1 && spans->taps == 5) sum_columns(sums, spans, count, 1, 5, out);
    else if (step == 1 && spans->taps == 6) sum_columns(sums, spans, count, 1, 6, out);
    else if (step == 1 && spans->taps == 7) sum_columns(sums, spans, count, 1, 7, out);
    else sum_columns(sums, spans, count, step, spans->taps, out);
}
