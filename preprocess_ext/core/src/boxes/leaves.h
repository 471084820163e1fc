/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Candidates in blocks of 64 ("leaves"): first by rank, and, where that costs too much, as tiles of neighbours, so that
 * a kept box is compared only with blocks that can hold a box it suppresses. Not installed.
 */
#ifndef SL_LEAVES_H
#define SL_LEAVES_H

#include "common/internal.h"

enum { SL_LEAF = 64, SL_GROUP = 16 };

/*
 * What the boxes of a block have in common. A box b can only be suppressed at `iou` by a box a with
 * x1(b) + iou * width(b) < x2(a) and the like on the other sides: low_* and high_* bound these edges, with room for
 * rounding. x is shifted by the class, so that classes are far apart.
 */
typedef struct sl_bounds {
    float *low_x, *high_x, *low_y, *high_y, *least_area, *most_area;
} sl_bounds;

/* Boxes by position. One that can neither suppress nor be suppressed has no area and lies nowhere. */
typedef struct sl_leaves {
    float *x1, *y1, *x2, *y2, *area;
    int32_t *class_id;
    uint64_t *done; /* a word a leaf, a bit a position: suppressed; all are set past the last position */
    size_t count, leaf_count;
} sl_leaves;

typedef struct sl_tile_item {
    float x1, y1, x2, y2, area, centre_y;
    int32_t class_id;
    uint32_t rank;
} sl_tile_item;

/* Leaves whose boxes are neighbours, and groups of 16 leaves. */
typedef struct sl_tiles {
    sl_leaves leaves;
    sl_bounds leaf, group;
    size_t group_count;
    float class_step, shrink;
    uint32_t *where;     /* position by rank; SL_NOWHERE for boxes that overlap nothing */
    uint16_t *bin;       /* while building */
    sl_tile_item *items; /* while building */
} sl_tiles;

#define SL_NOWHERE UINT32_MAX

/* One kept box on its way through the leaves. */
typedef struct sl_query {
    float x1, y1, x2, y2, area;
    int32_t class_id;
    /*
     * For products in the place of quotients: where `inter / union > iou` holds so does `inter > union * iou_below`,
     * and where `inter > union * iou_above` holds so does the former.
     */
    float iou, iou_below, iou_above;
    bool distance;        /* DIoU instead of IoU */
    float left, right;    /* in tiles: x1 and x2 shifted by the class */
    float least_area, most_area; /* in tiles */
} sl_query;

void sl_leaves_take(sl_leaves *leaves, sl_arena *arena, size_t count);
/* Nothing is done but the places past `count`, which are filled. */
void sl_leaves_start(sl_leaves *leaves, size_t count);
/* Takes `count` boxes in the order of their ranks; boxes, classes and order as in sl_nms_sorted. */
void sl_leaves_by_rank(sl_leaves *leaves, const float *boxes, const int32_t *classes, const uint64_t *order,
                       size_t count);
void sl_tiles_take(sl_tiles *tiles, sl_arena *arena, size_t count);

sl_query sl_query_at(const sl_leaves *leaves, size_t position, float iou, bool distance);
void sl_query_for_tiles(sl_query *query, const sl_tiles *tiles);

/*
 * What has a variant for each set of instructions. ranked and tiled mark what the query suppresses as done: among the
 * ranked leaves from `first` on, or among tiles (boxes that are kept already may be marked too), and return how many
 * leaves they looked at. find writes the positions of what the query would suppress and is not done, and returns how
 * many.
 */
typedef struct sl_suppressors {
    size_t (*ranked)(const sl_leaves *leaves, const sl_query *query, size_t first);
    size_t (*tiled)(const sl_tiles *tiles, const sl_query *query);
    size_t (*find)(const sl_tiles *tiles, const sl_query *query, uint32_t *positions);
    void (*bound_leaf)(const sl_tiles *tiles, size_t leaf);
} sl_suppressors;

extern const sl_suppressors sl_suppressors_scalar, sl_suppressors_avx2, sl_suppressors_avx512;

/* The best for this processor. */
const sl_suppressors *sl_suppressors_here(void);

/* Takes the boxes of rank `first` and above that are not done. */
void sl_tiles_build(sl_tiles *tiles, const sl_leaves *ranked, size_t first, float iou, const sl_suppressors *with);

static inline void sl_leaves_set_done(const sl_leaves *leaves, size_t position) {
    leaves->done[position / SL_LEAF] |= (uint64_t)1 << position % SL_LEAF;
}

static inline bool sl_leaves_is_done(const sl_leaves *leaves, size_t position) {
    return leaves->done[position / SL_LEAF] >> (position % SL_LEAF) & 1U;
}

#endif
