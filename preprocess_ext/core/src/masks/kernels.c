/* SPDX-License-Identifier: Apache-2.0 */
/* The inner loops of masks: the reference, and which variant runs. */
#include <string.h>

#include "masks/transpose.h"

static void logits(const sl_window *window, const float *coefficients, float *out, size_t out_stride) {
    for (size_t y = 0; y < window->height; y++, out += out_stride) {
        for (size_t x = 0; x < window->width; x++) out[x] = 0.0F;
        for (size_t c = 0; c < window->channels; c++) {
            const float *row = window->data + c * window->plane_stride + y * window->row_stride;
            for (size_t x = 0; x < window->width; x++) out[x] += coefficients[c] * row[x];
        }
    }
}

static void pick(const float *row, const int32_t *low, const float *weight, float *out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float left = row[low[i]], right = row[low[i] + 1];
        out[i] = left + (right - left) * weight[i];
    }
}

static void threshold(const sl_band *band, uint64_t *bits, size_t row_words) {
    for (size_t y = 0; y < band->rows; y++, bits += row_words)
        for (size_t first = 0; first < band->width; first += SL_WORD) {
            size_t count = band->width - first < SL_WORD ? band->width - first : SL_WORD;
            const float *top = band->top + first, *bottom = band->bottom + first;
            uint64_t word = 0;
            for (size_t i = 0; i < count; i++) {
                float value = top[i] + (bottom[i] - top[i]) * band->weights[y];
                word |= (uint64_t)(value > band->threshold) << i;
            }
            bits[first / SL_WORD] = word;
        }
}

static void transpose(uint64_t *block) { sl_transpose_block(block); }

/* Eight bytes at a time: a byte that is not 0 gets its lowest bit set, then the eight lowest bits are gathered. */
static uint64_t bits_of_eight(const uint8_t *bytes) {
    uint64_t v = 0;
    for (unsigned i = 0; i < 8; i++) v |= (uint64_t)bytes[i] << (8 * i);
    v |= v >> 4 & UINT64_C(0x0F0F0F0F0F0F0F0F);
    v |= v >> 2 & UINT64_C(0x3F3F3F3F3F3F3F3F);
    v |= v >> 1 & UINT64_C(0x7F7F7F7F7F7F7F7F);
    return (v & UINT64_C(0x0101010101010101)) * UINT64_C(0x0102040810204080) >> 56;
}

static void pack(const uint8_t *bytes, size_t stride, size_t rows, size_t columns, uint64_t *words) {
    for (size_t y = 0; y < rows; y++, bytes += stride) {
        size_t x = 0;
        words[y] = 0;
        for (; x + 8 <= columns; x += 8) words[y] |= bits_of_eight(bytes + x) << x;
        for (; x < columns; x++) words[y] |= (uint64_t)(bytes[x] != 0) << x;
    }
}

const sl_mask_kernels sl_mask_kernels_scalar = {logits, pick, threshold, transpose, pack};

const sl_mask_kernels *sl_mask_kernels_now(void) {
#if defined(__x86_64__)
    if (sl_cpu() == SL_CPU_AVX512) return &sl_mask_kernels_avx512;
    if (sl_cpu() == SL_CPU_AVX2) return &sl_mask_kernels_avx2;
#endif
    return &sl_mask_kernels_scalar;
}
