/* SPDX-License-Identifier: Apache-2.0 */
/* Heads with boxes in one tensor and scores with an optional background in another: DETR, SSD, RetinaNet. */
#include <math.h>

#include "heads/activate.h"
#include "heads/heads.h"

enum { BOX_VALUES = 4 };

static size_t score_columns(const sl_view *view) {
    return view->classes + (view->head->background == SL_BACKGROUND_NONE ? 0U : 1U);
}

/* Scores start behind a first background; only the softmax looks at it. */
static sl_lanes class_lanes(const sl_view *view, const sl_lanes *scores) {
    bool skip = view->head->background == SL_BACKGROUND_FIRST && view->activation != SL_ACTIVATION_SOFTMAX;
    return sl_lanes_from(scores, skip ? 1 : 0);
}

static sl_status open_one(sl_view *view, const sl_tensor *tensor) {
    sl_group *group = &view->groups[0];
    if (!sl_tensor_lanes(tensor, BOX_VALUES + score_columns(view), false, &group->boxes, &view->anchors))
        return SL_ERROR_SIZE;
    sl_lanes scores = sl_lanes_from(&group->boxes, BOX_VALUES);
    group->scores = class_lanes(view, &scores);
    return SL_OK;
}

static sl_status open_two(sl_view *view, const sl_tensor *tensors) {
    sl_group *group = &view->groups[0];
    size_t which = tensors[0].rank == 2 && tensors[0].dims[1] == BOX_VALUES ? 0 : 1, scored = 0;
    const sl_tensor *boxes = &tensors[which];
    sl_lanes scores;
    if (boxes->rank != 2 || boxes->dims[1] != BOX_VALUES) return SL_ERROR_SIZE;
    if (!sl_tensor_lanes(&tensors[1 - which], score_columns(view), false, &scores, &scored)) return SL_ERROR_SIZE;
    if (scored != boxes->dims[0]) return SL_ERROR_SIZE;
    group->boxes = (sl_lanes){boxes->data, 1, BOX_VALUES};
    group->scores = class_lanes(view, &scores);
    view->anchors = scored;
    return SL_OK;
}

static sl_status open_pair(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    if (view->head->extra != SL_EXTRA_NONE) return SL_ERROR_FORMAT;
    sl_status status = tensor_count == 1 ? open_one(view, &tensors[0]) : open_two(view, tensors);
    view->groups[0].count = view->anchors;
    view->group_count = 1;
    return status;
}

sl_status sl_open_detr(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    view->scale_x = (float)view->head->network_width;
    view->scale_y = (float)view->head->network_height;
    view->box = sl_centre_box;
    return open_pair(view, tensors, tensor_count);
}

static float clip(float value, float most) { return value < 0.0F ? 0.0F : value > most ? most : value; }

/* As torchvision's BoxCoder, sizes grow to 1000 / 16 of the anchor at most; then clipped to the network's input. */
static bool delta_box(const sl_view *view, const sl_group *group, size_t index, float *box) {
    const float longest = 4.13516655F; /* ln(1000 / 16) */
    const float *anchor = view->head->anchors + 4 * index;
    for (size_t axis = 0; axis < 2; axis++) {
        float size = anchor[2 + axis] - anchor[axis], middle = anchor[axis] + 0.5F * size;
        float shift = sl_lane(&group->boxes, axis, index) / view->box_weights[axis];
        float grow = sl_lane(&group->boxes, 2 + axis, index) / view->box_weights[2 + axis];
        float centre = shift * size + middle, half = 0.5F * (sl_exp(grow > longest ? longest : grow) * size);
        float most = (float)(axis == 0 ? view->head->network_width : view->head->network_height);
        box[axis] = centre - half;
        box[2 + axis] = centre + half;
        if (!isfinite(box[axis]) || !isfinite(box[2 + axis])) return false;
        box[axis] = clip(box[axis], most);
        box[2 + axis] = clip(box[2 + axis], most);
    }
    return true;
}

sl_status sl_open_ssd(sl_view *view, const sl_tensor *tensors, size_t tensor_count) {
    const sl_head *head = view->head;
    bool given = false;
    for (size_t i = 0; i < 4; i++) given |= head->box_weights[i] != 0.0F;
    for (size_t i = 0; i < 4; i++) {
        view->box_weights[i] = given ? head->box_weights[i] : 1.0F;
        if (!(view->box_weights[i] > 0.0F && isfinite(view->box_weights[i]))) return SL_ERROR_VALUE;
    }
    if (head->anchors == NULL) return SL_ERROR_NULL;
    view->box = delta_box;
    view->suppress = true;
    sl_status status = open_pair(view, tensors, tensor_count);
    return status == SL_OK && view->anchors != head->anchor_count ? SL_ERROR_SIZE : status;
}
