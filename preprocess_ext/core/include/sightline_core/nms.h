/* SPDX-License-Identifier: Apache-2.0 */
/* Non-maximum suppression. */
#ifndef SIGHTLINE_CORE_NMS_H
#define SIGHTLINE_CORE_NMS_H

#include "sightline_core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SL_MAX_SOFT_CANDIDATES = 4096,    /* boxes that enter Soft-NMS */
    SL_MAX_ORIENTED_CANDIDATES = 4096 /* boxes that enter suppression of oriented boxes */
};

size_t sl_nms_scratch_bytes(size_t count, size_t capacity);

/*
 * Hard non-maximum suppression. boxes: (count, 4) xyxy; scores: (count,); classes: (count,), or NULL for class-agnostic
 * suppression; iou in 0..1. A box is dropped when its IoU with a better kept box of its class is > iou, computed in
 * float32 in torchvision's order of operations. Equal scores: the lower index is better. The kept set is that of
 * torchvision.ops.nms (classes NULL) and of batched_nms with exact per-class comparison. Boxes or scores that are NaN
 * or infinite are dropped first; then at most SL_MAX_CANDIDATES, the best by score, are looked at.
 * keep: room for `capacity` indices; *kept: how many were written, best score first; the work ends at `capacity`.
 * Time: about linear in count where boxes are spread; never more than SL_MAX_CANDIDATES squared / 2 comparisons of a
 * few vector operations for 8 or 16 boxes (a tenth of a second or so).
 */
sl_status sl_nms(const float *boxes, const float *scores, const int32_t *classes, size_t count, double iou,
                 int64_t *keep, size_t capacity, size_t *kept, void *scratch, size_t scratch_bytes);

/*
 * As sl_nms, with DIoU in the place of IoU (Zheng et al., "Distance-IoU Loss", AAAI 2020): IoU minus the squared
 * distance of the centres over the squared diagonal of the box that encloses both. Scratch: sl_nms_scratch_bytes().
 */
sl_status sl_nms_diou(const float *boxes, const float *scores, const int32_t *classes, size_t count, double diou,
                      int64_t *keep, size_t capacity, size_t *kept, void *scratch, size_t scratch_bytes);

typedef enum sl_soft_kind {
    SL_SOFT_LINEAR = 0,  /* score times (1 - IoU), where IoU > iou */
    SL_SOFT_GAUSSIAN = 1 /* score times exp(-IoU^2 / sigma) */
} sl_soft_kind;

typedef struct sl_soft_options {
    sl_soft_kind kind;
    double iou;   /* 0..1; SL_SOFT_LINEAR only */
    double sigma; /* 1e-3..1e3; SL_SOFT_GAUSSIAN only */
    double score; /* boxes whose score is or falls below it are dropped; 0..1 */
} sl_soft_options;

size_t sl_soft_nms_scratch_bytes(size_t count);

/*
 * Soft-NMS (Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", ICCV 2017): the box with the
 * best score is kept and lowers the scores of the boxes of its class (of all, with classes NULL) that overlap it, until
 * none is left. Equal scores: the lower index is better. keep and kept_scores: room for `capacity` each; best first, as
 * they were kept, with lowered scores. Boxes or scores that are not finite, and scores below options->score, are dropped
 * first; then at most SL_MAX_SOFT_CANDIDATES, the best by score, are looked at: the time is bounded by its square.
 */
sl_status sl_soft_nms(const float *boxes, const float *scores, const int32_t *classes, size_t count,
                      const sl_soft_options *options, int64_t *keep, float *kept_scores, size_t capacity, size_t *kept,
                      void *scratch, size_t scratch_bytes);

typedef enum sl_oriented_overlap {
    SL_ORIENTED_POLYGON = 0, /* exact intersection over union of the two rectangles, in float64 */
    SL_ORIENTED_PROBIOU = 1  /* 1 - Hellinger distance of their Gaussians (Llerena et al. 2021), in float64 */
} sl_oriented_overlap;

typedef struct sl_oriented_options {
    sl_oriented_overlap overlap;
    int32_t fast; /* 1: every better box suppresses, kept or not (Fast NMS, Bolya et al. 2019, as Ultralytics); 0: greedy */
    double limit; /* a box is dropped when it overlaps a better one of its class by more; 0..1 */
} sl_oriented_options;

size_t sl_nms_oriented_scratch_bytes(size_t count, size_t capacity);

/*
 * Suppression of oriented boxes. boxes: (count, 5) centre x, centre y, width, height, angle in radians from the x axis
 * towards the y axis. Boxes with a number that is not finite, or beyond 1e9, are dropped first; then at most
 * SL_MAX_ORIENTED_CANDIDATES, the best by score, are looked at: the time is bounded by its square. A box whose width or
 * height is not above 0 overlaps nothing. Else as sl_nms.
 */
sl_status sl_nms_oriented(const float *boxes, const float *scores, const int32_t *classes, size_t count,
                          const sl_oriented_options *options, int64_t *keep, size_t capacity, size_t *kept,
                          void *scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
