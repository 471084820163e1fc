/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of a detection head; names and defaults as sightline.preprocess_ext.Head has them. */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "settings_read.h"

/* An optional word; the first of `words` where it is not there. */
static bool optional_word(const json *j, const char *name, const char *const *words, int count, const char *wanted,
                          int *value, failure *why) {
    *value = 0;
    if (json_member(j, JSON_ROOT, name) == JSON_NONE) return true;
    *value = settings_word(j, JSON_ROOT, name, words, count);
    return *value >= 0 || settings_missing(name, wanted, why);
}

static bool optional_integer(const json *j, const char *name, int64_t low, int64_t high, int32_t *value,
                             failure *why) {
    int64_t number;
    uint32_t node = json_member(j, JSON_ROOT, name);
    if (node == JSON_NONE) return true;
    if (!json_integer(j, node, low, high, &number))
        return fail(why, FAILURE_BAD_INPUT, "the parameter 'sightline' has a \"%s\" outside %d..%d; " SETTINGS_AGAIN,
                    name, (int)low, (int)high);
    *value = (int32_t)number;
    return true;
}

static bool optional_flag(const json *j, const char *name, int32_t *value, failure *why) {
    json_kind kind = json_kind_of(j, json_member(j, JSON_ROOT, name));
    if (json_member(j, JSON_ROOT, name) == JSON_NONE) return true;
    *value = kind == JSON_TRUE;
    return kind == JSON_TRUE || kind == JSON_FALSE || settings_missing(name, "true or false", why);
}

/* All numbers of an array of arrays of `columns` numbers. */
static bool read_rows(const json *j, uint32_t array, uint32_t columns, float *out) {
    uint32_t row = array + 1;
    for (uint32_t i = 0; i < json_count(j, array); i++, row = j->nodes[row].end) {
        if (json_count(j, row) != columns) return false;
        for (uint32_t k = 0; k < columns; k++) {
            double value;
            if (!json_number(j, json_item(j, row, k), &value) || value < -(double)FLT_MAX || value > (double)FLT_MAX)
                return false;
            out[i * columns + k] = (float)value;
        }
    }
    return true;
}

static bool read_anchors(const json *j, settings *out, failure *why) {
    uint32_t array = json_member(j, JSON_ROOT, "anchors"), columns = out->head.kind == SL_HEAD_SSD ? 4 : 2;
    uint32_t count = json_count(j, array);
    if (array == JSON_NONE || json_kind_of(j, array) == JSON_NULL) return true;
    if (count < 1) return settings_missing("anchors", "rows of 2 numbers, of 4 for the head ssd", why);
    out->anchors = malloc((size_t)count * columns * sizeof *out->anchors);
    if (out->anchors == NULL) return fail(why, FAILURE_UNAVAILABLE, "no memory for the anchors");
    if (!read_rows(j, array, columns, out->anchors))
        return settings_missing("anchors", "rows of 2 numbers, of 4 for the head ssd", why);
    out->head.anchors = out->anchors;
    out->head.anchor_count = count;
    return true;
}

static bool read_lists(const json *j, settings *out, failure *why) {
    uint32_t strides = json_member(j, JSON_ROOT, "strides"), weights = json_member(j, JSON_ROOT, "box_weights");
    if (json_count(j, strides) > SL_MAX_LEVELS) return settings_missing("strides", "at most 8 numbers", why);
    out->head.levels = (int32_t)json_count(j, strides);
    for (uint32_t i = 0; i < json_count(j, strides); i++) {
        int64_t stride;
        if (!json_integer(j, json_item(j, strides, i), 1, SL_MAX_SIDE, &stride))
            return settings_missing("strides", "whole numbers of pixels", why);
        out->head.strides[i] = (int32_t)stride;
    }
    if (weights == JSON_NONE) return true;
    if (json_count(j, weights) != 4) return settings_missing("box_weights", "four numbers above 0", why);
    for (uint32_t i = 0; i < 4; i++) {
        double weight;
        if (!json_number(j, json_item(j, weights, i), &weight) || weight < (double)FLT_MIN || weight > (double)FLT_MAX)
            return settings_missing("box_weights", "four numbers above 0", why);
        out->head.box_weights[i] = (float)weight;
    }
    return true;
}

static bool read_kind(const json *j, sl_head *head, failure *why) {
    static const char *const kinds[] = {"yolov8", "yolov5", "yolox", "end_to_end",
                                        "detr",   "ssd",    "efficient_nms", "mask_rcnn"};
    static const char *const extras[] = {"none", "masks", "keypoints", "angle"};
    static const char *const activations[] = {"none", "sigmoid", "softmax"};
    static const char *const backgrounds[] = {"none", "first", "last"};
    int extra, activation, background, kind = settings_word(j, JSON_ROOT, "head", kinds, 8);
    if (kind < 0)
        return settings_missing("head", "yolov8, yolov5, yolox, end_to_end, detr, ssd, efficient_nms or mask_rcnn", why);
    if (!optional_word(j, "extra", extras, 4, "none, masks, keypoints or angle", &extra, why) ||
        !optional_word(j, "activation", activations, 3, "none, sigmoid or softmax", &activation, why) ||
        !optional_word(j, "background", backgrounds, 3, "none, first or last", &background, why))
        return false;
    head->kind = (sl_head_kind)kind;
    head->extra = (sl_head_extra)extra;
    head->activation = (sl_activation)activation;
    head->background = (sl_background)background;
    return true;
}

