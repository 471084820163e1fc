# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Thin shell over the C core. heads.py has checked every array's dtype, shape and contiguity before it calls here."""

from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport free
from libc.string cimport memset

from sl_common cimport SL_OK, check, scratch_of, sl_status
from sl_heads cimport *


def decode_yolov8(const float[:, ::1] raw, const float[::1] geometry, double score, double iou,
                  float[:, ::1] boxes, float[::1] scores, int32_t[::1] classes):
    cdef size_t count = 0
    cdef sl_status status
    cdef sl_detect_limits limits
    cdef sl_detections out
    limits.score = score
    limits.iou = iou
    limits.class_agnostic = 0
    out.boxes = &boxes[0, 0]
    out.scores = &scores[0]
    out.classes = &classes[0]
    out.capacity = boxes.shape[0]
    out.extras = NULL
    out.network_boxes = NULL
    out.indices = NULL
    cdef size_t bytes = sl_yolov8_scratch_bytes(raw.shape[1], out.capacity)
    cdef void *scratch = scratch_of(bytes)
    with nogil:
        status = sl_yolov8_decode(&raw[0, 0], raw.shape[0] - 4, raw.shape[1], &geometry[0], &limits, &out, &count,
                                  scratch, bytes)
    free(scratch)
    check(status)
    return count


cdef class HeadPlan:
    """One head's C description and the arrays that it points to."""

    cdef sl_head head
    cdef object anchors

    def __init__(self, int kind, int extra, int32_t classes, int32_t extra_values, int32_t width, int32_t height,
                 int activation, int background, bint multi_label, bint normalised, int32_t keypoint_values,
                 anchors, strides, box_weights, bint centre_form):
        cdef const float[:, ::1] rows
        memset(&self.head, 0, sizeof(sl_head))
        self.head.kind = <sl_head_kind> kind
        self.head.extra = <sl_head_extra> extra
        self.head.classes = classes
        self.head.extra_values = extra_values
        self.head.network_width = width
        self.head.network_height = height
        self.head.activation = <sl_activation> activation
        self.head.background = <sl_background> background
        self.head.multi_label = multi_label
        self.head.normalised = normalised
        self.head.keypoint_values = keypoint_values
        self.head.centre_form = centre_form
        self.anchors = anchors
        if anchors is not None and len(anchors) > 0:
            rows = anchors
            self.head.anchors = &rows[0, 0]
            self.head.anchor_count = rows.shape[0]
        self.head.levels = <int32_t> len(strides)
        for i, stride in enumerate(strides):
            self.head.strides[i] = stride
        for i, weight in enumerate(box_weights):
            self.head.box_weights[i] = weight


cdef size_t open_tensors(list arrays, sl_tensor *tensors) except 0:
    cdef const float[::1] values
    cdef size_t count = 0
    for array in arrays:
        values = array.reshape(-1)
        tensors[count].data = &values[0]
        tensors[count].rank = array.ndim
        for i in range(array.ndim):
            tensors[count].dims[i] = array.shape[i]
        count += 1
    return count


def decode_head(HeadPlan plan, list arrays, const float[::1] geometry, double score, double iou, bint class_agnostic,
                float[:, ::1] boxes, float[::1] scores, int32_t[::1] classes, float[:, ::1] extras,
                float[:, ::1] network_boxes, int32_t[::1] indices):
    cdef sl_tensor tensors[16]
    cdef size_t count = 0, tensor_count = open_tensors(arrays, tensors)
    cdef sl_status status
    cdef sl_detect_limits limits
    cdef sl_detections out
    limits.score = score
    limits.iou = iou
    limits.class_agnostic = class_agnostic
    out.boxes = &boxes[0, 0]
    out.scores = &scores[0]
    out.classes = &classes[0]
    out.capacity = boxes.shape[0]
    out.extras = &extras[0, 0] if extras.shape[1] > 0 else NULL
    out.network_boxes = &network_boxes[0, 0]
    out.indices = &indices[0]
    cdef size_t bytes = sl_head_scratch_bytes(&plan.head, tensors, tensor_count, out.capacity)
    cdef void *scratch = scratch_of(bytes)
    with nogil:
        status = sl_head_decode(&plan.head, tensors, tensor_count, &geometry[0], &limits, &out, &count, scratch, bytes)
    free(scratch)
    check(status)
    return count


def classify(const float[::1] values, int activation, float[::1] scores, int32_t[::1] classes):
    cdef size_t written = 0
    cdef sl_status status
    with nogil:
        status = sl_classify(&values[0], values.shape[0], <sl_activation> activation, scores.shape[0], &scores[0],
                             &classes[0], &written)
    check(status)
    return written


def embedding(const float[::1] values, float[::1] out):
    cdef sl_status status
    with nogil:
        status = sl_embedding(&values[0], values.shape[0], &out[0])
    check(status)


def semantic_map(const float[:, :, ::1] logits, bint channels_last, int32_t network_width, int32_t network_height,
                 const float[::1] geometry, int upsample, uint8_t[:, ::1] out8, int32_t[:, ::1] out32):
    cdef sl_semantic semantic
    cdef sl_status status
    cdef uint8_t *bytes_out = NULL if out8 is None else &out8[0, 0]
    cdef int32_t *words_out = NULL if out32 is None else &out32[0, 0]
    cdef size_t capacity = out32.size if out8 is None else out8.size
    semantic.classes = <int32_t> logits.shape[2 if channels_last else 0]
    semantic.rows = <int32_t> logits.shape[0 if channels_last else 1]
    semantic.columns = <int32_t> logits.shape[1 if channels_last else 2]
    semantic.channels_last = channels_last
    semantic.network_width = network_width
    semantic.network_height = network_height
    semantic.upsample = <sl_upsample> upsample
    cdef size_t bytes = sl_semantic_scratch_bytes(&semantic, &geometry[0])
    cdef void *scratch = scratch_of(bytes)
    with nogil:
        status = sl_semantic_map(&semantic, &logits[0, 0, 0], &geometry[0], bytes_out, words_out, capacity, scratch, bytes)
    free(scratch)
    check(status)
