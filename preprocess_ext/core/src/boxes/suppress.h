/* SPDX-License-Identifier: Apache-2.0 */
/* The walks over leaves, for a file that has may_hold() and hits_in_leaf() for its instructions. Not installed. */
#ifndef SL_SUPPRESS_H
#define SL_SUPPRESS_H

#include "boxes/bound.h"
#include "boxes/leaves.h"

/* Bit i is set where block first + i can hold a box that the query suppresses. */
static inline uint32_t may_hold(const sl_bounds *bounds, size_t first, const sl_query *q);
/* Bit i is set where the query suppresses the leaf's box i. */
static inline uint64_t hits_in_leaf(const sl_leaves *leaves, size_t leaf, const sl_query *q);

static inline size_t visit(const sl_leaves *leaves, size_t leaf, const sl_query *q) {
    if (leaves->done[leaf] == UINT64_MAX) return 0;
    leaves->done[leaf] |= hits_in_leaf(leaves, leaf, q);
    return 1;
}

static size_t suppress_ranked(const sl_leaves *leaves, const sl_query *q, size_t first) {
    size_t visits = 0;
    for (size_t leaf = first; leaf < leaves->leaf_count; leaf++) visits += visit(leaves, leaf, q);
    return visits;
}

/* The groups, then the leaves, that can hold what the query suppresses. */
static size_t suppress_tiled(const sl_tiles *tiles, const sl_query *q) {
    size_t visits = 0;
    for (size_t first = 0; first < tiles->group_count; first += SL_GROUP)
        for (uint32_t groups = may_hold(&tiles->group, first, q); groups != 0; groups &= groups - 1) {
            const size_t base = (first + (size_t)__builtin_ctz(groups)) * SL_GROUP;
            for (uint32_t hits = may_hold(&tiles->leaf, base, q); hits != 0; hits &= hits - 1)
                visits += visit(&tiles->leaves, base + (size_t)__builtin_ctz(hits), q);
        }
    return visits;
}

static size_t find_in_leaf(const sl_leaves *leaves, size_t leaf, const sl_query *q, uint32_t *positions) {
    size_t found = 0;
    if (leaves->done[leaf] == UINT64_MAX) return 0;
    for (uint64_t hits = hits_in_leaf(leaves, leaf, q) & ~leaves->done[leaf]; hits != 0; hits &= hits - 1)
        positions[found++] = (uint32_t)(leaf * SL_LEAF + (size_t)__builtin_ctzll(hits));
    return found;
}

static size_t find_tiled(const sl_tiles *tiles, const sl_query *q, uint32_t *positions) {
    size_t found = 0;
    for (size_t first = 0; first < tiles->group_count; first += SL_GROUP)
        for (uint32_t groups = may_hold(&tiles->group, first, q); groups != 0; groups &= groups - 1) {
            const size_t base = (first + (size_t)__builtin_ctz(groups)) * SL_GROUP;
            for (uint32_t hits = may_hold(&tiles->leaf, base, q); hits != 0; hits &= hits - 1)
                found += find_in_leaf(&tiles->leaves, base + (size_t)__builtin_ctz(hits), q, positions + found);
        }
    return found;
}

#endif
