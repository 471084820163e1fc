/* SPDX-License-Identifier: Apache-2.0 */
/* The block of one camera: a header, the tracks, then three lists of slots. Offsets only, so that it can be moved. */
#include <string.h>

#include "tracks/tracks.h"

static const uint64_t MAGIC = 0x534C545241434B31U; /* "SLTRACK1" */

enum { ALIGNMENT = 8, MAX_FRAMES = 1000000, MAX_FRAME_RATE = 1000 };

_Static_assert(sizeof(sl_tracker) % ALIGNMENT == 0, "tracks follow the header");
_Static_assert(sizeof(sl_track) % ALIGNMENT == 0, "lists follow the tracks");

sl_status sl_track_defaults(sl_track_method method, sl_track_options *options) {
    if (options == NULL) return SL_ERROR_NULL;
    if (method != SL_BYTETRACK && method != SL_SORT) return SL_ERROR_FORMAT;
    *options = (sl_track_options){.method = method,
                                  .max_tracks = 512,
                                  .max_detections = 512,
                                  .high_score = 0.25,
                                  .low_score = 0.1,
                                  .new_score = 0.25,
                                  .match_cost = 0.8,
                                  .fuse_score = 1,
                                  .buffer_frames = 30,
                                  .frame_rate = 30.0,
                                  .gate = 0.0,
                                  .max_age = 1,
                                  .min_hits = 3,
                                  .iou = 0.3};
    return SL_OK;
}

static bool within(double value, double low, double high) { return value >= low && value <= high; }

static bool usable(const sl_track_options *o) {
    return (o->method == SL_BYTETRACK || o->method == SL_SORT) && within(o->max_tracks, 1, SL_MAX_TRACKS) &&
           within(o->max_detections, 1, SL_MAX_TRACK_DETECTIONS) && within(o->high_score, 0.0, 1.0) &&
           within(o->low_score, 0.0, o->high_score) && within(o->new_score, 0.0, 1.0) &&
           within(o->match_cost, 0.0, 1.0) && within(o->fuse_score, 0, 1) &&
           within(o->buffer_frames, 0, MAX_FRAMES) && within(o->frame_rate, 0.0, MAX_FRAME_RATE) &&
           within(o->gate, 0.0, 1e12) && within(o->max_age, 0, MAX_FRAMES) && within(o->min_hits, 0, MAX_FRAMES) &&
           o->iou > 0.0 && o->iou <= 1.0;
}

size_t sl_tracker_size(const sl_track_options *options) {
    const size_t tracks = (size_t)options->max_tracks;
    return sizeof(sl_tracker) + tracks * (sizeof(sl_track) + 3 * sizeof(int32_t));
}

size_t sl_tracker_bytes(const sl_track_options *options) {
    return options != NULL && usable(options) ? sl_tracker_size(options) : 0;
}

sl_track *sl_tracker_tracks(sl_tracker *tracker) { return (sl_track *)(void *)(tracker + 1); }

int32_t *sl_tracker_tracked(sl_tracker *tracker) {
    return (int32_t *)(void *)(sl_tracker_tracks(tracker) + tracker->options.max_tracks);
}

int32_t *sl_tracker_lost(sl_tracker *tracker) { return sl_tracker_tracked(tracker) + tracker->options.max_tracks; }

static int32_t *spare_of(sl_tracker *tracker) { return sl_tracker_lost(tracker) + tracker->options.max_tracks; }

sl_tracker *sl_tracker_of(void *memory) {
    if ((uintptr_t)memory % ALIGNMENT != 0) return NULL;
    sl_tracker *tracker = memory;
    return tracker->magic == MAGIC ? tracker : NULL;
}

