/* SPDX-License-Identifier: Apache-2.0 */
/* Boxes in blocks by rank, and one of them as a query. */
#include "boxes/leaves.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "boxes/boxes.h"
#include "boxes/rounding.h"

void sl_leaves_take(sl_leaves *leaves, sl_arena *arena, size_t count) {
    const size_t leaf_count = (count + SL_LEAF - 1) / SL_LEAF, places = leaf_count * SL_LEAF;
    leaves->x1 = sl_arena_take(arena, places, sizeof(float));
    leaves->y1 = sl_arena_take(arena, places, sizeof(float));
    leaves->x2 = sl_arena_take(arena, places, sizeof(float));
    leaves->y2 = sl_arena_take(arena, places, sizeof(float));
    leaves->area = sl_arena_take(arena, places, sizeof(float));
    leaves->class_id = sl_arena_take(arena, places, sizeof(int32_t));
    leaves->done = sl_arena_take(arena, leaf_count, sizeof(uint64_t));
}

static void put_nowhere(sl_leaves *leaves, size_t at) {
    leaves->x1[at] = leaves->y1[at] = leaves->x2[at] = leaves->y2[at] = FLT_MAX;
    leaves->area[at] = 0.0F;
    leaves->class_id[at] = 0;
    leaves->done[at / SL_LEAF] |= (uint64_t)1 << at % SL_LEAF;
}

void sl_leaves_start(sl_leaves *leaves, size_t count) {
    leaves->count = count;
    leaves->leaf_count = (count + SL_LEAF - 1) / SL_LEAF;
    memset(leaves->done, 0, leaves->leaf_count * sizeof *leaves->done);
    for (size_t at = count; at < leaves->leaf_count * SL_LEAF; at++) put_nowhere(leaves, at);
}

void sl_leaves_by_rank(sl_leaves *leaves, const float *boxes, const int32_t *classes, const uint64_t *order,
                       size_t count) {
    float *restrict x1 = leaves->x1, *restrict y1 = leaves->y1, *restrict x2 = leaves->x2, *restrict y2 = leaves->y2;
    float *restrict areas = leaves->area;
    sl_leaves_start(leaves, count);
    for (size_t rank = 0; rank < count; rank++) {
        const size_t row = order != NULL ? sl_order_index(order[rank]) : rank;
        const float *restrict box = boxes + 4 * row;
        x1[rank] = box[0];
        y1[rank] = box[1];
        x2[rank] = box[2];
        y2[rank] = box[3];
    }
    for (size_t rank = 0; rank < count; rank++)
        leaves->class_id[rank] = classes == NULL ? 0 : classes[order != NULL ? sl_order_index(order[rank]) : rank];
    for (size_t rank = 0; rank < count; rank++) {
        const float width = x2[rank] - x1[rank];
        float area = width * (y2[rank] - y1[rank]);
        area = width > 0.0F ? area : 0.0F;
        area = area <= FLT_MAX ? area : 0.0F;
        area = area > 0.0F ? area : 0.0F;
        areas[rank] = area;
        x1[rank] = area > 0.0F ? x1[rank] : FLT_MAX;
        y1[rank] = area > 0.0F ? y1[rank] : FLT_MAX;
        x2[rank] = area > 0.0F ? x2[rank] : FLT_MAX;
        y2[rank] = area > 0.0F ? y2[rank] : FLT_MAX;
    }
}

sl_query sl_query_at(const sl_leaves *leaves, size_t position, float iou, bool distance) {
    const float area = leaves->area[position], below = area >= SL_SMALL_AREA ? sl_shrink(iou) : 0.0F;
    return (sl_query){.x1 = leaves->x1[position],
                      .y1 = leaves->y1[position],
                      .x2 = leaves->x2[position],
                      .y2 = leaves->y2[position],
                      .area = area,
                      .class_id = leaves->class_id[position],
                      .iou = iou,
                      .iou_below = below,
                      .iou_above = below > 0.0F && !distance ? iou * SL_MORE : INFINITY,
                      .distance = distance};
}
