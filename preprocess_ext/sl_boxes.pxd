# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport int32_t, int64_t

from sl_common cimport sl_status

cdef extern from "sightline_core.h" nogil:
    size_t sl_nms_scratch_bytes(size_t count, size_t capacity)
    sl_status sl_nms(const float *boxes, const float *scores, const int32_t *classes, size_t count, double iou,
                     int64_t *keep, size_t capacity, size_t *kept, void *scratch, size_t scratch_bytes)
    sl_status sl_nms_diou(const float *boxes, const float *scores, const int32_t *classes, size_t count, double diou,
                          int64_t *keep, size_t capacity, size_t *kept, void *scratch, size_t scratch_bytes)

    ctypedef enum sl_soft_kind:
        SL_SOFT_LINEAR
        SL_SOFT_GAUSSIAN
    ctypedef struct sl_soft_options:
        sl_soft_kind kind
        double iou
        double sigma
        double score
    size_t sl_soft_nms_scratch_bytes(size_t count)
    sl_status sl_soft_nms(const float *boxes, const float *scores, const int32_t *classes, size_t count,
                          const sl_soft_options *options, int64_t *keep, float *kept_scores, size_t capacity,
                          size_t *kept, void *scratch, size_t scratch_bytes)

    ctypedef enum sl_oriented_overlap:
        SL_ORIENTED_POLYGON
        SL_ORIENTED_PROBIOU
    ctypedef struct sl_oriented_options:
        sl_oriented_overlap overlap
        int32_t fast
        double limit
    size_t sl_nms_oriented_scratch_bytes(size_t count, size_t capacity)
    sl_status sl_nms_oriented(const float *boxes, const float *scores, const int32_t *classes, size_t count,
                              const sl_oriented_options *options, int64_t *keep, size_t capacity, size_t *kept,
                              void *scratch, size_t scratch_bytes)
