/* SPDX-License-Identifier: Apache-2.0 */
/* Heads, classification, class maps and embeddings: exact blocks, hostile values and shapes, the same bits a level. */
#include <stdbool.h>

#include "check.h"

static const float geometry[SL_GEOMETRY_FLOATS] = {1, 320, 200, 0.3F, 0.3F, 0, 2};

static float strange_or(float value) {
    const float strange[] = {NAN, INFINITY, -INFINITY, 3.4e38F, -3.4e38F, 0.0F, -0.0F, 1e-40F};
    return next_random() % 60 == 0 ? strange[next_random() & 7] : value;
}

static sl_tensor tensor_of(size_t rank, size_t a, size_t b, size_t c, size_t d, float scale) {
    const size_t dims[SL_TENSOR_RANK] = {a, b, c, d};
    sl_tensor tensor = {.rank = rank};
    size_t values = 1;
    for (size_t i = 0; i < rank; i++) {
        tensor.dims[i] = dims[i];
        values *= dims[i];
    }
    float *data = exact(values * sizeof(float));
    for (size_t i = 0; i < values; i++) data[i] = strange_or((unit() * 2.0F - 0.5F) * scale);
    tensor.data = data;
    return tensor;
}

typedef struct given {
    sl_head head;
    sl_tensor tensors[4];
    size_t count;
} given;

static sl_detections room_for(size_t capacity, size_t extra_values) {
    sl_detections out = {.capacity = capacity};
    out.boxes = exact(capacity * 16);
    out.scores = exact(capacity * 4);
    out.classes = exact(capacity * 4);
    out.extras = exact(capacity * extra_values * 4);
    out.network_boxes = exact(capacity * 16);
    out.indices = exact(capacity * 4);
    return out;
}

static void free_room(const sl_detections *out) {
    free(out->boxes);
    free(out->scores);
    free(out->classes);
    free(out->extras);
    free(out->network_boxes);
    free(out->indices);
}

static void check_rows(const sl_head *head, const sl_detections *out, size_t count) {
    CHECK(count <= out->capacity);
    bool turned = head->extra == SL_EXTRA_ANGLE;
    for (size_t i = 0; i < count; i++) {
        CHECK(isfinite(out->scores[i]) && out->scores[i] >= 0.3F && (i == 0 || out->scores[i] <= out->scores[i - 1]));
        CHECK(out->classes[i] >= 0 && out->classes[i] < head->classes && out->indices[i] >= 0);
        for (size_t k = 0; k < 4; k++) {
            CHECK(isfinite(out->network_boxes[4 * i + k]));
            CHECK(turned || (out->boxes[4 * i + k] >= 0.0F && out->boxes[4 * i + k] <= geometry[1 + (k & 1)]));
        }
    }
    size_t extras = count * (size_t)head->extra_values;
    for (size_t i = 0; i < extras; i++) CHECK(isfinite(out->extras[i]));
    add_to_checksum(out->boxes, count * 16);
    add_to_checksum(out->scores, count * 4);
    add_to_checksum(out->classes, count * 4);
    add_to_checksum(out->extras, extras * 4);
    add_to_checksum(out->indices, count * 4);
}

static void decode(const given *g, size_t capacity) {
    const sl_detect_limits limits = {.score = 0.3, .iou = 0.45, .class_agnostic = (int32_t)(next_random() & 1)};
    size_t bytes = sl_head_scratch_bytes(&g->head, g->tensors, g->count, capacity), count = 0;
    CHECK(bytes > 0);
    void *scratch = exact(bytes);
    sl_detections out = room_for(capacity, (size_t)g->head.extra_values);
    CHECK(sl_head_decode(&g->head, g->tensors, g->count, geometry, &limits, &out, &count, scratch, bytes) == SL_OK);
    check_rows(&g->head, &out, count);
    if (capacity > 0)
        CHECK(sl_head_decode(&g->head, g->tensors, g->count, geometry, &limits, &out, &count, scratch, 8) ==
              SL_ERROR_SCRATCH);
    free_room(&out);
    free(scratch);
    for (size_t i = 0; i < g->count; i++) free((void *)(uintptr_t)g->tensors[i].data);
}

static sl_head plain_head(sl_head_kind kind, int32_t classes) {
    sl_head head = {.kind = kind, .classes = classes, .network_width = 96, .network_height = 64};
    return head;
}

static void add_tensor(given *g, size_t rank, size_t a, size_t b, size_t c, size_t d, float scale) {
    g->tensors[g->count++] = tensor_of(rank, a, b, c, d, scale);
}

