/* SPDX-License-Identifier: Apache-2.0 */
/* Tracks: capacities, hostile values, moved memory, exact assignment. */
#include <stdbool.h>

#include "check.h"

enum { COUNT = 40 };

typedef struct camera {
    void *memory;
    size_t bytes;
    sl_track_options options;
} camera;

static camera new_camera(sl_track_method method, int32_t tracks, int32_t detections) {
    camera made;
    CHECK(sl_track_defaults(method, &made.options) == SL_OK);
    made.options.max_tracks = tracks;
    made.options.max_detections = detections;
    made.bytes = sl_tracker_bytes(&made.options);
    made.memory = exact(made.bytes);
    CHECK(made.bytes > 0 && sl_tracker_init(&made.options, made.memory, made.bytes) == SL_OK);
    return made;
}

/* Updates with copies of exact size, so that a step beyond them is seen; the caller's ids are written. */
static sl_status update(void *tracker, const float *boxes, const float *scores, size_t count, int64_t *ids) {
    float *box_copy = exact(count * 16), *score_copy = exact(count * 4);
    int32_t *classes = exact(count * 4);
    memcpy(box_copy, boxes, count * 16);
    memcpy(score_copy, scores, count * 4);
    for (size_t i = 0; i < count; i++) classes[i] = (int32_t)i;
    sl_track_frame frame = {box_copy, score_copy, classes, count, ids};
    const size_t bytes = sl_tracks_scratch_bytes(&tracker, &frame, 1);
    void *scratch = exact(bytes);
    CHECK(bytes > 0);
    sl_status status = sl_tracks_update(&tracker, &frame, 1, scratch, bytes);
    free(scratch);
    free(classes);
    free(score_copy);
    free(box_copy);
    return status;
}

static sl_track_counts counts_of(const void *tracker) {
    sl_track_counts counts;
    CHECK(sl_tracks_count(tracker, &counts) == SL_OK);
    return counts;
}

/* What must hold after every frame. */
static void check_tracker(const camera *c, const int64_t *ids, size_t count) {
    const sl_track_counts counts = counts_of(c->memory);
    const size_t room = (size_t)c->options.max_tracks;
    int64_t *track_ids = exact(room * 8);
    float *boxes = exact(room * 16);
    int32_t *states = exact(room * 4), *detections = exact(room * 4);
    size_t tracks = 0;
    sl_track_list list = {.ids = track_ids, .boxes = boxes, .states = states, .detections = detections, .capacity = room};
    CHECK(sl_tracks_read(c->memory, &list, &tracks) == SL_OK);
    CHECK(tracks == (size_t)counts.tracks && tracks <= room);
    for (size_t i = 0; i < count; i++) {
        CHECK(ids[i] >= -1 && ids[i] < counts.next_id);
        for (size_t k = 0; k < i; k++) CHECK(ids[i] <= 0 || ids[i] != ids[k]);
    }
    for (size_t i = 0; i < tracks; i++) {
        CHECK(track_ids[i] >= 1 && track_ids[i] < counts.next_id);
        for (size_t k = 0; k < i; k++) CHECK(track_ids[i] != track_ids[k]);
        for (size_t k = 0; k < 4; k++) CHECK(isfinite(boxes[4 * i + k]));
        if (states[i] != SL_TRACK_SEEN) continue;
        CHECK(detections[i] >= 0 && (size_t)detections[i] < count && ids[detections[i]] == track_ids[i]);
    }
    add_to_checksum(track_ids, tracks * 8);
    add_to_checksum(boxes, tracks * 16);
    free(detections);
    free(states);
    free(boxes);
    free(track_ids);
}

