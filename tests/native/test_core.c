/* SPDX-License-Identifier: Apache-2.0 */
/* The C core: sizes, strides, hostile values, rules. */
#include "check.h"

static void test_hostile_sizes(void) {
    CHECK(sl_yolov8_scratch_bytes(0, 1) == 0);
    CHECK(sl_yolov8_scratch_bytes(SIZE_MAX, 1) == 0);
}

static float strange_or(float value) {
    const float strange[] = {NAN, INFINITY, -INFINITY, 3.4e38F, -3.4e38F, 0.0F, -0.0F, 1e-40F};
    return next_random() % 50 == 0 ? strange[next_random() & 7] : value;
}

static void decode_once(size_t classes, size_t anchors, size_t capacity) {
    const float geometry[SL_GEOMETRY_FLOATS] = {1, 640, 480, 0.5F, 0.5F, 0, 8};
    const sl_detect_limits limits = {.score = 0.3, .iou = 0.45};
    size_t scratch_bytes = sl_yolov8_scratch_bytes(anchors, capacity), count = 0, values = (4 + classes) * anchors;
    float *raw = exact(values * sizeof(float));
    void *scratch = exact(scratch_bytes);
    sl_detections out = {.boxes = exact(capacity * 16), .scores = exact(capacity * 4), .capacity = capacity};
    out.classes = exact(capacity * 4);
    for (size_t i = 0; i < values; i++) raw[i] = strange_or(i < 4 * anchors ? unit() * 200.0F : unit() * unit());
    CHECK(sl_yolov8_decode(raw, classes, anchors, geometry, &limits, &out, &count, scratch, scratch_bytes) == SL_OK);
    CHECK(count <= capacity && count <= anchors);
    for (size_t i = 0; i < count; i++) {
        CHECK(isfinite(out.scores[i]) && out.scores[i] >= 0.3F && (i == 0 || out.scores[i] <= out.scores[i - 1]));
        CHECK(out.classes[i] >= 0 && (size_t)out.classes[i] < classes);
        CHECK(out.boxes[4 * i] >= 0.0F && out.boxes[4 * i + 2] <= 640.0F && out.boxes[4 * i + 3] <= 480.0F);
    }
    add_to_checksum(out.boxes, count * 16);
    if (capacity > 0)
        CHECK(sl_yolov8_decode(raw, classes, anchors, geometry, &limits, &out, &count, scratch, 8) == SL_ERROR_SCRATCH);
    free(raw);
    free(scratch);
    free(out.boxes);
    free(out.scores);
    free(out.classes);
}

static void test_decode(void) {
    for (int i = 0; i < 60; i++) {
        int32_t classes = between(1, 20), anchors = between(1, 2000), capacity = between(0, 300);
        decode_once((size_t)classes, (size_t)anchors, (size_t)capacity);
    }
    decode_once(1, 1, 1);
    decode_once(2, 513, 5);
    float raw[5] = {0}, geometry[SL_GEOMETRY_FLOATS] = {0};
    sl_detect_limits limits = {.score = 0.3, .iou = 0.45};
    sl_detections out = {.boxes = raw, .scores = raw, .classes = (int32_t[1]){0}, .capacity = 1};
    size_t count;
    char scratch[4096];
    CHECK(sl_yolov8_decode(raw, 1, 1, geometry, &limits, &out, &count, scratch, sizeof scratch) == SL_ERROR_GEOMETRY);
    limits.iou = (double)NAN;
    CHECK(sl_yolov8_decode(raw, 1, 1, geometry, &limits, &out, &count, scratch, sizeof scratch) == SL_ERROR_VALUE);
    const size_t most = SIZE_MAX;
    CHECK(sl_yolov8_decode(raw, most, 1, geometry, &limits, &out, &count, scratch, sizeof scratch) == SL_ERROR_SIZE);
}

static void test_texts(void) {
    for (int status = SL_OK; status <= SL_ERROR_GEOMETRY + 1; status++)
        CHECK(strlen(sl_status_text((sl_status)status)) > 0);
    CHECK(strlen(sl_version()) > 0);
}

int main(int argc, char **argv) {
    start_checks(argc, argv);
    test_hostile_sizes();
    test_decode();
    test_texts();
    return finish_checks();
}
