/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems" (1987),
 * for SORT. Which of several equal optima is found decides in which order SORT's new tracks get their ids, so every
 * choice between equals is made as in the implementation that SORT's authors call (the package lap).
 */
#include "tracks/tracks.h"

static const double FAR = 1e6; /* above any difference of costs, which lie in -1..0 */

void sl_dense_take(sl_dense *dense, sl_arena *arena, size_t side) {
    dense->cost = sl_arena_take(arena, side * side, sizeof(double));
    dense->v = sl_arena_take(arena, side, sizeof(double));
    dense->reach = sl_arena_take(arena, side, sizeof(double));
    dense->x = sl_arena_take(arena, side, sizeof(int32_t));
    dense->y = sl_arena_take(arena, side, sizeof(int32_t));
    dense->unassigned = sl_arena_take(arena, side, sizeof(int32_t));
    dense->columns = sl_arena_take(arena, side, sizeof(int32_t));
    dense->via = sl_arena_take(arena, side, sizeof(int32_t));
    dense->shared = sl_arena_take(arena, side, sizeof(bool));
}

static inline const double *row_at(const sl_dense *dense, int32_t side, int32_t row) {
    return dense->cost + (size_t)row * (size_t)side;
}

/* Each column to the first row where it is cheapest; a row keeps the first of its columns. */
static void reduce_columns(const sl_dense *dense, int32_t side) {
    for (int32_t j = 0; j < side; j++) {
        dense->v[j] = FAR;
        dense->y[j] = 0;
        dense->x[j] = -1;
        dense->shared[j] = false;
    }
    for (int32_t i = 0; i < side; i++) {
        const double *cost = row_at(dense, side, i);
        for (int32_t j = 0; j < side; j++) {
            if (!(cost[j] < dense->v[j])) continue;
            dense->v[j] = cost[j];
            dense->y[j] = i;
        }
    }
    for (int32_t j = side - 1; j >= 0; j--) {
        const int32_t i = dense->y[j];
        if (dense->x[i] < 0) {
            dense->x[i] = j;
        } else {
            dense->shared[i] = true;
            dense->y[j] = -1;
        }
    }
}

/* Rows with one column hand their slack over to it; the number of rows still without a column. */
static int32_t transfer_reduction(const sl_dense *dense, int32_t side) {
    int32_t unassigned = 0;
    for (int32_t i = 0; i < side; i++) {
        if (dense->x[i] < 0) {
            dense->unassigned[unassigned++] = i;
        } else if (!dense->shared[i]) {
            const double *cost = row_at(dense, side, i);
            double least = FAR;
            for (int32_t j = 0; j < side; j++)
                if (j != dense->x[i] && cost[j] - dense->v[j] < least) least = cost[j] - dense->v[j];
            dense->v[dense->x[i]] -= least;
        }
    }
    return unassigned;
}

typedef struct two_best {
    int32_t first, second;
    double first_cost, second_cost;
} two_best;

static two_best cheapest(const sl_dense *dense, int32_t side, int32_t row) {
    const double *cost = row_at(dense, side, row);
    two_best best = {0, -1, cost[0] - dense->v[0], FAR};
    for (int32_t j = 1; j < side; j++) {
        const double reduced = cost[j] - dense->v[j];
        if (!(reduced < best.second_cost)) continue;
        if (reduced < best.first_cost) {
            best = (two_best){j, best.first, reduced, best.first_cost};
        } else {
            best.second = j;
            best.second_cost = reduced;
        }
    }
    return best;
}

