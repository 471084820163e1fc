# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport int32_t, uint8_t

from sl_common cimport sl_status

cdef extern from "sightline_core.h" nogil:
    ctypedef enum sl_pixel_format:
        pass
    ctypedef enum sl_colour_space:
        pass
    ctypedef enum sl_resize:
        pass
    ctypedef enum sl_channel_order:
        pass
    ctypedef enum sl_layout:
        pass
    ctypedef enum sl_filter:
        pass
    ctypedef enum sl_output_type:
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
        sl_layout layout
        sl_filter filter
        int32_t short_side

    sl_status sl_image_from_packed(const uint8_t *data, size_t bytes, int32_t width, int32_t height,
                                   sl_pixel_format format, sl_colour_space colour, sl_image *image)
    void sl_geometry_to_floats(const sl_geometry *geometry, float *floats)
    sl_status sl_geometry_check(const float *floats)
    void sl_box_to_source(const float *floats, const float *network_box, float *source_box)
    void sl_box_to_network(const float *floats, const float *source_box, float *network_box)
    void sl_points_to_source(const float *floats, const float *network_points, size_t count, size_t step,
                             float *source_points)
    size_t sl_letterbox_scratch_bytes(int32_t source_width, int32_t network_width)
    sl_status sl_convert(const sl_image *image, const sl_letterbox_options *options, int32_t network_width,
                         int32_t network_height, sl_output_type type, void *out, size_t out_bytes,
                         sl_geometry *geometry, void *scratch, size_t scratch_bytes)
