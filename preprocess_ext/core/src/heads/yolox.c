/* SPDX-License-Identifier: Apache-2.0 */
/* YOLOX before its decoding: offsets in the grids of its levels. */
#include "heads/activate.h"
#include "heads/heads.h"

enum { OBJECTNESS = 4, FIRST_CLASS = 5 };

/* x = (offset + column) stride, width = e^(log width) stride */
static bool grid_box(const sl_view *view, const sl_group *group, size_t anchor, float *box) {
    (void)view;
    float x = (sl_lane(&group->boxes, 0, anchor) + (float)(anchor % group->columns)) * group->stride_x;
    float y = (sl_lane(&group->boxes, 1, anchor) + (float)(anchor / group->columns)) * group->stride_y;
    float half_width = sl_exp(sl_lane(&group->boxes, 2, anchor)) * group->stride_x * 0.5F;
    float half_height = sl_exp(sl_lane(&group->boxes, 3, anchor)) * group->stride_y * 0.5F;
    box[0] = x - half_width;
    box[1] = y - half_height;
    box[2] = x + half_width;
    box[3] = y + half_height;
    return sl_finite_box(box);
}

static sl_lanes skip_anchors(const sl_lanes *lanes, size_t count) {
    return (sl_lanes){lanes->data + count * lanes->anchor_step, lanes->value_step, lanes->anchor_step};
}

static size_t cells_of(int32_t side, int32_t stride) { return (size_t)((side + stride - 1) / stride); }

sl_status sl_open_yolox(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    (void)tensor_count;
    const int32_t usual[SL_MAX_LEVELS] = {8, 16, 32};
    const sl_head *head = view->head;
    const int32_t *strides = head->levels == 0 ? usual : head->strides;
    int32_t levels = head->levels == 0 ? 3 : head->levels;
    if (head->extra == SL_EXTRA_ANGLE) return SL_ERROR_FORMAT;
    if (levels < 1 || levels > SL_MAX_LEVELS) return SL_ERROR_SIZE;
    size_t values = FIRST_CLASS + view->classes + (size_t)head->extra_values, first = 0;
    sl_lanes lanes;
    if (!sl_tensor_lanes(&tensors[0], values, false, &lanes, &view->anchors)) return SL_ERROR_SIZE;
    for (int32_t level = 0; level < levels; level++) {
        int32_t stride = strides[level];
        if (stride < 1 || stride > SL_MAX_SIDE) return SL_ERROR_VALUE;
        size_t columns = cells_of(head->network_width, stride), count = columns * cells_of(head->network_height, stride);
        if (count > view->anchors - first) return SL_ERROR_SIZE;
        sl_group *group = &view->groups[view->group_count++];
        *group = (sl_group){.first = first, .count = count, .boxes = skip_anchors(&lanes, first), .columns = columns};
        group->objectness = sl_lanes_from(&group->boxes, OBJECTNESS);
        group->scores = sl_lanes_from(&group->boxes, FIRST_CLASS);
        group->extras = sl_lanes_from(&group->boxes, FIRST_CLASS + view->classes);
        group->stride_x = group->stride_y = (float)stride;
        first += count;
    }
    view->activation = SL_ACTIVATION_NONE;
    view->box = grid_box;
    view->suppress = true;
    return first == view->anchors ? SL_OK : SL_ERROR_SIZE;
}
