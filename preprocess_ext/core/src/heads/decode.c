/* SPDX-License-Identifier: Apache-2.0 */
/* One way from a head's outputs to detections: collect candidates, sort, suppress, go back to source pixels. */
#include <math.h>
#include <string.h>

#include "heads/heads.h"

enum { MOST_SLOTS = 1 << 16 }; /* sorted out whenever so many have come */

typedef struct decode_buffers {
    sl_candidates candidates;
    sl_nms_work work;
    sl_oriented_work oriented;
    float *turned;        /* (most, 5) best first, only with angles */
    int32_t *turned_class;
    uint32_t *keep;
    size_t most;
} decode_buffers;

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static void take_buffers(decode_buffers *buffers, sl_arena *arena, size_t possible, size_t capacity, bool turned) {
    sl_candidates *candidates = &buffers->candidates;
    candidates->room = least(possible, MOST_SLOTS);
    candidates->found = 0;
    candidates->worst = UINT64_MAX;
    candidates->keys = sl_arena_take(arena, candidates->room, sizeof(uint64_t));
    candidates->spare = sl_arena_take(arena, candidates->room, sizeof(uint64_t));
    candidates->boxes = sl_arena_take(arena, candidates->room, 4 * sizeof(float));
    candidates->scores = sl_arena_take(arena, candidates->room, sizeof(float));
    candidates->classes = sl_arena_take(arena, candidates->room, sizeof(int32_t));
    candidates->anchors = sl_arena_take(arena, candidates->room, sizeof(uint32_t));
    buffers->most = least(possible, turned ? SL_MAX_ORIENTED_CANDIDATES : SL_MAX_CANDIDATES);
    buffers->keep = sl_arena_take(arena, least(buffers->most, capacity), sizeof(uint32_t));
    if (!turned) {
        sl_nms_work_take(&buffers->work, arena, buffers->most);
        return;
    }
    buffers->turned = sl_arena_take(arena, buffers->most, 5 * sizeof(float));
    buffers->turned_class = sl_arena_take(arena, buffers->most, sizeof(int32_t));
    sl_oriented_work_take(&buffers->oriented, arena, buffers->most);
}

static size_t possible_candidates(const sl_view *view) {
    return view->multi_label ? view->anchors * view->classes : view->anchors;
}

static bool is_turned(const sl_view *view) { return view->head->extra == SL_EXTRA_ANGLE; }

static size_t scratch_for(size_t possible, size_t capacity, bool turned) {
    decode_buffers buffers;
    sl_arena arena = sl_arena_over(NULL, 0);
    take_buffers(&buffers, &arena, possible, capacity, turned);
    return sl_arena_bytes(&arena);
}

size_t sl_head_scratch_bytes(const sl_head *head, const sl_tensor *tensors, size_t tensor_count, size_t capacity) {
    sl_view view;
    if (sl_view_open(&view, head, tensors, tensor_count) != SL_OK) return 0;
    return scratch_for(possible_candidates(&view), capacity, is_turned(&view));
}

static float finite_or_zero(float value) { return isfinite(value) ? value : 0.0F; }

static float clip(float value, float most) { return value < 0.0F ? 0.0F : value > most ? most : value; }

static void write_keypoints(const sl_view *view, const sl_group *group, size_t anchor, const float *geometry,
                            float *row) {
    size_t each = view->head->keypoint_values == 2 ? 2 : 3, count = (size_t)view->head->extra_values;
    for (size_t i = 0; i < count; i++) {
        float value = sl_lane(&group->extras, i, anchor);
        size_t axis = i % each;
        if (axis < 2) {
            value = value * (axis == 0 ? view->scale_x : view->scale_y);
            value = (value - geometry[5 + axis]) / geometry[3 + axis];
            value = isfinite(value) ? clip(value, geometry[1 + axis]) : 0.0F;
        }
        row[i] = finite_or_zero(value);
    }
}

static void write_extras(const sl_view *view, const sl_group *group, size_t anchor, const float *geometry,
                         float *row) {
    if (view->head->extra == SL_EXTRA_KEYPOINTS) {
        write_keypoints(view, group, anchor, geometry, row);
        return;
    }
    size_t count = (size_t)view->head->extra_values;
    for (size_t i = 0; i < count; i++) row[i] = finite_or_zero(sl_lane(&group->extras, i, anchor));
}

/* False, and no row, where a turned box, which is read again, has become unsound: the outputs may change meanwhile. */
static bool write_row(const sl_view *view, const sl_candidates *candidates, size_t slot, const float *geometry,
                      const sl_detections *out, size_t row) {
    const float *box = candidates->boxes + 4 * slot;
    size_t anchor = candidates->anchors[slot], width = (size_t)view->head->extra_values;
    const sl_group *group = sl_view_group(view, anchor);
    float turned[5], angle = 0.0F;
    if (is_turned(view)) {
        if (!sl_turned_row(view, group, anchor - group->first, turned)) return false;
        sl_turned_to_source(geometry, turned, out->boxes + 4 * row, &angle);
    } else {
        sl_box_to_source(geometry, box, out->boxes + 4 * row);
    }
    out->scores[row] = candidates->scores[slot];
    out->classes[row] = candidates->classes[slot];
    if (out->network_boxes != NULL) memcpy(out->network_boxes + 4 * row, box, 4 * sizeof(float));
    if (out->indices != NULL) out->indices[row] = (int32_t)anchor;
    if (out->extras == NULL || width == 0) return true;
    if (is_turned(view))
        out->extras[row] = angle;
    else
        write_extras(view, group, anchor - group->first, geometry, out->extras + width * row);
    return true;
}

