/* SPDX-License-Identifier: Apache-2.0 */
/* A network's outputs into detections. */
#ifndef SIGHTLINE_CORE_HEADS_H
#define SIGHTLINE_CORE_HEADS_H

#include "sightline_core/geometry.h"
#include "sightline_core/nms.h"
#include "sightline_core/scores.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SL_TENSOR_RANK = 4,
    SL_MAX_LEVELS = 8,          /* feature maps of one head */
    SL_MAX_EXTRA_VALUES = 1024, /* floats a detection beside its box */
    SL_MAX_TENSORS = 16
};

/* One output of the network for one picture: float32, C-contiguous, without the batch. */
typedef struct sl_tensor {
    const float *data;
    size_t rank; /* 1..SL_TENSOR_RANK */
    size_t dims[SL_TENSOR_RANK];
} sl_tensor;

/*
 * How outputs are read. A = anchors or queries or rows, C = classes, E = extra_values. Where a two-dimensional output
 * may lie either way, (values, A) or (A, values), its dimensions tell; where both fit, it is as written here.
 * Coordinates are network pixels unless `normalised`; further tensors are not read.
 *   YOLOV8         v8, v9, 11 and kin. (4 + C + E, A): centre x, centre y, width, height; C scores; extras
 *   YOLOV5         v5, v7: (A, 5 + C + E): centre x, centre y, width, height, objectness, C scores, extras, decoded by
 *                  the export; or one tensor a level before decoding, (n (5 + C), h, w) or (n, h, w, 5 + C), logits,
 *                  with `anchors` (levels, n, 2). Score = objectness x class score; anchors whose objectness is below
 *                  the limit are dropped before. YOLOX exported with decoding is read as this.
 *   YOLOX          (A, 5 + C): offsets in the grid, log of the size, objectness, scores; levels of `strides`
 *   END_TO_END     v10, 26: (A, 6 + E): x1, y1, x2, y2, score, class, extras; with SL_EXTRA_ANGLE or `centre_form`
 *                  the first four are centre x, centre y, width, height. No NMS
 *   DETR           DETR, RT-DETR: boxes (A, 4) centre x, centre y, width, height in 0..1 of the network's sides, and
 *                  scores (A, C + background); or one tensor (A, 4 + C + background). No NMS
 *   SSD            SSD, RetinaNet: deltas (A, 4) to `anchors` (A, 4), and scores (A, C + background)
 *   EFFICIENT_NMS  count (1), boxes (A, 4) xyxy, scores (A), classes (A), whole numbers as floats. No NMS
 *   MASK_RCNN      boxes (A, 4) xyxy, labels (A), scores (A), whole numbers as floats. No NMS
 * DETR and SSD find their boxes by the last dimension of 4 (the first such tensor of the two).
 */
typedef enum sl_head_kind {
    SL_HEAD_YOLOV8 = 0,
    SL_HEAD_YOLOV5 = 1,
    SL_HEAD_YOLOX = 2,
    SL_HEAD_END_TO_END = 3,
    SL_HEAD_DETR = 4,
    SL_HEAD_SSD = 5,
    SL_HEAD_EFFICIENT_NMS = 6,
    SL_HEAD_MASK_RCNN = 7
} sl_head_kind;

/* What a detection carries beside its box. */
typedef enum sl_head_extra {
    SL_EXTRA_NONE = 0,
    SL_EXTRA_MASKS = 1,     /* coefficients of prototypes */
    SL_EXTRA_KEYPOINTS = 2, /* x, y, confidence each, or x, y when keypoint_values is 2 */
    SL_EXTRA_ANGLE = 3      /* one angle in radians: the box is turned by it about its centre, from x towards y */
} sl_head_extra;

/* Whether the scores have a column for "nothing here". Class ids never count it. */
typedef enum sl_background { SL_BACKGROUND_NONE = 0, SL_BACKGROUND_FIRST = 1, SL_BACKGROUND_LAST = 2 } sl_background;

