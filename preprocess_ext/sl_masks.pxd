# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from sl_common cimport sl_status
from sl_pixels cimport sl_image

cdef extern from "sightline_core.h" nogil:
    sl_status SL_ERROR_SIZE
    ctypedef struct sl_region:
        int32_t x
        int32_t y
        int32_t width
        int32_t height
    ctypedef struct sl_prototypes:
        const float *data
        int32_t channels
        int32_t height
        int32_t width
    ctypedef struct sl_mask_view:
        int32_t map_width
        int32_t map_height
        int32_t out_width
        int32_t out_height

    size_t sl_region_row_words(int32_t width)
    sl_status sl_region_to_bytes(const sl_region *region, const uint64_t *bits, uint8_t *out, size_t stride)
    sl_status sl_region_from_bytes(const sl_region *region, const uint8_t *data, size_t stride, uint64_t *bits)
    sl_status sl_mask_view_source(const float *geometry, int32_t network_width, int32_t network_height,
                                  int32_t map_width, int32_t map_height, sl_mask_view *view)
    sl_status sl_mask_view_network(int32_t network_width, int32_t network_height, int32_t map_width,
                                   int32_t map_height, sl_mask_view *view)
    sl_status sl_mask_region(const sl_mask_view *view, const float *box, sl_region *region)
    size_t sl_mask_scratch_bytes(const sl_mask_view *view)
    sl_status sl_mask_from_prototypes(const sl_prototypes *prototypes, const sl_mask_view *view,
                                      const float *coefficients, const sl_region *region, uint64_t *bits,
                                      void *scratch, size_t scratch_bytes)
    sl_status sl_paste_region(const float *box, int32_t width, int32_t height, int32_t frame_width,
                              int32_t frame_height, sl_region *region)
    size_t sl_paste_scratch_bytes(int32_t width, int32_t height, int32_t frame_width, int32_t frame_height)
    sl_status sl_paste_mask(const float *mask, int32_t width, int32_t height, const float *box, int32_t frame_width,
                            int32_t frame_height, float threshold, const sl_region *region, uint64_t *bits,
                            void *scratch, size_t scratch_bytes)
    size_t sl_contours_scratch_bytes(const sl_region *region)
    sl_status sl_contours(const sl_region *region, const uint64_t *bits, int32_t *points, size_t point_capacity,
                          int32_t *ends, size_t contour_capacity, size_t *point_count, size_t *contour_count,
                          void *scratch, size_t scratch_bytes)
    sl_status sl_overlay(const sl_image *image, const sl_region *region, const uint64_t *bits, const uint8_t *colour,
                         float alpha)

    size_t sl_rle_scratch_bytes(int32_t height)
    sl_status sl_rle_encode(const sl_region *region, const uint64_t *bits, int32_t frame_width, int32_t frame_height,
                            char *text, size_t capacity, size_t *length, void *scratch, size_t scratch_bytes)
    sl_status sl_rle_encode_bytes(const uint8_t *mask, size_t stride, int32_t width, int32_t height, char *text,
                                  size_t capacity, size_t *length, void *scratch, size_t scratch_bytes)
    size_t sl_rle_from_prototypes_scratch_bytes(const sl_mask_view *view)
    sl_status sl_rle_from_prototypes(const sl_prototypes *prototypes, const sl_mask_view *view,
                                     const float *coefficients, const float *box, char *text, size_t capacity,
                                     size_t *length, void *scratch, size_t scratch_bytes)
    sl_status sl_rle_counts(const char *text, size_t length, int32_t frame_width, int32_t frame_height,
                            uint32_t *counts, size_t capacity, size_t *count)
    sl_status sl_rle_text(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height, char *text,
                          size_t capacity, size_t *length)
    sl_status sl_rle_area(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height,
                          uint64_t *area)
    sl_status sl_rle_region(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height,
                            sl_region *region)
    sl_status sl_rle_iou(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count, int32_t frame_width,
                         int32_t frame_height, int32_t crowd, double *iou)
    sl_status sl_rle_merge(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count, int32_t frame_width,
                           int32_t frame_height, int32_t intersect, uint32_t *counts, size_t capacity, size_t *count)
    size_t sl_rle_decode_scratch_bytes(int32_t frame_height)
    sl_status sl_rle_decode(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height,
                            uint8_t *out, size_t stride, void *scratch, size_t scratch_bytes)
