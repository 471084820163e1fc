/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Gated assignment. A pair at or above the limit never lowers the sum of (cost - limit), so only pairs below it join a
 * row with a column; what they join falls apart into groups, most of them of one pair, and each group is solved alone.
 */
#include <float.h>

#include "tracks/tracks.h"

enum { BLOCK = 16 };

/* One call's view: `gate` is the least float that is no longer below the limit. */
typedef struct problem {
    const sl_assigner *work;
    const float *cost;
    size_t columns;
    double limit;
    float gate;
    int32_t *column_of_row, *row_of_column;
} problem;

typedef struct group {
    const int32_t *rows, *columns;
    size_t row_count, column_count;
} group;

void sl_assigner_take(sl_assigner *assigner, sl_arena *arena, size_t rows, size_t columns) {
    const size_t both = rows + columns;
    assigner->parent = sl_arena_take(arena, both, sizeof(int32_t));
    assigner->group_of = sl_arena_take(arena, both, sizeof(int32_t));
    assigner->rows = sl_arena_take(arena, rows, sizeof(int32_t));
    assigner->columns = sl_arena_take(arena, columns, sizeof(int32_t));
    assigner->row_start = sl_arena_take(arena, rows + 2, sizeof(int32_t));
    assigner->column_start = sl_arena_take(arena, rows + 2, sizeof(int32_t));
    assigner->todo = sl_arena_take(arena, columns, sizeof(int32_t));
    assigner->scanned = sl_arena_take(arena, columns, sizeof(int32_t));
    assigner->via = sl_arena_take(arena, columns, sizeof(int32_t));
    assigner->best = sl_arena_take(arena, rows, sizeof(int32_t));
    assigner->u = sl_arena_take(arena, rows, sizeof(double));
    assigner->v = sl_arena_take(arena, columns, sizeof(double));
    assigner->reach = sl_arena_take(arena, columns, sizeof(double));
}

/* ---- groups: rows and columns that pairs below the limit hang together ---- */

static int32_t root_of(int32_t *parent, int32_t node) {
    while (parent[node] != node) {
        parent[node] = parent[parent[node]];
        node = parent[node];
    }
    return node;
}

/* Joins the row with each column below the gate, and keeps its best column (-1 without). */
static void join_row(const problem *p, size_t row, size_t rows) {
    const float *cost = p->cost + row * p->columns, gate = p->gate;
    int32_t best = -1, root = root_of(p->work->parent, (int32_t)row);
    for (size_t start = 0; start < p->columns; start += BLOCK) {
        const size_t end = p->columns - start < BLOCK ? p->columns : start + BLOCK;
        int32_t hit = 0;
        for (size_t k = start; k < end; k++) hit |= (int32_t)(cost[k] < gate);
        if (!hit) continue;
        for (size_t k = start; k < end; k++) {
            if (!(cost[k] < gate)) continue;
            if (best < 0 || cost[k] < cost[best]) best = (int32_t)k;
            int32_t other = root_of(p->work->parent, (int32_t)(rows + k));
            if (other == root) continue;
            const int32_t low = other < root ? other : root, high = other < root ? root : other;
            p->work->parent[high] = low;
            root = low;
        }
    }
    p->work->best[row] = best;
}

/* Counting sort of `count` nodes from `first` on by their group; nodes without one are left out. */
static void sort_by_group(const int32_t *group_of, size_t first, size_t count, size_t groups, int32_t *start,
                          int32_t *sorted) {
    for (size_t g = 0; g < groups + 2; g++) start[g] = 0;
    for (size_t i = 0; i < count; i++)
        if (group_of[first + i] >= 0) start[group_of[first + i] + 2]++;
    for (size_t g = 2; g < groups + 2; g++) start[g] += start[g - 1];
    for (size_t i = 0; i < count; i++)
        if (group_of[first + i] >= 0) sorted[start[group_of[first + i] + 1]++] = (int32_t)i;
}

/* The lowest node of a group that has pairs is a row, so groups are numbered in the order of their rows. */
static size_t find_groups(const problem *p, size_t rows) {
    const sl_assigner *work = p->work;
    const size_t both = rows + p->columns;
    size_t groups = 0;
    for (size_t node = 0; node < both; node++) work->parent[node] = (int32_t)node;
    for (size_t row = 0; row < rows; row++) join_row(p, row, rows);
    for (size_t node = 0; node < both; node++) {
        const int32_t root = root_of(work->parent, (int32_t)node);
        const bool has_pairs = root < (int32_t)rows && work->best[root] >= 0;
        if (has_pairs && root == (int32_t)node) work->group_of[node] = (int32_t)groups++;
        else work->group_of[node] = has_pairs ? work->group_of[root] : -1;
    }
    sort_by_group(work->group_of, 0, rows, groups, work->row_start, work->rows);
    sort_by_group(work->group_of, rows, p->columns, groups, work->column_start, work->columns);
    return groups;
}

/* ---- one group: shortest augmenting paths; a row may also stay alone, at cost 0 ---- */

static void pair_up(const problem *p, int32_t row, int32_t column) {
    p->column_of_row[row] = column;
    p->row_of_column[column] = row;
}

/* Gives `column` to the row it was reached from, that row's column to the one before, up to `start`. */
static void turn_path(const problem *p, int32_t start, int32_t column) {
    for (;;) {
        const int32_t row = p->work->via[column], before = p->column_of_row[row];
        pair_up(p, row, column);
        if (row == start) return;
        column = before;
    }
}

typedef struct search {
    int32_t release; /* the row which would best stay alone */
    double release_reach;
    int32_t sink;
    double total;
    size_t scanned;
} search;

