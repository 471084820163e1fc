/* SPDX-License-Identifier: Apache-2.0 */
/* Soft-NMS: the best box of all is found through the best of each leaf; only boxes that overlap it are looked at. */
#include <math.h>
#include <string.h>

#include "boxes/boxes.h"

static const uint64_t NONE = UINT64_MAX;

typedef struct soft {
    uint64_t *keys, *spare;
    sl_leaves ranked;
    sl_tiles tiles;
    uint32_t *found;
    uint32_t *row;             /* by position */
    uint32_t *apart;           /* ranks of boxes that overlap nothing */
    float *score;              /* by position */
    uint64_t *leaf_best;       /* sl_order_key of the best that is left, or NONE */
    uint32_t *leaf_best_place; /* its position */
    size_t apart_count;
    const sl_soft_options *options;
} soft;

static size_t most_of(size_t count) { return count < SL_MAX_SOFT_CANDIDATES ? count : SL_MAX_SOFT_CANDIDATES; }

static void take_buffers(soft *s, sl_arena *arena, size_t count) {
    const size_t most = most_of(count), leaves = (most + SL_LEAF - 1) / SL_LEAF;
    s->keys = sl_arena_take(arena, count, sizeof(uint64_t));
    s->spare = sl_arena_take(arena, count, sizeof(uint64_t));
    sl_leaves_take(&s->ranked, arena, most);
    sl_tiles_take(&s->tiles, arena, most);
    s->found = sl_arena_take(arena, most, sizeof(uint32_t));
    s->row = sl_arena_take(arena, most, sizeof(uint32_t));
    s->apart = sl_arena_take(arena, most, sizeof(uint32_t));
    s->score = sl_arena_take(arena, most, sizeof(float));
    s->leaf_best = sl_arena_take(arena, leaves, sizeof(uint64_t));
    s->leaf_best_place = sl_arena_take(arena, leaves, sizeof(uint32_t));
}

size_t sl_soft_nms_scratch_bytes(size_t count) {
    if (count > SL_MAX_ANCHORS) return 0;
    soft s;
    sl_arena arena = sl_arena_over(NULL, 0);
    take_buffers(&s, &arena, count);
    return sl_arena_bytes(&arena);
}

/* e to the power of x <= 0, the same bits everywhere: 2^n times the series of the rest; 0 far below. */
static float exp_of(float x) {
    if (x < -87.0F) return 0.0F;
    const float n = floorf(x * 1.44269504F + 0.5F), r = (x - n * 0.693359375F) + n * 2.12194440e-4F;
    float sum = 1.0F / 5040.0F;
    sum = sum * r + 1.0F / 720.0F;
    sum = sum * r + 1.0F / 120.0F;
    sum = sum * r + 1.0F / 24.0F;
    sum = sum * r + 1.0F / 6.0F;
    sum = sum * r + 0.5F;
    sum = sum * r + 1.0F;
    sum = sum * r + 1.0F;
    return ldexpf(sum, (int)n);
}

static inline float larger(float a, float b) { return a > b ? a : b; }
static inline float smaller(float a, float b) { return a < b ? a : b; }

static float lowered(const soft *s, const sl_query *q, size_t at) {
    const sl_leaves *leaves = &s->tiles.leaves;
    const float width = larger(smaller(leaves->x2[at], q->x2) - larger(leaves->x1[at], q->x1), 0.0F);
    const float height = larger(smaller(leaves->y2[at], q->y2) - larger(leaves->y1[at], q->y1), 0.0F);
    const float inter = width * height, iou = inter / (leaves->area[at] + q->area - inter);
    if (s->options->kind == SL_SOFT_GAUSSIAN) return s->score[at] * exp_of(-(iou * iou) / (float)s->options->sigma);
    return iou > q->iou ? s->score[at] * (1.0F - iou) : s->score[at];
}

static void find_best(const soft *s, size_t leaf) {
    uint64_t best = NONE;
    uint32_t place = 0;
    for (uint64_t left = ~s->tiles.leaves.done[leaf]; left != 0; left &= left - 1) {
        const uint32_t at = (uint32_t)(leaf * SL_LEAF + (size_t)__builtin_ctzll(left));
        const uint64_t key = sl_order_key(s->score[at], s->row[at]);
        if (key < best) place = at;
        best = key < best ? key : best;
    }
    s->leaf_best[leaf] = best;
    s->leaf_best_place[leaf] = place;
}

static void lower_overlapping(const soft *s, const sl_suppressors *with, const sl_query *query) {
    const sl_leaves *leaves = &s->tiles.leaves;
    const size_t count = with->find(&s->tiles, query, s->found);
    bool stale = false;
    for (size_t i = 0; i < count; i++) {
        const size_t at = s->found[i], leaf = at / SL_LEAF;
        s->score[at] = lowered(s, query, at);
        if (!(s->score[at] >= (float)s->options->score)) sl_leaves_set_done(leaves, at);
        stale |= s->leaf_best_place[leaf] == at;
        const bool last = i + 1 == count || s->found[i + 1] / SL_LEAF != leaf;
        if (last && stale) find_best(s, leaf);
        stale &= !last;
    }
}