/* Either way round. */
static void add_table(given *g, size_t anchors, size_t values, float scale) {
    bool turn = next_random() & 1;
    add_tensor(g, 2, turn ? values : anchors, turn ? anchors : values, 1, 1, scale);
}

static void yolo_once(size_t anchors, size_t classes) {
    given g = {.head = plain_head(SL_HEAD_YOLOV8, (int32_t)classes)};
    g.head.extra = (sl_head_extra)between(SL_EXTRA_NONE, SL_EXTRA_ANGLE);
    g.head.extra_values = g.head.extra == SL_EXTRA_NONE ? 0 : g.head.extra == SL_EXTRA_ANGLE ? 1 : 3 * between(1, 6);
    g.head.multi_label = next_random() & 1;
    g.head.activation = next_random() & 1 ? SL_ACTIVATION_SIGMOID : SL_ACTIVATION_NONE;
    g.head.normalised = next_random() & 1;
    add_table(&g, anchors, 4 + classes + (size_t)g.head.extra_values, 1.0F);
    decode(&g, (size_t)between(0, 60));
    given h = {.head = plain_head(SL_HEAD_YOLOV5, (int32_t)classes)};
    add_table(&h, anchors, 5 + classes, 1.0F);
    decode(&h, (size_t)between(0, 60));
    given e = {.head = plain_head(SL_HEAD_END_TO_END, (int32_t)classes)};
    e.head.centre_form = next_random() & 1;
    add_table(&e, anchors, 6, 2.0F);
    decode(&e, (size_t)between(0, 60));
}

static void levels_once(size_t classes) {
    float anchors[12];
    for (size_t i = 0; i < 12; i++) anchors[i] = unit() * 40.0F;
    given g = {.head = plain_head(SL_HEAD_YOLOV5, (int32_t)classes)};
    g.head.anchors = anchors;
    g.head.anchor_count = 6;
    add_tensor(&g, 3, 3 * (5 + classes), 8, 12, 1, 5.0F);
    add_tensor(&g, 4, 3, 4, 6, 5 + classes, 5.0F);
    decode(&g, 50);
    given x = {.head = plain_head(SL_HEAD_YOLOX, (int32_t)classes)};
    add_table(&x, 96 + 24 + 6, 5 + classes, 2.0F);
    decode(&x, 50);
}

static void pairs_once(size_t anchors, size_t classes) {
    float *boxes = exact(anchors * 16);
    for (size_t i = 0; i < 4 * anchors; i++) boxes[i] = strange_or(unit() * 90.0F);
    for (int kind = SL_HEAD_DETR; kind <= SL_HEAD_SSD; kind++) {
        given g = {.head = plain_head((sl_head_kind)kind, (int32_t)classes)};
        g.head.activation = (sl_activation)between(SL_ACTIVATION_NONE, SL_ACTIVATION_SOFTMAX);
        g.head.background = (sl_background)between(SL_BACKGROUND_NONE, SL_BACKGROUND_LAST);
        g.head.multi_label = next_random() & 1;
        g.head.anchors = boxes;
        g.head.anchor_count = anchors;
        size_t columns = classes + (g.head.background == SL_BACKGROUND_NONE ? 0 : 1);
        if (next_random() & 1) {
            add_table(&g, anchors, 4 + columns, 3.0F);
        } else {
            add_tensor(&g, 2, anchors, 4, 1, 1, 1.0F);
            add_table(&g, anchors, columns, 3.0F);
        }
        decode(&g, (size_t)between(0, 60));
    }
    free(boxes);
}

static void lists_once(size_t rows, size_t classes) {
    given m = {.head = plain_head(SL_HEAD_MASK_RCNN, (int32_t)classes)};
    m.head.background = next_random() & 1 ? SL_BACKGROUND_FIRST : SL_BACKGROUND_NONE;
    add_tensor(&m, 2, rows, 4, 1, 1, 60.0F);
    add_tensor(&m, 1, rows, 1, 1, 1, 4.0F);
    add_tensor(&m, 1, rows, 1, 1, 1, 1.0F);
    decode(&m, (size_t)between(0, 60));
    given e = {.head = plain_head(SL_HEAD_EFFICIENT_NMS, (int32_t)classes)};
    add_tensor(&e, 1, 1, 1, 1, 1, 1.0F);
    float *count = (float *)(uintptr_t)e.tensors[0].data;
    *count = (float)between(0, (int32_t)rows);
    add_tensor(&e, 2, rows, 4, 1, 1, 60.0F);
    add_tensor(&e, 1, rows, 1, 1, 1, 1.0F);
    add_tensor(&e, 1, rows, 1, 1, 1, 4.0F);
    decode(&e, (size_t)between(0, 60));
}

