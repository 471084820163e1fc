/* SPDX-License-Identifier: Apache-2.0 */
/* Row kernels with AVX-512. */
#include <immintrin.h>

#include "pixels/pixels.h"

enum { LANES = 16 };
typedef __m512 vec;
typedef __m512i raw;

static inline vec v_set(float value) { return _mm512_set1_ps(value); }
static inline vec v_load(const float *at) { return _mm512_loadu_ps(at); }
static inline void v_store(float *at, vec x) { _mm512_storeu_ps(at, x); }
static inline vec v_add(vec a, vec b) { return _mm512_add_ps(a, b); }
static inline vec v_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
static inline vec v_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
static inline vec v_level(vec x) { return _mm512_min_ps(v_set(255.0F), _mm512_max_ps(_mm512_setzero_ps(), x)); }
static inline vec v_from(raw x) { return _mm512_cvtepi32_ps(x); }
static inline raw r_sub(raw a, raw b) { return _mm512_sub_epi32(a, b); }
static inline raw r_load(const uint8_t *at) { return _mm512_loadu_si512(at); }
static inline raw r_repeat(const uint8_t *at) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)at));
}
static inline raw r_widen(const uint8_t *at) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)at));
}
static inline raw r_pick(raw windows, raw picks) { return _mm512_shuffle_epi8(windows, picks); }

static inline __m256i two_windows(const uint8_t *row, const int32_t *window) {
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(row + window[0]));
    __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(row + window[1]));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

static inline raw r_windows(const uint8_t *row, const int32_t *window) {
    __m512i low = _mm512_castsi256_si512(two_windows(row, window));
    return _mm512_inserti64x4(low, two_windows(row, window + 2), 1);
}

static inline void v_store_bytes(uint8_t *at, vec x) {
    _mm_storeu_si128((__m128i *)(void *)at, _mm512_cvtusepi32_epi8(_mm512_cvtps_epi32(x)));
}

#include "pixels/kernel_vectors.h"

static void to_half(const float *values, uint16_t *out, int32_t count) {
    int32_t i = 0;
    for (; i + LANES <= count; i += LANES)
        _mm256_storeu_si256((__m256i *)(void *)(out + i),
                            _mm512_cvtps_ph(v_load(values + i), _MM_FROUND_TO_NEAREST_INT));
    sl_kernels_scalar.to_half(values + i, out + i, count - i);
}

const sl_kernels sl_kernels_avx512 = {sample, sl_sample_rgb_avx2, normalise, to_half, to_bytes, loop_accumulate};
