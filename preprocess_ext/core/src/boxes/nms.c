/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Greedy non-maximum suppression: the best box that is left is kept, and marks what it suppresses. Which boxes it is
 * compared with: leaves.h. The work is at most SL_MAX_CANDIDATES squared comparisons, and ends at the capacity.
 */
#include <math.h>

#include "boxes/boxes.h"

/* Tiles are built when the work without them exceeds that of building them, and enough boxes are left. */
enum { TILES_LEAST = 1200, BOXES_PER_VISIT = 8 };

float sl_iou_limit(double iou) {
    float limit = (float)iou;
    return (double)limit > iou ? nextafterf(limit, -1.0F) : limit;
}

void sl_nms_work_take(sl_nms_work *work, sl_arena *arena, size_t count) {
    work->room = count < SL_MAX_CANDIDATES ? count : SL_MAX_CANDIDATES;
    sl_leaves_take(&work->ranked, arena, work->room);
    sl_tiles_take(&work->tiles, arena, work->room > TILES_LEAST ? work->room : 0);
}

typedef struct greedy {
    sl_nms_work *work;
    const sl_suppressors *suppress;
    float iou;
    bool distance, tiled;
    size_t visits;
} greedy;

/* Whether the box of this rank is kept; what it suppresses is then marked. */
static bool keep_rank(greedy *g, size_t rank) {
    const sl_leaves *ranked = &g->work->ranked;
    sl_tiles *tiles = &g->work->tiles;
    const size_t left = ranked->count - rank;
    if (sl_leaves_is_done(ranked, rank)) return false;
    if (g->tiled && tiles->where[rank] != SL_NOWHERE && sl_leaves_is_done(&tiles->leaves, tiles->where[rank]))
        return false;
    if (!(ranked->area[rank] > 0.0F)) return true;
    sl_query query = sl_query_at(ranked, rank, g->iou, g->distance);
    if (!g->tiled && left > TILES_LEAST && g->visits * BOXES_PER_VISIT > left) {
        sl_tiles_build(tiles, ranked, rank, g->iou, g->suppress);
        g->tiled = true;
    }
    if (g->tiled) {
        sl_query_for_tiles(&query, tiles);
        g->suppress->tiled(tiles, &query);
    } else {
        g->visits += g->suppress->ranked(ranked, &query, rank / SL_LEAF);
    }
    return true;
}

static size_t keep_greedily(sl_nms_work *work, const float *boxes, const int32_t *classes, const uint64_t *order,
                            size_t count, float iou, bool distance, uint32_t *keep, size_t capacity) {
    const size_t candidates = count < work->room ? count : work->room;
    greedy g = {work, sl_suppressors_here(), iou, distance, false, 0};
    size_t kept = 0;
    sl_leaves_by_rank(&work->ranked, boxes, classes, order, candidates);
    for (size_t rank = 0; rank < candidates && kept < capacity; rank++)
        if (keep_rank(&g, rank)) keep[kept++] = order != NULL ? sl_order_index(order[rank]) : (uint32_t)rank;
    return kept;
}

size_t sl_nms_sorted(sl_nms_work *work, const float *boxes, const int32_t *classes, const uint64_t *order, size_t count,
                     float iou, uint32_t *keep, size_t capacity) {
    return keep_greedily(work, boxes, classes, order, count, iou, false, keep, capacity);
}

typedef struct nms_buffers {
    uint64_t *keys, *spare;
    uint32_t *rows;
    sl_nms_work work;
} nms_buffers;

static size_t room(size_t count, size_t capacity) {
    size_t most = count < SL_MAX_CANDIDATES ? count : SL_MAX_CANDIDATES;
    return capacity < most ? capacity : most;
}

static void take_buffers(nms_buffers *buffers, sl_arena *arena, size_t count, size_t capacity) {
    buffers->keys = sl_arena_take(arena, count, sizeof(uint64_t));
    buffers->spare = sl_arena_take(arena, count, sizeof(uint64_t));
    buffers->rows = sl_arena_take(arena, room(count, capacity), sizeof(uint32_t));
    sl_nms_work_take(&buffers->work, arena, count);
}

size_t sl_nms_scratch_bytes(size_t count, size_t capacity) {
    if (count > SL_MAX_ANCHORS) return 0;
    nms_buffers buffers;
    sl_arena arena = sl_arena_over(NULL, 0);
    take_buffers(&buffers, &arena, count, capacity);
    return sl_arena_bytes(&arena);
}

static sl_status suppress_all(const float *boxes, const float *scores, const int32_t *classes, size_t count, double iou,
                              bool distance, int64_t *keep, size_t capacity, size_t *kept, void *scratch,
                              size_t scratch_bytes) {
    if (kept == NULL || scratch == NULL) return SL_ERROR_NULL;
    *kept = 0;
    if (count > SL_MAX_ANCHORS) return SL_ERROR_SIZE;
    if (!(iou >= 0.0 && iou <= 1.0)) return SL_ERROR_VALUE;
    if (count == 0 || capacity == 0) return SL_OK;
    if (boxes == NULL || scores == NULL || keep == NULL) return SL_ERROR_NULL;
    nms_buffers buffers;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    take_buffers(&buffers, &arena, count, capacity);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    const size_t found = sl_finite_keys(boxes, scores, count, buffers.keys);
    const uint64_t *order = sl_order_sort(buffers.keys, buffers.spare, found);
    *kept = keep_greedily(&buffers.work, boxes, classes, order, found, sl_iou_limit(iou), distance, buffers.rows,
                          room(count, capacity));
    for (size_t i = 0; i < *kept; i++) keep[i] = (int64_t)buffers.rows[i];
    return SL_OK;
}

sl_status sl_nms(const float *boxes, const float *scores, const int32_t *classes, size_t count, double iou,
                 int64_t *keep, size_t capacity, size_t *kept, void *scratch, size_t scratch_bytes) {
    return suppress_all(boxes, scores, classes, count, iou, false, keep, capacity, kept, scratch, scratch_bytes);
}

sl_status sl_nms_diou(const float *boxes, const float *scores, const int32_t *classes, size_t count, double diou,
                      int64_t *keep, size_t capacity, size_t *kept, void *scratch, size_t scratch_bytes) {
    return suppress_all(boxes, scores, classes, count, diou, true, keep, capacity, kept, scratch, scratch_bytes);
}
