/* SPDX-License-Identifier: Apache-2.0 */
/* One frame of each camera: which detections take part, then the camera's own method. */
#include "boxes/boxes.h"
#include "tracks/tracks.h"

static size_t larger_size(size_t a, size_t b) { return a > b ? a : b; }

static void take_sort(sl_track_work *work, sl_arena *arena, size_t tracks, size_t detections) {
    work->predicted = sl_arena_take(arena, tracks * 4, sizeof(double));
    work->overlap = sl_arena_take(arena, tracks * detections, sizeof(double));
    sl_dense_take(&work->dense, arena, larger_size(tracks, detections));
}

static void take_byte(sl_track_work *work, sl_arena *arena, size_t tracks, size_t detections) {
    const size_t columns = larger_size(tracks, detections); /* tracked against lost ones at the end */
    work->measures = sl_arena_take(arena, detections * 4, sizeof(float));
    work->scores = sl_arena_take(arena, detections, sizeof(float));
    work->cost = sl_arena_take(arena, tracks * detections, sizeof(float));
    work->gone_tracked = sl_arena_take(arena, tracks, sizeof(bool));
    work->gone_lost = sl_arena_take(arena, tracks, sizeof(bool));
    sl_boxes_take(&work->boxes, arena, columns);
    sl_assigner_take(&work->assigner, arena, tracks, detections);
}

static void take_work(sl_track_work *work, sl_arena *arena, const sl_track_options *options, size_t count) {
    const size_t tracks = (size_t)options->max_tracks, most = (size_t)options->max_detections;
    work->chosen = sl_arena_take(arena, count, sizeof(int32_t));
    work->keys = sl_arena_take(arena, count, sizeof(uint64_t));
    work->spare_keys = sl_arena_take(arena, count, sizeof(uint64_t));
    work->pool = sl_arena_take(arena, tracks, sizeof(int32_t));
    work->rest = sl_arena_take(arena, tracks, sizeof(int32_t));
    work->returned = sl_arena_take(arena, tracks, sizeof(int32_t));
    work->open = sl_arena_take(arena, most, sizeof(int32_t));
    work->list = sl_arena_take(arena, larger_size(tracks, most), sizeof(int32_t));
    work->column_of_row = sl_arena_take(arena, larger_size(tracks, most), sizeof(int32_t));
    work->row_of_column = sl_arena_take(arena, larger_size(tracks, most), sizeof(int32_t));
    if (options->method == SL_SORT)
        take_sort(work, arena, tracks, most);
    else
        take_byte(work, arena, tracks, most);
}

/* ---- which detections take part ---- */

static bool small(float coordinate) { return fabsf(coordinate) <= (float)SL_MAX_TRACK_COORDINATE; }

static bool acceptable(const float *box, float score) {
    if (!(score >= 0.0F && score <= 1.0F)) return false;
    if (!(small(box[0]) && small(box[1]) && small(box[2]) && small(box[3]))) return false;
    const float width = box[2] - box[0], height = box[3] - box[1];
    return width > 0.0F && height > 0.0F && isfinite(width / height) && width / height > 0.0F;
}

static int by_number(uint64_t key) { return (int)sl_order_index(key); }

size_t sl_keep_best(const sl_track_work *work, int32_t *list, size_t count, size_t room) {
    if (count <= room) return count;
    for (size_t i = 0; i < count; i++)
        work->keys[i] = sl_order_key(work->frame->scores[work->chosen[list[i]]], (uint32_t)i);
    const uint64_t *sorted = sl_order_sort(work->keys, work->spare_keys, count);
    int32_t *mark = work->list;
    for (size_t i = 0; i < count; i++) mark[i] = 0;
    for (size_t i = 0; i < room; i++) mark[by_number(sorted[i])] = 1;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (mark[i]) list[kept++] = list[i];
    return kept;
}

/* Too many: the best by score, still in the order of their indices. */
static void choose_best(sl_track_work *work, size_t room) {
    uint64_t *keys = work->keys, least = 0;
    for (size_t i = 0; i < work->chosen_count; i++)
        keys[i] = sl_order_key(work->frame->scores[work->chosen[i]], (uint32_t)i);
    least = sl_order_sort(keys, work->spare_keys, work->chosen_count)[room - 1];
    size_t kept = 0;
    for (size_t i = 0; i < work->chosen_count; i++)
        if (sl_order_key(work->frame->scores[work->chosen[i]], (uint32_t)i) <= least)
            work->chosen[kept++] = work->chosen[i];
    work->chosen_count = kept;
}