static void build(soft *s, const uint64_t *order, const float *boxes, const float *scores, const int32_t *classes,
                  size_t count, const sl_suppressors *with) {
    sl_leaves_by_rank(&s->ranked, boxes, classes, order, count);
    sl_tiles_build(&s->tiles, &s->ranked, 0, 0.0F, with);
    s->apart_count = 0;
    for (size_t rank = 0; rank < count; rank++) {
        const uint32_t row = sl_order_index(order[rank]), at = s->tiles.where[rank];
        if (at == SL_NOWHERE) {
            s->apart[s->apart_count++] = (uint32_t)rank;
        } else {
            s->row[at] = row;
            s->score[at] = scores[row];
        }
    }
    for (size_t leaf = 0; leaf < s->tiles.leaves.leaf_count; leaf++) find_best(s, leaf);
}

static size_t best_leaf(const soft *s) {
    size_t best = 0;
    for (size_t leaf = 1; leaf < s->tiles.leaves.leaf_count; leaf++)
        if (s->leaf_best[leaf] < s->leaf_best[best]) best = leaf;
    return best;
}

static size_t keep_softly(soft *s, const uint64_t *order, const sl_suppressors *with, int64_t *keep,
                          float *kept_scores, size_t capacity, const float *scores) {
    const float iou = s->options->kind == SL_SOFT_LINEAR ? sl_iou_limit(s->options->iou) : 0.0F;
    size_t kept = 0, next_apart = 0;
    while (kept < capacity) {
        const size_t leaf = s->tiles.leaves.leaf_count > 0 ? best_leaf(s) : 0;
        const uint64_t placed = s->tiles.leaves.leaf_count > 0 ? s->leaf_best[leaf] : NONE;
        const uint64_t apart = next_apart < s->apart_count ? order[s->apart[next_apart]] : NONE;
        if (placed == NONE && apart == NONE) break;
        if (apart < placed) {
            keep[kept] = (int64_t)sl_order_index(apart);
            kept_scores[kept++] = scores[sl_order_index(apart)];
            next_apart++;
            continue;
        }
        const size_t at = s->leaf_best_place[leaf];
        keep[kept] = (int64_t)s->row[at];
        kept_scores[kept++] = s->score[at];
        sl_leaves_set_done(&s->tiles.leaves, at);
        find_best(s, leaf);
        sl_query query = sl_query_at(&s->tiles.leaves, at, iou, false);
        sl_query_for_tiles(&query, &s->tiles);
        lower_overlapping(s, with, &query);
    }
    return kept;
}

static sl_status check(const sl_soft_options *options) {
    if (options == NULL) return SL_ERROR_NULL;
    if (options->kind != SL_SOFT_LINEAR && options->kind != SL_SOFT_GAUSSIAN) return SL_ERROR_VALUE;
    if (!(options->score >= 0.0 && options->score <= 1.0)) return SL_ERROR_VALUE;
    if (options->kind == SL_SOFT_LINEAR && !(options->iou >= 0.0 && options->iou <= 1.0)) return SL_ERROR_VALUE;
    if (options->kind == SL_SOFT_GAUSSIAN && !(options->sigma >= 1e-3 && options->sigma <= 1e3)) return SL_ERROR_VALUE;
    return SL_OK;
}

static size_t at_least(uint64_t *keys, size_t count, const float *scores, float least) {
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        keys[left] = keys[i];
        left += scores[sl_order_index(keys[i])] >= least;
    }
    return left;
}

sl_status sl_soft_nms(const float *boxes, const float *scores, const int32_t *classes, size_t count,
                      const sl_soft_options *options, int64_t *keep, float *kept_scores, size_t capacity, size_t *kept,
                      void *scratch, size_t scratch_bytes) {
    if (kept == NULL || scratch == NULL) return SL_ERROR_NULL;
    *kept = 0;
    if (count > SL_MAX_ANCHORS) return SL_ERROR_SIZE;
    const sl_status status = check(options);
    if (status != SL_OK || count == 0 || capacity == 0) return status;
    if (boxes == NULL || scores == NULL || keep == NULL || kept_scores == NULL) return SL_ERROR_NULL;
    soft s;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    take_buffers(&s, &arena, count);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    s.options = options;
    const sl_suppressors *with = sl_suppressors_here();
    size_t found = sl_finite_keys(boxes, scores, count, s.keys);
    found = at_least(s.keys, found, scores, (float)options->score);
    const uint64_t *order = sl_order_sort(s.keys, s.spare, found);
    build(&s, order, boxes, scores, classes, most_of(found), with);
    *kept = keep_softly(&s, order, with, keep, kept_scores, capacity, scores);
    return SL_OK;
}
