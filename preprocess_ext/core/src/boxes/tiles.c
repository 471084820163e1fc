/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boxes into tiles of neighbours: by x into slabs, each slab by y (sort-tile-recursive packing, Leutenegger et al.
 * 1997), with one counting sort a direction. The order matters for time only, never for results.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "boxes/lanes.h"
#include "boxes/leaves.h"
#include "boxes/rounding.h"

enum { X_BINS = 1024, Y_BINS = 256 };

typedef struct range {
    float low, high;
} range;

static size_t up_to(size_t value, size_t step) { return (value + step - 1) / step * step; }

static void take_bounds(sl_bounds *bounds, sl_arena *arena, size_t count) {
    bounds->low_x = sl_arena_take(arena, count, sizeof(float));
    bounds->high_x = sl_arena_take(arena, count, sizeof(float));
    bounds->low_y = sl_arena_take(arena, count, sizeof(float));
    bounds->high_y = sl_arena_take(arena, count, sizeof(float));
    bounds->least_area = sl_arena_take(arena, count, sizeof(float));
    bounds->most_area = sl_arena_take(arena, count, sizeof(float));
}

void sl_tiles_take(sl_tiles *tiles, sl_arena *arena, size_t count) {
    const size_t places = up_to(count, SL_LEAF), leaf_places = up_to(places / SL_LEAF, SL_GROUP);
    sl_leaves_take(&tiles->leaves, arena, count);
    take_bounds(&tiles->leaf, arena, leaf_places);
    take_bounds(&tiles->group, arena, up_to(leaf_places / SL_GROUP, SL_GROUP));
    tiles->where = sl_arena_take(arena, count, sizeof(uint32_t));
    tiles->bin = sl_arena_take(arena, places, sizeof(uint16_t));
    tiles->items = sl_arena_take(arena, count, sizeof(sl_tile_item));
}

/* Of x, over all boxes that lie somewhere; the count is a multiple of LANES. */
static range range_of_x(const sl_leaves *ranked, size_t first) {
    float low[LANES], high[LANES];
    for (size_t i = 0; i < LANES; i++) low[i] = FLT_MAX, high[i] = -FLT_MAX;
    for (size_t at = first / LANES * LANES; at < ranked->leaf_count * SL_LEAF; at += LANES)
        for (size_t i = 0; i < LANES; i++) {
            low[i] = smaller(ranked->x1[at + i], low[i]);
            high[i] = larger(ranked->area[at + i] > 0.0F ? ranked->x2[at + i] : -FLT_MAX, high[i]);
        }
    return (range){least_of(low), most_of(high)};
}

/* How many bins to a pixel. */
static float scale_of(range r, float bins) {
    const float width = r.high - r.low;
    return width > 0.0F && width <= FLT_MAX ? bins / width : 0.0F;
}

static range range_of_classes(const sl_leaves *ranked, size_t first) {
    int32_t low = INT32_MAX, high = INT32_MIN;
    for (size_t at = first; at < ranked->count; at++) {
        low = ranked->class_id[at] < low ? ranked->class_id[at] : low;
        high = ranked->class_id[at] > high ? ranked->class_id[at] : high;
    }
    return (range){(float)low, (float)high};
}

static void find_bins(sl_tiles *tiles, const sl_leaves *ranked, size_t first) {
    const range x = range_of_x(ranked, first), classes = range_of_classes(ranked, first);
    const float width = x.high - x.low, last = (float)(X_BINS - 1);
    const float step = classes.high > classes.low && width > 0.0F && width < 1e30F ? width : 0.0F;
    const range shifted = {x.low + step * classes.low, x.high + step * classes.high};
    const float scale = scale_of(shifted, last);
    tiles->class_step = step;
    for (size_t at = first; at < ranked->count; at++) {
        const float centre = 0.5F * ranked->x1[at] + 0.5F * ranked->x2[at] + step * (float)ranked->class_id[at];
        const float bin = (centre - shifted.low) * scale;
        tiles->bin[at] = (uint16_t)(int32_t)(bin < last ? larger(bin, 0.0F) : last);
    }
}

/* Counts to places where each bin starts; returns their sum. */
static size_t starts_of(uint32_t *counts, size_t bins) {
    uint32_t next = 0;
    for (size_t bin = 0; bin < bins; bin++) {
        const uint32_t here = counts[bin];
        counts[bin] = next;
        next += here;
    }
    return next;
}

static inline uint64_t wanted(const sl_leaves *ranked, size_t leaf, size_t first) {
    const uint64_t from_first = leaf == first / SL_LEAF ? UINT64_MAX << first % SL_LEAF : UINT64_MAX;
    return ~ranked->done[leaf] & from_first;
}