static void random_frame(float *boxes, float *scores, size_t count, bool hostile) {
    const float strange[] = {NAN, INFINITY, -INFINITY, 3e38F, -3e38F, 1e-40F, 0.0F, 16777216.0F, -1.0F};
    for (size_t i = 0; i < count; i++) {
        float *box = boxes + 4 * i;
        box[0] = (float)between(0, 300);
        box[1] = (float)between(0, 200);
        box[2] = box[0] + 5.0F + 60.0F * unit();
        box[3] = box[1] + 5.0F + 60.0F * unit();
        scores[i] = unit();
        if (hostile && next_random() % 4 == 0) box[between(0, 3)] = strange[between(0, 8)];
        if (hostile && next_random() % 8 == 0) scores[i] = strange[between(0, 8)];
    }
}

static void test_random_frames(sl_track_method method, bool hostile) {
    const int32_t rooms[] = {1, 3, COUNT, 2 * COUNT};
    for (int r = 0; r < 16; r++) {
        camera c = new_camera(method, rooms[r % 4], rooms[r / 4]);
        for (int f = 0; f < 30; f++) {
            float boxes[4 * COUNT], scores[COUNT];
            int64_t ids[COUNT];
            const size_t count = (size_t)between(0, COUNT);
            random_frame(boxes, scores, count, hostile);
            CHECK(update(c.memory, boxes, scores, count, ids) == SL_OK);
            check_tracker(&c, ids, count);
            add_to_checksum(ids, count * 8);
        }
        free(c.memory);
    }
}

/* Refused detections leave no trace: the others are tracked as if they had not been there. */
static void test_refused_leave_no_trace(sl_track_method method) {
    camera with = new_camera(method, COUNT, COUNT), without = new_camera(method, COUNT, COUNT);
    float boxes[4 * 12], scores[12];
    int64_t ids[12], clean_ids[6];
    random_frame(boxes, scores, 6, false);
    for (int f = 0; f < 12; f++) {
        float mixed[4 * 12], mixed_scores[12];
        for (size_t i = 0; i < 24; i++) boxes[i] += unit();
        for (size_t i = 0; i < 6; i++) {
            memcpy(mixed + 8 * i, boxes + 4 * i, 16);
            memcpy(mixed + 8 * i + 4, boxes + 4 * i, 16);
            mixed_scores[2 * i] = mixed_scores[2 * i + 1] = scores[i];
        }
        mixed[4] = NAN;
        mixed[8 + 5] = INFINITY;
        mixed[16 + 6] = mixed[16 + 4];          /* no width */
        mixed[24 + 7] = mixed[24 + 5] - 1.0F;   /* negative height */
        mixed[32 + 6] = 1e30F;
        mixed_scores[11] = NAN;
        CHECK(update(with.memory, mixed, mixed_scores, 12, ids) == SL_OK);
        CHECK(update(without.memory, boxes, scores, 6, clean_ids) == SL_OK);
        for (size_t i = 0; i < 6; i++) CHECK(ids[2 * i] == clean_ids[i] && ids[2 * i + 1] == -1);
    }
    CHECK(counts_of(with.memory).refused_detections == 6 * 12);
    free(with.memory);
    free(without.memory);
}

static void test_best_by_score_when_full(void) {
    camera few_tracks = new_camera(SL_BYTETRACK, 2, 8), few_detections = new_camera(SL_BYTETRACK, 8, 2);
    const float boxes[16] = {0, 0, 9, 9, 20, 0, 29, 9, 40, 0, 49, 9, 60, 0, 69, 9}, scores[4] = {.5F, .9F, .6F, .9F};
    const camera *both[] = {&few_tracks, &few_detections};
    for (int i = 0; i < 2; i++) {
        int64_t ids[4];
        CHECK(update(both[i]->memory, boxes, scores, 4, ids) == SL_OK);
        CHECK(ids[0] == 0 && ids[1] == 1 && ids[2] == 0 && ids[3] == 2);
    }
    CHECK(counts_of(few_tracks.memory).dropped_births == 2);
    CHECK(counts_of(few_detections.memory).dropped_detections == 2);
    free(few_tracks.memory);
    free(few_detections.memory);
}

