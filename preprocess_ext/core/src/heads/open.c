/* SPDX-License-Identifier: Apache-2.0 */
/* The checks that all heads share, and reading their shapes. */
#include <math.h>

#include "heads/heads.h"

bool sl_finite_box(const float *box) {
    return isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]);
}

bool sl_centre_box(const sl_view *view, const sl_group *group, size_t anchor, float *box) {
    float x = sl_lane(&group->boxes, 0, anchor) * view->scale_x, y = sl_lane(&group->boxes, 1, anchor) * view->scale_y;
    float half_width = sl_lane(&group->boxes, 2, anchor) * view->scale_x * 0.5F;
    float half_height = sl_lane(&group->boxes, 3, anchor) * view->scale_y * 0.5F;
    box[0] = x - half_width;
    box[1] = y - half_height;
    box[2] = x + half_width;
    box[3] = y + half_height;
    return sl_finite_box(box);
}

bool sl_corner_box(const sl_view *view, const sl_group *group, size_t anchor, float *box) {
    for (size_t i = 0; i < 4; i++)
        box[i] = sl_lane(&group->boxes, i, anchor) * (i & 1 ? view->scale_y : view->scale_x);
    return sl_finite_box(box);
}

bool sl_tensor_lanes(const sl_tensor *tensor, size_t values, bool values_first, sl_lanes *lanes, size_t *anchors) {
    if (tensor->rank != 2) return false;
    size_t rows = tensor->dims[0], columns = tensor->dims[1];
    bool first = values_first ? rows == values : columns != values && rows == values;
    if (!first && columns != values) return false;
    *lanes = first ? (sl_lanes){tensor->data, columns, 1} : (sl_lanes){tensor->data, 1, columns};
    *anchors = first ? columns : rows;
    return true;
}

const sl_group *sl_view_group(const sl_view *view, size_t anchor) {
    const sl_group *group = view->groups;
    while (anchor >= group->first + group->count) group++;
    return group;
}

/* Every value can be addressed: the product of the sides fits. */
static sl_status check_tensor(const sl_tensor *tensor) {
    if (tensor->rank < 1 || tensor->rank > SL_TENSOR_RANK) return SL_ERROR_SIZE;
    size_t room = SIZE_MAX / 2 / sizeof(float);
    bool empty = false;
    for (size_t i = 0; i < tensor->rank; i++) {
        if (tensor->dims[i] > room) return SL_ERROR_SIZE;
        empty |= tensor->dims[i] == 0;
        room /= tensor->dims[i] == 0 ? 1 : tensor->dims[i];
    }
    return tensor->data == NULL && !empty ? SL_ERROR_NULL : SL_OK;
}

static bool extra_fits(const sl_head *head) {
    switch (head->extra) {
    case SL_EXTRA_NONE: return head->extra_values == 0;
    case SL_EXTRA_MASKS: return head->extra_values > 0;
    case SL_EXTRA_KEYPOINTS: {
        int32_t each = head->keypoint_values == 0 ? 3 : head->keypoint_values;
        return (each == 2 || each == 3) && head->extra_values > 0 && head->extra_values % each == 0;
    }
    case SL_EXTRA_ANGLE: return head->extra_values == 1;
    }
    return false;
}

static sl_status check_head(const sl_head *head) {
    if (head->classes < 1 || head->classes > SL_MAX_CLASSES) return SL_ERROR_SIZE;
    if (head->extra_values < 0 || head->extra_values > SL_MAX_EXTRA_VALUES) return SL_ERROR_SIZE;
    if (head->network_width < 1 || head->network_width > SL_MAX_SIDE) return SL_ERROR_SIZE;
    if (head->network_height < 1 || head->network_height > SL_MAX_SIDE) return SL_ERROR_SIZE;
    if ((unsigned)head->activation > SL_ACTIVATION_SOFTMAX) return SL_ERROR_FORMAT;
    if ((unsigned)head->background > SL_BACKGROUND_LAST) return SL_ERROR_FORMAT;
    if ((unsigned)head->extra > SL_EXTRA_ANGLE) return SL_ERROR_FORMAT;
    return extra_fits(head) ? SL_OK : SL_ERROR_SIZE;
}

static sl_status open_kind(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    switch (view->head->kind) {
    case SL_HEAD_YOLOV8: return sl_open_yolov8(view, tensors, tensor_count);
    case SL_HEAD_YOLOV5: return sl_open_yolov5(view, tensors, tensor_count);
    case SL_HEAD_YOLOX: return sl_open_yolox(view, tensors, tensor_count);
    case SL_HEAD_END_TO_END: return sl_open_end_to_end(view, tensors, tensor_count);
    case SL_HEAD_DETR: return sl_open_detr(view, tensors, tensor_count);
    case SL_HEAD_SSD: return sl_open_ssd(view, tensors, tensor_count);
    case SL_HEAD_EFFICIENT_NMS: return sl_open_efficient_nms(view, tensors, tensor_count);
    case SL_HEAD_MASK_RCNN: return sl_open_mask_rcnn(view, tensors, tensor_count);
    }
    return SL_ERROR_FORMAT;
}

sl_status sl_view_open(sl_view *view, const sl_head *head, const sl_tensor *tensors, size_t tensor_count) {
    if (head == NULL || tensors == NULL) return SL_ERROR_NULL;
    if (tensor_count < 1 || tensor_count > SL_MAX_TENSORS) return SL_ERROR_SIZE;
    sl_status status = check_head(head);
    for (size_t i = 0; i < tensor_count && status == SL_OK; i++) status = check_tensor(&tensors[i]);
    if (status != SL_OK) return status;
    view->head = head;
    view->group_count = 0;
    view->groups[0] = (sl_group){.first = 0};
    view->classes = (size_t)head->classes;
    view->activation = head->activation;
    view->multi_label = head->multi_label != 0;
    view->suppress = false;
    view->labels = (sl_lanes){NULL, 0, 0};
    view->first_label = 0;
    view->scale_x = head->normalised ? (float)head->network_width : 1.0F;
    view->scale_y = head->normalised ? (float)head->network_height : 1.0F;
    status = open_kind(view, tensors, tensor_count);
    if (status != SL_OK) return status;
    return view->anchors > SL_MAX_ANCHORS ? SL_ERROR_SIZE : SL_OK;
}