/* Items by x, in slabs. Returns how many there are. */
static size_t sort_by_x(sl_tiles *tiles, const sl_leaves *ranked, size_t first) {
    uint32_t starts[X_BINS] = {0};
    for (size_t leaf = first / SL_LEAF; leaf < ranked->leaf_count; leaf++)
        for (uint64_t left = wanted(ranked, leaf, first); left != 0; left &= left - 1) {
            const size_t at = leaf * SL_LEAF + (size_t)__builtin_ctzll(left);
            tiles->where[at] = SL_NOWHERE;
            starts[tiles->bin[at]] += ranked->area[at] > 0.0F;
        }
    const size_t count = starts_of(starts, X_BINS);
    for (size_t leaf = first / SL_LEAF; leaf < ranked->leaf_count; leaf++)
        for (uint64_t left = wanted(ranked, leaf, first); left != 0; left &= left - 1) {
            const size_t at = leaf * SL_LEAF + (size_t)__builtin_ctzll(left);
            if (!(ranked->area[at] > 0.0F)) continue;
            tiles->items[starts[tiles->bin[at]]++] =
                (sl_tile_item){ranked->x1[at], ranked->y1[at],       ranked->x2[at], ranked->y2[at], ranked->area[at],
                               0.5F * ranked->y1[at] + 0.5F * ranked->y2[at], ranked->class_id[at], (uint32_t)at};
        }
    return count;
}

static void put(sl_tiles *tiles, size_t at, const sl_tile_item *item) {
    sl_leaves *leaves = &tiles->leaves;
    leaves->x1[at] = item->x1;
    leaves->y1[at] = item->y1;
    leaves->x2[at] = item->x2;
    leaves->y2[at] = item->y2;
    leaves->area[at] = item->area;
    leaves->class_id[at] = item->class_id;
    tiles->where[item->rank] = (uint32_t)at;
}

static void put_slab(sl_tiles *tiles, size_t start, size_t count) {
    const sl_tile_item *items = tiles->items + start;
    uint32_t starts[Y_BINS] = {0};
    range y = {FLT_MAX, -FLT_MAX};
    for (size_t i = 0; i < count; i++) {
        y.low = smaller(items[i].centre_y, y.low);
        y.high = larger(items[i].centre_y, y.high);
    }
    const float last = (float)(Y_BINS - 1), scale = scale_of(y, last);
    for (size_t i = 0; i < count; i++) {
        const float bin = (items[i].centre_y - y.low) * scale;
        tiles->bin[i] = (uint16_t)(int32_t)(bin < last ? larger(bin, 0.0F) : last);
        starts[tiles->bin[i]]++;
    }
    (void)starts_of(starts, Y_BINS);
    for (size_t i = 0; i < count; i++) put(tiles, start + starts[tiles->bin[i]]++, items + i);
}

static void bound_nothing(const sl_bounds *to, size_t at) {
    to->low_x[at] = to->low_y[at] = to->least_area[at] = INFINITY;
    to->high_x[at] = to->high_y[at] = -INFINITY;
    to->most_area[at] = 0.0F;
}

static void bound_group(const sl_bounds *from, const sl_bounds *to, size_t group) {
    const size_t first = group * SL_GROUP;
    to->low_x[group] = least_of(from->low_x + first);
    to->high_x[group] = most_of(from->high_x + first);
    to->low_y[group] = least_of(from->low_y + first);
    to->high_y[group] = most_of(from->high_y + first);
    to->least_area[group] = least_of(from->least_area + first);
    to->most_area[group] = most_of(from->most_area + first);
}

static void find_bounds(sl_tiles *tiles, const sl_suppressors *with) {
    const size_t leaf_count = tiles->leaves.leaf_count;
    tiles->group_count = (leaf_count + SL_GROUP - 1) / SL_GROUP;
    for (size_t leaf = 0; leaf < leaf_count; leaf++) with->bound_leaf(tiles, leaf);
    for (size_t leaf = leaf_count; leaf % SL_GROUP != 0; leaf++) bound_nothing(&tiles->leaf, leaf);
    for (size_t group = 0; group < tiles->group_count; group++) bound_group(&tiles->leaf, &tiles->group, group);
    for (size_t group = tiles->group_count; group % SL_GROUP != 0; group++) bound_nothing(&tiles->group, group);
}

void sl_tiles_build(sl_tiles *tiles, const sl_leaves *ranked, size_t first, float iou, const sl_suppressors *with) {
    tiles->shrink = sl_shrink(iou);
    find_bins(tiles, ranked, first);
    const size_t count = sort_by_x(tiles, ranked, first);
    sl_leaves_start(&tiles->leaves, count);
    const size_t leaf_count = tiles->leaves.leaf_count, slabs = (size_t)ceilf(sqrtf((float)leaf_count));
    const size_t slab = slabs > 0 ? (leaf_count + slabs - 1) / slabs * SL_LEAF : 1;
    for (size_t start = 0; start < count; start += slab)
        put_slab(tiles, start, count - start < slab ? count - start : slab);
    find_bounds(tiles, with);
}

void sl_query_for_tiles(sl_query *query, const sl_tiles *tiles) {
    const float shift = tiles->class_step * (float)query->class_id;
    const bool bounded = query->area >= SL_SMALL_AREA && tiles->shrink > 0.0F;
    query->left = query->x1 + shift;
    query->right = query->x2 + shift;
    query->least_area = bounded ? query->area * tiles->shrink : 0.0F;
    query->most_area = bounded ? query->area / tiles->shrink * SL_MORE : INFINITY;
}
