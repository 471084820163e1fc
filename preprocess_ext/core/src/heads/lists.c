/* SPDX-License-Identifier: Apache-2.0 */
/* Heads that list finished detections: end-to-end YOLO, EfficientNMS, Mask R-CNN. */
#include "heads/heads.h"

enum { SCORE = 4, CLASS = 5, EXTRAS = 6 };

sl_status sl_open_end_to_end(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    (void)tensor_count;
    sl_group *group = &view->groups[0];
    size_t values = EXTRAS + (size_t)view->head->extra_values;
    if (!sl_tensor_lanes(&tensors[0], values, false, &group->boxes, &view->anchors)) return SL_ERROR_SIZE;
    group->count = view->anchors;
    group->scores = sl_lanes_from(&group->boxes, SCORE);
    group->extras = sl_lanes_from(&group->boxes, EXTRAS);
    view->labels = sl_lanes_from(&group->boxes, CLASS);
    view->group_count = 1;
    view->box = view->head->centre_form != 0 ? sl_centre_box : sl_corner_box;
    if (view->head->extra == SL_EXTRA_ANGLE) view->box = sl_turned_box;
    return SL_OK;
}

static bool is_list(const sl_tensor *tensor, size_t count) { return tensor->rank == 1 && tensor->dims[0] == count; }

/* Detections whose parts are tensors of their own. */
static sl_status open_parts(sl_view *view, const sl_tensor *boxes, const sl_tensor *scores, const sl_tensor *labels) {
    sl_group *group = &view->groups[0];
    if (view->head->extra != SL_EXTRA_NONE) return SL_ERROR_FORMAT;
    if (boxes->rank != 2 || boxes->dims[1] != 4) return SL_ERROR_SIZE;
    if (!is_list(scores, boxes->dims[0]) || !is_list(labels, boxes->dims[0])) return SL_ERROR_SIZE;
    view->anchors = group->count = boxes->dims[0];
    group->boxes = (sl_lanes){boxes->data, 1, 4};
    group->scores = (sl_lanes){scores->data, 1, 1};
    view->labels = (sl_lanes){labels->data, 1, 1};
    view->group_count = 1;
    view->box = view->head->centre_form != 0 ? sl_centre_box : sl_corner_box;
    return SL_OK;
}

sl_status sl_open_efficient_nms(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    if (tensor_count < 4 || !is_list(&tensors[0], 1)) return SL_ERROR_SIZE;
    sl_status status = open_parts(view, &tensors[1], &tensors[2], &tensors[3]);
    if (status != SL_OK) return status;
    float count = tensors[0].data[0];
    if (!(count >= 0.0F && count <= (float)view->anchors)) return SL_ERROR_VALUE;
    view->groups[0].count = (size_t)count;
    return SL_OK;
}

sl_status sl_open_mask_rcnn(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    if (tensor_count < 3) return SL_ERROR_SIZE;
    if (view->head->background == SL_BACKGROUND_FIRST) view->first_label = 1;
    return open_parts(view, &tensors[0], &tensors[2], &tensors[1]);
}
