/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ByteTrack. The lists, their order, and what happens to removed and to duplicate tracks follow Ultralytics' BYTETracker
 * decision by decision; measures are float32 and the filter float64, as there.
 */
#include <string.h>

#include "tracks/tracks.h"

static const double SECOND_COST = 0.5, UNCONFIRMED_COST = 0.7;
static const float DUPLICATE_COST = 0.15F;

enum { REMEMBERED_REMOVALS = 1000 };

/* What one frame's steps share. Detections are places in work->chosen. */
typedef struct frame_step {
    sl_tracker *tracker;
    sl_track *tracks;
    sl_track_work *work;
    size_t pool_count; /* confirmed tracks, then lost ones */
    size_t rest_count; /* unconfirmed; in between, tracks that the first association left over */
    size_t returned_count;
    size_t open_count; /* detections with a high score that have no track yet */
} frame_step;

static void measure(const float *box, float *xyah) {
    const float width = box[2] - box[0], height = box[3] - box[1];
    const float centre_x = (box[0] + box[2]) / 2.0F, centre_y = (box[1] + box[3]) / 2.0F;
    const float left = (float)((double)centre_x - (double)width / 2.0);
    const float top = (float)((double)centre_y - (double)height / 2.0);
    xyah[0] = left + width / 2.0F;
    xyah[1] = top + height / 2.0F;
    xyah[2] = width / height;
    xyah[3] = height;
}

/* The box as the reference compares it: from left, top, width and height. */
static void compared_box(const float *box, float *xyxy) {
    const float width = box[2] - box[0], height = box[3] - box[1];
    xyxy[0] = (float)((double)((box[0] + box[2]) / 2.0F) - (double)width / 2.0);
    xyxy[1] = (float)((double)((box[1] + box[3]) / 2.0F) - (double)height / 2.0);
    xyxy[2] = width + xyxy[0];
    xyxy[3] = height + xyxy[1];
}

static float score_of(const frame_step *step, int32_t place) {
    return step->work->frame->scores[step->work->chosen[place]];
}

static bool is_high(const frame_step *step, int32_t place) {
    return score_of(step, place) >= (float)step->tracker->options.high_score;
}

/* Columns of the cost matrix: the boxes and scores of `count` detections. */
static void set_columns(const frame_step *step, const int32_t *places, size_t count) {
    float box[4];
    for (size_t k = 0; k < count; k++) {
        compared_box(step->work->frame->boxes + 4 * (size_t)step->work->chosen[places[k]], box);
        sl_boxes_set(&step->work->boxes, k, box);
        step->work->scores[k] = score_of(step, places[k]);
    }
}

/* Pairs whose Mahalanobis distance is too large are forbidden; only pairs below the limit are looked at. */
static void close_gate(const frame_step *step, const sl_track *track, const int32_t *places, size_t count,
                       double limit, float *cost) {
    for (size_t k = 0; k < count; k++) {
        if (!((double)cost[k] < limit)) continue;
        if (sl_byte_distance(track, step->work->measures + 4 * places[k]) > step->tracker->options.gate)
            cost[k] = INFINITY;
    }
}

/* Assigns tracks (slots) to detections (places); the result is in column_of_row and row_of_column. */
static void associate(const frame_step *step, const int32_t *slots, size_t slot_count, const int32_t *places,
                      size_t place_count, bool fuse, double limit) {
    sl_track_work *work = step->work;
    sl_cost_row *cost_row = sl_cost_row_now();
    set_columns(step, places, place_count);
    for (size_t row = 0; row < slot_count; row++) {
        float box[4], *cost = work->cost + row * place_count;
        const sl_track *track = step->tracks + slots[row];
        sl_byte_box(track, box);
        cost_row(box, &work->boxes, fuse ? work->scores : NULL, place_count, cost);
        if (step->tracker->options.gate > 0.0) close_gate(step, track, places, place_count, limit, cost);
    }
    sl_assign_gated(&work->assigner, work->cost, slot_count, place_count, limit, work->column_of_row,
                    work->row_of_column);
}

static void take_detection(const frame_step *step, sl_track *track, int32_t place) {
    const sl_track_frame *frame = step->work->frame;
    const int32_t index = step->work->chosen[place];
    track->last_frame = step->tracker->frame;
    track->score = frame->scores[index];
    track->class_id = frame->classes == NULL ? 0 : frame->classes[index];
    track->detection = index;
}

static void correct(const frame_step *step, sl_track *track, int32_t place) {
    sl_byte_correct(track, step->work->measures + 4 * place);
    take_detection(step, track, place);
    track->state = STATE_TRACKED;
    track->confirmed = true;
}

static void mark_removed(const frame_step *step, sl_track *track) {
    track->state = STATE_REMOVED;
    track->removed_now = ++step->tracker->removals;
}

/* ---- the steps ---- */

