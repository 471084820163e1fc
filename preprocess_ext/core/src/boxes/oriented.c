/* SPDX-License-Identifier: Apache-2.0 */
/* Suppression of oriented boxes: upright boxes around them lead to the few that have to be compared. */
#include "boxes/overlap.h"

#include <math.h>

static size_t most_of(size_t count) {
    return count < SL_MAX_ORIENTED_CANDIDATES ? count : SL_MAX_ORIENTED_CANDIDATES;
}

void sl_oriented_work_take(sl_oriented_work *work, sl_arena *arena, size_t count) {
    work->room = most_of(count);
    sl_leaves_take(&work->ranked, arena, work->room);
    sl_tiles_take(&work->tiles, arena, work->room);
    work->by_rank = sl_arena_take(arena, work->room, sizeof(sl_oriented_box));
    work->around = sl_arena_take(arena, work->room, 4 * sizeof(float));
    work->class_id = sl_arena_take(arena, work->room, sizeof(int32_t));
    work->rank_at = sl_arena_take(arena, work->room, sizeof(uint32_t));
    work->found = sl_arena_take(arena, work->room, sizeof(uint32_t));
}

static void build(sl_oriented_work *work, const float *boxes, const int32_t *classes, const uint64_t *order,
                  size_t count, const sl_oriented_options *options, const sl_suppressors *with) {
    for (size_t rank = 0; rank < count; rank++) {
        const size_t row = order != NULL ? sl_order_index(order[rank]) : rank;
        float *around = work->around + 4 * rank;
        work->by_rank[rank] = sl_oriented_box_of(boxes + 5 * row);
        work->class_id[rank] = classes != NULL ? classes[row] : 0;
        sl_oriented_around(&work->by_rank[rank], options, around);
        if (!(work->by_rank[rank].area > 0.0)) around[0] = around[1] = around[2] = around[3] = 0.0F;
    }
    sl_leaves_by_rank(&work->ranked, work->around, work->class_id, NULL, count);
    sl_tiles_build(&work->tiles, &work->ranked, 0, 0.0F, with);
    for (size_t rank = 0; rank < count; rank++)
        if (work->tiles.where[rank] != SL_NOWHERE) work->rank_at[work->tiles.where[rank]] = (uint32_t)rank;
}

static void suppress_worse(sl_oriented_work *work, size_t rank, const sl_oriented_options *options,
                           const sl_suppressors *with) {
    sl_query query = sl_query_at(&work->ranked, rank, 0.0F, false);
    sl_query_for_tiles(&query, &work->tiles);
    const size_t count = with->find(&work->tiles, &query, work->found);
    for (size_t i = 0; i < count; i++) {
        const uint32_t at = work->found[i];
        if (sl_oriented_overlaps(&work->by_rank[rank], &work->by_rank[work->rank_at[at]], options))
            sl_leaves_set_done(&work->tiles.leaves, at);
    }
}

size_t sl_nms_oriented_sorted(sl_oriented_work *work, const float *boxes, const int32_t *classes, const uint64_t *order,
                              size_t count, const sl_oriented_options *options, uint32_t *keep, size_t capacity) {
    const size_t candidates = count < work->room ? count : work->room;
    const sl_suppressors *with = sl_suppressors_here();
    size_t kept = 0;
    build(work, boxes, classes, order, candidates, options, with);
    for (size_t rank = 0; rank < candidates && kept < capacity; rank++) {
        const uint32_t at = work->tiles.where[rank];
        const bool alone = at == SL_NOWHERE, dropped = !alone && sl_leaves_is_done(&work->tiles.leaves, at);
        if (!dropped) keep[kept++] = order != NULL ? sl_order_index(order[rank]) : (uint32_t)rank;
        if (alone || (dropped && options->fast == 0)) continue;
        sl_leaves_set_done(&work->tiles.leaves, at);
        suppress_worse(work, rank, options, with);
    }
    return kept;
}

typedef struct oriented_buffers {
    uint64_t *keys, *spare;
    uint32_t *rows;
    sl_oriented_work work;
} oriented_buffers;

static void take_buffers(oriented_buffers *buffers, sl_arena *arena, size_t count, size_t capacity) {
    buffers->keys = sl_arena_take(arena, count, sizeof(uint64_t));
    buffers->spare = sl_arena_take(arena, count, sizeof(uint64_t));
    buffers->rows = sl_arena_take(arena, most_of(count < capacity ? count : capacity), sizeof(uint32_t));
    sl_oriented_work_take(&buffers->work, arena, count);
}

size_t sl_nms_oriented_scratch_bytes(size_t count, size_t capacity) {
    if (count > SL_MAX_ANCHORS) return 0;
    oriented_buffers buffers;
    sl_arena arena = sl_arena_over(NULL, 0);
    take_buffers(&buffers, &arena, count, capacity);
    return sl_arena_bytes(&arena);
}

static size_t within_bounds(const float *boxes, uint64_t *keys, size_t count) {
    size_t left = 0;
    for (size_t i = 0; i < count; i++) {
        const float *box = boxes + 5 * (size_t)sl_order_index(keys[i]);
        bool within = true;
        for (int k = 0; k < 5; k++) within &= fabsf(box[k]) <= 1e9F;
        keys[left] = keys[i];
        left += within;
    }
    return left;
}

static sl_status check(const sl_oriented_options *options) {
    if (options == NULL) return SL_ERROR_NULL;
    if (options->overlap != SL_ORIENTED_POLYGON && options->overlap != SL_ORIENTED_PROBIOU) return SL_ERROR_VALUE;
    return options->limit >= 0.0 && options->limit <= 1.0 ? SL_OK : SL_ERROR_VALUE;
}

sl_status sl_nms_oriented(const float *boxes, const float *scores, const int32_t *classes, size_t count,
                          const sl_oriented_options *options, int64_t *keep, size_t capacity, size_t *kept,
                          void *scratch, size_t scratch_bytes) {
    if (kept == NULL || scratch == NULL) return SL_ERROR_NULL;
    *kept = 0;
    if (count > SL_MAX_ANCHORS) return SL_ERROR_SIZE;
    const sl_status status = check(options);
    if (status != SL_OK || count == 0 || capacity == 0) return status;
    if (boxes == NULL || scores == NULL || keep == NULL) return SL_ERROR_NULL;
    oriented_buffers buffers;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    take_buffers(&buffers, &arena, count, capacity);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    const size_t found = within_bounds(boxes, buffers.keys, sl_finite_oriented_keys(boxes, scores, count, buffers.keys));
    const uint64_t *order = sl_order_sort(buffers.keys, buffers.spare, found);
    *kept = sl_nms_oriented_sorted(&buffers.work, boxes, classes, order, found, options, buffers.rows,
                                   most_of(count < capacity ? count : capacity));
    for (size_t i = 0; i < *kept; i++) keep[i] = (int64_t)buffers.rows[i];
    return SL_OK;
}