static bool read_numbers(const json *j, settings *out, failure *why) {
    sl_head *head = &out->head;
    int64_t width = 1, height = 1;
    uint32_t size = json_member(j, JSON_ROOT, "size");
    if (size != JSON_NONE && (json_count(j, size) != 2 ||
                              !json_integer(j, json_item(j, size, 0), 1, SL_MAX_SIDE, &width) ||
                              !json_integer(j, json_item(j, size, 1), 1, SL_MAX_SIDE, &height)))
        return settings_missing("size", "[width, height] of the network's input, pixels", why);
    head->network_width = (int32_t)width;
    head->network_height = (int32_t)height;
    return optional_integer(j, "classes", 1, SL_MAX_CLASSES, &head->classes, why) &&
           optional_integer(j, "extra_values", 0, SL_MAX_EXTRA_VALUES, &head->extra_values, why) &&
           optional_integer(j, "keypoint_values", 2, 3, &head->keypoint_values, why) &&
           optional_flag(j, "multi_label", &head->multi_label, why) &&
           optional_flag(j, "normalised", &head->normalised, why) &&
           optional_flag(j, "class_agnostic", &out->limits.class_agnostic, why);
}

static bool read_fraction(const json *j, const char *name, double *value, failure *why) {
    if (json_number(j, json_member(j, JSON_ROOT, name), value) && *value >= 0.0 && *value <= 1.0) return true;
    return settings_missing(name, "a number in 0..1", why);
}

static bool check_head(const sl_head *head, failure *why) {
    bool derived = head->kind == SL_HEAD_YOLOV8; /* its classes follow from the tensor */
    if (head->classes == 0 && !derived) return settings_missing("classes", "how many classes there are", why);
    if (head->extra == SL_EXTRA_NONE && head->extra_values != 0)
        return settings_missing("extra", "what the extra values are", why);
    int32_t each = head->extra == SL_EXTRA_KEYPOINTS && head->keypoint_values == 2 ? 2 : 3;
    if (head->extra == SL_EXTRA_KEYPOINTS && (head->extra_values < each || head->extra_values % each != 0))
        return settings_missing("extra_values", "2 or 3 for each keypoint", why);
    if (head->extra == SL_EXTRA_ANGLE && head->extra_values != 1)
        return settings_missing("extra_values", "1 for an angle", why);
    if (head->extra == SL_EXTRA_MASKS && (head->extra_values < 1 || head->network_width < 2))
        return settings_missing("extra_values", "how many coefficients there are, and \"size\"", why);
    return true;
}

bool settings_read_head(const json *j, settings *out, failure *why) {
    int64_t detections;
    if (!read_kind(j, &out->head, why) || !read_numbers(j, out, why) || !read_lists(j, out, why) ||
        !read_anchors(j, out, why) || !check_head(&out->head, why))
        return false;
    if (!read_fraction(j, "score", &out->limits.score, why) || !read_fraction(j, "iou", &out->limits.iou, why))
        return false;
    if (!json_integer(j, json_member(j, JSON_ROOT, "detections"), 1, MAX_DETECTIONS, &detections))
        return settings_missing("detections", "the most objects of an image, 1..30000", why);
    out->detections = (size_t)detections;
    return true;
}

static bool read_semantic(const json *j, settings *out, failure *why) {
    static const char *const upsamples[] = {"logits", "classes"};
    sl_semantic *semantic = &out->semantic;
    int upsample;
    if (!optional_word(j, "upsample", upsamples, 2, "logits or classes", &upsample, why) ||
        !optional_integer(j, "classes", 1, 256, &semantic->classes, why) ||
        !optional_flag(j, "channels_last", &semantic->channels_last, why))
        return false;
    if (semantic->classes == 0) return settings_missing("classes", "how many classes there are, 1..256", why);
    if (out->head.network_width < 2) return settings_missing("size", "[width, height] of the network's input", why);
    semantic->upsample = (sl_upsample)upsample;
    semantic->network_width = out->head.network_width;
    semantic->network_height = out->head.network_height;
    return true;
}

static bool read_classify(const json *j, settings *out, failure *why) {
    static const char *const activations[] = {"none", "sigmoid", "softmax"};
    int activation;
    int32_t top = 0;
    if (!optional_word(j, "activation", activations, 3, "none, sigmoid or softmax", &activation, why) ||
        !optional_integer(j, "top", 1, SL_MAX_CLASSES, &top, why))
        return false;
    if (top == 0) return settings_missing("top", "how many classes are answered", why);
    out->head.activation = (sl_activation)activation;
    out->top = (size_t)top;
    return true;
}

bool settings_read_task(const json *j, settings *out, failure *why) {
    static const char *const tasks[] = {"detect", "classify", "semantic", "embed", "segment"};
    int task;
    if (!optional_word(j, "task", tasks, 5, "detect, segment, classify, semantic or embed", &task, why)) return false;
    out->task = task == 4 ? TASK_DETECT : (task_kind)task;
    switch (out->task) {
    case TASK_CLASSIFY: return read_classify(j, out, why);
    case TASK_SEMANTIC: return read_numbers(j, out, why) && read_semantic(j, out, why);
    case TASK_EMBED: return true;
    case TASK_DETECT: break;
    }
    return settings_read_head(j, out, why);
}
