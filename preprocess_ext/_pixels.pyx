# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Thin shell over the C core. pixels.py has checked every array's dtype, shape and contiguity before it calls here."""

from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport free

from sl_common cimport SL_OK, check, scratch_of, sl_status
from sl_pixels cimport *


def convert(const uint8_t[::1] data, int32_t width, int32_t height, int pixel_format, int colour, uint8_t[::1] out,
            int32_t out_width, int32_t out_height, int output_type, int layout, const float[::1] mean,
            const float[::1] std, float pad_value, int resize, int short_side, int order, int filter,
            float[::1] geometry):
    """Write `out`, the bytes of an array that pixels.py has checked, and the 7 floats of `geometry`."""
    cdef sl_image image
    cdef sl_geometry fit
    cdef sl_letterbox_options options
    cdef sl_status status
    for i in range(3):
        options.mean[i] = mean[i]
        options.std[i] = std[i]
    options.pad_value = pad_value
    options.resize = <sl_resize> resize
    options.order = <sl_channel_order> order
    options.layout = <sl_layout> layout
    options.filter = <sl_filter> filter
    options.short_side = short_side
    check(sl_image_from_packed(&data[0], data.shape[0], width, height, <sl_pixel_format> pixel_format,
                                <sl_colour_space> colour, &image))
    cdef size_t bytes = sl_letterbox_scratch_bytes(width, out_width)
    cdef size_t out_bytes = out.shape[0]
    cdef void *scratch = scratch_of(bytes)
    with nogil:
        status = sl_convert(&image, &options, out_width, out_height, <sl_output_type> output_type, &out[0], out_bytes,
                            &fit, scratch, bytes)
    free(scratch)
    check(status)
    sl_geometry_to_floats(&fit, &geometry[0])


def boxes_to_source(const float[::1] geometry, float[:, ::1] boxes):
    """In place; geometry has 7 floats, boxes 4 a row."""
    check(sl_geometry_check(&geometry[0]))
    for i in range(boxes.shape[0]):
        sl_box_to_source(&geometry[0], &boxes[i, 0], &boxes[i, 0])


def boxes_to_network(const float[::1] geometry, float[:, ::1] boxes):
    check(sl_geometry_check(&geometry[0]))
    for i in range(boxes.shape[0]):
        sl_box_to_network(&geometry[0], &boxes[i, 0], &boxes[i, 0])


def points_to_source(const float[::1] geometry, float[:, ::1] points):
    check(sl_geometry_check(&geometry[0]))
    if points.shape[0] > 0:
        sl_points_to_source(&geometry[0], &points[0, 0], points.shape[0], points.shape[1], &points[0, 0])
