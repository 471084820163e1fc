# SPDX-License-Identifier: Apache-2.0
# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""Thin shell over the C core. masks.py and rle.py have checked every array's dtype, shape and contiguity before."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from sl_common cimport SL_OK, check, scratch_of, sl_status
from sl_pixels cimport sl_colour_space, sl_image, sl_image_from_packed, sl_pixel_format
from sl_masks cimport *

cdef enum:
    FIRST_TEXT_BYTES = 2048


cdef sl_region region_of(const int32_t[::1] numbers) noexcept nogil:
    cdef sl_region region
    region.x, region.y, region.width, region.height = numbers[0], numbers[1], numbers[2], numbers[3]
    return region


cdef sl_status make_view(const float[::1] geometry, int32_t network_width, int32_t network_height, int32_t map_width,
                         int32_t map_height, sl_mask_view *view) noexcept nogil:
    """An empty geometry stands for masks in the network's pixels."""
    if geometry.shape[0] == 0:
        return sl_mask_view_network(network_width, network_height, map_width, map_height, view)
    return sl_mask_view_source(&geometry[0], network_width, network_height, map_width, map_height, view)


cdef sl_prototypes prototypes_of(const float[:, :, ::1] data) noexcept nogil:
    cdef sl_prototypes prototypes
    prototypes.data = &data[0, 0, 0]
    prototypes.channels, prototypes.height, prototypes.width = <int32_t> data.shape[0], <int32_t> data.shape[1], <int32_t> data.shape[2]
    return prototypes


def prototype_regions(const float[::1] geometry, int32_t network_width, int32_t network_height, int32_t map_width,
                      int32_t map_height, const float[:, ::1] boxes, int32_t[:, ::1] regions):
    cdef sl_mask_view view
    cdef sl_region region
    cdef Py_ssize_t i
    check(make_view(geometry, network_width, network_height, map_width, map_height, &view))
    for i in range(boxes.shape[0]):
        check(sl_mask_region(&view, &boxes[i, 0], &region))
        regions[i, 0], regions[i, 1], regions[i, 2], regions[i, 3] = region.x, region.y, region.width, region.height


def prototype_masks(const float[:, :, ::1] data, const float[:, ::1] coefficients, const int32_t[:, ::1] regions,
                    const float[::1] geometry, int32_t network_width, int32_t network_height, uint64_t[::1] bits,
                    const int64_t[::1] starts):
    cdef sl_mask_view view
    cdef sl_prototypes prototypes = prototypes_of(data)
    cdef sl_region region
    cdef sl_status status = SL_OK
    cdef Py_ssize_t i
    check(make_view(geometry, network_width, network_height, prototypes.width, prototypes.height, &view))
    cdef size_t size = sl_mask_scratch_bytes(&view)
    cdef void *scratch = scratch_of(size)
    with nogil:
        for i in range(regions.shape[0]):
            region = region_of(regions[i])
            status = sl_mask_from_prototypes(&prototypes, &view, &coefficients[i, 0], &region, &bits[0] + starts[i],
                                             scratch, size)
            if status != SL_OK:
                break
    free(scratch)
    check(status)


def prototype_rles(const float[:, :, ::1] data, const float[:, ::1] coefficients, const float[:, ::1] boxes,
                   const float[::1] geometry, int32_t network_width, int32_t network_height):
    cdef sl_mask_view view
    cdef sl_prototypes prototypes = prototypes_of(data)
    cdef sl_status status = SL_OK
    cdef size_t length = 0, capacity = FIRST_TEXT_BYTES
    cdef Py_ssize_t i
    cdef void *text = NULL
    cdef void *larger
    check(make_view(geometry, network_width, network_height, prototypes.width, prototypes.height, &view))
    cdef size_t size = sl_rle_from_prototypes_scratch_bytes(&view)
    cdef void *scratch = scratch_of(size)
    texts = []
    try:
        text = scratch_of(capacity)
        for i in range(boxes.shape[0]):
            while True:
                with nogil:
                    status = sl_rle_from_prototypes(&prototypes, &view, &coefficients[i, 0], &boxes[i, 0],
                                                    <char *> text, capacity, &length, scratch, size)
                if status != SL_ERROR_SIZE or length <= capacity:
                    break
                larger = realloc(text, length)
                if larger == NULL:
                    raise MemoryError(f"{length} bytes of run lengths")
                text, capacity = larger, length
            check(status)
            texts.append(PyBytes_FromStringAndSize(<char *> text, length))
    finally:
        free(text)
        free(scratch)
    return texts


