# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "sightline_core.h" nogil:
    ctypedef enum sl_status:
        SL_OK
    ctypedef enum sl_pixel_format:
        pass
    ctypedef enum sl_colour_space:
        pass
    ctypedef enum sl_resize:
        pass
    ctypedef enum sl_channel_order:
        pass
    ctypedef struct sl_image:
        pass
    ctypedef struct sl_geometry:
        pass
    ctypedef struct sl_letterbox_options:
        float mean[3]
        float std[3]
        float pad_value
        sl_resize resize
        sl_channel_order order
    ctypedef struct sl_detect_limits:
        double score
        double iou
    ctypedef struct sl_detections:
        float *boxes
        float *scores
        int32_t *classes
        size_t capacity

    const char *sl_status_text(sl_status status)
    const char *sl_version()
    sl_status sl_image_from_packed(const uint8_t *data, size_t bytes, int32_t width, int32_t height,
                                   sl_pixel_format format, sl_colour_space colour, sl_image *image)
    void sl_geometry_to_floats(const sl_geometry *geometry, float *floats)
    size_t sl_letterbox_scratch_bytes(int32_t source_width, int32_t network_width)
    sl_status sl_letterbox(const sl_image *image, const sl_letterbox_options *options, int32_t network_width,
                           int32_t network_height, float *out, sl_geometry *geometry, void *scratch,
                           size_t scratch_bytes)
    size_t sl_nms_scratch_bytes(size_t count, size_t capacity)
    sl_status sl_nms(const float *boxes, const float *scores, const int32_t *classes, size_t count, double iou,
                     int64_t *keep, size_t capacity, size_t *kept, void *scratch, size_t scratch_bytes)
    size_t sl_yolov8_scratch_bytes(size_t anchors, size_t capacity)
    sl_status sl_yolov8_decode(const float *raw, size_t classes, size_t anchors, const float *geometry,
                               const sl_detect_limits *limits, const sl_detections *out, size_t *count, void *scratch,
                               size_t scratch_bytes)