/* Zero in a field behind network_height is the usual choice. */
typedef struct sl_head {
    sl_head_kind kind;
    sl_head_extra extra;
    int32_t classes;      /* 1..SL_MAX_CLASSES, without background */
    int32_t extra_values; /* E: 0 without extra, 1 for an angle */
    int32_t network_width;
    int32_t network_height;
    sl_activation activation; /* of the class scores: YOLOV8, DETR and SSD; raw levels of YOLOV5 always use the sigmoid */
    sl_background background; /* DETR, SSD; MASK_RCNN: FIRST when its labels start at 1 */
    int32_t multi_label;      /* 1: every class from the limit on counts, not only the best; YOLOV8, V5, YOLOX, DETR, SSD */
    int32_t normalised;       /* 1: boxes of YOLOV8, END_TO_END, EFFICIENT_NMS, MASK_RCNN are 0..1 of the sides */
    int32_t keypoint_values;  /* 2 or 3; 0 = 3 */
    const float *anchors;     /* YOLOV5 levels: (anchor_count, 2) width, height; SSD: (anchor_count, 4) xyxy; pixels */
    size_t anchor_count;
    int32_t levels;                 /* YOLOX: how many strides; 0 = 8, 16, 32 */
    int32_t strides[SL_MAX_LEVELS]; /* YOLOX: pixels a cell */
    float box_weights[4];           /* SSD: deltas are divided by these (1 / variance); all 0 = 1 */
    int32_t centre_form;            /* 1: boxes of END_TO_END, EFFICIENT_NMS, MASK_RCNN are centre x, y, width, height */
} sl_head;

typedef struct sl_detect_limits {
    double score;           /* an anchor counts from this score on (>=), 0..1 */
    double iou;             /* as in sl_nms */
    int32_t class_agnostic; /* 0: boxes suppress boxes of their class; 1: of any class */
} sl_detect_limits;

/* Where detections go, best score first: room for `capacity` rows in each array. The last three may be NULL. */
typedef struct sl_detections {
    float *boxes;     /* (capacity, 4) xyxy, source pixels, clipped to the picture; with an angle: before it is turned,
                         and not clipped */
    float *scores;    /* (capacity,) */
    int32_t *classes; /* (capacity,) */
    size_t capacity;
    float *extras;        /* (capacity, extra_values): coefficients as they are; keypoints in source pixels, clipped;
                             the angle in source pixels; what is not finite becomes 0 */
    float *network_boxes; /* (capacity, 4) xyxy, network pixels, not clipped */
    int32_t *indices;     /* (capacity,) anchor, query or row of the output that the detection was read from */
} sl_detections;

/* Scratch of sl_head_decode; 0 = the head or the shapes are refused. */
size_t sl_head_scratch_bytes(const sl_head *head, const sl_tensor *tensors, size_t tensor_count, size_t capacity);

/*
 * Decode a head: score limit, best class (the lowest on equal scores; NaN never wins), NMS in network pixels as sl_nms
 * where the kind has any (with angles as sl_nms_oriented with ProbIoU, fast, which is Ultralytics' way), then source
 * pixels by the SL_GEOMETRY_FLOATS floats of `geometry`. Anchors whose score or box is not finite are dropped, turned
 * boxes also beyond 1e9; at most SL_MAX_CANDIDATES (with angles SL_MAX_ORIENTED_CANDIDATES), the best by score, enter
 * NMS. Equal scores: the lower anchor first. SL_ERROR_SIZE: shapes do not fit the head; SL_ERROR_FORMAT: an unknown or
 * unsupported combination of kind, extra, activation and background; SL_ERROR_VALUE: a limit or option out of range.
 */
sl_status sl_head_decode(const sl_head *head, const sl_tensor *tensors, size_t tensor_count, const float *geometry,
                         const sl_detect_limits *limits, const sl_detections *out, size_t *count, void *scratch,
                         size_t scratch_bytes);

/* The plain case of YOLOV8 without extras: raw is (4 + classes, anchors). Goes when all callers use sl_head_decode. */
size_t sl_yolov8_scratch_bytes(size_t anchors, size_t capacity);
sl_status sl_yolov8_decode(const float *raw, size_t classes, size_t anchors, const float *geometry,
                           const sl_detect_limits *limits, const sl_detections *out, size_t *count, void *scratch,
                           size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