static void choose(sl_tracker *tracker, sl_track_work *work) {
    const sl_track_frame *frame = work->frame;
    const float above = tracker->options.method == SL_SORT ? -1.0F : (float)tracker->options.low_score;
    const float high = (float)tracker->options.high_score;
    const size_t room = (size_t)tracker->options.max_detections;
    for (size_t i = 0; i < frame->count; i++) {
        const float score = frame->scores[i];
        const bool accepted = acceptable(frame->boxes + 4 * i, score);
        frame->ids[i] = accepted ? 0 : -1;
        tracker->refused += !accepted;
        if (accepted && (score > above || score >= high)) work->chosen[work->chosen_count++] = (int32_t)i;
    }
    if (work->chosen_count <= room) return;
    tracker->dropped += (int64_t)(work->chosen_count - room);
    choose_best(work, room);
}

void sl_tell_ids(sl_tracker *tracker, const sl_track_work *work) {
    const int32_t *tracked = sl_tracker_tracked(tracker);
    for (int32_t i = 0; i < tracker->tracked_count; i++) {
        const sl_track *track = sl_tracker_tracks(tracker) + tracked[i];
        if (track->confirmed && track->last_frame == tracker->frame) work->frame->ids[track->detection] = track->id;
    }
}

/* ---- all cameras ---- */

static size_t scratch_for(const sl_track_options *options, size_t count) {
    sl_track_work work = {0};
    sl_arena arena = sl_arena_over(NULL, 0);
    take_work(&work, &arena, options, count);
    return sl_arena_bytes(&arena);
}

static sl_status check_camera(void *memory, const sl_track_frame *frame, size_t scratch_bytes) {
    if (memory == NULL) return SL_ERROR_NULL;
    const sl_tracker *tracker = sl_tracker_of(memory);
    if (tracker == NULL) return SL_ERROR_FORMAT;
    if (frame->count > SL_MAX_ANCHORS) return SL_ERROR_SIZE;
    if (frame->count > 0 && (frame->boxes == NULL || frame->scores == NULL || frame->ids == NULL))
        return SL_ERROR_NULL;
    return scratch_for(&tracker->options, frame->count) > scratch_bytes ? SL_ERROR_SCRATCH : SL_OK;
}

size_t sl_tracks_scratch_bytes(void *const *trackers, const sl_track_frame *frames, size_t cameras) {
    size_t most = 0;
    if (trackers == NULL || frames == NULL || cameras > SL_MAX_CAMERAS) return 0;
    for (size_t i = 0; i < cameras; i++) {
        const sl_tracker *tracker = trackers[i] == NULL ? NULL : sl_tracker_of(trackers[i]);
        if (tracker == NULL || frames[i].count > SL_MAX_ANCHORS) return 0;
        most = larger_size(most, scratch_for(&tracker->options, frames[i].count));
    }
    return most;
}

sl_status sl_tracks_update(void *const *trackers, const sl_track_frame *frames, size_t cameras, void *scratch,
                           size_t scratch_bytes) {
    if (cameras == 0) return SL_OK;
    if (trackers == NULL || frames == NULL || scratch == NULL) return SL_ERROR_NULL;
    if (cameras > SL_MAX_CAMERAS) return SL_ERROR_SIZE;
    for (size_t i = 0; i < cameras; i++) {
        const sl_status status = check_camera(trackers[i], frames + i, scratch_bytes);
        if (status != SL_OK) return status;
    }
    for (size_t i = 0; i < cameras; i++) {
        sl_tracker *tracker = sl_tracker_of(trackers[i]);
        sl_track_work work = {.frame = frames + i};
        sl_arena arena = sl_arena_over(scratch, scratch_bytes);
        take_work(&work, &arena, &tracker->options, frames[i].count);
        tracker->frame++;
        choose(tracker, &work);
        if (tracker->options.method == SL_SORT)
            sl_sort_update(tracker, &work);
        else
            sl_byte_update(tracker, &work);
        sl_tell_ids(tracker, &work);
    }
    return SL_OK;
}
