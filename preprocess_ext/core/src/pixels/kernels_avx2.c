/* SPDX-License-Identifier: Apache-2.0 */
/* Row kernels with AVX2: samples are picked by byte shuffles of 16-byte windows, not by gathers. */
#include <immintrin.h>

#include "pixels/pixels.h"

enum { LANES = 8 };
typedef __m256 vec;
typedef __m256i raw;

static inline vec v_set(float value) { return _mm256_set1_ps(value); }
static inline vec v_load(const float *at) { return _mm256_loadu_ps(at); }
static inline void v_store(float *at, vec x) { _mm256_storeu_ps(at, x); }
static inline vec v_add(vec a, vec b) { return _mm256_add_ps(a, b); }
static inline vec v_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
static inline vec v_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
static inline vec v_level(vec x) { return _mm256_min_ps(v_set(255.0F), _mm256_max_ps(_mm256_setzero_ps(), x)); }
static inline vec v_from(raw x) { return _mm256_cvtepi32_ps(x); }
static inline raw r_sub(raw a, raw b) { return _mm256_sub_epi32(a, b); }
static inline raw r_load(const uint8_t *at) { return _mm256_loadu_si256((const __m256i *)(const void *)at); }
static inline raw r_repeat(const uint8_t *at) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)at));
}
static inline raw r_widen(const uint8_t *at) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)at));
}
static inline raw r_pick(raw windows, raw picks) { return _mm256_shuffle_epi8(windows, picks); }

static inline raw r_windows(const uint8_t *row, const int32_t *window) {
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)(row + window[0]));
    __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(row + window[1]));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

static inline void v_store_bytes(uint8_t *at, vec x) {
    __m256i words = _mm256_packus_epi32(_mm256_cvtps_epi32(x), _mm256_setzero_si256());
    __m128i both = _mm_unpacklo_epi64(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64((__m128i *)(void *)at, _mm_packus_epi16(both, both));
}

#include "pixels/kernel_vectors.h"

static inline __m128i load_eight(const uint8_t *at) { return _mm_loadl_epi64((const __m128i *)(const void *)at); }

/* Eight bytes each of outputs a, b (lower half) and c, d (upper half): R G B of lo, then of hi. */
static inline __m256i four_pixels(const uint8_t *row, int32_t a, int32_t b, int32_t c, int32_t d) {
    __m128i low = _mm_unpacklo_epi64(load_eight(row + a), load_eight(row + b));
    __m128i high = _mm_unpacklo_epi64(load_eight(row + c), load_eight(row + d));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/* Shuffle that makes 32-bit lanes of bytes i, 8 + i (first and second pixel), j, 8 + j in both halves. */
static inline __m256i lanes_of(int i, int j) {
    const int none = (int)0x80808000U;
    return _mm256_setr_epi32(none | i, none | (8 + i), none | j, none | (8 + j), none | i, none | (8 + i), none | j,
                             none | (8 + j));
}

typedef struct rgb_parts {
    __m256 first;  /* R R G G of lo */
    __m256 second; /* R R G G of hi */
    __m256 blue;   /* B B of lo, B B of hi */
} rgb_parts;

static inline rgb_parts parts_of(__m256i upper, __m256i lower, __m256 down) {
    const __m256i first = lanes_of(0, 1), second = lanes_of(3, 4), blue = lanes_of(2, 5);
    return (rgb_parts){r_mixed(r_pick(upper, first), r_pick(lower, first), down),
                       r_mixed(r_pick(upper, second), r_pick(lower, second), down),
                       r_mixed(r_pick(upper, blue), r_pick(lower, blue), down)};
}

#define LOWER(a, b) _mm256_shuffle_ps(a, b, _MM_SHUFFLE(1, 0, 1, 0))
#define UPPER(a, b) _mm256_shuffle_ps(a, b, _MM_SHUFFLE(3, 2, 3, 2))

static inline void eight_pixels(const uint8_t *top, const uint8_t *bottom, __m256 down, const int32_t *lo,
                                __m256 across, float *const out[3], int32_t i) {
    rgb_parts a = parts_of(four_pixels(top, lo[0], lo[1], lo[4], lo[5]),
                           four_pixels(bottom, lo[0], lo[1], lo[4], lo[5]), down);
    rgb_parts b = parts_of(four_pixels(top, lo[2], lo[3], lo[6], lo[7]),
                           four_pixels(bottom, lo[2], lo[3], lo[6], lo[7]), down);
    _mm256_storeu_ps(out[0] + i, v_mixed(LOWER(a.first, b.first), LOWER(a.second, b.second), across));
    _mm256_storeu_ps(out[1] + i, v_mixed(UPPER(a.first, b.first), UPPER(a.second, b.second), across));
    _mm256_storeu_ps(out[2] + i, v_mixed(LOWER(a.blue, b.blue), UPPER(a.blue, b.blue), across));
}

void sl_sample_rgb_avx2(const uint8_t *top, const uint8_t *bottom, float weight, const sl_columns *columns,
                        size_t row_bytes, float *const out[3]) {
    const __m256 down = _mm256_set1_ps(weight);
    int32_t i = 0;
    for (; i < columns->padded && (size_t)columns->lo[i + 7] + 8 <= row_bytes; i += 8)
        eight_pixels(top, bottom, down, columns->lo + i, _mm256_loadu_ps(columns->weight + i), out, i);
    sl_columns rest = *columns;
    rest.lo += i;
    rest.hi += i;
    rest.weight += i;
    rest.padded -= i;
    float *const tail[3] = {out[0] + i, out[1] + i, out[2] + i};
    sl_kernels_scalar.sample_rgb(top, bottom, weight, &rest, row_bytes, tail);
}

static void to_half(const float *values, uint16_t *out, int32_t count) {
    int32_t i = 0;
    for (; i + 8 <= count; i += 8)
        _mm_storeu_si128((__m128i *)(void *)(out + i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT));
    sl_kernels_scalar.to_half(values + i, out + i, count - i);
}

const sl_kernels sl_kernels_avx2 = {sample, sl_sample_rgb_avx2, normalise, to_half, to_bytes, loop_accumulate};
