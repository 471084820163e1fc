/* SPDX-License-Identifier: Apache-2.0 */
/* Instance masks: from prototypes or pasted, as regions of bits; their contours, and drawing them. */
#ifndef SIGHTLINE_CORE_MASKS_H
#define SIGHTLINE_CORE_MASKS_H

#include "sightline_core/images.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SL_MAX_MASK_CHANNELS = 4096, /* prototypes, and coefficients of an object */
    SL_MAX_MASK_SIDE = 4096      /* cells of a prototype map, of a Mask R-CNN mask */
};

/* Pixels x..x+width-1, y..y+height-1 of a frame; empty when width or height is 0. */
typedef struct sl_region {
    int32_t x;
    int32_t y;
    int32_t width;
    int32_t height;
} sl_region;

/*
 * The bits of a region: row by row, each row sl_region_row_words(width) words, the leftmost pixel in the lowest bit of
 * the first word. Every function here writes the bits behind a row's last pixel as 0 and reads them as if they were.
 */
static inline size_t sl_region_row_words(int32_t width) { return width > 0 ? ((size_t)width + 63) / 64 : 0; }

static inline size_t sl_region_words(const sl_region *region) {
    return region->height > 0 ? sl_region_row_words(region->width) * (size_t)region->height : 0;
}

/* One byte a pixel, 0 or 1: rows of region->width bytes, `stride` bytes apart, at `out`. */
sl_status sl_region_to_bytes(const sl_region *region, const uint64_t *bits, uint8_t *out, size_t stride);

/* Bits of `region`, pixels that are not 0, from rows of region->width bytes that lie `stride` bytes apart. */
sl_status sl_region_from_bytes(const sl_region *region, const uint8_t *bytes, size_t stride, uint64_t *bits);

/* ---- prototypes (YOLACT, YOLOv8-seg and its kin) ---- */

/* data: float32 (channels, height, width), C-contiguous, of any alignment. */
typedef struct sl_prototypes {
    const float *data;
    int32_t channels;
    int32_t height;
    int32_t width;
} sl_prototypes;

/*
 * How a map of logits becomes a mask of out_width x out_height pixels: enlarge the map `factor` times (bilinear), cut
 * out the cells left, top, width, height, scale these to the output (bilinear). Filled by sl_mask_view_*. Along each
 * axis the cells cut out lie inside the enlarged map or cover it (a crop showed the network only its middle): what
 * lies outside the map repeats its edge.
 */
typedef struct sl_mask_view {
    int32_t map_width;
    int32_t map_height;
    int32_t factor;
    int32_t left;
    int32_t top;
    int32_t width;
    int32_t height;
    int32_t out_width;
    int32_t out_height;
} sl_mask_view;

/*
 * Masks in the pixels of the source, as Ultralytics' process_mask_native (retina_masks): the padding of the letterbox
 * is cut off, factor is the smallest that lets this happen on whole cells (1, 2 or 4 for maps of a quarter of the
 * network's size). geometry: SL_GEOMETRY_FLOATS. The network's sides must be whole multiples of the map's, the same
 * one in both directions (else SL_ERROR_SIZE). Along each axis the picture must lie inside the network's input, or
 * cover it as a crop does (else SL_ERROR_GEOMETRY).
 */
sl_status sl_mask_view_source(const float *geometry, int32_t network_width, int32_t network_height, int32_t map_width,
                              int32_t map_height, sl_mask_view *view);

/* Masks in the pixels of the network's input, padding and all, as Ultralytics' process_mask with upsample. */
sl_status sl_mask_view_network(int32_t network_width, int32_t network_height, int32_t map_width, int32_t map_height,
                               sl_mask_view *view);

/*
 * Pixels (at whole numbers) inside box xyxy, left and top included, right and bottom not, as Ultralytics' crop_mask;
 * clipped to the view's output. Not finite: SL_ERROR_VALUE. Inside out or outside: an empty region.
 */
