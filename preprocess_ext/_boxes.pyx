# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Thin shell over the C core. boxes.py has checked every array's dtype, shape and contiguity before it calls here."""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free

from sl_common cimport SL_OK, check, scratch_of, sl_status
from sl_boxes cimport *

# Classes are None where boxes of all classes suppress each other.


def nms(const float[:, ::1] boxes, const float[::1] scores, const int32_t[::1] classes, double iou, bint distance,
        int64_t[::1] keep):
    cdef size_t count = boxes.shape[0], capacity = keep.shape[0], kept = 0
    cdef const int32_t *ids = NULL if classes is None else &classes[0]
    cdef sl_status status
    cdef size_t bytes = sl_nms_scratch_bytes(count, capacity)
    cdef void *scratch = scratch_of(bytes)
    with nogil:
        if distance:
            status = sl_nms_diou(&boxes[0, 0], &scores[0], ids, count, iou, &keep[0], capacity, &kept, scratch, bytes)
        else:
            status = sl_nms(&boxes[0, 0], &scores[0], ids, count, iou, &keep[0], capacity, &kept, scratch, bytes)
    free(scratch)
    check(status)
    return kept


def soft_nms(const float[:, ::1] boxes, const float[::1] scores, const int32_t[::1] classes, int kind, double iou,
             double sigma, double score, int64_t[::1] keep, float[::1] kept_scores):
    cdef size_t count = boxes.shape[0], kept = 0
    cdef const int32_t *ids = NULL if classes is None else &classes[0]
    cdef sl_soft_options options = sl_soft_options(<sl_soft_kind> kind, iou, sigma, score)
    cdef sl_status status
    cdef size_t bytes = sl_soft_nms_scratch_bytes(count)
    cdef void *scratch = scratch_of(bytes)
    with nogil:
        status = sl_soft_nms(&boxes[0, 0], &scores[0], ids, count, &options, &keep[0], &kept_scores[0], keep.shape[0],
                             &kept, scratch, bytes)
    free(scratch)
    check(status)
    return kept


def oriented_nms(const float[:, ::1] boxes, const float[::1] scores, const int32_t[::1] classes, double limit,
                 int overlap, bint fast, int64_t[::1] keep):
    cdef size_t count = boxes.shape[0], kept = 0
    cdef const int32_t *ids = NULL if classes is None else &classes[0]
    cdef sl_oriented_options options = sl_oriented_options(<sl_oriented_overlap> overlap, fast, limit)
    cdef sl_status status
    cdef size_t bytes = sl_nms_oriented_scratch_bytes(count, keep.shape[0])
    cdef void *scratch = scratch_of(bytes)
    with nogil:
        status = sl_nms_oriented(&boxes[0, 0], &scores[0], ids, count, &options, &keep[0], keep.shape[0], &kept,
                                 scratch, bytes)
    free(scratch)
    check(status)
    return kept
