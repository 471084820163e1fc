/* Invariant: whatever head, shapes and numbers: a status, or finite detections in order, in bounds, inside the picture. */
/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "input.h"

enum { MOST_VALUES = 1024, CAPACITY = 24 };

/* Sides are small, so that a tensor that passes can be filled; now and then one is wild and must be refused. */
static sl_tensor tensor_of(fuzz_input *input) {
    const size_t wild[] = {0, SIZE_MAX, SIZE_MAX / 4, (size_t)1 << 33};
    sl_tensor tensor = {.rank = fuzz_u8(input) % 6};
    size_t values = 1;
    for (size_t i = 0; i < tensor.rank && i < SL_TENSOR_RANK; i++) {
        uint8_t side = fuzz_u8(input);
        size_t left = MOST_VALUES / (values ? values : 1);
        tensor.dims[i] = side >= 252 ? wild[side - 252] : 1 + side % (left < 251 ? left : 251);
        values = side > 252 ? 0 : values * tensor.dims[i]; /* wild ones are refused before they are read */
        if (side > 252) break;
    }
    float *data = fuzz_block(values * sizeof(float));
    for (size_t i = 0; i < values; i++) {
        uint32_t bits = input->left >= 4 ? fuzz_u32(input) : (uint32_t)(i * 2654435761U);
        if (input->left < 4 || (bits & 3U) != 0) /* most numbers small, some of any bits */
            data[i] = (float)(int32_t)(bits >> 8) / 16777216.0F;
        else
            memcpy(&data[i], &bits, sizeof bits);
    }
    tensor.data = data;
    return tensor;
}

static sl_head head_of(fuzz_input *input, const float *anchors) {
    sl_head head = {.kind = (sl_head_kind)(fuzz_u8(input) % 9), .extra = (sl_head_extra)(fuzz_u8(input) % 5)};
    head.classes = fuzz_between(input, 0, 12);
    head.extra_values = head.extra == SL_EXTRA_NONE ? 0 : fuzz_between(input, -1, 9);
    head.network_width = fuzz_between(input, 0, 64);
    head.network_height = fuzz_between(input, 0, 64);
    head.activation = (sl_activation)(fuzz_u8(input) % 4);
    head.background = (sl_background)(fuzz_u8(input) % 4);
    uint8_t flags = fuzz_u8(input);
    head.multi_label = flags & 1;
    head.normalised = flags >> 1 & 1;
    head.centre_form = flags >> 2 & 1;
    head.keypoint_values = flags >> 3 & 3;
    head.levels = fuzz_u8(input) % 10 - 1;
    for (int i = 0; i < SL_MAX_LEVELS; i++) head.strides[i] = fuzz_u8(input) % 33 - 1;
    for (int i = 0; i < 4; i++) head.box_weights[i] = (float)(fuzz_u8(input) % 20);
    head.anchors = flags & 64 ? NULL : anchors;
    head.anchor_count = (size_t)fuzz_between(input, 0, 128);
    return head;
}

static void check_rows(const sl_head *head, const sl_detections *out, size_t count, const float *geometry, float limit) {
    FUZZ_CHECK(count <= out->capacity);
    for (size_t i = 0; i < count; i++) {
        FUZZ_CHECK(isfinite(out->scores[i]) && out->scores[i] >= limit);
        FUZZ_CHECK(i == 0 || out->scores[i] <= out->scores[i - 1]);
        FUZZ_CHECK(out->classes[i] >= 0 && out->classes[i] < head->classes && out->indices[i] >= 0);
        for (size_t k = 0; k < 4; k++) {
            FUZZ_CHECK(isfinite(out->network_boxes[4 * i + k]));
            if (head->extra == SL_EXTRA_ANGLE) continue;
            FUZZ_CHECK(out->boxes[4 * i + k] >= 0.0F && out->boxes[4 * i + k] <= geometry[1 + (k & 1)]);
        }
        for (size_t k = 0; k < (size_t)head->extra_values; k++)
            FUZZ_CHECK(isfinite(out->extras[i * (size_t)head->extra_values + k]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static float anchors[128 * 4];
    fuzz_input input = {data, size};
    for (size_t i = 0; i < 128 * 4; i++) anchors[i] = (float)(i * 37 % 61);
    sl_head head = head_of(&input, anchors);
    sl_tensor tensors[4];
    size_t tensor_count = fuzz_u8(&input) % 5, capacity = fuzz_u8(&input) % CAPACITY, count = 0;
    const sl_detect_limits limits = {.score = fuzz_u8(&input) / 250.0, .iou = fuzz_u8(&input) / 250.0,
                                     .class_agnostic = fuzz_u8(&input) & 1};
    const float geometry[SL_GEOMETRY_FLOATS] = {1, 100, 80, 0.5F, 0.25F, 3, (float)fuzz_u8(&input)};
    for (size_t i = 0; i < tensor_count; i++) tensors[i] = tensor_of(&input);
    size_t bytes = sl_head_scratch_bytes(&head, tensors, tensor_count, capacity);
    void *scratch = fuzz_block(bytes);
    sl_detections out = {.capacity = capacity};
    out.boxes = fuzz_block(capacity * 16);
    out.scores = fuzz_block(capacity * 4);
    out.classes = fuzz_block(capacity * 4);
    out.extras = fuzz_block(capacity * 9 * 4);
    out.network_boxes = fuzz_block(capacity * 16);
    out.indices = fuzz_block(capacity * 4);
    sl_status status = sl_head_decode(&head, tensors, tensor_count, geometry, &limits, &out, &count, scratch, bytes);
    FUZZ_CHECK(bytes > 0 || status != SL_OK);
    FUZZ_CHECK(status == SL_OK || count == 0);
    check_rows(&head, &out, count, geometry, (float)limits.score);
    for (size_t i = 0; i < tensor_count; i++) free((void *)(uintptr_t)tensors[i].data);
    free(scratch);
    free(out.boxes);
    free(out.scores);
    free(out.classes);
    free(out.extras);
    free(out.network_boxes);
    free(out.indices);
    return 0;
}
