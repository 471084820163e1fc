/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core's own exponential and what is made of it: plain operations in a fixed order, so that every processor, C
 * library and vector width gives the same bits; loops over them vectorise. Not installed.
 */
#ifndef SL_ACTIVATE_H
#define SL_ACTIVATE_H

#include <stdint.h>
#include <string.h>

static inline float sl_float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t sl_bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/*
 * e to the x, off by at most 1.01 units in the last place; 0 below -87.33, infinite above 88.72; NaN
 * stays NaN. x = n ln 2 + r with ln 2 in two parts, then the Taylor series of r, |r| <= ln 2 / 2, up to r^7.
 */
static inline float sl_exp(float x) {
    const float to_whole = 12582912.0F; /* 1.5 * 2^23: adding it rounds to whole numbers */
    float low = x < -87.33F ? -87.33F : x;
    float within = low > 89.0F ? 89.0F : low;
    float shifted = within * 1.44269504F + to_whole;
    float whole = shifted - to_whole;
    float r = within - whole * 0.693359375F;
    r = r - whole * -2.12194440e-4F;
    float series = 1.0F / 5040.0F;
    series = series * r + 1.0F / 720.0F;
    series = series * r + 1.0F / 120.0F;
    series = series * r + 1.0F / 24.0F;
    series = series * r + 1.0F / 6.0F;
    series = series * r + 0.5F;
    series = series * (r * r) + r + 1.0F;
    /* 2^n in two factors, since 2^128 is no float */
    uint32_t n = sl_bits_of(shifted) - 0x4B400000U + 256U, half = n / 2U;
    float power = series * sl_float_of((half - 1U) << 23) * sl_float_of((n - half - 1U) << 23);
    return x < -87.33F ? 0.0F : power;
}

static inline float sl_sigmoid(float x) { return 1.0F / (1.0F + sl_exp(-x)); }

#endif
