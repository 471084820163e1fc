/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops of masks with AVX-512; multiplications and additions stay apart, as in the reference. */
#include <immintrin.h>

#include "masks/masks.h"

enum { LANES = 16, ROWS = 8 };

static __mmask16 lanes_below(size_t count) { return (__mmask16)(count >= LANES ? 0xFFFFU : (1U << count) - 1U); }

/* `rows` (1..ROWS) rows of up to LANES columns at once, so that additions do not wait for each other. */
static inline void logits_tile(const sl_window *window, const float *coefficients, const float *at, size_t rows,
                               __mmask16 mask, float *out, size_t out_stride) {
    __m512 sum[ROWS];
    for (size_t r = 0; r < ROWS; r++) sum[r] = _mm512_setzero_ps();
    for (size_t c = 0; c < window->channels; c++, at += window->plane_stride) {
        __m512 k = _mm512_set1_ps(coefficients[c]);
        for (size_t r = 0; r < rows; r++)
            sum[r] = _mm512_add_ps(sum[r], _mm512_mul_ps(k, _mm512_maskz_loadu_ps(mask, at + r * window->row_stride)));
    }
    for (size_t r = 0; r < rows; r++) _mm512_mask_storeu_ps(out + r * out_stride, mask, sum[r]);
}

static void logits(const sl_window *window, const float *coefficients, float *out, size_t out_stride) {
    for (size_t y = 0; y < window->height; y += ROWS) {
        size_t rows = window->height - y;
        for (size_t x = 0; x < window->width; x += LANES) {
            const float *at = window->data + y * window->row_stride + x;
            __mmask16 mask = lanes_below(window->width - x);
            if (rows >= ROWS)
                logits_tile(window, coefficients, at, ROWS, mask, out + y * out_stride + x, out_stride);
            else
                logits_tile(window, coefficients, at, rows, mask, out + y * out_stride + x, out_stride);
        }
    }
}

static void pick(const float *row, const int32_t *low, const float *weight, float *out, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        __mmask16 mask = lanes_below(count - i);
        __m512i index = _mm512_maskz_loadu_epi32(mask, low + i);
        __m512 left = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, index, row, 4);
        __m512 right = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, index, row + 1, 4);
        __m512 step = _mm512_mul_ps(_mm512_sub_ps(right, left), _mm512_maskz_loadu_ps(mask, weight + i));
        _mm512_mask_storeu_ps(out + i, mask, _mm512_add_ps(left, step));
    }
}

/* A word of columns is held in registers while all rows of the band pass. */
static void threshold_word(const sl_band *band, size_t first, uint64_t *bits, size_t row_words) {
    __m512 top[4], step[4], limit = _mm512_set1_ps(band->threshold);
    uint64_t keep = sl_low_bits(band->width - first);
    for (size_t k = 0; k < 4; k++) {
        top[k] = _mm512_loadu_ps(band->top + first + k * LANES);
        step[k] = _mm512_sub_ps(_mm512_loadu_ps(band->bottom + first + k * LANES), top[k]);
    }
    for (size_t y = 0; y < band->rows; y++) {
        __m512 weight = _mm512_set1_ps(band->weights[y]);
        uint64_t word = 0;
        for (unsigned k = 0; k < 4; k++) {
            __m512 value = _mm512_add_ps(top[k], _mm512_mul_ps(step[k], weight));
            word |= (uint64_t)_mm512_cmp_ps_mask(value, limit, _CMP_GT_OQ) << (k * LANES);
        }
        bits[y * row_words] = word & keep;
    }
}

static void threshold(const sl_band *band, uint64_t *bits, size_t row_words) {
    for (size_t first = 0; first < band->width; first += SL_WORD)
        threshold_word(band, first, bits + first / SL_WORD, row_words);
}

/* Quarters that lie in two registers. */
static inline void swap_across(__m512i *upper, __m512i *lower, unsigned half, uint64_t low) {
    __m512i mask = _mm512_set1_epi64((long long)low);
    __m512i change = _mm512_and_si512(_mm512_xor_si512(_mm512_srli_epi64(*upper, half), *lower), mask);
    *lower = _mm512_xor_si512(*lower, change);
    *upper = _mm512_xor_si512(*upper, _mm512_slli_epi64(change, half));
}

/* Quarters inside one register: `partner` is the row `half` away; `lower` marks the rows of the lower quarters. */
static inline __m512i swap_within(__m512i rows, __m512i partner, __mmask8 lower, unsigned half, uint64_t low) {
    __m512i mask = _mm512_set1_epi64((long long)low);
    __m512i upper = _mm512_or_si512(_mm512_and_si512(rows, mask),
                                    _mm512_slli_epi64(_mm512_and_si512(partner, mask), half));
    __m512i under = _mm512_or_si512(_mm512_andnot_si512(mask, rows),
                                    _mm512_and_si512(_mm512_srli_epi64(partner, half), mask));
    return _mm512_mask_blend_epi64(lower, upper, under);
}

static void transpose(uint64_t *block) {
    __m512i rows[8];
    for (size_t i = 0; i < 8; i++) rows[i] = _mm512_loadu_si512(block + 8 * i);
    for (size_t i = 0; i < 4; i++) swap_across(rows + i, rows + i + 4, 32, UINT64_C(0x00000000FFFFFFFF));
    for (size_t i = 0; i < 8; i += 4) {
        swap_across(rows + i, rows + i + 2, 16, UINT64_C(0x0000FFFF0000FFFF));
        swap_across(rows + i + 1, rows + i + 3, 16, UINT64_C(0x0000FFFF0000FFFF));
    }
    for (size_t i = 0; i < 8; i += 2) swap_across(rows + i, rows + i + 1, 8, UINT64_C(0x00FF00FF00FF00FF));
    for (size_t i = 0; i < 8; i++) {
        __m512i r = rows[i];
        r = swap_within(r, _mm512_shuffle_i64x2(r, r, 0x4E), 0xF0, 4, UINT64_C(0x0F0F0F0F0F0F0F0F));
        r = swap_within(r, _mm512_permutex_epi64(r, 0x4E), 0xCC, 2, UINT64_C(0x3333333333333333));
        r = swap_within(r, _mm512_permutex_epi64(r, 0xB1), 0xAA, 1, UINT64_C(0x5555555555555555));
        _mm512_storeu_si512(block + 8 * i, r);
    }
}

static void pack(const uint8_t *bytes, size_t stride, size_t rows, size_t columns, uint64_t *words) {
    __mmask64 mask = sl_low_bits(columns);
    for (size_t y = 0; y < rows; y++, bytes += stride) {
        __m512i row = _mm512_maskz_loadu_epi8(mask, bytes);
        words[y] = _mm512_test_epi8_mask(row, row);
    }
}

const sl_mask_kernels sl_mask_kernels_avx512 = {logits, pick, threshold, transpose, pack};
