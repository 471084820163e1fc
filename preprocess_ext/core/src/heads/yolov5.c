/* SPDX-License-Identifier: Apache-2.0 */
/* YOLOv5 and v7: decoded by the export, or the logits of each level with their anchors. */
#include "heads/activate.h"
#include "heads/heads.h"

enum { OBJECTNESS = 4, FIRST_CLASS = 5 };

static void split(sl_group *group, size_t classes) {
    group->objectness = sl_lanes_from(&group->boxes, OBJECTNESS);
    group->scores = sl_lanes_from(&group->boxes, FIRST_CLASS);
    group->extras = sl_lanes_from(&group->boxes, FIRST_CLASS + classes);
}

/* x = (2 s(x) - 0.5 + column) stride, width = (2 s(width))^2 anchor width; s: sigmoid */
static bool level_box(const sl_view *view, const sl_group *group, size_t anchor, float *box) {
    (void)view;
    float at[4];
    for (size_t i = 0; i < 4; i++) at[i] = sl_sigmoid(sl_lane(&group->boxes, i, anchor)) * 2.0F;
    float x = (at[0] - 0.5F + (float)(anchor % group->columns)) * group->stride_x;
    float y = (at[1] - 0.5F + (float)(anchor / group->columns)) * group->stride_y;
    float half_width = at[2] * at[2] * group->anchor_width * 0.5F;
    float half_height = at[3] * at[3] * group->anchor_height * 0.5F;
    box[0] = x - half_width;
    box[1] = y - half_height;
    box[2] = x + half_width;
    box[3] = y + half_height;
    return sl_finite_box(box);
}

/* One anchor shape of a level: cells row by row. */
static void add_group(sl_view *view, const sl_tensor *tensor, size_t values, size_t shape) {
    bool values_first = tensor->rank == 3;
    size_t rows = tensor->dims[1], columns = tensor->dims[2], cells = rows * columns;
    sl_group *group = &view->groups[view->group_count];
    *group = (sl_group){.first = view->anchors, .count = cells, .columns = columns};
    group->boxes.data = tensor->data + shape * values * cells;
    group->boxes.value_step = values_first ? cells : 1;
    group->boxes.anchor_step = values_first ? 1 : values;
    group->stride_x = (float)view->head->network_width / (float)columns;
    group->stride_y = (float)view->head->network_height / (float)rows;
    group->anchor_width = view->head->anchors[2 * view->group_count];
    group->anchor_height = view->head->anchors[2 * view->group_count + 1];
    split(group, view->classes);
    view->anchors += cells;
    view->group_count++;
}

static sl_status open_levels(sl_view *view, const sl_tensor *tensors, size_t tensor_count, size_t values) {
    const sl_head *head = view->head;
    if (head->anchors == NULL) return SL_ERROR_NULL;
    if (head->anchor_count < 1 || head->anchor_count > SL_MAX_GROUPS) return SL_ERROR_SIZE;
    view->anchors = 0;
    view->activation = SL_ACTIVATION_SIGMOID;
    view->box = level_box;
    for (size_t i = 0; i < tensor_count && view->group_count < head->anchor_count; i++) {
        const sl_tensor *tensor = &tensors[i];
        size_t shapes = tensor->dims[0] / (tensor->rank == 3 ? values : 1);
        bool fits = tensor->rank == 3 ? tensor->dims[0] == shapes * values
                                      : tensor->rank == 4 && tensor->dims[3] == values;
        if (!fits || shapes < 1 || shapes > head->anchor_count - view->group_count) return SL_ERROR_SIZE;
        if (tensor->dims[1] * tensor->dims[2] > SL_MAX_ANCHORS) return SL_ERROR_SIZE;
        for (size_t shape = 0; shape < shapes; shape++) add_group(view, tensor, values, shape);
    }
    return view->group_count == head->anchor_count ? SL_OK : SL_ERROR_SIZE;
}

sl_status sl_open_yolov5(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    size_t values = FIRST_CLASS + view->classes + (size_t)view->head->extra_values;
    view->suppress = true;
    if (view->head->extra == SL_EXTRA_ANGLE) return SL_ERROR_FORMAT;
    if (tensors[0].rank >= 3) return open_levels(view, tensors, tensor_count, values);
    sl_group *group = &view->groups[0];
    if (!sl_tensor_lanes(&tensors[0], values, false, &group->boxes, &view->anchors)) return SL_ERROR_SIZE;
    view->activation = SL_ACTIVATION_NONE;
    view->box = sl_centre_box;
    view->group_count = 1;
    group->count = view->anchors;
    split(group, view->classes);
    return SL_OK;
}
