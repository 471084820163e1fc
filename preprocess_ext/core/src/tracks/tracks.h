/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the trackers share; not installed. */
#ifndef SL_TRACKS_H
#define SL_TRACKS_H

#include <math.h>

#include "common/internal.h"

/* ---- one track ---- */

typedef enum track_state { STATE_TRACKED = 1, STATE_LOST = 2, STATE_REMOVED = 3 } track_state;

/*
 * The filters' covariance: motion couples a quantity with its own velocity only, and all noise is diagonal, so what
 * starts diagonal stays one 2x2 block a quantity. Three numbers a block are the whole matrix, not an approximation.
 */
typedef struct sl_block {
    double position, cross, velocity;
} sl_block;

typedef struct sl_track {
    double mean[8]; /* ByteTrack: cx, cy, width / height, height; SORT: cx, cy, area, width / height; then velocities */
    sl_block covariance[4];
    int64_t id;
    int64_t first_frame;
    int64_t last_frame; /* of the last detection */
    uint64_t removed;   /* number of its latest removal in an earlier frame, 0 never */
    uint64_t removed_now;
    float score;
    int32_t class_id;
    int32_t detection; /* index in the latest frame, -1 without */
    int32_t streak;    /* SORT: detections in a row after the first */
    track_state state;
    bool confirmed;
} sl_track;

/* ---- one camera: header, tracks, and lists of their slots ---- */

typedef struct sl_tracker {
    uint64_t magic;
    sl_track_options options;
    int64_t frame;
    int64_t next_id;
    int64_t refused, dropped, unborn;
    uint64_t removals;
    int64_t lost_frames; /* ByteTrack: a lost track lives so long */
    int32_t tracked_count, lost_count, spare_count;
} sl_tracker;

size_t sl_tracker_size(const sl_track_options *options);
sl_tracker *sl_tracker_of(void *memory); /* NULL when it is not one */
sl_track *sl_tracker_tracks(sl_tracker *tracker);
int32_t *sl_tracker_tracked(sl_tracker *tracker);
int32_t *sl_tracker_lost(sl_tracker *tracker);
/* A slot with a new id for a detection; -1 when there is no room. */
int32_t sl_tracker_birth(sl_tracker *tracker);
void sl_tracker_free(sl_tracker *tracker, int32_t slot);

/* ---- motion.c: Kalman filters ---- */

void sl_byte_start(sl_track *track, const float *xyah);
void sl_byte_predict(sl_track *track);
void sl_byte_correct(sl_track *track, const float *xyah);
void sl_byte_box(const sl_track *track, float *xyxy);
double sl_byte_distance(const sl_track *track, const float *xyah); /* squared Mahalanobis */
void sl_sort_start(sl_track *track, const float *xyxy);
void sl_sort_predict(sl_track *track);
void sl_sort_correct(sl_track *track, const float *xyxy);
bool sl_sort_box(const sl_track *track, double *xyxy); /* false when the state has no box */

/* ---- overlap.c: costs of one box against many ---- */

typedef struct sl_boxes {
    float *x1, *y1, *x2, *y2, *area;
} sl_boxes;

void sl_boxes_take(sl_boxes *boxes, sl_arena *arena, size_t count);
void sl_boxes_set(const sl_boxes *boxes, size_t at, const float *xyxy);
/* cost[k] = 1 - IoU, with `scores` 1 - IoU * score; float32 in the reference's order of operations. */
typedef void sl_cost_row(const float *xyxy, const sl_boxes *boxes, const float *scores, size_t count, float *cost);
sl_cost_row *sl_cost_row_now(void);
sl_cost_row sl_cost_row_scalar, sl_cost_row_avx2, sl_cost_row_avx512;

/* ---- assign.c: gated assignment ---- */

typedef struct sl_assigner {
    int32_t *parent, *group_of, *rows, *columns, *row_start, *column_start, *todo, *scanned, *via, *best;
    double *u, *v, *reach;
} sl_assigner;

void sl_assigner_take(sl_assigner *assigner, sl_arena *arena, size_t rows, size_t columns);
void sl_assign_gated(const sl_assigner *assigner, const float *cost, size_t rows, size_t columns, double limit,
                     int32_t *column_of_row, int32_t *row_of_column);

/* ---- dense.c: Jonker-Volgenant for square matrices ---- */

typedef struct sl_dense {
    double *cost, *v, *reach; /* cost: (side, side) */
    int32_t *x, *y, *unassigned, *columns, *via;
    bool *shared;
} sl_dense;

void sl_dense_take(sl_dense *dense, sl_arena *arena, size_t side);
/* Least sum over dense->cost; x: column of each row, y: row of each column. */
void sl_dense_solve(const sl_dense *dense, int32_t side);

/* ---- update.c, bytetrack.c, sort.c ---- */

/* Scratch of one camera's update; its detections that take part, in ascending order of index. */
typedef struct sl_track_work {
    const sl_track_frame *frame;
    int32_t *chosen; /* indices in the frame */
    size_t chosen_count;
    uint64_t *keys, *spare_keys;
    int32_t *pool, *rest, *returned, *open, *list, *column_of_row, *row_of_column;
    float *measures, *scores, *cost; /* measures: (max_detections, 4) by place in `chosen` */
    sl_boxes boxes;
    bool *gone_tracked, *gone_lost;
    sl_assigner assigner;
    double *predicted, *overlap; /* SORT */
    sl_dense dense;
} sl_track_work;

void sl_byte_update(sl_tracker *tracker, sl_track_work *work);
void sl_sort_update(sl_tracker *tracker, sl_track_work *work);
/* Leave the best `room` by score of `list` (places in `chosen`), in their order; the number left. */
size_t sl_keep_best(const sl_track_work *work, int32_t *list, size_t count, size_t room);
/* Tell the detections of the tracked, confirmed tracks their ids. */
void sl_tell_ids(sl_tracker *tracker, const sl_track_work *work);

#endif