def paste_regions(const float[:, ::1] boxes, int32_t width, int32_t height, int32_t frame_width, int32_t frame_height,
                  int32_t[:, ::1] regions):
    cdef sl_region region
    cdef Py_ssize_t i
    for i in range(boxes.shape[0]):
        check(sl_paste_region(&boxes[i, 0], width, height, frame_width, frame_height, &region))
        regions[i, 0], regions[i, 1], regions[i, 2], regions[i, 3] = region.x, region.y, region.width, region.height


def paste_masks(const float[:, :, ::1] masks, const float[:, ::1] boxes, int32_t frame_width, int32_t frame_height,
                float threshold, const int32_t[:, ::1] regions, uint64_t[::1] bits, const int64_t[::1] starts):
    cdef sl_region region
    cdef sl_status status = SL_OK
    cdef int32_t width = <int32_t> masks.shape[2], height = <int32_t> masks.shape[1]
    cdef size_t size = sl_paste_scratch_bytes(width, height, frame_width, frame_height)
    cdef void *scratch = scratch_of(size)
    cdef Py_ssize_t i
    with nogil:
        for i in range(boxes.shape[0]):
            region = region_of(regions[i])
            status = sl_paste_mask(&masks[i, 0, 0], width, height, &boxes[i, 0], frame_width, frame_height, threshold,
                                   &region, &bits[0] + starts[i], scratch, size)
            if status != SL_OK:
                break
    free(scratch)
    check(status)


def region_to_bytes(const int32_t[::1] numbers, const uint64_t[:, ::1] bits, uint8_t[:, ::1] out):
    cdef sl_region region = region_of(numbers)
    check(sl_region_to_bytes(&region, &bits[0, 0], &out[0, 0], out.shape[1]))


def region_from_bytes(const int32_t[::1] numbers, const uint8_t[:, ::1] data, uint64_t[:, ::1] bits):
    cdef sl_region region = region_of(numbers)
    check(sl_region_from_bytes(&region, &data[0, 0], data.shape[1], &bits[0, 0]))


def contours(const int32_t[::1] numbers, const uint64_t[:, ::1] bits, int32_t[:, ::1] points, int32_t[::1] ends):
    """How many points and contours there are; they are written when there is room."""
    cdef sl_region region = region_of(numbers)
    cdef size_t point_count = 0, contour_count = 0
    cdef sl_status status
    cdef size_t size = sl_contours_scratch_bytes(&region)
    cdef void *scratch = scratch_of(size)
    with nogil:
        status = sl_contours(&region, &bits[0, 0], &points[0, 0], points.shape[0], &ends[0], ends.shape[0], &point_count,
                             &contour_count, scratch, size)
    free(scratch)
    if size == 0 or status != SL_ERROR_SIZE:
        check(status)
    return point_count, contour_count


def overlay(uint8_t[::1] data, int32_t width, int32_t height, int pixel_format, int colour_space,
            const int32_t[::1] numbers, const uint64_t[:, ::1] bits, const uint8_t[::1] colour, float alpha):
    cdef sl_image image
    cdef sl_region region = region_of(numbers)
    cdef sl_status status
    check(sl_image_from_packed(&data[0], data.shape[0], width, height, <sl_pixel_format> pixel_format,
                               <sl_colour_space> colour_space, &image))
    with nogil:
        status = sl_overlay(&image, &region, &bits[0, 0], &colour[0], alpha)
    check(status)


