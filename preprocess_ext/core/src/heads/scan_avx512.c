/* SPDX-License-Identifier: Apache-2.0 */
/* sl_scan_columns with 128 anchors at once, then 16, best score and class in registers. */
#include <immintrin.h>
#include <math.h>

#include "heads/heads.h"

enum { LANES = 16, VECTORS = 8, TILE = LANES * VECTORS };

static inline void take_better(const float *row, __m512i class_id, __m512 *most, __m512i *at) {
    __m512 score = _mm512_loadu_ps(row);
    __mmask16 better = _mm512_cmp_ps_mask(score, *most, _CMP_GT_OQ);
    *most = _mm512_mask_mov_ps(*most, better, score);
    *at = _mm512_mask_mov_epi32(*at, better, class_id);
}

static void scan_tile(const float *scores, size_t step, size_t classes, float *best, int32_t *best_class) {
    __m512 most[VECTORS];
    __m512i at[VECTORS];
    for (int v = 0; v < VECTORS; v++) {
        most[v] = _mm512_set1_ps(-INFINITY);
        at[v] = _mm512_setzero_si512();
    }
    for (size_t c = 0; c < classes; c++) {
        const float *row = scores + c * step;
        __m512i class_id = _mm512_set1_epi32((int32_t)c);
        for (int v = 0; v < VECTORS; v++) {
            _mm_prefetch((const char *)((uintptr_t)(row + v * LANES) + TILE * sizeof(float)), _MM_HINT_T0);
            take_better(row + v * LANES, class_id, &most[v], &at[v]);
        }
    }
    for (int v = 0; v < VECTORS; v++) {
        _mm512_storeu_ps(best + v * LANES, most[v]);
        _mm512_storeu_si512(best_class + v * LANES, at[v]);
    }
}

size_t sl_scan_columns_avx512(const float *scores, size_t step, size_t classes, size_t count, float *best,
                              int32_t *best_class) {
    size_t start = 0;
    for (; count - start >= TILE; start += TILE)
        scan_tile(scores + start, step, classes, best + start, best_class + start);
    for (; count - start >= LANES; start += LANES) {
        __m512 most = _mm512_set1_ps(-INFINITY);
        __m512i at = _mm512_setzero_si512();
        for (size_t c = 0; c < classes; c++)
            take_better(scores + start + c * step, _mm512_set1_epi32((int32_t)c), &most, &at);
        _mm512_storeu_ps(best + start, most);
        _mm512_storeu_si512(best_class + start, at);
    }
    return start;
}