/* A tracker holds no pointers: a copy in another place goes on as the original does. */
static void test_moved_memory(sl_track_method method) {
    camera c = new_camera(method, COUNT, COUNT);
    unsigned char *copy = exact(c.bytes);
    float boxes[4 * COUNT], scores[COUNT];
    int64_t ids[COUNT], copy_ids[COUNT];
    for (int f = 0; f < 20; f++) {
        random_frame(boxes, scores, COUNT, false);
        memcpy(copy, c.memory, c.bytes);
        CHECK(update(c.memory, boxes, scores, COUNT, ids) == SL_OK);
        CHECK(update(copy, boxes, scores, COUNT, copy_ids) == SL_OK);
        CHECK(memcmp(ids, copy_ids, sizeof ids) == 0);
    }
    free(copy);
    free(c.memory);
}

static void test_refusals(void) {
    camera c = new_camera(SL_BYTETRACK, 4, 4);
    sl_track_options bad = c.options;
    float box[4] = {0, 0, 9, 9}, score = 0.9F;
    int64_t id = 7;
    sl_track_frame frame = {box, &score, NULL, 1, &id};
    void *trackers[2] = {c.memory, NULL};
    sl_track_frame frames[2] = {frame, frame};
    const size_t bytes = sl_tracks_scratch_bytes(trackers, frames, 1);
    void *scratch = exact(bytes);
    CHECK(sl_tracks_update(trackers, frames, 1, scratch, bytes / 2) == SL_ERROR_SCRATCH);
    CHECK(sl_tracks_update(trackers, frames, 2, scratch, bytes) == SL_ERROR_NULL);
    CHECK(sl_tracks_update(trackers, frames, SIZE_MAX, scratch, bytes) == SL_ERROR_SIZE);
    CHECK(sl_tracks_update(NULL, frames, 1, scratch, bytes) == SL_ERROR_NULL);
    CHECK(sl_tracks_update(NULL, NULL, 0, NULL, 0) == SL_OK);
    frames[0].count = SIZE_MAX;
    CHECK(sl_tracks_update(trackers, frames, 1, scratch, bytes) == SL_ERROR_SIZE);
    CHECK(sl_tracks_scratch_bytes(trackers, frames, 1) == 0);
    frames[0] = (sl_track_frame){box, NULL, NULL, 1, &id};
    CHECK(sl_tracks_update(trackers, frames, 1, scratch, bytes) == SL_ERROR_NULL);
    CHECK(id == 7 && counts_of(c.memory).frames == 0);
    CHECK(sl_tracker_init(&c.options, c.memory, c.bytes - 1) == SL_ERROR_BYTES);
    CHECK(sl_tracker_init(NULL, c.memory, c.bytes) == SL_ERROR_NULL);
    bad.match_cost = NAN;
    CHECK(sl_tracker_bytes(&bad) == 0 && sl_tracker_init(&bad, c.memory, c.bytes) == SL_ERROR_VALUE);
    bad = c.options;
    bad.max_tracks = SL_MAX_TRACKS + 1;
    CHECK(sl_tracker_bytes(&bad) == 0);
    CHECK(sl_track_defaults((sl_track_method)9, &bad) == SL_ERROR_FORMAT);
    memset(c.memory, 0, c.bytes);
    frames[0] = frame;
    CHECK(sl_tracks_update(trackers, frames, 1, scratch, bytes) == SL_ERROR_FORMAT);
    free(scratch);
    free(c.memory);
}

/* ---- assignment ---- */

static double best_sum(const float *cost, size_t rows, size_t columns, double limit, size_t row, unsigned taken) {
    if (row == rows) return 0.0;
    double best = best_sum(cost, rows, columns, limit, row + 1, taken);
    for (size_t c = 0; c < columns; c++) {
        const double gain = (double)cost[row * columns + c] - limit;
        if ((taken >> c & 1U) || !(gain < 0.0)) continue;
        const double sum = gain + best_sum(cost, rows, columns, limit, row + 1, taken | 1U << c);
        if (sum < best) best = sum;
    }
    return best;
}

