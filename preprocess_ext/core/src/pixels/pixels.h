/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share; not installed. */
#ifndef SL_PIXELS_H
#define SL_PIXELS_H

#include "common/internal.h"

/* ---- columns.c: where output positions read ---- */

/* An output position reads source samples lo and hi, mixed as lo + (hi - lo) * weight. lo <= hi <= lo + 1. */
typedef struct sl_tap {
    int32_t lo;
    int32_t hi;
    float weight;
} sl_tap;

/* ratio: source samples per output sample; samples: length of the source. */
static inline sl_tap sl_tap_at(int32_t position, double ratio, int32_t samples) {
    double centre = ((double)position + 0.5) * ratio - 0.5;
    double last = (double)(samples - 1);
    centre = centre < 0.0 ? 0.0 : centre > last ? last : centre;
    int32_t lo = (int32_t)centre;
    return (sl_tap){lo, lo + 1 < samples ? lo + 1 : lo, (float)(centre - (double)lo)};
}

enum {
    SL_COLUMN_BLOCK = 16, /* kernels work on so many outputs at a time; rows and tables are padded to it */
    SL_WINDOW_BYTES = 16, /* of a source row, from which a group of outputs is picked by a byte shuffle */
    SL_WINDOW_OUTPUTS = 4
};

/*
 * The taps of a row's outputs. lo and hi are byte offsets into the source row. When `windowed`, each group of
 * SL_WINDOW_OUTPUTS outputs lies within SL_WINDOW_BYTES bytes that begin at window[group] and end inside the row;
 * pick_lo and pick_hi have 16 bytes a group: the offset of an output's sample, and 128 (zero) three times.
 */
typedef struct sl_columns {
    int32_t *lo;
    int32_t *hi;
    float *weight;
    int32_t *window;
    uint8_t *pick_lo;
    uint8_t *pick_hi;
    int32_t count;  /* outputs */
    int32_t padded; /* count rounded up to SL_COLUMN_BLOCK */
    int32_t step;   /* bytes from one sample to the next */
    int32_t row_bytes; /* from the first sample to the end of the last */
    bool windowed;
    bool weighted;   /* some weight is not 0 */
    bool contiguous; /* no weights, one byte after the other: output i is the byte at lo[0] + i */
} sl_columns;

/* What the columns of one plane come from: outputs first .. first + count - 1. */
typedef struct sl_axis {
    int32_t first;
    int32_t count;
    double ratio;
    int32_t samples;
    int32_t step; /* bytes from one sample to the next */
} sl_axis;

static inline size_t sl_padded(int32_t count) {
    return ((size_t)count + SL_COLUMN_BLOCK - 1) / SL_COLUMN_BLOCK * SL_COLUMN_BLOCK;
}

sl_columns sl_columns_take(sl_arena *arena, int32_t count);
void sl_columns_fill(sl_columns *columns, const sl_axis *axis);

/* ---- area.c: antialiased filters ---- */

/* Output i sums `taps` source samples from byte offset first[i] on, times weights[i * taps ...]; some weights are 0. */
typedef struct sl_spans {
    int32_t *first;
    float *weights;
    int32_t taps;
} sl_spans;

sl_spans sl_spans_take(sl_arena *arena, int32_t source_width, int32_t count);
void sl_spans_fill(sl_spans *spans, const sl_axis *axis, sl_filter filter);

/* One plane's output row under an antialiased filter. */
typedef struct sl_area_row {
    const uint8_t *data;
    size_t stride;
    size_t row_bytes;
    int32_t rows;
    double ratio; /* source rows per output row */
    int32_t position;
    sl_filter filter;
} sl_area_row;

/* Sum the source rows under one output row into `sums` (row_bytes floats). */
void sl_area_sum_rows(const sl_area_row *row, float *sums);
void sl_area_sum_columns(const float *sums, const sl_spans *spans, int32_t count, int32_t step, float *out);

/* ---- colour.c: YUV to RGB ---- */

typedef struct sl_matrix {
    float luma_offset, luma_scale, red_v, green_u, green_v, blue_u;
} sl_matrix;

/* One output channel: value = (level - mean) * scale */
typedef struct sl_norm {
    float mean;
    float scale;
} sl_norm;

sl_matrix sl_matrix_of(sl_colour_space colour);

/* ---- kernels.c, kernels_*.c: loops over one row, a variant for each level of instructions ---- */

typedef struct sl_kernels {
    /* Bilinear: source rows top and bottom mixed by weight, then columns; columns->padded values at out. */
    void (*sample)(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns, float *out);
    /* The same for three interleaved bytes a pixel; row_bytes: readable bytes of each row. */
    void (*sample_rgb)(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns,
                       size_t row_bytes, float *const out[3]);
    /* levels: R, G, B, or Y, U, V when matrix is not NULL; out: normalised R, G, B. */
    void (*normalise)(float *const level[3], int32_t count, const sl_matrix *matrix, const sl_norm norm[3],
                      float *const out[3]);
    void (*to_half)(const float *values, uint16_t *out, int32_t count);  /* nearest, ties to even */
    void (*to_bytes)(const float *values, uint8_t *out, int32_t count);  /* clamped to 0..255, nearest, ties to even */
    void (*accumulate)(const uint8_t *bytes, float weight, float *sums, size_t count); /* sums += bytes * weight */
} sl_kernels;

const sl_kernels *sl_kernels_in_use(void);

extern const sl_kernels sl_kernels_scalar;
extern const sl_kernels sl_kernels_neon;
extern const sl_kernels sl_kernels_avx2;
extern const sl_kernels sl_kernels_avx512;

/* Also used by the AVX-512 table. */
void sl_sample_rgb_avx2(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns,
                        size_t row_bytes, float *const out[3]);

#endif