sl_status sl_mask_region(const sl_mask_view *view, const float *box, sl_region *region);

/* Scratch of sl_mask_from_prototypes for any region of the view; 0 when the view is refused. */
size_t sl_mask_scratch_bytes(const sl_mask_view *view);

/*
 * The mask of one object in `region`, which must lie inside the view's output: bits, sl_region_words of them.
 * coefficients: float32 (channels,). A pixel is set when its logit is > 0. In float32, in this order, each step
 * rounded:
 *   logit of a cell    sum over the channels in ascending order, from 0, of coefficient * prototype
 *   bilinear           of a row first: left + (right - left) * weight, then top + (bottom - top) * weight;
 *                      position = (float)cells / (float)pixels * (pixel + 0.5) - 0.5, at least 0 (half-pixel centres,
 *                      torch's align_corners=False); cells behind the edge repeat the last one
 * so the bits are those of the whole mask, computed the same way and cropped. Only what the region needs is computed.
 */
sl_status sl_mask_from_prototypes(const sl_prototypes *prototypes, const sl_mask_view *view, const float *coefficients,
                                  const sl_region *region, uint64_t *bits, void *scratch, size_t scratch_bytes);

/* ---- Mask R-CNN ---- */

/*
 * Where torchvision's paste_masks_in_image puts a mask of width x height cells, padded by one cell of zeros on each
 * side and its box grown accordingly: pixels trunc(x1)..trunc(x2) of the grown box, both included, clipped to the
 * frame. Not finite, or a coordinate beyond +-2^23: SL_ERROR_VALUE.
 */
sl_status sl_paste_region(const float *box, int32_t width, int32_t height, int32_t frame_width, int32_t frame_height,
                          sl_region *region);

/* Scratch of sl_paste_mask; 0 when a size is refused. */
size_t sl_paste_scratch_bytes(int32_t width, int32_t height, int32_t frame_width, int32_t frame_height);

/*
 * mask: float32 (height, width) of probabilities. Bits of the region that sl_paste_region gives: pixels whose bilinear
 * value (as above) is > threshold. A NaN is never above.
 */
sl_status sl_paste_mask(const float *mask, int32_t width, int32_t height, const float *box, int32_t frame_width,
                        int32_t frame_height, float threshold, const sl_region *region, uint64_t *bits, void *scratch,
                        size_t scratch_bytes);

/* ---- outlines and drawing ---- */

size_t sl_contours_scratch_bytes(const sl_region *region);

/*
 * Outer borders of the 8-connected parts of a mask that lie in no hole of another one (Suzuki and Abe 1985, algorithm
 * 2), as cv2.findContours with RETR_EXTERNAL and CHAIN_APPROX_SIMPLE: the corners only, in the frame's pixels.
 * points: room for point_capacity x, y pairs; ends: room for contour_capacity numbers, ends[i] = points up to and with
 * contour i. Contours come in the order of their first pixel, row by row. When there is no room SL_ERROR_SIZE is
 * returned; *point_count and *contour_count then say what is needed.
 */
sl_status sl_contours(const sl_region *region, const uint64_t *bits, int32_t *points, size_t point_capacity,
                      int32_t *ends, size_t contour_capacity, size_t *point_count, size_t *contour_count, void *scratch,
                      size_t scratch_bytes);

/*
 * Blend a colour into the pixels of a mask, in place: level = (old * (256 - a) + colour * a + 128) / 256 with
 * a = round(alpha * 256). image: its planes are written, although sl_image calls them const. colour: red, green, blue.
 * In I420 and NV12 a chroma sample is blended by the share of its pixels that are set. The part of the region outside
 * the image is left out.
 */
sl_status sl_overlay(const sl_image *image, const sl_region *region, const uint64_t *bits, const uint8_t *colour,
                     float alpha);

#ifdef __cplusplus
}
#endif
#endif