/* Extends the paths from `row`, reached at `reach`; the place in todo of the nearest column, and its distance. */
static size_t relax(const problem *p, int32_t row, double reach, size_t todo_count, double *nearest) {
    const sl_assigner *work = p->work;
    const float *cost = p->cost + (size_t)row * p->columns;
    const double base = reach - work->u[row];
    size_t at = 0;
    *nearest = INFINITY;
    for (size_t t = 0; t < todo_count; t++) {
        const int32_t column = work->todo[t];
        if (cost[column] < p->gate) {
            const double through = base + ((double)cost[column] - p->limit) - work->v[column];
            if (through < work->reach[column]) {
                work->reach[column] = through;
                work->via[column] = row;
            }
        }
        if (work->reach[column] < *nearest) {
            *nearest = work->reach[column];
            at = t;
        }
    }
    return at;
}

/* Dijkstra from a free row to a free column (sink) or to a row that gives its column up (sink -1). */
static search find_path(const problem *p, const group *g, int32_t start) {
    const sl_assigner *work = p->work;
    search found = {start, INFINITY, -1, 0.0, 0};
    size_t todo_count = g->column_count;
    for (size_t t = 0; t < todo_count; t++) {
        work->todo[t] = g->columns[t];
        work->reach[g->columns[t]] = INFINITY;
    }
    for (int32_t row = start;;) {
        double nearest;
        if (found.total - work->u[row] < found.release_reach) {
            found.release_reach = found.total - work->u[row];
            found.release = row;
        }
        const size_t at = relax(p, row, found.total, todo_count, &nearest);
        if (!(nearest < found.release_reach)) {
            found.total = found.release_reach;
            return found;
        }
        const int32_t column = work->todo[at];
        found.total = nearest;
        if (p->row_of_column[column] < 0) {
            found.sink = column;
            return found;
        }
        work->todo[at] = work->todo[--todo_count];
        work->scanned[found.scanned++] = column;
        row = p->row_of_column[column];
    }
}

static void augment(const problem *p, const group *g, int32_t start) {
    const sl_assigner *work = p->work;
    const search found = find_path(p, g, start);
    work->u[start] += found.total;
    for (size_t s = 0; s < found.scanned; s++) {
        const int32_t column = work->scanned[s];
        const double shift = found.total - work->reach[column];
        work->v[column] -= shift;
        work->u[p->row_of_column[column]] += shift;
    }
    if (found.sink >= 0) {
        turn_path(p, start, found.sink);
    } else if (found.release != start) {
        const int32_t column = p->column_of_row[found.release];
        p->column_of_row[found.release] = -1;
        turn_path(p, start, column);
    }
}

static void solve_group(const problem *p, const group *g) {
    const sl_assigner *work = p->work;
    if (g->row_count == 1) {
        pair_up(p, g->rows[0], work->best[g->rows[0]]);
        return;
    }
    for (size_t c = 0; c < g->column_count; c++) work->v[g->columns[c]] = 0.0;
    for (size_t r = 0; r < g->row_count; r++) {
        const int32_t row = g->rows[r], best = work->best[row];
        work->u[row] = (double)p->cost[(size_t)row * p->columns + (size_t)best] - p->limit;
        if (p->row_of_column[best] < 0) pair_up(p, row, best);
    }
    for (size_t r = 0; r < g->row_count; r++)
        if (p->column_of_row[g->rows[r]] < 0) augment(p, g, g->rows[r]);
}

void sl_assign_gated(const sl_assigner *assigner, const float *cost, size_t rows, size_t columns, double limit,
                     int32_t *column_of_row, int32_t *row_of_column) {
    float gate = (float)limit;
    if ((double)gate < limit) gate = nextafterf(gate, INFINITY);
    const problem p = {assigner, cost, columns, limit, gate, column_of_row, row_of_column};
    for (size_t row = 0; row < rows; row++) column_of_row[row] = -1;
    for (size_t column = 0; column < columns; column++) row_of_column[column] = -1;
    const size_t groups = find_groups(&p, rows);
    for (size_t i = 0; i < groups; i++) {
        const int32_t *row = assigner->row_start + i, *column = assigner->column_start + i;
        const group g = {assigner->rows + row[0], assigner->columns + column[0], (size_t)(row[1] - row[0]),
                         (size_t)(column[1] - column[0])};
        solve_group(&p, &g);
    }
}

/* ---- for callers outside ---- */

size_t sl_assign_scratch_bytes(size_t rows, size_t columns) {
    if (rows > SL_MAX_TRACKS || columns > SL_MAX_TRACKS) return 0;
    sl_assigner assigner;
    sl_arena arena = sl_arena_over(NULL, 0);
    sl_assigner_take(&assigner, &arena, rows, columns);
    return sl_arena_bytes(&arena);
}

sl_status sl_assign(const float *cost, size_t rows, size_t columns, double limit, int32_t *column_of_row,
                    int32_t *row_of_column, void *scratch, size_t scratch_bytes) {
    if (rows > SL_MAX_TRACKS || columns > SL_MAX_TRACKS) return SL_ERROR_SIZE;
    if (scratch == NULL || (rows > 0 && column_of_row == NULL) || (columns > 0 && row_of_column == NULL) ||
        (rows > 0 && columns > 0 && cost == NULL))
        return SL_ERROR_NULL;
    if (!(fabs(limit) <= (double)FLT_MAX)) return SL_ERROR_VALUE;
    for (size_t i = 0; i < rows * columns; i++)
        if (cost[i] < -FLT_MAX) return SL_ERROR_VALUE;
    sl_assigner assigner;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    sl_assigner_take(&assigner, &arena, rows, columns);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    sl_assign_gated(&assigner, cost, rows, columns, limit, column_of_row, row_of_column);
    return SL_OK;
}
