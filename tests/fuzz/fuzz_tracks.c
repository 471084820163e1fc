/* Invariant: any detections give each an id of -1, 0 or a track's own, no id twice, finite boxes; -1 leaves no trace. */
/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdbool.h>

#include "input.h"

enum { TRACKS = 8, DETECTIONS = 6 };

typedef struct frame {
    float boxes[4 * DETECTIONS], scores[DETECTIONS];
    int64_t ids[DETECTIONS];
    size_t count;
} frame;

/* Near each other more often than not, so that tracks meet; now and then raw bits. */
static float coordinate(fuzz_input *input, float low) {
    const uint8_t kind = fuzz_u8(input);
    if (kind < 250) return low + (float)(kind % 64);
    const uint32_t bits = fuzz_u32(input);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void read_frame(fuzz_input *input, frame *f) {
    f->count = fuzz_u8(input) % (DETECTIONS + 1);
    for (size_t i = 0; i < f->count; i++) {
        float *box = f->boxes + 4 * i;
        box[0] = coordinate(input, 0.0F);
        box[1] = coordinate(input, 0.0F);
        box[2] = coordinate(input, box[0]);
        box[3] = coordinate(input, box[1]);
        f->scores[i] = coordinate(input, 0.0F) / 63.0F;
    }
}

static void *new_tracker(const sl_track_options *options) {
    const size_t bytes = sl_tracker_bytes(options);
    void *memory = fuzz_block(bytes);
    FUZZ_CHECK(bytes > 0 && sl_tracker_init(options, memory, bytes) == SL_OK);
    return memory;
}

static sl_track_options read_options(fuzz_input *input) {
    sl_track_options options;
    FUZZ_CHECK(sl_track_defaults(fuzz_u8(input) & 1 ? SL_SORT : SL_BYTETRACK, &options) == SL_OK);
    options.max_tracks = fuzz_between(input, 1, TRACKS);
    options.max_detections = fuzz_between(input, 1, DETECTIONS);
    options.buffer_frames = options.max_age = fuzz_between(input, 0, 3);
    options.min_hits = fuzz_between(input, 0, 2);
    options.fuse_score = fuzz_u8(input) & 1;
    options.match_cost = fuzz_between(input, 0, 100) / 100.0;
    options.gate = fuzz_u8(input) & 1 ? 9.4877 : 0.0;
    return options;
}

static void check_ids(const void *tracker, const frame *f) {
    int64_t ids[TRACKS];
    float boxes[4 * TRACKS];
    int32_t states[TRACKS], detections[TRACKS];
    sl_track_list list = {.ids = ids, .boxes = boxes, .states = states, .detections = detections, .capacity = TRACKS};
    size_t tracks = 0, told = 0;
    FUZZ_CHECK(sl_tracks_read(tracker, &list, &tracks) == SL_OK);
    for (size_t i = 0; i < tracks; i++) {
        for (size_t k = 0; k < 4; k++) FUZZ_CHECK(isfinite(boxes[4 * i + k]));
        for (size_t k = 0; k < i; k++) FUZZ_CHECK(ids[k] != ids[i]);
        if (states[i] != SL_TRACK_SEEN) continue;
        FUZZ_CHECK(detections[i] >= 0 && (size_t)detections[i] < f->count && f->ids[detections[i]] == ids[i]);
        told++;
    }
    for (size_t i = 0; i < f->count; i++) {
        FUZZ_CHECK(f->ids[i] >= -1);
        told -= f->ids[i] > 0;
    }
    FUZZ_CHECK(told == 0);
}

static void update_all(void **trackers, frame *frames, size_t cameras) {
    sl_track_frame given[2];
    for (size_t i = 0; i < cameras; i++)
        given[i] = (sl_track_frame){frames[i].boxes, frames[i].scores, NULL, frames[i].count, frames[i].ids};
    const size_t bytes = sl_tracks_scratch_bytes(trackers, given, cameras);
    void *scratch = fuzz_block(bytes);
    FUZZ_CHECK(bytes > 0 && sl_tracks_update(trackers, given, cameras, scratch, bytes) == SL_OK);
    free(scratch);
}

/* The detections that were not refused, and how many ids agree with them. */
static frame accepted_of(const frame *f) {
    frame kept = {.count = 0};
    for (size_t i = 0; i < f->count; i++) {
        if (f->ids[i] < 0) continue;
        memcpy(kept.boxes + 4 * kept.count, f->boxes + 4 * i, 16);
        kept.scores[kept.count++] = f->scores[i];
    }
    return kept;
}

static void compare(const frame *f, const frame *kept) {
    size_t at = 0;
    for (size_t i = 0; i < f->count; i++)
        if (f->ids[i] >= 0) FUZZ_CHECK(kept->ids[at++] == f->ids[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    const sl_track_options options[2] = {read_options(&input), read_options(&input)};
    void *trackers[2] = {new_tracker(options), new_tracker(options + 1)}, *shadow = new_tracker(options);
    for (int step = 0; step < 6 && input.left > 0; step++) {
        frame frames[2];
        read_frame(&input, frames);
        read_frame(&input, frames + 1);
        update_all(trackers, frames, 2);
        frame kept = accepted_of(frames);
        update_all(&shadow, &kept, 1);
        compare(frames, &kept);
        check_ids(trackers[0], frames);
        check_ids(trackers[1], frames + 1);
    }
    free(shadow);
    free(trackers[1]);
    free(trackers[0]);
    return 0;
}
