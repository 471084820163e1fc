/* SPDX-License-Identifier: Apache-2.0 */
/* The anchor-free head of YOLOv8, v9 and 11. */
#include "heads/heads.h"

enum { BOX_VALUES = 4 };

sl_status sl_open_yolov8(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    (void)tensor_count;
    const sl_head *head = view->head;
    if (view->activation == SL_ACTIVATION_SOFTMAX) return SL_ERROR_FORMAT;
    sl_group *group = &view->groups[0];
    size_t values = BOX_VALUES + view->classes + (size_t)head->extra_values;
    if (!sl_tensor_lanes(&tensors[0], values, true, &group->boxes, &view->anchors)) return SL_ERROR_SIZE;
    group->count = view->anchors;
    group->scores = sl_lanes_from(&group->boxes, BOX_VALUES);
    group->extras = sl_lanes_from(&group->boxes, BOX_VALUES + view->classes);
    view->group_count = 1;
    view->box = head->extra == SL_EXTRA_ANGLE ? sl_turned_box : sl_centre_box;
    view->suppress = true;
    return SL_OK;
}