/* One round of augmenting row reduction over `count` unassigned rows; the number that is left. */
static int32_t reduce_rows(const sl_dense *dense, int32_t side, int32_t count) {
    int32_t at = 0, left = 0;
    int64_t rounds = 0;
    while (at < count) {
        const int32_t row = dense->unassigned[at++];
        const two_best best = cheapest(dense, side, row);
        int32_t column = best.first, holder = dense->y[column];
        const double lowered = dense->v[column] - (best.second_cost - best.first_cost);
        const bool lowers = lowered < dense->v[column];
        const bool go_on = ++rounds < (int64_t)at * side; /* rounding must not make this endless */
        if (go_on && lowers) {
            dense->v[column] = lowered;
        } else if (go_on && holder >= 0 && best.second >= 0) {
            column = best.second;
            holder = dense->y[column];
        }
        if (holder >= 0 && go_on && lowers) dense->unassigned[--at] = holder;
        else if (holder >= 0) dense->unassigned[left++] = holder;
        dense->x[row] = column;
        dense->y[column] = row;
    }
    return left;
}

/* Moves the nearest of columns[low..] to the front of them; the end of what has the same distance. */
static int32_t gather_nearest(const sl_dense *dense, int32_t side, int32_t low) {
    int32_t high = low + 1, *columns = dense->columns;
    double nearest = dense->reach[columns[low]];
    for (int32_t k = high; k < side; k++) {
        const int32_t j = columns[k];
        if (dense->reach[j] > nearest) continue;
        if (dense->reach[j] < nearest) {
            high = low;
            nearest = dense->reach[j];
        }
        columns[k] = columns[high];
        columns[high++] = j;
    }
    return high;
}

/*
 * Looks on from each column in low..high: a free column at the same distance, with low and high as they were, or -1
 * with low == high.
 */
static int32_t scan(const sl_dense *dense, int32_t side, int32_t *low, int32_t *high) {
    int32_t *columns = dense->columns, next = *low, end = *high;
    while (next != end) {
        const int32_t from = columns[next++], row = dense->y[from];
        const double *cost = row_at(dense, side, row), nearest = dense->reach[from];
        const double base = cost[from] - dense->v[from] - nearest;
        for (int32_t k = end; k < side; k++) {
            const int32_t j = columns[k];
            const double through = cost[j] - dense->v[j] - base;
            if (!(through < dense->reach[j])) continue;
            dense->reach[j] = through;
            dense->via[j] = row;
            if (through < nearest || through > nearest) continue;
            if (dense->y[j] < 0) return j;
            columns[k] = columns[end];
            columns[end++] = j;
        }
    }
    *low = *high = end;
    return -1;
}

/* Dijkstra from a row to the nearest free column; lowers the duals of the columns that were settled before. */
static int32_t find_path(const sl_dense *dense, int32_t side, int32_t start) {
    const double *cost = row_at(dense, side, start);
    int32_t low = 0, high = 0, settled = 0, sink = -1;
    for (int32_t j = 0; j < side; j++) {
        dense->columns[j] = j;
        dense->via[j] = start;
        dense->reach[j] = cost[j] - dense->v[j];
    }
    while (sink < 0) {
        if (low == high) {
            settled = low;
            high = gather_nearest(dense, side, low);
            for (int32_t k = low; k < high; k++)
                if (dense->y[dense->columns[k]] < 0) sink = dense->columns[k];
        }
        if (sink < 0) sink = scan(dense, side, &low, &high);
        if (sink < 0 && low == side) return -1; /* a square matrix without NaN has a free column left */
    }
    const double total = dense->reach[dense->columns[low]];
    for (int32_t k = 0; k < settled; k++)
        dense->v[dense->columns[k]] += dense->reach[dense->columns[k]] - total;
    return sink;
}

static void augment(const sl_dense *dense, int32_t side, int32_t start) {
    int32_t column = find_path(dense, side, start);
    if (column < 0) return;
    for (int32_t row = -1; row != start;) {
        row = dense->via[column];
        dense->y[column] = row;
        const int32_t before = dense->x[row];
        dense->x[row] = column;
        column = before;
    }
}

void sl_dense_solve(const sl_dense *dense, int32_t side) {
    reduce_columns(dense, side);
    int32_t unassigned = transfer_reduction(dense, side);
    for (int round = 0; round < 2 && unassigned > 0; round++) unassigned = reduce_rows(dense, side, unassigned);
    for (int32_t k = 0; k < unassigned; k++) augment(dense, side, dense->unassigned[k]);
}