static void split_detections(frame_step *step) {
    sl_track_work *work = step->work;
    for (size_t i = 0; i < work->chosen_count; i++) {
        measure(work->frame->boxes + 4 * (size_t)work->chosen[i], work->measures + 4 * i);
        if (is_high(step, (int32_t)i)) work->open[step->open_count++] = (int32_t)i;
    }
}

static void gather_pool(frame_step *step) {
    sl_tracker *tracker = step->tracker;
    const int32_t *tracked = sl_tracker_tracked(tracker), *lost = sl_tracker_lost(tracker);
    for (int32_t i = 0; i < tracker->tracked_count; i++)
        if (step->tracks[tracked[i]].confirmed) step->work->pool[step->pool_count++] = tracked[i];
    for (int32_t i = 0; i < tracker->lost_count; i++) step->work->pool[step->pool_count++] = lost[i];
    for (size_t i = 0; i < step->pool_count; i++) sl_byte_predict(step->tracks + step->work->pool[i]);
}

/* Keeps what has no partner: detections in `open`. */
static void keep_open(frame_step *step) {
    size_t left = 0;
    for (size_t k = 0; k < step->open_count; k++)
        if (step->work->row_of_column[k] < 0) step->work->open[left++] = step->work->open[k];
    step->open_count = left;
}

/* Lost tracks that were found go to `returned`; seen ones without a detection stay in `rest`. */
static void associate_first(frame_step *step) {
    sl_track_work *work = step->work;
    const sl_track_options *options = &step->tracker->options;
    associate(step, work->pool, step->pool_count, work->open, step->open_count, options->fuse_score != 0,
              options->match_cost);
    for (size_t row = 0; row < step->pool_count; row++) {
        sl_track *track = step->tracks + work->pool[row];
        const int32_t column = work->column_of_row[row];
        if (column < 0) {
            if (track->state == STATE_TRACKED) work->rest[step->rest_count++] = work->pool[row];
            continue;
        }
        if (track->state != STATE_TRACKED) work->returned[step->returned_count++] = work->pool[row];
        correct(step, track, work->open[column]);
    }
    keep_open(step);
}

/* Low scores for the tracks left over; who gets none is lost now. */
static void associate_second(frame_step *step) {
    sl_track_work *work = step->work;
    size_t low_count = 0;
    for (size_t i = 0; i < work->chosen_count; i++)
        if (!is_high(step, (int32_t)i)) work->list[low_count++] = (int32_t)i;
    associate(step, work->rest, step->rest_count, work->list, low_count, false, SECOND_COST);
    for (size_t row = 0; row < step->rest_count; row++) {
        sl_track *track = step->tracks + work->rest[row];
        if (work->column_of_row[row] >= 0)
            correct(step, track, work->list[work->column_of_row[row]]);
        else
            track->state = STATE_LOST;
    }
}

static void associate_unconfirmed(frame_step *step) {
    sl_tracker *tracker = step->tracker;
    sl_track_work *work = step->work;
    const int32_t *tracked = sl_tracker_tracked(tracker);
    step->rest_count = 0;
    for (int32_t i = 0; i < tracker->tracked_count; i++)
        if (!step->tracks[tracked[i]].confirmed) work->rest[step->rest_count++] = tracked[i];
    if (step->rest_count == 0) return;
    associate(step, work->rest, step->rest_count, work->open, step->open_count,
              tracker->options.fuse_score != 0, UNCONFIRMED_COST);
    for (size_t row = 0; row < step->rest_count; row++) {
        sl_track *track = step->tracks + work->rest[row];
        if (work->column_of_row[row] >= 0)
            correct(step, track, work->open[work->column_of_row[row]]);
        else
            mark_removed(step, track);
    }
    keep_open(step);
}

static void remove_stale(const frame_step *step) {
    sl_tracker *tracker = step->tracker;
    const int32_t *lost = sl_tracker_lost(tracker);
    for (int32_t i = 0; i < tracker->lost_count; i++) {
        sl_track *track = step->tracks + lost[i];
        if (tracker->frame - track->last_frame > tracker->lost_frames) mark_removed(step, track);
    }
}

/*
 * The lists of the next frame. A removed track stays among the lost ones for one frame more, where a detection may
 * bring it back; once lost again it is forgotten at once, as the reference does it.
 */