def rle_encode(const int32_t[::1] numbers, const uint64_t[:, ::1] bits, const uint8_t[:, ::1] mask,
               int32_t frame_width, int32_t frame_height):
    """Text of a region's bits, or of a whole mask when numbers is empty."""
    cdef sl_region region
    cdef bint whole = numbers.shape[0] == 0
    cdef sl_status status
    cdef size_t length = 0, capacity = FIRST_TEXT_BYTES
    if not whole:
        region = region_of(numbers)
    cdef size_t size = sl_rle_scratch_bytes(frame_height if whole else region.height)
    cdef void *scratch = scratch_of(size)
    cdef void *text = NULL
    cdef void *larger
    try:
        text = scratch_of(capacity)
        while True:
            with nogil:
                if whole:
                    status = sl_rle_encode_bytes(&mask[0, 0], mask.shape[1], frame_width, frame_height, <char *> text,
                                                 capacity, &length, scratch, size)
                else:
                    status = sl_rle_encode(&region, &bits[0, 0], frame_width, frame_height, <char *> text, capacity,
                                           &length, scratch, size)
            if status != SL_ERROR_SIZE or length <= capacity:
                break
            larger = realloc(text, length)
            if larger == NULL:
                raise MemoryError(f"{length} bytes of run lengths")
            text, capacity = larger, length
        check(status)
        return PyBytes_FromStringAndSize(<char *> text, length)
    finally:
        free(text)
        free(scratch)


def rle_counts(const uint8_t[::1] text, int32_t frame_width, int32_t frame_height, uint32_t[::1] counts):
    cdef size_t count = 0
    cdef sl_status status
    with nogil:
        status = sl_rle_counts(<const char *> &text[0], text.shape[0], frame_width, frame_height, &counts[0],
                               counts.shape[0], &count)
    check(status)
    return count


def rle_text(const uint32_t[::1] counts, int32_t frame_width, int32_t frame_height, uint8_t[::1] text):
    cdef size_t length = 0
    check(sl_rle_text(&counts[0], counts.shape[0], frame_width, frame_height, <char *> &text[0], text.shape[0],
                      &length))
    return length


def rle_area(const uint32_t[::1] counts, int32_t frame_width, int32_t frame_height):
    cdef uint64_t area = 0
    check(sl_rle_area(&counts[0], counts.shape[0], frame_width, frame_height, &area))
    return area


def rle_region(const uint32_t[::1] counts, int32_t frame_width, int32_t frame_height):
    cdef sl_region region
    check(sl_rle_region(&counts[0], counts.shape[0], frame_width, frame_height, &region))
    return region.x, region.y, region.width, region.height


def rle_iou(const uint32_t[::1] counts, const int64_t[::1] starts, Py_ssize_t first_count, const uint8_t[::1] crowd,
            int32_t frame_width, int32_t frame_height, double[:, ::1] out):
    """Masks 0..first_count-1 against the others; mask i has counts[starts[i]:starts[i + 1]]."""
    cdef sl_status status = SL_OK
    cdef Py_ssize_t i, j, a, b
    with nogil:
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                a, b = starts[i], starts[first_count + j]
                status = sl_rle_iou(&counts[a], starts[i + 1] - a, &counts[b], starts[first_count + j + 1] - b,
                                    frame_width, frame_height, crowd[j], &out[i, j])
                if status != SL_OK:
                    break
            if status != SL_OK:
                break
    check(status)


def rle_merge(const uint32_t[::1] a, const uint32_t[::1] b, int32_t frame_width, int32_t frame_height, bint intersect,
              uint32_t[::1] out):
    cdef size_t count = 0
    check(sl_rle_merge(&a[0], a.shape[0], &b[0], b.shape[0], frame_width, frame_height, intersect, &out[0],
                       out.shape[0], &count))
    return count


def rle_decode(const uint32_t[::1] counts, uint8_t[:, ::1] out):
    cdef sl_status status
    cdef int32_t width = <int32_t> out.shape[1], height = <int32_t> out.shape[0]
    cdef size_t size = sl_rle_decode_scratch_bytes(height)
    cdef void *scratch = scratch_of(size)
    with nogil:
        status = sl_rle_decode(&counts[0], counts.shape[0], width, height, &out[0, 0], width, scratch, size)
    free(scratch)
    check(status)
