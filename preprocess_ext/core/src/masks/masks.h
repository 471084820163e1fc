/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share; not installed. */
#ifndef SL_MASKS_H
#define SL_MASKS_H

#include "common/internal.h"

enum { SL_WORD = 64 }; /* pixels in a word of bits */

/* ---- region.c ---- */

static inline bool sl_side_ok(int32_t side, int32_t most) { return side >= 1 && side <= most; }
/* A region of whatever size whose pixels all have coordinates of 0 and more and lie inside the frame. */
bool sl_region_inside(const sl_region *region, int32_t frame_width, int32_t frame_height);

/* ---- kernels.c and its variants: the inner loops; the same bits at each level ---- */

/* Rows of planes, which are plane_stride floats apart: a window of the prototypes. */
typedef struct sl_window {
    const float *data;
    size_t plane_stride;
    size_t row_stride;
    size_t channels;
    size_t width;
    size_t height;
} sl_window;

/* Two neighbouring rows and the output rows between them. top and bottom have whole words of pixels. */
typedef struct sl_band {
    const float *top;
    const float *bottom;
    const float *weights; /* one an output row */
    size_t rows;
    size_t width; /* pixels */
    float threshold;
} sl_band;

typedef struct sl_mask_kernels {
    /* out[y][x] = sum over c of coefficients[c] * data[c][y][x] */
    void (*logits)(const sl_window *window, const float *coefficients, float *out, size_t out_stride);
    /* out[i] = row[low[i]] + (row[low[i] + 1] - row[low[i]]) * weight[i] */
    void (*pick)(const float *row, const int32_t *low, const float *weight, float *out, size_t count);
    /* bit = top + (bottom - top) * weight > threshold; rows of bits are row_words apart */
    void (*threshold)(const sl_band *band, uint64_t *bits, size_t row_words);
    /* 64 x 64 bits mirrored on their diagonal, in place */
    void (*transpose)(uint64_t *block);
    /* bits of bytes that are not 0: `rows` rows of `columns` (1..64) */
    void (*pack)(const uint8_t *bytes, size_t stride, size_t rows, size_t columns, uint64_t *words);
} sl_mask_kernels;

const sl_mask_kernels *sl_mask_kernels_now(void);
extern const sl_mask_kernels sl_mask_kernels_scalar;
extern const sl_mask_kernels sl_mask_kernels_avx2;
extern const sl_mask_kernels sl_mask_kernels_avx512;

static inline uint64_t sl_low_bits(size_t count) { return count >= SL_WORD ? UINT64_MAX : (UINT64_C(1) << count) - 1; }

/* ---- sample.c: bilinear windows of a map ---- */

/* One axis: output positions first..first+count-1 of `outputs`, which show `samples` samples. */
typedef struct sl_map_axis {
    int32_t samples;
    int32_t outputs;
    int32_t first;
    int32_t count;
} sl_map_axis;

/* Where an axis reads: samples low and low + 1 (the last one repeats), counted from `from`; `span` of them in all. */
typedef struct sl_taps {
    int32_t *low;
    float *weight;
    int32_t from;
    int32_t span;
} sl_taps;

void sl_taps_take(sl_taps *taps, sl_arena *arena, size_t count);
void sl_taps_fill(sl_taps *taps, const sl_map_axis *axis);
/* The same taps where sample 0 is cell `left` of a map of `cells`, whose edges repeat; then counted in cells. */
void sl_taps_clamp(sl_taps *taps, int32_t count, int32_t left, int32_t cells);

/* Gives row `number` of a map, the columns that the taps of x need and one more; valid until the next call. */
typedef const float *(*sl_row_source)(void *state, int32_t number);

typedef struct sl_sampling {
    sl_row_source row;
    void *state;
    sl_taps x;
    sl_taps y;
    int32_t last_row; /* of the map; rows behind it repeat it */
    float threshold;
    float *rows[2]; /* whole words of floats each */
} sl_sampling;

void sl_sampling_take(sl_sampling *sampling, sl_arena *arena, size_t width, size_t height);
void sl_sample_region(sl_sampling *sampling, const sl_region *region, uint64_t *bits);

#endif
