/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting by score, and suppression among sorted candidates; not installed. */
#ifndef SL_BOXES_H
#define SL_BOXES_H

#include <string.h>

#include "boxes/leaves.h"

/* ---- order.c: candidates by descending score ---- */

/* Sorts ascending: higher scores first, then lower indices. */
static inline uint64_t sl_order_key(float score, uint32_t index) {
    uint32_t bits;
    score += 0.0F; /* -0 and +0 are equal scores */
    memcpy(&bits, &score, sizeof bits);
    const uint32_t descending = bits & 0x80000000U ? bits : ~bits & 0x7FFFFFFFU;
    return (uint64_t)descending << 32 | index;
}
static inline uint32_t sl_order_index(uint64_t key) { return (uint32_t)(key & UINT32_MAX); }
/* Radix sort by score of keys whose indices already ascend; the result is in the returned array, one of the two. */
uint64_t *sl_order_sort(uint64_t *keys, uint64_t *spare, size_t count);

/* ---- nms.c: hard suppression of a whole image ---- */

/* The largest float that is <= iou: then `x > result` equals `x > iou` for every float x. */
float sl_iou_limit(double iou);

/* Working memory of sl_nms_sorted. */
typedef struct sl_nms_work {
    sl_leaves ranked;
    sl_tiles tiles;
    size_t room;
} sl_nms_work;

/* Takes the memory for at most `count` candidates (more than SL_MAX_CANDIDATES count as so many). */
void sl_nms_work_take(sl_nms_work *work, sl_arena *arena, size_t count);

/*
 * Greedy suppression. boxes: rows of finite xyxy; classes: one a row, or NULL: boxes of all classes suppress each other.
 * order: `count` keys of sl_order_key, best first, whose index is the row; NULL: the rows 0..count-1 are best first.
 * Only the first SL_MAX_CANDIDATES candidates are looked at. iou: from sl_iou_limit. The rows kept go to `keep`, best
 * first, at most `capacity`; returns how many. work: taken for at least min(count, SL_MAX_CANDIDATES) candidates.
 */
size_t sl_nms_sorted(sl_nms_work *work, const float *boxes, const int32_t *classes, const uint64_t *order, size_t count,
                     float iou, uint32_t *keep, size_t capacity);

/* ---- collect.c: candidates of a public call ---- */

/* Keys of the rows of 4 (oriented: 5) numbers that are finite, as is their score; return how many. */
size_t sl_finite_keys(const float *boxes, const float *scores, size_t count, uint64_t *keys);
size_t sl_finite_oriented_keys(const float *boxes, const float *scores, size_t count, uint64_t *keys);

/* ---- oriented.c ---- */

typedef struct sl_oriented_box sl_oriented_box;

typedef struct sl_oriented_work {
    sl_leaves ranked;
    sl_tiles tiles;
    sl_oriented_box *by_rank;
    float *around; /* by rank, xyxy */
    int32_t *class_id;
    uint32_t *rank_at, *found; /* rank by position; positions */
    size_t room;
} sl_oriented_work;

/* Takes the memory for at most `count` candidates (more than SL_MAX_ORIENTED_CANDIDATES count as so many). */
void sl_oriented_work_take(sl_oriented_work *work, sl_arena *arena, size_t count);
/* As sl_nms_sorted, with rows of centre x, centre y, width, height, angle: finite and within 1e9. */
size_t sl_nms_oriented_sorted(sl_oriented_work *work, const float *boxes, const int32_t *classes, const uint64_t *order,
                              size_t count, const sl_oriented_options *options, uint32_t *keep, size_t capacity);

#endif