/*
 * As Ultralytics: overlap of Gaussians, and every better box suppresses, kept or not. Candidates that are no longer
 * sound are taken out of `sorted`.
 */
static size_t keep_turned(const sl_view *view, decode_buffers *buffers, uint64_t *sorted, size_t found,
                          const sl_detect_limits *limits, size_t room) {
    const sl_candidates *candidates = &buffers->candidates;
    const sl_oriented_options options = {.overlap = SL_ORIENTED_PROBIOU, .fast = 1, .limit = limits->iou};
    size_t sound = 0;
    for (size_t rank = 0; rank < found; rank++) {
        size_t slot = sl_order_index(sorted[rank]), anchor = candidates->anchors[slot];
        const sl_group *group = sl_view_group(view, anchor);
        if (!sl_turned_row(view, group, anchor - group->first, buffers->turned + 5 * sound)) continue;
        buffers->turned_class[sound] = candidates->classes[slot];
        sorted[sound++] = sorted[rank];
    }
    const int32_t *classes = limits->class_agnostic != 0 ? NULL : buffers->turned_class;
    size_t kept = sl_nms_oriented_sorted(&buffers->oriented, buffers->turned, classes, NULL, sound, &options,
                                         buffers->keep, room);
    for (size_t row = 0; row < kept; row++) buffers->keep[row] = sl_order_index(sorted[buffers->keep[row]]);
    return kept;
}

static size_t keep_best(const sl_view *view, decode_buffers *buffers, const float *geometry,
                        const sl_detect_limits *limits, const sl_detections *out) {
    sl_candidates *candidates = &buffers->candidates;
    uint64_t *sorted = sl_order_sort(candidates->keys, candidates->spare, candidates->found);
    size_t found = least(candidates->found, buffers->most), kept = least(found, out->capacity), rows = 0;
    if (view->suppress && is_turned(view)) {
        kept = keep_turned(view, buffers, sorted, found, limits, kept);
    } else if (view->suppress) {
        const int32_t *classes = limits->class_agnostic != 0 ? NULL : candidates->classes;
        kept = sl_nms_sorted(&buffers->work, candidates->boxes, classes, sorted, found, sl_iou_limit(limits->iou),
                             buffers->keep, kept);
    }
    for (size_t i = 0; i < kept; i++) {
        size_t slot = view->suppress ? buffers->keep[i] : sl_order_index(sorted[i]);
        if (write_row(view, candidates, slot, geometry, out, rows)) rows++;
    }
    return rows;
}

static sl_status check_limits(const sl_detect_limits *limits) {
    if (limits == NULL) return SL_ERROR_NULL;
    if (!(limits->score >= 0.0 && limits->score <= 1.0)) return SL_ERROR_VALUE;
    return limits->iou >= 0.0 && limits->iou <= 1.0 ? SL_OK : SL_ERROR_VALUE;
}

sl_status sl_head_decode(const sl_head *head, const sl_tensor *tensors, size_t tensor_count, const float *geometry,
                         const sl_detect_limits *limits, const sl_detections *out, size_t *count, void *scratch,
                         size_t scratch_bytes) {
    if (count == NULL || out == NULL || scratch == NULL) return SL_ERROR_NULL;
    *count = 0;
    sl_view view;
    sl_status status = sl_view_open(&view, head, tensors, tensor_count);
    if (status == SL_OK) status = check_limits(limits);
    if (status == SL_OK) status = sl_geometry_check(geometry);
    if (status != SL_OK || out->capacity == 0) return status;
    if (out->boxes == NULL || out->scores == NULL || out->classes == NULL) return SL_ERROR_NULL;
    decode_buffers buffers;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    take_buffers(&buffers, &arena, possible_candidates(&view), out->capacity, is_turned(&view));
    if (arena.overflow) return SL_ERROR_SCRATCH;
    view.limit = (float)limits->score;
    view.limit_below = view.activation == SL_ACTIVATION_NONE ? view.limit : sl_logit_below(limits->score);
    sl_collect(&view, &buffers.candidates);
    *count = keep_best(&view, &buffers, geometry, limits, out);
    return SL_OK;
}

size_t sl_yolov8_scratch_bytes(size_t anchors, size_t capacity) {
    return anchors < 1 || anchors > SL_MAX_ANCHORS ? 0 : scratch_for(anchors, capacity, false);
}

sl_status sl_yolov8_decode(const float *raw, size_t classes, size_t anchors, const float *geometry,
                           const sl_detect_limits *limits, const sl_detections *out, size_t *count, void *scratch,
                           size_t scratch_bytes) {
    if (count == NULL) return SL_ERROR_NULL;
    *count = 0;
    if (classes < 1 || classes > SL_MAX_CLASSES || anchors < 1) return SL_ERROR_SIZE;
    sl_head head = {.kind = SL_HEAD_YOLOV8, .classes = (int32_t)classes, .network_width = 1, .network_height = 1};
    sl_tensor tensor = {.data = raw, .rank = 2, .dims = {4 + classes, anchors}};
    return sl_head_decode(&head, &tensor, 1, geometry, limits, out, count, scratch, scratch_bytes);
}
