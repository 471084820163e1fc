/* SPDX-License-Identifier: Apache-2.0 */
/* sl_scan_columns with 32 anchors at once, best score and class in registers. */
#include <immintrin.h>
#include <math.h>

#include "heads/heads.h"

enum { LANES = 8, VECTORS = 4, TILE = LANES * VECTORS };

size_t sl_scan_columns_avx2(const float *scores, size_t step, size_t classes, size_t count, float *best,
                            int32_t *best_class) {
    size_t start = 0;
    for (; count - start >= TILE; start += TILE) {
        __m256 most[VECTORS], at[VECTORS];
        for (int v = 0; v < VECTORS; v++) {
            most[v] = _mm256_set1_ps(-INFINITY);
            at[v] = _mm256_setzero_ps();
        }
        for (size_t c = 0; c < classes; c++) {
            const float *row = scores + start + c * step;
            __m256 class_id = _mm256_castsi256_ps(_mm256_set1_epi32((int32_t)c));
            for (int v = 0; v < VECTORS; v++) {
                __m256 score = _mm256_loadu_ps(row + v * LANES);
                __m256 better = _mm256_cmp_ps(score, most[v], _CMP_GT_OQ);
                most[v] = _mm256_max_ps(score, most[v]); /* keeps `most` where the score is NaN */
                at[v] = _mm256_blendv_ps(at[v], class_id, better);
            }
            _mm_prefetch((const char *)((uintptr_t)row + TILE * sizeof(float)), _MM_HINT_T0);
            _mm_prefetch((const char *)((uintptr_t)row + TILE * sizeof(float) + 64), _MM_HINT_T0);
        }
        for (int v = 0; v < VECTORS; v++) {
            _mm256_storeu_ps(best + start + v * LANES, most[v]);
            _mm256_storeu_si256((__m256i *)(void *)(best_class + start + v * LANES), _mm256_castps_si256(at[v]));
        }
    }
    return start;
}
