/* SPDX-License-Identifier: Apache-2.0 */
/* The settings of a detection head; names and defaults as sightline.preprocess_ext.Head has them. */
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings_read.h"

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

static uint32_t anchor_columns(const sl_head *head) { return head->kind == SL_HEAD_SSD ? 4 : 2; }

/* A plain name: it cannot lead out of the model's folder. */
static bool read_anchors_name(const json *j, settings *out, failure *why) {
    uint32_t node = settings_given(j, JSON_ROOT, "anchors_file");
    size_t length;
    if (node == JSON_NONE) return true;
    bool fits = json_text(j, node, out->anchors_file, sizeof out->anchors_file, &length) && length > 0;
    return (fits && out->anchors_file[0] != '.' && strchr(out->anchors_file, '/') == NULL) ||
           settings_missing("anchors_file", "the plain name of a file, at most 63 bytes", why);
}

static bool read_anchors(const json *j, settings *out, failure *why) {
    uint32_t array = settings_given(j, JSON_ROOT, "anchors"), columns = anchor_columns(&out->head);
    uint32_t count = json_count(j, array);
    if (array == JSON_NONE) return read_anchors_name(j, out, why);
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
    uint32_t strides = json_member(j, JSON_ROOT, "strides"), weights = settings_given(j, JSON_ROOT, "box_weights");
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

static bool read_kind(const json *j, settings *out, failure *why) {
    static const char *const kinds[] = {"yolov8", "yolov5", "yolox", "end_to_end",
                                        "detr",   "ssd",    "efficient_nms", "mask_rcnn"};
    static const char *const extras[] = {"none", "masks", "keypoints", "angle", "pasted"};
    static const char *const activations[] = {"none", "sigmoid", "softmax"};
    static const char *const backgrounds[] = {"none", "first", "last"};
    enum { PASTED = 4 };
    sl_head *head = &out->head;
    int extra = 0, activation = 0, background = 0, kind = settings_word(j, JSON_ROOT, "head", kinds, 8);
    if (kind < 0)
        return settings_missing("head", "yolov8, yolov5, yolox, end_to_end, detr, ssd, efficient_nms or mask_rcnn", why);
    if (!settings_optional_word(j, JSON_ROOT, "extra", extras, 5, "none, masks, keypoints, angle or pasted", &extra, why) ||
        !settings_optional_word(j, JSON_ROOT, "activation", activations, 3, "none, sigmoid or softmax", &activation, why) ||
        !settings_optional_word(j, JSON_ROOT, "background", backgrounds, 3, "none, first or last", &background, why))
        return false;
    head->kind = (sl_head_kind)kind;
    bool segment = settings_is_segment(j), said = settings_given(j, JSON_ROOT, "extra") != JSON_NONE;
    out->pasted = extra == PASTED || (segment && head->kind == SL_HEAD_MASK_RCNN && !said);
    head->extra = out->pasted ? SL_EXTRA_NONE : (sl_head_extra)extra;
    head->activation = (sl_activation)activation;
    head->background = (sl_background)background;
    return true;
}

bool settings_read_network_size(const json *j, settings *out, failure *why) {
    int64_t width = 1, height = 1;
    uint32_t size = settings_given(j, JSON_ROOT, "size");
    if (size != JSON_NONE && (json_count(j, size) != 2 ||
                              !json_integer(j, json_item(j, size, 0), 1, SL_MAX_SIDE, &width) ||
                              !json_integer(j, json_item(j, size, 1), 1, SL_MAX_SIDE, &height)))
        return settings_missing("size", "[width, height] of the network's input, pixels", why);
    out->head.network_width = (int32_t)width;
    out->head.network_height = (int32_t)height;
    return true;
}

static bool read_numbers(const json *j, settings *out, failure *why) {
    sl_head *head = &out->head;
    return settings_read_network_size(j, out, why) &&
           settings_optional_integer(j, JSON_ROOT, "classes", 1, SL_MAX_CLASSES, &head->classes, why) &&
           settings_optional_integer(j, JSON_ROOT, "extra_values", 0, SL_MAX_EXTRA_VALUES, &head->extra_values, why) &&
           settings_optional_integer(j, JSON_ROOT, "keypoint_values", 2, 3, &head->keypoint_values, why) &&
           settings_optional_flag(j, "multi_label", &head->multi_label, why) &&
           settings_optional_flag(j, "normalised", &head->normalised, why) &&
           settings_optional_flag(j, "centre_form", &head->centre_form, why) &&
           settings_optional_flag(j, "class_agnostic", &out->limits.class_agnostic, why);
}

static bool read_fraction(const json *j, const char *name, double *value, failure *why) {
    if (json_number(j, json_member(j, JSON_ROOT, name), value) && *value >= 0.0 && *value <= 1.0) return true;
    return settings_missing(name, "a number in 0..1", why);
}

/* How many outputs of the network a kind reads at the least, masks not counted. */
static size_t fewest_outputs(const sl_head *head) {
    switch (head->kind) {
    case SL_HEAD_SSD: return 2;
    case SL_HEAD_MASK_RCNN: return 3;
    case SL_HEAD_EFFICIENT_NMS: return 4;
    default: return 1;
    }
}

static bool check_parts(const settings *options, failure *why) {
    const sl_head *head = &options->head;
    bool parts = head->kind == SL_HEAD_MASK_RCNN || head->kind == SL_HEAD_EFFICIENT_NMS;
    size_t least = fewest_outputs(head) + (options->pasted || head->extra == SL_EXTRA_MASKS ? 1 : 0);
    if (options->pasted && head->kind != SL_HEAD_MASK_RCNN)
        return settings_missing("extra", "pasted masks belong to the head mask_rcnn", why);
    if (parts && head->extra != SL_EXTRA_NONE)
        return settings_missing("extra", "none for efficient_nms, none or pasted for mask_rcnn", why);
    return options->outputs >= least ||
           fail(why, FAILURE_BAD_INPUT, "the parameter 'sightline' has %zu \"outputs\"; this head reads %zu; " SETTINGS_AGAIN,
                options->outputs, least);
}

static bool check_head(const settings *options, failure *why) {
    const sl_head *head = &options->head;
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
    return check_parts(options, why);
}

static bool check_task(const json *j, const settings *options, failure *why) {
    bool masks = options->pasted || options->head.extra == SL_EXTRA_MASKS;
    return masks || !settings_is_segment(j) || settings_missing("extra", "masks or pasted, as the task is segment", why);
}

bool settings_read_head(const json *j, settings *out, failure *why) {
    int64_t detections;
    if (!read_kind(j, out, why) || !read_numbers(j, out, why) || !read_lists(j, out, why) ||
        !read_anchors(j, out, why) || !check_head(out, why) || !check_task(j, out, why))
        return false;
    if (!read_fraction(j, "score", &out->limits.score, why) || !read_fraction(j, "iou", &out->limits.iou, why))
        return false;
    if (!json_integer(j, json_member(j, JSON_ROOT, "detections"), 1, MAX_DETECTIONS, &detections))
        return settings_missing("detections", "the most objects of an image, 1..30000", why);
    out->detections = (size_t)detections;
    return true;
}

/* Bytes of the file, which is left at its start; 0 where it is empty, no plain file or too large. */
static size_t whole_rows(FILE *file, size_t row_bytes) {
    if (fseek(file, 0, SEEK_END) != 0) return 0;
    long bytes = ftell(file);
    bool fits = bytes > 0 && (size_t)bytes % row_bytes == 0 && (size_t)bytes / row_bytes <= SL_MAX_ANCHORS;
    return fits && fseek(file, 0, SEEK_SET) == 0 ? (size_t)bytes : 0;
}

static bool read_file_rows(settings *self, FILE *file, const char *path, failure *why) {
    size_t row_bytes = anchor_columns(&self->head) * sizeof *self->anchors, bytes = whole_rows(file, row_bytes);
    if (bytes == 0)
        return fail(why, FAILURE_BAD_INPUT, "%s must hold whole rows of %zu bytes, at most %d; " SETTINGS_AGAIN, path,
                    row_bytes, SL_MAX_ANCHORS);
    self->anchors = malloc(bytes);
    if (self->anchors == NULL) return fail(why, FAILURE_UNAVAILABLE, "no memory for the anchors");
    if (fread(self->anchors, 1, bytes, file) != bytes) return fail(why, FAILURE_BAD_INPUT, "%s cannot be read", path);
    for (size_t i = 0; i < bytes / sizeof *self->anchors; i++)
        if (!isfinite(self->anchors[i])) return fail(why, FAILURE_BAD_INPUT, "%s holds a number that is not finite", path);
    self->head.anchors = self->anchors;
    self->head.anchor_count = bytes / row_bytes;
    return true;
}

bool settings_read_anchors(settings *self, const char *folder, failure *why) {
    char path[PATH_MAX];
    if (self->anchors_file[0] == '\0') return true;
    int length = snprintf(path, sizeof path, "%s/%s", folder, self->anchors_file);
    if (length < 0 || (size_t)length >= sizeof path) return fail(why, FAILURE_BAD_INPUT, "the model's path is too long");
    FILE *file = fopen(path, "rb");
    if (file == NULL) return fail(why, FAILURE_BAD_INPUT, "%s cannot be opened; " SETTINGS_AGAIN, path);
    bool ok = read_file_rows(self, file, path, why);
    (void)fclose(file);
    return ok;
}
