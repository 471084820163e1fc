/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C core under sanitizers: every buffer is a heap block of the exact size, so that one byte too far is seen.
 *   test_core              run the checks; status 0 when all hold
 *   test_core --checksum   print a number over many results; builds with and without vector clones must agree
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sightline_core.h"

static int failures;

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);     \
            failures++;                                                         \
        }                                                                       \
    } while (0)

static uint64_t state = 88172645463325252U;
static uint64_t checksum = 14695981039346656037U;

static uint32_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

static float unit(void) { return (float)(next_random() >> 8) / 16777216.0F; }

static int32_t between(int32_t low, int32_t high) {
    return low + (int32_t)(next_random() % (uint32_t)(high - low + 1));
}

static void *exact(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (memory == NULL) exit(2);
    return memory;
}

static void add_to_checksum(const void *data, size_t bytes) {
    const unsigned char *at = data;
    for (size_t i = 0; i < bytes; i++) checksum = (checksum ^ at[i]) * 1099511628211U;
}

static size_t packed_bytes(int32_t width, int32_t height, sl_pixel_format format) {
    size_t w = (size_t)width, h = (size_t)height;
    return format == SL_RGB || format == SL_BGR ? w * h * 3 : w * h + 2 * ((w + 1) / 2) * ((h + 1) / 2);
}

static sl_letterbox_options plain_options(void) {
    sl_letterbox_options options = {.std = {255.0F, 255.0F, 255.0F}, .pad_value = 114.0F};
    return options;
}

static void letterbox_once(int32_t width, int32_t height, int32_t out_width, int32_t out_height,
                           sl_pixel_format format) {
    size_t bytes = packed_bytes(width, height, format), values = (size_t)out_width * (size_t)out_height * 3;
    size_t scratch_bytes = sl_letterbox_scratch_bytes(width, out_width);
    uint8_t *data = exact(bytes);
    float *out = exact(values * sizeof(float));
    void *scratch = exact(scratch_bytes);
    sl_letterbox_options options = plain_options();
    sl_image image;
    sl_geometry fit;
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)next_random();
    for (size_t i = 0; i < values; i++) out[i] = NAN;
    options.resize = next_random() & 1 ? SL_STRETCH : SL_LETTERBOX;
    options.order = next_random() & 1 ? SL_ORDER_BGR : SL_ORDER_RGB;
    sl_colour_space colour = (sl_colour_space)(next_random() & 3);
    CHECK(sl_image_from_packed(data, bytes, width, height, format, colour, &image) == SL_OK);
    CHECK(sl_letterbox(&image, &options, out_width, out_height, out, &fit, scratch, scratch_bytes) == SL_OK);
    for (size_t i = 0; i < values; i++) CHECK(out[i] >= 0.0F && out[i] <= 1.0F);
    size_t half = scratch_bytes / 2;
    CHECK(sl_letterbox(&image, &options, out_width, out_height, out, &fit, scratch, half) == SL_ERROR_SCRATCH);
    CHECK(sl_image_from_packed(data, bytes - 1, width, height, format, colour, &image) == SL_ERROR_BYTES);
    add_to_checksum(out, values * sizeof(float));
    free(data);
    free(out);
    free(scratch);
}

static void test_letterbox(void) {
    const int32_t edges[] = {1, 2, 3, 17, 64};
    for (int format = SL_I420; format <= SL_BGR; format++) {
        for (int w = 0; w < 5; w++)
            for (int h = 0; h < 5; h++) letterbox_once(edges[w], edges[h], 19, 13, (sl_pixel_format)format);
        for (int i = 0; i < 40; i++)
            letterbox_once(between(1, 200), between(1, 200), between(1, 90), between(1, 90), (sl_pixel_format)format);
        letterbox_once(SL_MAX_SIDE, 1, 8, 8, (sl_pixel_format)format);
        letterbox_once(1, SL_MAX_SIDE, 8, 8, (sl_pixel_format)format);
    }
}

/* Rows with a stride, the last one without its padding: not a byte behind it may be read. */
static void test_strides(void) {
    enum { WIDTH = 7, HEIGHT = 5, STRIDE = 32 };
    size_t bytes = STRIDE * (HEIGHT - 1) + WIDTH * 3, scratch_bytes = sl_letterbox_scratch_bytes(WIDTH, WIDTH);
    uint8_t *data = exact(bytes);
    float *out = exact(sizeof(float) * 3 * WIDTH * HEIGHT);
    void *scratch = exact(scratch_bytes);
    sl_letterbox_options options = plain_options();
    sl_geometry fit;
    sl_image image = {.plane = {data}, .stride = {STRIDE}, .bytes = {bytes}, .format = SL_RGB};
    image.width = WIDTH;
    image.height = HEIGHT;
    memset(data, 255, bytes);
    for (size_t y = 0; y < HEIGHT; y++)
        for (size_t i = 0; i < WIDTH * 3; i++) data[y * STRIDE + i] = (uint8_t)(y * 40);
    CHECK(sl_letterbox(&image, &options, WIDTH, HEIGHT, out, &fit, scratch, scratch_bytes) == SL_OK);
    for (size_t i = 0; i < 3 * WIDTH * HEIGHT; i++)
        CHECK(fabsf(out[i] * 255.0F - (float)(i / WIDTH % HEIGHT * 40)) < 1e-3F);
    image.stride[0] = WIDTH * 3 - 1;
    CHECK(sl_image_check(&image) == SL_ERROR_STRIDE);
    image.stride[0] = SIZE_MAX;
    CHECK(sl_image_check(&image) == SL_ERROR_BYTES);
    image.stride[0] = STRIDE;
    image.bytes[0]--;
    CHECK(sl_image_check(&image) == SL_ERROR_BYTES);
    free(data);
    free(out);
    free(scratch);
}

