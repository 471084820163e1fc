# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Thin shell over the C core. kernels.py has checked every array's dtype, shape and contiguity before it calls here."""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from sightline_core cimport *


cdef void *_scratch(size_t bytes) except NULL:
    cdef void *memory = malloc(bytes if bytes > 0 else 1)
    if memory == NULL:
        raise MemoryError(f"{bytes} bytes of scratch memory")
    return memory


cdef _check(sl_status status):
    if status != SL_OK:
        raise ValueError(sl_status_text(status).decode())


def version() -> str:
    return sl_version().decode()


def letterbox(const uint8_t[::1] data, int32_t width, int32_t height, int pixel_format, int colour,
              float[:, :, ::1] out, const float[::1] mean, const float[::1] std, float pad_value, int resize, int order,
              float[::1] geometry):
    cdef sl_image image
    cdef sl_geometry fit
    cdef sl_letterbox_options options
    cdef sl_status status
    cdef int32_t out_width = <int32_t> out.shape[2], out_height = <int32_t> out.shape[1]
    for i in range(3):
        options.mean[i] = mean[i]
        options.std[i] = std[i]
    options.pad_value = pad_value
    options.resize = <sl_resize> resize
    options.order = <sl_channel_order> order
    _check(sl_image_from_packed(&data[0], data.shape[0], width, height, <sl_pixel_format> pixel_format,
                                <sl_colour_space> colour, &image))
    cdef size_t bytes = sl_letterbox_scratch_bytes(width, out_width)
    cdef void *scratch = _scratch(bytes)
    with nogil:
        status = sl_letterbox(&image, &options, out_width, out_height, &out[0, 0, 0], &fit, scratch, bytes)
    free(scratch)
    _check(status)
    sl_geometry_to_floats(&fit, &geometry[0])


def nms(const float[:, ::1] boxes, const float[::1] scores, const int32_t[::1] classes, double iou, int64_t[::1] keep):
    cdef size_t count = boxes.shape[0], kept = 0
    cdef sl_status status
    cdef size_t bytes = sl_nms_scratch_bytes(count, keep.shape[0])
    cdef void *scratch = _scratch(bytes)
    with nogil:
        status = sl_nms(&boxes[0, 0], &scores[0], &classes[0], count, iou, &keep[0], keep.shape[0], &kept,
                        scratch, bytes)
    free(scratch)
    _check(status)
    return kept


def decode_yolov8(const float[:, ::1] raw, const float[::1] geometry, double score, double iou,
                  float[:, ::1] boxes, float[::1] scores, int32_t[::1] classes):
    cdef size_t count = 0
    cdef sl_status status
    cdef sl_detect_limits limits
    cdef sl_detections out
    limits.score = score
    limits.iou = iou
    out.boxes = &boxes[0, 0]
    out.scores = &scores[0]
    out.classes = &classes[0]
    out.capacity = boxes.shape[0]
    cdef size_t bytes = sl_yolov8_scratch_bytes(raw.shape[1], out.capacity)
    cdef void *scratch = _scratch(bytes)
    with nogil:
        status = sl_yolov8_decode(&raw[0, 0], raw.shape[0] - 4, raw.shape[1], &geometry[0], &limits, &out, &count,
                                  scratch, bytes)
    free(scratch)
    _check(status)
    return count
