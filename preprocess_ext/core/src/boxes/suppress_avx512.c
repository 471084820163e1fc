/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "boxes/suppress.h"

static inline uint32_t may_hold(const sl_bounds *bounds, size_t first, const sl_query *q) {
    __mmask16 m = _mm512_cmp_ps_mask(_mm512_loadu_ps(bounds->low_x + first), _mm512_set1_ps(q->right), _CMP_LE_OQ);
    m = _mm512_mask_cmp_ps_mask(m, _mm512_loadu_ps(bounds->high_x + first), _mm512_set1_ps(q->left), _CMP_GE_OQ);
    m = _mm512_mask_cmp_ps_mask(m, _mm512_loadu_ps(bounds->low_y + first), _mm512_set1_ps(q->y2), _CMP_LE_OQ);
    m = _mm512_mask_cmp_ps_mask(m, _mm512_loadu_ps(bounds->high_y + first), _mm512_set1_ps(q->y1), _CMP_GE_OQ);
    m = _mm512_mask_cmp_ps_mask(m, _mm512_loadu_ps(bounds->most_area + first), _mm512_set1_ps(q->least_area),
                                _CMP_GE_OQ);
    return _mm512_mask_cmp_ps_mask(m, _mm512_loadu_ps(bounds->least_area + first), _mm512_set1_ps(q->most_area),
                                   _CMP_LE_OQ);
}

/* The exact comparison, in the scalar's order of operations, where products do not decide. */
static __attribute__((noinline, pure)) __mmask16 exact(const sl_leaves *leaves, const sl_query *q, size_t at, __m512 inter, __m512 both,
                       __mmask16 lanes) {
    const __m512 limit = _mm512_set1_ps(q->iou);
    const __m512 iou = _mm512_div_ps(inter, both);
    if (!q->distance) return _mm512_mask_cmp_ps_mask(lanes, iou, limit, _CMP_GT_OQ);
    const __m512 x1 = _mm512_loadu_ps(leaves->x1 + at), x2 = _mm512_loadu_ps(leaves->x2 + at);
    const __m512 y1 = _mm512_loadu_ps(leaves->y1 + at), y2 = _mm512_loadu_ps(leaves->y2 + at);
    const __m512 dx = _mm512_sub_ps(_mm512_add_ps(x1, x2), _mm512_set1_ps(q->x1 + q->x2));
    const __m512 dy = _mm512_sub_ps(_mm512_add_ps(y1, y2), _mm512_set1_ps(q->y1 + q->y2));
    const __m512 across = _mm512_sub_ps(_mm512_max_ps(x2, _mm512_set1_ps(q->x2)), _mm512_min_ps(x1, _mm512_set1_ps(q->x1)));
    const __m512 down = _mm512_sub_ps(_mm512_max_ps(y2, _mm512_set1_ps(q->y2)), _mm512_min_ps(y1, _mm512_set1_ps(q->y1)));
    const __m512 apart = _mm512_add_ps(_mm512_mul_ps(dx, dx), _mm512_mul_ps(dy, dy));
    const __m512 diagonal = _mm512_add_ps(_mm512_mul_ps(across, across), _mm512_mul_ps(down, down));
    const __m512 part = _mm512_div_ps(_mm512_mul_ps(apart, _mm512_set1_ps(0.25F)), diagonal);
    return _mm512_mask_cmp_ps_mask(lanes, _mm512_sub_ps(iou, part), limit, _CMP_GT_OQ);
}

static inline uint64_t hits_in_leaf(const sl_leaves *leaves, size_t leaf, const sl_query *q) {
    const __m512 x1 = _mm512_set1_ps(q->x1), y1 = _mm512_set1_ps(q->y1), x2 = _mm512_set1_ps(q->x2);
    const __m512 y2 = _mm512_set1_ps(q->y2), area = _mm512_set1_ps(q->area), below = _mm512_set1_ps(q->iou_below);
    const __m512 above = _mm512_set1_ps(q->iou_above), zero = _mm512_setzero_ps();
    const __m512i class_id = _mm512_set1_epi32(q->class_id);
    uint64_t hits = 0;
    for (size_t i = 0; i < SL_LEAF; i += 16) {
        const size_t at = leaf * SL_LEAF + i;
        const __m512 width = _mm512_max_ps(_mm512_sub_ps(_mm512_min_ps(_mm512_loadu_ps(leaves->x2 + at), x2),
                                                         _mm512_max_ps(_mm512_loadu_ps(leaves->x1 + at), x1)), zero);
        /* below 0 it makes the product negative or 0, as good as no overlap */
        const __m512 height = _mm512_sub_ps(_mm512_min_ps(_mm512_loadu_ps(leaves->y2 + at), y2),
                                            _mm512_max_ps(_mm512_loadu_ps(leaves->y1 + at), y1));
        const __m512 inter = _mm512_mul_ps(width, height);
        const __m512 both = _mm512_sub_ps(_mm512_add_ps(_mm512_loadu_ps(leaves->area + at), area), inter);
        const __mmask16 same = _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(leaves->class_id + at), class_id);
        const __mmask16 lanes = _mm512_mask_cmp_ps_mask(same, inter, _mm512_mul_ps(both, below), _CMP_GT_OQ);
        __mmask16 sure = _mm512_mask_cmp_ps_mask(same, inter, _mm512_mul_ps(both, above), _CMP_GT_OQ);
        if (lanes != sure) sure = exact(leaves, q, at, inter, both, lanes);
        hits |= (uint64_t)sure << i;
    }
    return hits;
}

const sl_suppressors sl_suppressors_avx512 = {suppress_ranked, suppress_tiled, find_tiled, bound_leaf};