static void merge_lists(const frame_step *step, uint64_t removals_before) {
    sl_tracker *tracker = step->tracker;
    int32_t *tracked = sl_tracker_tracked(tracker), *lost = sl_tracker_lost(tracker), *fresh = step->work->list;
    int32_t tracked_count = 0, lost_count = 0, fresh_count = 0;
    for (int32_t i = 0; i < tracker->lost_count; i++)
        if (step->tracks[lost[i]].state != STATE_TRACKED) lost[lost_count++] = lost[i];
    for (int32_t i = 0; i < tracker->tracked_count; i++) {
        const int32_t slot = tracked[i];
        if (step->tracks[slot].state == STATE_TRACKED) tracked[tracked_count++] = slot;
        else if (step->tracks[slot].state == STATE_LOST) fresh[fresh_count++] = slot;
        else sl_tracker_free(tracker, slot); /* unconfirmed, removed */
    }
    for (int32_t i = 0; i < fresh_count; i++) lost[lost_count++] = fresh[i];
    tracker->tracked_count = tracked_count;
    tracker->lost_count = 0;
    for (int32_t i = 0; i < lost_count; i++) {
        sl_track *track = step->tracks + lost[i];
        if (track->removed > 0 && track->removed + REMEMBERED_REMOVALS > removals_before) {
            sl_tracker_free(tracker, lost[i]);
            continue;
        }
        if (track->removed_now > 0) track->removed = track->removed_now;
        track->removed_now = 0;
        lost[tracker->lost_count++] = lost[i];
    }
}

/* Detections left over become tracks: high enough, and the best by score where room is short. */
static void add_births(const frame_step *step) {
    sl_tracker *tracker = step->tracker;
    sl_track_work *work = step->work;
    size_t count = 0;
    for (size_t k = 0; k < step->open_count; k++)
        if (!(score_of(step, work->open[k]) < (float)tracker->options.new_score)) work->open[count++] = work->open[k];
    const size_t kept = sl_keep_best(work, work->open, count, (size_t)tracker->spare_count);
    tracker->unborn += (int64_t)(count - kept);
    for (size_t k = 0; k < kept; k++) {
        const int32_t slot = sl_tracker_birth(tracker), place = work->open[k];
        if (slot < 0) {
            tracker->unborn++;
            continue;
        }
        sl_byte_start(step->tracks + slot, work->measures + 4 * place);
        take_detection(step, step->tracks + slot, place);
        step->tracks[slot].confirmed = tracker->frame == 1;
        sl_tracker_tracked(tracker)[tracker->tracked_count++] = slot;
    }
}

static void add_returned(const frame_step *step) {
    int32_t *tracked = sl_tracker_tracked(step->tracker);
    for (size_t k = 0; k < step->returned_count; k++)
        tracked[step->tracker->tracked_count++] = step->work->returned[k];
}

/* ---- a seen and a lost track in the same place: the one that lived longer stays ---- */

static void mark_duplicates(const frame_step *step) {
    sl_tracker *tracker = step->tracker;
    sl_track_work *work = step->work;
    const size_t lost_count = (size_t)tracker->lost_count;
    sl_cost_row *cost_row = sl_cost_row_now();
    float box[4];
    for (size_t k = 0; k < lost_count; k++) {
        sl_byte_box(step->tracks + sl_tracker_lost(tracker)[k], box);
        sl_boxes_set(&work->boxes, k, box);
    }
    for (int32_t i = 0; i < tracker->tracked_count; i++) {
        const sl_track *seen = step->tracks + sl_tracker_tracked(tracker)[i];
        sl_byte_box(seen, box);
        cost_row(box, &work->boxes, NULL, lost_count, work->cost);
        for (size_t k = 0; k < lost_count; k++) {
            if (!(work->cost[k] < DUPLICATE_COST)) continue;
            const sl_track *lost = step->tracks + sl_tracker_lost(tracker)[k];
            if (seen->last_frame - seen->first_frame > lost->last_frame - lost->first_frame) work->gone_lost[k] = true;
            else work->gone_tracked[i] = true;
        }
    }
}

static int32_t drop_marked(sl_tracker *tracker, int32_t *list, int32_t count, const bool *gone) {
    int32_t left = 0;
    for (int32_t i = 0; i < count; i++) {
        if (gone[i]) sl_tracker_free(tracker, list[i]);
        else list[left++] = list[i];
    }
    return left;
}

static void drop_duplicates(const frame_step *step) {
    sl_tracker *tracker = step->tracker;
    if (tracker->tracked_count == 0 || tracker->lost_count == 0) return;
    memset(step->work->gone_tracked, 0, (size_t)tracker->tracked_count * sizeof(bool));
    memset(step->work->gone_lost, 0, (size_t)tracker->lost_count * sizeof(bool));
    mark_duplicates(step);
    tracker->tracked_count =
        drop_marked(tracker, sl_tracker_tracked(tracker), tracker->tracked_count, step->work->gone_tracked);
    tracker->lost_count = drop_marked(tracker, sl_tracker_lost(tracker), tracker->lost_count, step->work->gone_lost);
}

void sl_byte_update(sl_tracker *tracker, sl_track_work *work) {
    frame_step step = {.tracker = tracker, .tracks = sl_tracker_tracks(tracker), .work = work};
    const uint64_t removals_before = tracker->removals;
    split_detections(&step);
    gather_pool(&step);
    associate_first(&step);
    associate_second(&step);
    associate_unconfirmed(&step);
    remove_stale(&step);
    merge_lists(&step, removals_before);
    add_births(&step);
    add_returned(&step);
    drop_duplicates(&step);
}
