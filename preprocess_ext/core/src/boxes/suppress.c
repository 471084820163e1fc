/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing one kept box with the leaves that can hold a box it suppresses: the reference. */
#include "boxes/suppress.h"

/*
 * Intersection over union in torchvision's order of operations, so that borderline cases fall the same way; NaN (two
 * boxes without area) suppresses nothing. DIoU (Zheng et al. 2020) subtracts the centres' squared distance over the
 * squared diagonal of what encloses both.
 */
static bool suppresses(const sl_leaves *leaves, const sl_query *q, size_t at) {
    const float width = larger(smaller(leaves->x2[at], q->x2) - larger(leaves->x1[at], q->x1), 0.0F);
    const float height = larger(smaller(leaves->y2[at], q->y2) - larger(leaves->y1[at], q->y1), 0.0F);
    const float inter = width * height, both = leaves->area[at] + q->area - inter;
    if (!(inter > both * q->iou_below) || leaves->class_id[at] != q->class_id) return false;
    const float iou = inter / both;
    if (!q->distance) return iou > q->iou;
    const float dx = (leaves->x1[at] + leaves->x2[at]) - (q->x1 + q->x2);
    const float dy = (leaves->y1[at] + leaves->y2[at]) - (q->y1 + q->y2);
    const float across = larger(leaves->x2[at], q->x2) - smaller(leaves->x1[at], q->x1);
    const float down = larger(leaves->y2[at], q->y2) - smaller(leaves->y1[at], q->y1);
    return iou - (dx * dx + dy * dy) * 0.25F / (across * across + down * down) > q->iou;
}

static inline uint32_t may_hold(const sl_bounds *bounds, size_t first, const sl_query *q) {
    uint32_t hits = 0;
    for (uint32_t i = 0; i < SL_GROUP; i++) {
        const size_t at = first + i;
        const bool hit = (bounds->low_x[at] <= q->right) & (bounds->high_x[at] >= q->left) &
                         (bounds->low_y[at] <= q->y2) & (bounds->high_y[at] >= q->y1) &
                         (bounds->most_area[at] >= q->least_area) & (bounds->least_area[at] <= q->most_area);
        hits |= (uint32_t)hit << i;
    }
    return hits;
}

static inline uint64_t hits_in_leaf(const sl_leaves *leaves, size_t leaf, const sl_query *q) {
    uint64_t hits = 0;
    for (size_t i = 0; i < SL_LEAF; i++) hits |= (uint64_t)suppresses(leaves, q, leaf * SL_LEAF + i) << i;
    return hits;
}

const sl_suppressors sl_suppressors_scalar = {suppress_ranked, suppress_tiled, find_tiled, bound_leaf};

const sl_suppressors *sl_suppressors_here(void) {
#if defined(__x86_64__)
    const sl_cpu_level level = sl_cpu();
    if (level == SL_CPU_AVX512) return &sl_suppressors_avx512;
    if (level == SL_CPU_AVX2) return &sl_suppressors_avx2;
#endif
    return &sl_suppressors_scalar;
}