static void assign_once(size_t rows, size_t columns, bool ties, double limit) {
    float *cost = exact(rows * columns * 4);
    int32_t *column_of_row = exact(rows * 4), *row_of_column = exact(columns * 4);
    const size_t bytes = sl_assign_scratch_bytes(rows, columns);
    void *scratch = exact(bytes);
    for (size_t i = 0; i < rows * columns; i++) {
        cost[i] = ties ? (float)between(0, 3) / 3.0F : unit();
        if (next_random() % 9 == 0) cost[i] = next_random() & 1 ? NAN : INFINITY;
    }
    CHECK(sl_assign(cost, rows, columns, limit, column_of_row, row_of_column, scratch, bytes) == SL_OK);
    double sum = 0.0;
    for (size_t r = 0; r < rows; r++) {
        if (column_of_row[r] < 0) continue;
        CHECK((size_t)column_of_row[r] < columns && row_of_column[column_of_row[r]] == (int32_t)r);
        sum += (double)cost[r * columns + (size_t)column_of_row[r]] - limit;
    }
    for (size_t c = 0; c < columns; c++)
        CHECK(row_of_column[c] < 0 || column_of_row[row_of_column[c]] == (int32_t)c);
    CHECK(fabs(sum - best_sum(cost, rows, columns, limit, 0, 0)) < 1e-9);
    if (!ties) add_to_checksum(column_of_row, rows * 4);
    free(scratch);
    free(row_of_column);
    free(column_of_row);
    free(cost);
}

static void test_assign(void) {
    const double limits[] = {0.15, 0.4, 0.8, 2.0, 0.0};
    for (int i = 0; i < 3000; i++) {
        int32_t rows = between(0, 6), columns = between(0, 6);
        assign_once((size_t)rows, (size_t)columns, i & 1, limits[next_random() % 5]);
    }
    float cost = -INFINITY;
    int32_t row, column;
    unsigned char scratch[2048];
    CHECK(sl_assign(&cost, 1, 1, 0.5, &row, &column, scratch, sizeof scratch) == SL_ERROR_VALUE);
    CHECK(sl_assign(&cost, 1, 1, INFINITY, &row, &column, scratch, sizeof scratch) == SL_ERROR_VALUE);
    CHECK(sl_assign(NULL, 1, 1, 0.5, &row, &column, scratch, sizeof scratch) == SL_ERROR_NULL);
    CHECK(sl_assign(&cost, SIZE_MAX, 1, 0.5, &row, &column, scratch, sizeof scratch) == SL_ERROR_SIZE);
    CHECK(sl_assign_scratch_bytes(SL_MAX_TRACKS + 1, 1) == 0);
}

/* All boxes in one place: every pair competes with every other. */
static void test_one_place(sl_track_method method) {
    enum { MANY = 300 };
    camera c = new_camera(method, MANY, MANY);
    float *boxes = exact(MANY * 16), *scores = exact(MANY * 4);
    int64_t *ids = exact(MANY * 8);
    for (int f = 0; f < 3; f++) {
        for (size_t i = 0; i < MANY; i++) {
            const float box[4] = {10, 10, 110, 110};
            memcpy(boxes + 4 * i, box, 16);
            scores[i] = 0.9F;
        }
        CHECK(update(c.memory, boxes, scores, MANY, ids) == SL_OK);
        check_tracker(&c, ids, MANY);
    }
    CHECK(counts_of(c.memory).next_id == MANY + 1);
    free(ids);
    free(scores);
    free(boxes);
    free(c.memory);
}

int main(int argc, char **argv) {
    start_checks(argc, argv);
    for (int method = SL_BYTETRACK; method <= SL_SORT; method++) {
        test_random_frames((sl_track_method)method, false);
        test_random_frames((sl_track_method)method, true);
        test_refused_leave_no_trace((sl_track_method)method);
        test_moved_memory((sl_track_method)method);
        test_one_place((sl_track_method)method);
    }
    test_best_by_score_when_full();
    test_refusals();
    test_assign();
    return finish_checks();
}
