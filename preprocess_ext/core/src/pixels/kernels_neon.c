/* SPDX-License-Identifier: Apache-2.0 */
/* Row kernels with NEON. */
#include <arm_neon.h>

#include <string.h>

#include "pixels/pixels.h"

enum { LANES = 4 };
typedef float32x4_t vec;
typedef uint8x16_t raw;

static inline vec v_set(float value) { return vdupq_n_f32(value); }
static inline vec v_load(const float *at) { return vld1q_f32(at); }
static inline void v_store(float *at, vec x) { vst1q_f32(at, x); }
static inline vec v_add(vec a, vec b) { return vaddq_f32(a, b); }
static inline vec v_sub(vec a, vec b) { return vsubq_f32(a, b); }
static inline vec v_mul(vec a, vec b) { return vmulq_f32(a, b); }
static inline vec v_level(vec x) {
    /* Compared and chosen, so that -0 stays what it is. */
    x = vbslq_f32(vcltq_f32(x, v_set(0.0F)), v_set(0.0F), x);
    return vbslq_f32(vcgtq_f32(x, v_set(255.0F)), v_set(255.0F), x);
}
static inline vec v_from(raw x) { return vcvtq_f32_s32(vreinterpretq_s32_u8(x)); }
static inline raw r_sub(raw a, raw b) {
    return vreinterpretq_u8_s32(vsubq_s32(vreinterpretq_s32_u8(a), vreinterpretq_s32_u8(b)));
}
static inline raw r_load(const uint8_t *at) { return vld1q_u8(at); }
static inline raw r_repeat(const uint8_t *at) { return vld1q_u8(at); }
static inline raw r_widen(const uint8_t *at) {
    uint32_t four;
    memcpy(&four, at, sizeof four);
    uint16x8_t words = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return vreinterpretq_u8_u32(vmovl_u16(vget_low_u16(words)));
}
static inline raw r_pick(raw windows, raw picks) { return vqtbl1q_u8(windows, picks); }
static inline raw r_windows(const uint8_t *row, const int32_t *window) { return vld1q_u8(row + *window); }

static inline void v_store_bytes(uint8_t *at, vec x) {
    uint16x4_t words = vqmovn_u32(vcvtnq_u32_f32(x));
    uint32_t four = vget_lane_u32(vreinterpret_u32_u8(vqmovn_u16(vcombine_u16(words, words))), 0);
    memcpy(at, &four, sizeof four);
}

#include "pixels/kernel_vectors.h"

static void to_half(const float *values, uint16_t *out, int32_t count) {
    int32_t i = 0;
    for (; i + LANES <= count; i += LANES)
        vst1_u16(out + i, vreinterpret_u16_f16(vcvt_f16_f32(v_load(values + i))));
    sl_kernels_scalar.to_half(values + i, out + i, count - i);
}

/* Three bytes a pixel: as three planes with a step of 3, which the scalar loops read as well as shuffles would. */
static void sample_rgb(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns,
                       size_t row_bytes, float *const out[3]) {
    if (!columns->windowed) {
        sl_kernels_scalar.sample_rgb(top, bottom, weight, columns, row_bytes, out);
        return;
    }
    for (int c = 0; c < 3; c++) sample(top + c, bottom + c, weight, columns, out[c]);
}

const sl_kernels sl_kernels_neon = {sample, sample_rgb, normalise, to_half, to_bytes, loop_accumulate};
