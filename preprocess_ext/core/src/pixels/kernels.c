/* SPDX-License-Identifier: Apache-2.0 */
/* The reference of the row kernels, and the choice between the variants. */
#include "pixels/kernel_loops.h"

static inline float mixed(float from, float to, float weight) { return from + (to - from) * weight; }

static void sample(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns, float *out) {
    for (int32_t i = 0; i < columns->padded; i++) {
        int32_t lo = columns->lo[i], hi = columns->hi[i];
        float left = mixed((float)top[lo], (float)bottom[lo], weight);
        float right = mixed((float)top[hi], (float)bottom[hi], weight);
        out[i] = mixed(left, right, columns->weight[i]);
    }
}

static void sample_rgb(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns,
                       size_t row_bytes, float *const out[3]) {
    (void)row_bytes;
    for (int c = 0; c < 3; c++) sample(top + c, bottom + c, weight, columns, out[c]);
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* IEEE 754 binary16 of a number that is not NaN. */
static uint16_t half_of(float value) {
    uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000U, magnitude = bits & 0x7FFFFFFFU;
    if (magnitude >= 0x477FF000U) return (uint16_t)(sign | 0x7C00U); /* 65520 and above */
    if (magnitude < 0x38800000U) {
        /* Below 2^-14: adding 1/2 leaves multiples of 2^-24 in the low bits, rounded to nearest even. */
        float small;
        memcpy(&small, &magnitude, sizeof small);
        return (uint16_t)(sign | (bits_of(small + 0.5F) - bits_of(0.5F)));
    }
    uint32_t odd = magnitude >> 13 & 1U;
    return (uint16_t)(sign | (magnitude - 0x38000000U + 0xFFFU + odd) >> 13);
}

static void to_half(const float *values, uint16_t *out, int32_t count) {
    for (int32_t i = 0; i < count; i++) out[i] = half_of(values[i]);
}

const sl_kernels sl_kernels_scalar = {sample, sample_rgb, loop_normalise, to_half, loop_to_bytes, loop_accumulate};

const sl_kernels *sl_kernels_in_use(void) {
    sl_cpu_level level = sl_cpu();
#if defined(__x86_64__)
    if (level >= SL_CPU_AVX512) return &sl_kernels_avx512;
    if (level >= SL_CPU_AVX2) return &sl_kernels_avx2;
#elif defined(__aarch64__)
    if (level >= SL_CPU_NEON) return &sl_kernels_neon;
#endif
    (void)level;
    return &sl_kernels_scalar;
}
