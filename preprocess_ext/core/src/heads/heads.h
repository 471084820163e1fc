/* SPDX-License-Identifier: Apache-2.0 */
/* What the decoders of heads share; not installed. */
#ifndef SL_HEADS_H
#define SL_HEADS_H

#include "boxes/boxes.h"

enum { SL_SCAN_BLOCK = 512, SL_MAX_GROUPS = 64 };

/* Value v of anchor a: data[v * value_step + a * anchor_step]. */
typedef struct sl_lanes {
    const float *data;
    size_t value_step, anchor_step;
} sl_lanes;

static inline float sl_lane(const sl_lanes *lanes, size_t value, size_t anchor) {
    return lanes->data[value * lanes->value_step + anchor * lanes->anchor_step];
}

static inline sl_lanes sl_lanes_from(const sl_lanes *lanes, size_t value) {
    return (sl_lanes){lanes->data + value * lanes->value_step, lanes->value_step, lanes->anchor_step};
}

/* Anchors that lie in memory in one way; the fields below `extras` are for the kinds that need them. */
typedef struct sl_group {
    size_t first, count;
    sl_lanes boxes, scores, extras, objectness; /* objectness.data: NULL without */
    size_t columns;                             /* cells in a row of the feature map */
    float anchor_width, anchor_height, stride_x, stride_y;
} sl_group;

typedef struct sl_view sl_view;
/* Corners of the group's anchor in network pixels; false when one is not finite. */
typedef bool (*sl_box_of)(const sl_view *view, const sl_group *group, size_t anchor, float *box);

/* A head and its outputs after their shapes were checked. */
struct sl_view {
    const sl_head *head;
    size_t anchors, classes; /* all together; classes without background */
    size_t group_count;
    sl_group groups[SL_MAX_GROUPS];
    sl_box_of box;
    sl_activation activation; /* of the class scores and of objectness */
    bool multi_label, suppress;
    sl_lanes labels;     /* labels.data: NULL, or each row's class, and value 0 of `scores` is its score */
    int32_t first_label; /* label of class 0 */
    float scale_x, scale_y;
    float box_weights[4]; /* SSD */
    float limit, limit_below; /* of the score; of what the activation makes it from, a little lower */
};

/* The best candidates so far: the SL_MAX_CANDIDATES best are exact, however many come. One slot each. */
typedef struct sl_candidates {
    uint64_t *keys, *spare; /* index = slot */
    float *boxes;           /* (room, 4) xyxy, network pixels */
    float *scores;
    int32_t *classes;
    uint32_t *anchors;
    size_t found, room;
    uint64_t worst; /* keys from here on are too many already */
} sl_candidates;

/* Candidates must come by ascending anchor, then class: on equal scores the first stay and win. */
void sl_candidates_add(sl_candidates *candidates, float score, int32_t class_id, size_t anchor, const float *box);

/* ---- open.c and one file a kind: check shapes, fill the view ---- */
sl_status sl_view_open(sl_view *view, const sl_head *head, const sl_tensor *tensors, size_t tensor_count);
const sl_group *sl_view_group(const sl_view *view, size_t anchor);
/* Two-dimensional lanes of `values` values; *anchors gets the other dimension. */
bool sl_tensor_lanes(const sl_tensor *tensor, size_t values, bool values_first, sl_lanes *lanes, size_t *anchors);
bool sl_centre_box(const sl_view *view, const sl_group *group, size_t anchor, float *box);
bool sl_corner_box(const sl_view *view, const sl_group *group, size_t anchor, float *box);
bool sl_finite_box(const float *box);
/* Centre x, centre y, width, height and angle of a turned box; false when it cannot enter suppression. */
bool sl_turned_row(const sl_view *view, const sl_group *group, size_t anchor, float *row);
/* sl_centre_box of an anchor with a sound sl_turned_row. */
bool sl_turned_box(const sl_view *view, const sl_group *group, size_t anchor, float *box);
/* From network to source pixels: the box before it is turned, and its angle. `geometry` has been checked. */
void sl_turned_to_source(const float *geometry, const float *row, float *box, float *angle);

sl_status sl_open_yolov8(sl_view *view, const sl_tensor *tensors, size_t tensor_count);
sl_status sl_open_yolov5(sl_view *view, const sl_tensor *tensors, size_t tensor_count);
sl_status sl_open_yolox(sl_view *view, const sl_tensor *tensors, size_t tensor_count);
sl_status sl_open_end_to_end(sl_view *view, const sl_tensor *tensors, size_t tensor_count);
sl_status sl_open_efficient_nms(sl_view *view, const sl_tensor *tensors, size_t tensor_count);
sl_status sl_open_mask_rcnn(sl_view *view, const sl_tensor *tensors, size_t tensor_count);
sl_status sl_open_detr(sl_view *view, const sl_tensor *tensors, size_t tensor_count);
sl_status sl_open_ssd(sl_view *view, const sl_tensor *tensors, size_t tensor_count);

/* ---- collect.c, softmax.c ---- */
void sl_collect(const sl_view *view, sl_candidates *candidates);
void sl_collect_softmax(const sl_view *view, const sl_group *group, sl_candidates *candidates);
/* The score limit before the sigmoid, a little lower than needed: only to pass over what cannot reach the limit. */
float sl_logit_below(double score);

/* ---- scan.c: the best class of each of `count` anchors, count <= SL_SCAN_BLOCK ---- */

/*
 * Class c's scores start at scores + c * step. best[i]: the highest; best_class[i]: the lowest class that has it, only
 * where best[i] >= limit. Returns false when no best[i] reaches the limit.
 */
bool sl_scan_columns(const float *scores, size_t step, size_t classes, size_t count, float limit, float *best,
                     int32_t *best_class);
/* The same where anchor i's scores lie together from scores + i * step on. */
bool sl_scan_rows(const float *scores, size_t step, size_t classes, size_t count, float limit, float *best,
                  int32_t *best_class);

/* Variants of sl_scan_columns without the limit; they return how many anchors, from the first on, they have done. */
size_t sl_scan_columns_avx2(const float *scores, size_t step, size_t classes, size_t count, float *best,
                            int32_t *best_class);
size_t sl_scan_columns_avx512(const float *scores, size_t step, size_t classes, size_t count, float *best,
                              int32_t *best_class);
size_t sl_scan_columns_neon(const float *scores, size_t step, size_t classes, size_t count, float *best,
                            int32_t *best_class);

#endif
