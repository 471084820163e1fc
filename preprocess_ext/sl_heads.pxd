# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport int32_t, int64_t, uint8_t

from sl_common cimport sl_status

cdef extern from "sightline_core.h" nogil:
    ctypedef enum sl_head_kind:
        pass
    ctypedef enum sl_head_extra:
        pass
    ctypedef enum sl_background:
        pass
    ctypedef enum sl_activation:
        pass
    ctypedef struct sl_tensor:
        const float *data
        size_t rank
        size_t dims[4]
    ctypedef struct sl_head:
        sl_head_kind kind
        sl_head_extra extra
        int32_t classes
        int32_t extra_values
        int32_t network_width
        int32_t network_height
        sl_activation activation
        sl_background background
        int32_t multi_label
        int32_t normalised
        int32_t keypoint_values
        const float *anchors
        size_t anchor_count
        int32_t levels
        int32_t strides[8]
        float box_weights[4]
        int32_t centre_form
    ctypedef struct sl_detect_limits:
        double score
        double iou
        int32_t class_agnostic
    ctypedef struct sl_detections:
        float *boxes
        float *scores
        int32_t *classes
        size_t capacity
        float *extras
        float *network_boxes
        int32_t *indices

    size_t sl_head_scratch_bytes(const sl_head *head, const sl_tensor *tensors, size_t tensor_count, size_t capacity)
    sl_status sl_head_decode(const sl_head *head, const sl_tensor *tensors, size_t tensor_count, const float *geometry,
                             const sl_detect_limits *limits, const sl_detections *out, size_t *count, void *scratch,
                             size_t scratch_bytes)
    size_t sl_yolov8_scratch_bytes(size_t anchors, size_t capacity)
    sl_status sl_yolov8_decode(const float *raw, size_t classes, size_t anchors, const float *geometry,
                               const sl_detect_limits *limits, const sl_detections *out, size_t *count, void *scratch,
                               size_t scratch_bytes)

    ctypedef enum sl_upsample:
        pass
    ctypedef struct sl_semantic:
        int32_t classes
        int32_t rows
        int32_t columns
        int32_t channels_last
        int32_t network_width
        int32_t network_height
        sl_upsample upsample

    sl_status sl_classify(const float *values, size_t count, sl_activation activation, size_t top, float *scores,
                          int32_t *classes, size_t *written)
    sl_status sl_embedding(const float *values, size_t count, float *out)
    size_t sl_semantic_scratch_bytes(const sl_semantic *semantic, const float *geometry)
    sl_status sl_semantic_map(const sl_semantic *semantic, const float *logits, const float *geometry, uint8_t *out8,
                              int32_t *out32, size_t capacity, void *scratch, size_t scratch_bytes)