static void test_hostile_sizes(void) {
    const int32_t sides[] = {INT32_MIN, -1, 0, SL_MAX_SIDE + 1, INT32_MAX};
    uint8_t byte = 0;
    float out = 0.0F;
    sl_image image;
    sl_geometry fit;
    for (int i = 0; i < 5; i++) {
        CHECK(sl_image_from_packed(&byte, SIZE_MAX, sides[i], 1, SL_RGB, SL_BT601_FULL, &image) == SL_ERROR_SIZE);
        CHECK(sl_image_from_packed(&byte, SIZE_MAX, 1, sides[i], SL_I420, SL_BT601_FULL, &image) == SL_ERROR_SIZE);
        CHECK(sl_geometry_fit(1, 1, sides[i], 1, SL_LETTERBOX, &fit) == SL_ERROR_SIZE);
        CHECK(sl_letterbox_scratch_bytes(sides[i], 1) == 0);
        CHECK(sl_letterbox_scratch_bytes(1, sides[i]) == 0);
    }
    CHECK(sl_image_from_packed(&byte, 1, 2, 2, SL_NV12, SL_BT601_FULL, &image) == SL_ERROR_BYTES);
    CHECK(sl_image_from_packed(&byte, 1, 1, 1, (sl_pixel_format)9, SL_BT601_FULL, &image) == SL_ERROR_FORMAT);
    CHECK(sl_image_from_packed(NULL, 1, 1, 1, SL_RGB, SL_BT601_FULL, &image) == SL_ERROR_NULL);
    CHECK(sl_letterbox(NULL, NULL, 1, 1, &out, &fit, &byte, 1) == SL_ERROR_NULL);
    CHECK(sl_yolov8_scratch_bytes(0, 1) == 0);
    CHECK(sl_yolov8_scratch_bytes(SIZE_MAX, 1) == 0);
    CHECK(sl_nms_scratch_bytes(SIZE_MAX, 1) == 0);
}

static void test_geometry(void) {
    for (int i = 0; i < 2000; i++) {
        sl_geometry fit;
        float floats[SL_GEOMETRY_FLOATS], back[4];
        int32_t width = between(1, 4000), height = between(1, 4000), network = between(32, 1280);
        CHECK(sl_geometry_fit(width, height, network, network, SL_LETTERBOX, &fit) == SL_OK);
        CHECK(fit.pad_left + fit.resized_width <= network && fit.pad_top + fit.resized_height <= network);
        CHECK(fit.pad_left >= 0 && fit.pad_top >= 0 && fit.resized_width >= 1 && fit.resized_height >= 1);
        sl_geometry_to_floats(&fit, floats);
        CHECK(sl_geometry_check(floats) == SL_OK);
        const float left = (float)fit.pad_left, top = (float)fit.pad_top;
        const float box[4] = {left, top, left + (float)fit.resized_width, top + (float)fit.resized_height};
        sl_box_to_source(floats, box, back);
        CHECK(back[0] == 0.0F && back[1] == 0.0F);
        CHECK(fabsf(back[2] - (float)width) < 0.01F && fabsf(back[3] - (float)height) < 0.01F);
    }
    float bad[SL_GEOMETRY_FLOATS] = {1, 10, 10, 1, 1, 0, 0};
    bad[3] = 0.0F;
    CHECK(sl_geometry_check(bad) == SL_ERROR_GEOMETRY);
    bad[3] = NAN;
    CHECK(sl_geometry_check(bad) == SL_ERROR_GEOMETRY);
}

static float strange_or(float value) {
    const float strange[] = {NAN, INFINITY, -INFINITY, 3.4e38F, -3.4e38F, 0.0F, -0.0F, 1e-40F};
    return next_random() % 50 == 0 ? strange[next_random() & 7] : value;
}