sl_status sl_tracker_init(const sl_track_options *options, void *memory, size_t bytes) {
    if (options == NULL || memory == NULL) return SL_ERROR_NULL;
    if (!usable(options) || (uintptr_t)memory % ALIGNMENT != 0) return SL_ERROR_VALUE;
    if (bytes < sl_tracker_size(options)) return SL_ERROR_BYTES;
    memset(memory, 0, sl_tracker_size(options));
    sl_tracker *tracker = memory;
    tracker->magic = MAGIC;
    tracker->options = *options;
    tracker->next_id = 1;
    tracker->lost_frames = (int64_t)(options->frame_rate / 30.0 * options->buffer_frames);
    tracker->spare_count = options->max_tracks;
    int32_t *spare = spare_of(tracker);
    for (int32_t i = 0; i < options->max_tracks; i++) spare[i] = options->max_tracks - 1 - i;
    return SL_OK;
}

int32_t sl_tracker_birth(sl_tracker *tracker) {
    if (tracker->spare_count == 0 || tracker->next_id == INT64_MAX) return -1;
    const int32_t slot = spare_of(tracker)[--tracker->spare_count];
    sl_track *track = sl_tracker_tracks(tracker) + slot;
    memset(track, 0, sizeof *track);
    track->id = tracker->next_id++;
    track->state = STATE_TRACKED;
    track->first_frame = track->last_frame = tracker->frame;
    return slot;
}

void sl_tracker_free(sl_tracker *tracker, int32_t slot) { spare_of(tracker)[tracker->spare_count++] = slot; }

/* ---- reading ---- */

static void write_box(const sl_tracker *tracker, const sl_track *track, float *out) {
    double box[4];
    if (tracker->options.method == SL_BYTETRACK) {
        sl_byte_box(track, out);
        return;
    }
    sl_sort_box(track, box);
    for (int k = 0; k < 4; k++) out[k] = (float)box[k];
}

static sl_track_state told_state(const sl_tracker *tracker, const sl_track *track, bool lost) {
    if (lost || track->last_frame < tracker->frame) return SL_TRACK_LOST;
    return track->confirmed ? SL_TRACK_SEEN : SL_TRACK_UNCONFIRMED;
}

static void write_track(const sl_tracker *tracker, const sl_track *track, bool lost, const sl_track_list *out,
                        size_t at) {
    if (out->ids) out->ids[at] = track->id;
    if (out->boxes) write_box(tracker, track, out->boxes + 4 * at);
    if (out->scores) out->scores[at] = track->score;
    if (out->classes) out->classes[at] = track->class_id;
    if (out->states) out->states[at] = (int32_t)told_state(tracker, track, lost);
    if (out->detections) out->detections[at] = track->last_frame == tracker->frame ? track->detection : -1;
    if (out->first_frames) out->first_frames[at] = track->first_frame;
    if (out->last_frames) out->last_frames[at] = track->last_frame;
}

/* A const view; nothing is written through the pointers that it leads to. */
static sl_tracker *view_of(const void *memory) { return sl_tracker_of((void *)(uintptr_t)memory); }

sl_status sl_tracks_read(const void *memory, const sl_track_list *out, size_t *count) {
    if (memory == NULL || out == NULL || count == NULL) return SL_ERROR_NULL;
    sl_tracker *tracker = view_of(memory);
    if (tracker == NULL) return SL_ERROR_FORMAT;
    const sl_track *tracks = sl_tracker_tracks(tracker);
    size_t written = 0;
    for (int32_t i = 0; i < tracker->tracked_count && written < out->capacity; i++)
        write_track(tracker, tracks + sl_tracker_tracked(tracker)[i], false, out, written++);
    for (int32_t i = 0; i < tracker->lost_count && written < out->capacity; i++)
        write_track(tracker, tracks + sl_tracker_lost(tracker)[i], true, out, written++);
    *count = written;
    return SL_OK;
}

sl_status sl_tracks_count(const void *memory, sl_track_counts *counts) {
    if (memory == NULL || counts == NULL) return SL_ERROR_NULL;
    const sl_tracker *tracker = view_of(memory);
    if (tracker == NULL) return SL_ERROR_FORMAT;
    *counts = (sl_track_counts){.frames = tracker->frame,
                                .next_id = tracker->next_id,
                                .refused_detections = tracker->refused,
                                .dropped_detections = tracker->dropped,
                                .dropped_births = tracker->unborn,
                                .tracks = tracker->tracked_count + tracker->lost_count};
    return SL_OK;
}
