/* SPDX-License-Identifier: Apache-2.0 */
/* Loops that a compiler vectorises by itself: included by each kernels*.c, compiled with that file's instructions. */
#ifndef SL_KERNEL_LOOPS_H
#define SL_KERNEL_LOOPS_H

#include <string.h>

#include "pixels/pixels.h"

static inline float loop_level(float value) {
    value = value < 0.0F ? 0.0F : value;
    return value > 255.0F ? 255.0F : value;
}

static inline void loop_yuv(const float *restrict y, const float *restrict u, const float *restrict v, int32_t count,
                            sl_matrix m, const sl_norm n[3], float *restrict red, float *restrict green,
                            float *restrict blue) {
    const sl_norm nr = n[0], ng = n[1], nb = n[2];
    for (int32_t i = 0; i < count; i++) {
        float luma = (y[i] - m.luma_offset) * m.luma_scale, cb = u[i] - 128.0F, cr = v[i] - 128.0F;
        red[i] = (loop_level(luma + m.red_v * cr) - nr.mean) * nr.scale;
        green[i] = (loop_level(luma - m.green_u * cb - m.green_v * cr) - ng.mean) * ng.scale;
        blue[i] = (loop_level(luma + m.blue_u * cb) - nb.mean) * nb.scale;
    }
}

static inline void loop_scale(const float *restrict level, int32_t count, sl_norm norm, float *restrict out) {
    for (int32_t i = 0; i < count; i++) out[i] = (level[i] - norm.mean) * norm.scale;
}

static void loop_normalise(float *const level[3], int32_t count, const sl_matrix *matrix, const sl_norm norm[3],
                           float *const out[3]) {
    if (matrix != NULL) {
        loop_yuv(level[0], level[1], level[2], count, *matrix, norm, out[0], out[1], out[2]);
        return;
    }
    for (int c = 0; c < 3; c++) loop_scale(level[c], count, norm[c], out[c]);
}

static void loop_to_bytes(const float *restrict values, uint8_t *restrict out, int32_t count) {
    for (int32_t i = 0; i < count; i++) {
        /* Above 2^23 a float has no fraction: the sum is rounded to nearest even, its low byte is the number. */
        float rounded = loop_level(values[i]) + 8388608.0F;
        uint32_t bits;
        memcpy(&bits, &rounded, sizeof bits);
        out[i] = (uint8_t)bits;
    }
}

static void loop_accumulate(const uint8_t *restrict bytes, float weight, float *restrict sums, size_t count) {
    for (size_t i = 0; i < count; i++) sums[i] += (float)bytes[i] * weight;
}

#endif