static void decode_once(size_t classes, size_t anchors, size_t capacity) {
    const float geometry[SL_GEOMETRY_FLOATS] = {1, 640, 480, 0.5F, 0.5F, 0, 8};
    const sl_detect_limits limits = {0.3, 0.45};
    size_t scratch_bytes = sl_yolov8_scratch_bytes(anchors, capacity), count = 0, values = (4 + classes) * anchors;
    float *raw = exact(values * sizeof(float));
    void *scratch = exact(scratch_bytes);
    sl_detections out = {exact(capacity * 16), exact(capacity * 4), exact(capacity * 4), capacity};
    for (size_t i = 0; i < values; i++) raw[i] = strange_or(i < 4 * anchors ? unit() * 200.0F : unit() * unit());
    CHECK(sl_yolov8_decode(raw, classes, anchors, geometry, &limits, &out, &count, scratch, scratch_bytes) == SL_OK);
    CHECK(count <= capacity && count <= anchors);
    for (size_t i = 0; i < count; i++) {
        CHECK(isfinite(out.scores[i]) && out.scores[i] >= 0.3F && (i == 0 || out.scores[i] <= out.scores[i - 1]));
        CHECK(out.classes[i] >= 0 && (size_t)out.classes[i] < classes);
        CHECK(out.boxes[4 * i] >= 0.0F && out.boxes[4 * i + 2] <= 640.0F && out.boxes[4 * i + 3] <= 480.0F);
    }
    if (capacity > 0)
        CHECK(sl_yolov8_decode(raw, classes, anchors, geometry, &limits, &out, &count, scratch, 8) == SL_ERROR_SCRATCH);
    add_to_checksum(out.boxes, count * 16);
    free(raw);
    free(scratch);
    free(out.boxes);
    free(out.scores);
    free(out.classes);
}

static void test_decode(void) {
    for (int i = 0; i < 60; i++)
        decode_once((size_t)between(1, 20), (size_t)between(1, 2000), (size_t)between(0, 300));
    decode_once(1, 1, 1);
    decode_once(2, 513, 5);
    float raw[5] = {0}, geometry[SL_GEOMETRY_FLOATS] = {0};
    sl_detect_limits limits = {0.3, 0.45};
    sl_detections out = {raw, raw, (int32_t[1]){0}, 1};
    size_t count;
    char scratch[4096];
    CHECK(sl_yolov8_decode(raw, 1, 1, geometry, &limits, &out, &count, scratch, sizeof scratch) == SL_ERROR_GEOMETRY);
    limits.iou = (double)NAN;
    CHECK(sl_yolov8_decode(raw, 1, 1, geometry, &limits, &out, &count, scratch, sizeof scratch) == SL_ERROR_VALUE);
    const size_t most = SIZE_MAX;
    CHECK(sl_yolov8_decode(raw, most, 1, geometry, &limits, &out, &count, scratch, sizeof scratch) == SL_ERROR_SIZE);
}

/* IoU of 0.5 exactly is not above 0.5; the lower index wins a tie; zero-area boxes suppress nothing. */
static void test_nms_rules(void) {
    const float boxes[] = {0, 0, 2, 1, 0, 0, 1, 1, 5, 5, 6, 6, 5, 5, 6, 6, 9, 9, 9, 9, 9, 9, 9, 9};
    const float scores[] = {0.9F, 0.8F, 0.5F, 0.5F, 0.1F, 0.1F};
    const int32_t classes[6] = {0};
    int64_t keep[6];
    size_t kept, scratch_bytes = sl_nms_scratch_bytes(6, 6);
    void *scratch = exact(scratch_bytes);
    const int64_t expected[] = {0, 1, 2, 4, 5};
    CHECK(sl_nms(boxes, scores, classes, 6, 0.5, keep, 6, &kept, scratch, scratch_bytes) == SL_OK);
    CHECK(kept == 5 && memcmp(keep, expected, sizeof expected) == 0);
    CHECK(sl_nms(boxes, scores, classes, 6, 0.5, keep, 2, &kept, scratch, scratch_bytes) == SL_OK && kept == 2);
    CHECK(sl_nms(boxes, scores, classes, 6, 1.5, keep, 6, &kept, scratch, scratch_bytes) == SL_ERROR_VALUE);
    CHECK(sl_nms(boxes, scores, classes, 6, 0.5, keep, 6, &kept, scratch, 16) == SL_ERROR_SCRATCH);
    free(scratch);
}

static void test_texts(void) {
    for (int status = SL_OK; status <= SL_ERROR_GEOMETRY + 1; status++)
        CHECK(strlen(sl_status_text((sl_status)status)) > 0);
    CHECK(strlen(sl_version()) > 0);
}

int main(int argc, char **argv) {
    test_letterbox();
    test_strides();
    test_hostile_sizes();
    test_geometry();
    test_decode();
    test_nms_rules();
    test_texts();
    if (argc > 1 && strcmp(argv[1], "--checksum") == 0) printf("%016llx\n", (unsigned long long)checksum);
    return failures == 0 ? 0 : 1;
}