static void test_heads(void) {
    const size_t edges[] = {1, 15, 16, 17, 31, 32, 33, 127, 128, 129, 511, 512, 513, 700};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) yolo_once(edges[i], (size_t)between(1, 90));
    for (int i = 0; i < 60; i++) {
        const size_t anchors = (size_t)between(1, 900);
        yolo_once(anchors, (size_t)between(1, 12));
        levels_once((size_t)between(1, 12));
        const size_t pairs = (size_t)between(1, 300);
        pairs_once(pairs, (size_t)between(1, 12));
        const size_t lists = (size_t)between(0, 100);
        lists_once(lists, (size_t)between(1, 5));
    }
}

static sl_status try_head(const sl_head *head, const sl_tensor *tensors, size_t count) {
    static char scratch[1 << 16];
    float boxes[4], scores[1];
    int32_t classes[1];
    const sl_detections out = {.boxes = boxes, .scores = scores, .classes = classes, .capacity = 1};
    const sl_detect_limits limits = {.score = 0.3, .iou = 0.45};
    size_t found = 99;
    sl_status status = sl_head_decode(head, tensors, count, geometry, &limits, &out, &found, scratch, sizeof scratch);
    CHECK((status == SL_OK) == (sl_head_scratch_bytes(head, tensors, count, 1) > 0));
    CHECK(found <= 1);
    return status;
}

static void test_refusals(void) {
    float values[60] = {0};
    sl_tensor tensors[4] = {{values, 2, {6, 10}}, {values, 1, {6}}, {values, 1, {6}}, {values, 1, {6}}};
    sl_head head = plain_head(SL_HEAD_YOLOV8, 2);
    CHECK(try_head(&head, tensors, 1) == SL_OK);
    CHECK(try_head(NULL, tensors, 1) == SL_ERROR_NULL && try_head(&head, NULL, 1) == SL_ERROR_NULL);
    CHECK(try_head(&head, tensors, 0) == SL_ERROR_SIZE && try_head(&head, tensors, SIZE_MAX) == SL_ERROR_SIZE);
    const int32_t sizes[] = {INT32_MIN, -1, 0, SL_MAX_CLASSES + 1, INT32_MAX};
    for (size_t i = 0; i < 5; i++) {
        head = plain_head(SL_HEAD_YOLOV8, sizes[i]);
        CHECK(try_head(&head, tensors, 1) == SL_ERROR_SIZE);
        head = plain_head(SL_HEAD_YOLOV8, 2);
        head.network_height = sizes[i];
        CHECK(try_head(&head, tensors, 1) == SL_ERROR_SIZE);
        head = plain_head((sl_head_kind)sizes[i], 2);
        CHECK(sizes[i] == 0 || try_head(&head, tensors, 1) == SL_ERROR_FORMAT);
    }
    for (int kind = SL_HEAD_YOLOV5; kind <= SL_HEAD_MASK_RCNN; kind++) {
        head = plain_head((sl_head_kind)kind, 2);
        if (kind == SL_HEAD_END_TO_END || kind == SL_HEAD_DETR) continue; /* 6 values fit these */
        CHECK(try_head(&head, tensors, 4) != SL_OK);
    }
    head = plain_head(SL_HEAD_YOLOV8, 2);
    const size_t most = SIZE_MAX;
    const sl_tensor odd[] = {{values, 0, {6, 10}},   {values, 5, {6, 10}}, {values, 2, {6, most}},
                             {values, 2, {most, 6}}, {values, 2, {5, 10}}, {values, 3, {6, 10, 1}}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) CHECK(try_head(&head, &odd[i], 1) == SL_ERROR_SIZE);
    const sl_tensor absent = {NULL, 2, {6, 10}}, empty = {NULL, 2, {6, 0}};
    CHECK(try_head(&head, &absent, 1) == SL_ERROR_NULL && try_head(&head, &empty, 1) == SL_OK);
    head.extra = SL_EXTRA_MASKS;
    CHECK(try_head(&head, tensors, 1) == SL_ERROR_SIZE);
    head = plain_head(SL_HEAD_SSD, 2);
    head.box_weights[0] = NAN;
    CHECK(try_head(&head, tensors, 2) == SL_ERROR_VALUE);
}

