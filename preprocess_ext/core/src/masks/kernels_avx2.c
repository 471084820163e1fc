/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops of masks with AVX2; multiplications and additions stay apart, as in the reference. */
#include <immintrin.h>
#include <string.h>

#include "masks/transpose.h"

enum { LANES = 8, ROWS = 4 };

static __m256i lanes_below(size_t count) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(count < LANES ? count : LANES)), lane);
}

/* `rows` (1..ROWS) rows of up to LANES columns at once, so that additions do not wait for each other. */
static inline void logits_tile(const sl_window *window, const float *coefficients, const float *at, size_t rows,
                               __m256i mask, float *out, size_t out_stride) {
    __m256 sum[ROWS];
    for (size_t r = 0; r < ROWS; r++) sum[r] = _mm256_setzero_ps();
    for (size_t c = 0; c < window->channels; c++, at += window->plane_stride) {
        __m256 k = _mm256_set1_ps(coefficients[c]);
        for (size_t r = 0; r < rows; r++)
            sum[r] = _mm256_add_ps(sum[r], _mm256_mul_ps(k, _mm256_maskload_ps(at + r * window->row_stride, mask)));
    }
    for (size_t r = 0; r < rows; r++) _mm256_maskstore_ps(out + r * out_stride, mask, sum[r]);
}

static void logits(const sl_window *window, const float *coefficients, float *out, size_t out_stride) {
    for (size_t y = 0; y < window->height; y += ROWS) {
        size_t rows = window->height - y;
        for (size_t x = 0; x < window->width; x += LANES) {
            const float *at = window->data + y * window->row_stride + x;
            __m256i mask = lanes_below(window->width - x);
            if (rows >= ROWS)
                logits_tile(window, coefficients, at, ROWS, mask, out + y * out_stride + x, out_stride);
            else
                logits_tile(window, coefficients, at, rows, mask, out + y * out_stride + x, out_stride);
        }
    }
}

static void pick(const float *row, const int32_t *low, const float *weight, float *out, size_t count) {
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        __m256i index = _mm256_loadu_si256((const __m256i *)(low + i));
        __m256 left = _mm256_i32gather_ps(row, index, 4), right = _mm256_i32gather_ps(row + 1, index, 4);
        __m256 step = _mm256_mul_ps(_mm256_sub_ps(right, left), _mm256_loadu_ps(weight + i));
        _mm256_storeu_ps(out + i, _mm256_add_ps(left, step));
    }
    sl_mask_kernels_scalar.pick(row, low + i, weight + i, out + i, count - i);
}

/* One half of a word: 32 columns held in registers while all rows of the band pass. */
static inline void threshold_half(const sl_band *band, size_t first, uint64_t keep, uint32_t *bits, size_t stride) {
    __m256 top[4], step[4], limit = _mm256_set1_ps(band->threshold);
    for (size_t k = 0; k < 4; k++) {
        top[k] = _mm256_loadu_ps(band->top + first + k * LANES);
        step[k] = _mm256_sub_ps(_mm256_loadu_ps(band->bottom + first + k * LANES), top[k]);
    }
    for (size_t y = 0; y < band->rows; y++) {
        __m256 weight = _mm256_set1_ps(band->weights[y]);
        uint32_t word = 0;
        for (unsigned k = 0; k < 4; k++) {
            __m256 value = _mm256_add_ps(top[k], _mm256_mul_ps(step[k], weight));
            word |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(value, limit, _CMP_GT_OQ)) << (k * LANES);
        }
        word &= (uint32_t)keep;
        memcpy(bits + y * stride, &word, sizeof word);
    }
}

static void threshold(const sl_band *band, uint64_t *bits, size_t row_words) {
    for (size_t first = 0; first < band->width; first += SL_WORD) {
        uint64_t keep = sl_low_bits(band->width - first);
        uint32_t *at = (uint32_t *)(void *)(bits + first / SL_WORD);
        threshold_half(band, first, keep, at, 2 * row_words);
        threshold_half(band, first + SL_WORD / 2, keep >> 32, at + 1, 2 * row_words);
    }
}

static void transpose(uint64_t *block) { sl_transpose_block(block); }

static inline uint32_t bits_of_32(const uint8_t *bytes) {
    __m256i zero = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)bytes), _mm256_setzero_si256());
    return ~(uint32_t)_mm256_movemask_epi8(zero);
}

static void pack(const uint8_t *bytes, size_t stride, size_t rows, size_t columns, uint64_t *words) {
    if (columns < SL_WORD) {
        sl_mask_kernels_scalar.pack(bytes, stride, rows, columns, words);
        return;
    }
    for (size_t y = 0; y < rows; y++, bytes += stride)
        words[y] = (uint64_t)bits_of_32(bytes) | (uint64_t)bits_of_32(bytes + 32) << 32;
}

const sl_mask_kernels sl_mask_kernels_avx2 = {logits, pick, threshold, transpose, pack};
