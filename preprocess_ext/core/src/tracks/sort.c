/* SPDX-License-Identifier: Apache-2.0 */
/* SORT, decision by decision as the authors' sort.py; scores play no part. Everything is float64, as there. */
#include "tracks/tracks.h"

static inline double larger(double a, double b) { return a > b ? a : b; }
static inline double smaller(double a, double b) { return a < b ? a : b; }

static void swap_out(sl_tracker *tracker, int32_t *kept, int32_t slot, bool keep) {
    if (keep) sl_tracker_tracked(tracker)[(*kept)++] = slot;
    else sl_tracker_free(tracker, slot);
}

/* Predicts every track; one whose state is no box any more is forgotten. */
static void predict_all(sl_tracker *tracker, sl_track_work *work) {
    int32_t kept = 0;
    for (int32_t i = 0; i < tracker->tracked_count; i++) {
        const int32_t slot = sl_tracker_tracked(tracker)[i];
        sl_track *track = sl_tracker_tracks(tracker) + slot;
        sl_sort_predict(track);
        if (tracker->frame - 1 > track->last_frame) track->streak = 0;
        swap_out(tracker, &kept, slot, sl_sort_box(track, work->predicted + 4 * kept));
    }
    tracker->tracked_count = kept;
}

static double overlap(const float *detection, const double *track) {
    const double x1 = (double)detection[0], y1 = (double)detection[1];
    const double x2 = (double)detection[2], y2 = (double)detection[3];
    const double width = larger(smaller(x2, track[2]) - larger(x1, track[0]), 0.0);
    const double height = larger(smaller(y2, track[3]) - larger(y1, track[1]), 0.0);
    const double inter = width * height;
    const double iou =
        inter / ((x2 - x1) * (y2 - y1) + (track[2] - track[0]) * (track[3] - track[1]) - inter);
    return iou > 0.0 ? iou : 0.0;
}

typedef struct overlaps {
    size_t detections, tracks;
    bool simple; /* some pairs reach the threshold, and no two of them share a detection or a track */
} overlaps;

static overlaps measure_overlaps(const sl_tracker *tracker, sl_track_work *work) {
    const size_t tracks = (size_t)tracker->tracked_count, detections = work->chosen_count;
    int32_t *per_track = work->row_of_column;
    bool shared = false, any = false;
    for (size_t t = 0; t < tracks; t++) per_track[t] = 0;
    for (size_t d = 0; d < detections; d++) {
        const float *box = work->frame->boxes + 4 * (size_t)work->chosen[d];
        int32_t per_detection = 0;
        for (size_t t = 0; t < tracks; t++) {
            const double iou = overlap(box, work->predicted + 4 * t);
            work->overlap[d * tracks + t] = iou;
            if (!(iou > tracker->options.iou)) continue;
            shared |= per_detection++ > 0 || per_track[t]++ > 0;
            any = true;
        }
    }
    return (overlaps){detections, tracks, any && !shared};
}

static void match_simple(const overlaps *all, sl_track_work *work, double threshold) {
    for (size_t d = 0; d < all->detections; d++)
        for (size_t t = 0; t < all->tracks; t++)
            if (work->overlap[d * all->tracks + t] > threshold) work->column_of_row[d] = (int32_t)t;
}

/* Largest sum of overlaps over all pairs, the poor ones included: they are told apart afterwards. */
static void match_densely(const overlaps *all, sl_track_work *work) {
    const size_t side = all->detections > all->tracks ? all->detections : all->tracks;
    for (size_t d = 0; d < side; d++)
        for (size_t t = 0; t < side; t++)
            work->dense.cost[d * side + t] =
                d < all->detections && t < all->tracks ? -work->overlap[d * all->tracks + t] : 0.0;
    sl_dense_solve(&work->dense, (int32_t)side);
    for (size_t d = 0; d < all->detections; d++)
        work->column_of_row[d] = work->dense.x[d] < (int32_t)all->tracks ? work->dense.x[d] : -1;
}

static void take_detection(const sl_tracker *tracker, const sl_track_work *work, sl_track *track, int32_t place) {
    const int32_t index = work->chosen[place];
    track->last_frame = tracker->frame;
    track->score = work->frame->scores[index];
    track->class_id = work->frame->classes == NULL ? 0 : work->frame->classes[index];
    track->detection = index;
}

/* Detections without a partner, then those whose partner overlaps too little: in this order ids are given. */
static size_t correct_all(sl_tracker *tracker, sl_track_work *work, const overlaps *all) {
    size_t births = 0;
    for (size_t d = 0; d < all->detections; d++)
        if (work->column_of_row[d] < 0) work->open[births++] = (int32_t)d;
    for (size_t d = 0; d < all->detections; d++) {
        const int32_t column = work->column_of_row[d];
        if (column < 0) continue;
        if (work->overlap[d * all->tracks + (size_t)column] < tracker->options.iou) {
            work->open[births++] = (int32_t)d;
            continue;
        }
        sl_track *track = sl_tracker_tracks(tracker) + sl_tracker_tracked(tracker)[column];
        sl_sort_correct(track, work->frame->boxes + 4 * (size_t)work->chosen[d]);
        take_detection(tracker, work, track, (int32_t)d);
        track->streak++;
    }
    return births;
}

static void add_births(sl_tracker *tracker, sl_track_work *work, size_t count) {
    const size_t kept = sl_keep_best(work, work->open, count, (size_t)tracker->spare_count);
    tracker->unborn += (int64_t)(count - kept);
    for (size_t k = 0; k < kept; k++) {
        const int32_t slot = sl_tracker_birth(tracker), place = work->open[k];
        if (slot < 0) {
            tracker->unborn++;
            continue;
        }
        sl_track *track = sl_tracker_tracks(tracker) + slot;
        sl_sort_start(track, work->frame->boxes + 4 * (size_t)work->chosen[place]);
        take_detection(tracker, work, track, place);
        sl_tracker_tracked(tracker)[tracker->tracked_count++] = slot;
    }
}

static void tell_and_drop(sl_tracker *tracker) {
    const sl_track_options *options = &tracker->options;
    int32_t kept = 0;
    for (int32_t i = 0; i < tracker->tracked_count; i++) {
        const int32_t slot = sl_tracker_tracked(tracker)[i];
        sl_track *track = sl_tracker_tracks(tracker) + slot;
        track->confirmed = track->streak >= options->min_hits || tracker->frame <= options->min_hits;
        swap_out(tracker, &kept, slot, tracker->frame - track->last_frame <= options->max_age);
    }
    tracker->tracked_count = kept;
}

void sl_sort_update(sl_tracker *tracker, sl_track_work *work) {
    predict_all(tracker, work);
    const overlaps all = measure_overlaps(tracker, work);
    for (size_t d = 0; d < all.detections; d++) work->column_of_row[d] = -1;
    if (all.simple)
        match_simple(&all, work, tracker->options.iou);
    else if (all.detections > 0 && all.tracks > 0)
        match_densely(&all, work);
    const size_t births = correct_all(tracker, work, &all);
    add_births(tracker, work, births);
    tell_and_drop(tracker);
}
