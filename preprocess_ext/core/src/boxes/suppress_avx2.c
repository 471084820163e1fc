/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "boxes/suppress.h"

static inline uint32_t may_hold_8(const sl_bounds *bounds, size_t first, const sl_query *q) {
    __m256 m = _mm256_cmp_ps(_mm256_loadu_ps(bounds->low_x + first), _mm256_set1_ps(q->right), _CMP_LE_OQ);
    m = _mm256_and_ps(m, _mm256_cmp_ps(_mm256_loadu_ps(bounds->high_x + first), _mm256_set1_ps(q->left), _CMP_GE_OQ));
    m = _mm256_and_ps(m, _mm256_cmp_ps(_mm256_loadu_ps(bounds->low_y + first), _mm256_set1_ps(q->y2), _CMP_LE_OQ));
    m = _mm256_and_ps(m, _mm256_cmp_ps(_mm256_loadu_ps(bounds->high_y + first), _mm256_set1_ps(q->y1), _CMP_GE_OQ));
    m = _mm256_and_ps(
        m, _mm256_cmp_ps(_mm256_loadu_ps(bounds->most_area + first), _mm256_set1_ps(q->least_area), _CMP_GE_OQ));
    m = _mm256_and_ps(
        m, _mm256_cmp_ps(_mm256_loadu_ps(bounds->least_area + first), _mm256_set1_ps(q->most_area), _CMP_LE_OQ));
    return (uint32_t)_mm256_movemask_ps(m);
}

static inline uint32_t may_hold(const sl_bounds *bounds, size_t first, const sl_query *q) {
    return may_hold_8(bounds, first, q) | may_hold_8(bounds, first + 8, q) << 8;
}

/* The exact comparison, in the scalar's order of operations, where products do not decide. */
static __attribute__((noinline, pure)) uint32_t exact(const sl_leaves *leaves, const sl_query *q, size_t at, __m256 inter, __m256 both, __m256 lanes) {
    const __m256 limit = _mm256_set1_ps(q->iou);
    __m256 iou = _mm256_div_ps(inter, both);
    if (q->distance) {
        const __m256 x1 = _mm256_loadu_ps(leaves->x1 + at), x2 = _mm256_loadu_ps(leaves->x2 + at);
        const __m256 y1 = _mm256_loadu_ps(leaves->y1 + at), y2 = _mm256_loadu_ps(leaves->y2 + at);
        const __m256 dx = _mm256_sub_ps(_mm256_add_ps(x1, x2), _mm256_set1_ps(q->x1 + q->x2));
        const __m256 dy = _mm256_sub_ps(_mm256_add_ps(y1, y2), _mm256_set1_ps(q->y1 + q->y2));
        const __m256 across =
            _mm256_sub_ps(_mm256_max_ps(x2, _mm256_set1_ps(q->x2)), _mm256_min_ps(x1, _mm256_set1_ps(q->x1)));
        const __m256 down =
            _mm256_sub_ps(_mm256_max_ps(y2, _mm256_set1_ps(q->y2)), _mm256_min_ps(y1, _mm256_set1_ps(q->y1)));
        const __m256 apart = _mm256_add_ps(_mm256_mul_ps(dx, dx), _mm256_mul_ps(dy, dy));
        const __m256 diagonal = _mm256_add_ps(_mm256_mul_ps(across, across), _mm256_mul_ps(down, down));
        iou = _mm256_sub_ps(iou, _mm256_div_ps(_mm256_mul_ps(apart, _mm256_set1_ps(0.25F)), diagonal));
    }
    return (uint32_t)_mm256_movemask_ps(_mm256_and_ps(lanes, _mm256_cmp_ps(iou, limit, _CMP_GT_OQ)));
}

static inline uint64_t hits_in_leaf(const sl_leaves *leaves, size_t leaf, const sl_query *q) {
    const __m256 x1 = _mm256_set1_ps(q->x1), y1 = _mm256_set1_ps(q->y1), x2 = _mm256_set1_ps(q->x2);
    const __m256 y2 = _mm256_set1_ps(q->y2), area = _mm256_set1_ps(q->area), below = _mm256_set1_ps(q->iou_below);
    const __m256 above = _mm256_set1_ps(q->iou_above), zero = _mm256_setzero_ps();
    const __m256i class_id = _mm256_set1_epi32(q->class_id);
    uint64_t hits = 0;
    for (size_t i = 0; i < SL_LEAF; i += 8) {
        const size_t at = leaf * SL_LEAF + i;
        const __m256 width = _mm256_max_ps(_mm256_sub_ps(_mm256_min_ps(_mm256_loadu_ps(leaves->x2 + at), x2),
                                                         _mm256_max_ps(_mm256_loadu_ps(leaves->x1 + at), x1)), zero);
        /* below 0 it makes the product negative or 0, as good as no overlap */
        const __m256 height = _mm256_sub_ps(_mm256_min_ps(_mm256_loadu_ps(leaves->y2 + at), y2),
                                            _mm256_max_ps(_mm256_loadu_ps(leaves->y1 + at), y1));
        const __m256 inter = _mm256_mul_ps(width, height);
        const __m256 both = _mm256_sub_ps(_mm256_add_ps(_mm256_loadu_ps(leaves->area + at), area), inter);
        const __m256i classes = _mm256_loadu_si256((const void *)(leaves->class_id + at));
        const __m256 same = _mm256_castsi256_ps(_mm256_cmpeq_epi32(classes, class_id));
        const __m256 lanes = _mm256_and_ps(same, _mm256_cmp_ps(inter, _mm256_mul_ps(both, below), _CMP_GT_OQ));
        const __m256 sure = _mm256_and_ps(same, _mm256_cmp_ps(inter, _mm256_mul_ps(both, above), _CMP_GT_OQ));
        uint32_t found = (uint32_t)_mm256_movemask_ps(sure);
        if ((uint32_t)_mm256_movemask_ps(lanes) != found) found = exact(leaves, q, at, inter, both, lanes);
        hits |= (uint64_t)found << i;
    }
    return hits;
}

const sl_suppressors sl_suppressors_avx2 = {suppress_ranked, suppress_tiled, find_tiled, bound_leaf};