static void classify_once(size_t count, size_t top, sl_activation activation, bool strange) {
    float *values = exact(count * 4), *scores = exact(top * 4), *unit_length = exact(count * 4);
    int32_t *classes = exact(top * 4);
    size_t written = 99;
    for (size_t i = 0; i < count; i++) {
        values[i] = floorf(unit() * 64.0F) / 4.0F;
        if (strange) values[i] = strange_or(values[i]);
    }
    sl_status status = sl_classify(values, count, activation, top, scores, classes, &written);
    CHECK(written <= top && (status == SL_OK || (strange && status == SL_ERROR_VALUE)));
    for (size_t i = 1; i < written; i++) CHECK(scores[i] <= scores[i - 1] && classes[i] != classes[i - 1]);
    add_to_checksum(scores, written * 4);
    add_to_checksum(classes, written * 4);
    if (sl_embedding(values, count, unit_length) == SL_OK) add_to_checksum(unit_length, count * 4);
    CHECK(sl_classify(values, count, activation, count + 1, scores, classes, &written) == SL_ERROR_SIZE);
    free(values);
    free(scores);
    free(classes);
    free(unit_length);
}

static void map_once(int32_t classes, int32_t rows, int32_t columns) {
    sl_semantic semantic = {.classes = classes, .rows = rows, .columns = columns, .network_width = 96};
    semantic.network_height = 64;
    semantic.upsample = next_random() & 1 ? SL_UPSAMPLE_CLASSES : SL_UPSAMPLE_LOGITS;
    semantic.channels_last = next_random() & 1;
    float fit[SL_GEOMETRY_FLOATS] = {1};
    for (int i = 1; i < 3; i++) fit[i] = (float)between(1, 120 - 30 * i);
    for (int i = 3; i < 5; i++) fit[i] = 0.1F + unit();
    for (int i = 5; i < 7; i++) fit[i] = floorf(unit() * 20.0F);
    size_t values = (size_t)classes * (size_t)rows * (size_t)columns, pixels = (size_t)fit[1] * (size_t)fit[2];
    size_t bytes = sl_semantic_scratch_bytes(&semantic, fit);
    float *logits = exact(values * 4);
    uint8_t *out8 = exact(pixels);
    int32_t *out32 = exact(pixels * 4);
    void *scratch = exact(bytes);
    for (size_t i = 0; i < values; i++) logits[i] = strange_or(floorf(unit() * 8.0F));
    CHECK(sl_semantic_map(&semantic, logits, fit, out8, NULL, pixels, scratch, bytes) == SL_OK);
    CHECK(sl_semantic_map(&semantic, logits, fit, NULL, out32, pixels, scratch, bytes) == SL_OK);
    for (size_t i = 0; i < pixels; i++) CHECK(out8[i] == out32[i] && out8[i] <= (classes == 1 ? 1 : classes - 1));
    add_to_checksum(out8, pixels);
    CHECK(sl_semantic_map(&semantic, logits, fit, out8, out32, pixels, scratch, bytes) == SL_ERROR_NULL);
    CHECK(sl_semantic_map(&semantic, logits, fit, out8, NULL, pixels - 1, scratch, bytes) == SL_ERROR_SIZE);
    CHECK(sl_semantic_map(&semantic, logits, fit, out8, NULL, pixels, scratch, bytes / 2) == SL_ERROR_SCRATCH);
    free(logits);
    free(out8);
    free(out32);
    free(scratch);
}

static void test_scores(void) {
    for (int i = 0; i < 200; i++) {
        size_t count = (size_t)between(1, 300);
        const size_t top = (size_t)between(1, (int32_t)count);
        const sl_activation activation = (sl_activation)between(0, 2);
        classify_once(count, top, activation, next_random() & 1);
        const int32_t classes = between(1, 30), rows = between(1, 20);
        map_once(classes, rows, between(1, 40));
    }
    map_once(3, 2, 600);
    const sl_semantic many = {.classes = 257, .rows = 1, .columns = 1, .network_width = 1, .network_height = 1};
    float logits[257] = {0};
    uint8_t out[64000];
    char scratch[1 << 14];
    CHECK(sl_semantic_map(&many, logits, geometry, out, NULL, sizeof out, scratch, sizeof scratch) == SL_ERROR_SIZE);
}

int main(int argc, char **argv) {
    start_checks(argc, argv);
    test_heads();
    test_refusals();
    test_scores();
    return finish_checks();
}
