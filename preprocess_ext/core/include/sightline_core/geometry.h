/* SPDX-License-Identifier: Apache-2.0 */
/* Where a picture lies in a network's input, and the way back. */
#ifndef SIGHTLINE_CORE_GEOMETRY_H
#define SIGHTLINE_CORE_GEOMETRY_H

#include "sightline_core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 *   LETTERBOX         as Ultralytics does it: r = min(W / w, H / h), the picture becomes round(w r) x round(h r) (at
 *                     least 1), centred, left and top padding round(half - 0.1)
 *   STRETCH           the picture fills the whole input
 *   LETTERBOX_CORNER  the same size as LETTERBOX, in the top left corner
 *   CENTRE_CROP       see sl_geometry_crop, with short_side 0
 */
typedef enum sl_resize {
    SL_LETTERBOX = 0,
    SL_STRETCH = 1,
    SL_LETTERBOX_CORNER = 2,
    SL_CENTRE_CROP = 3
} sl_resize;

/*
 * How a source picture lies in a network's input; pixel edges are at whole numbers:
 *   network_x = source_x * scale_x + pad_left,  network_y = source_y * scale_y + pad_top
 * As floats (the wire's GEOMETRY): 1 (valid), source_width, source_height, scale_x, scale_y, pad_left, pad_top.
 */
typedef struct sl_geometry {
    int32_t source_width;
    int32_t source_height;
    int32_t resized_width; /* pixels of the whole resized picture, also of what a crop cuts away */
    int32_t resized_height;
    int32_t pad_left; /* below 0: so many columns of the resized picture are cut away */
    int32_t pad_top;
    double scale_x; /* resized_width / source_width */
    double scale_y;
} sl_geometry;

/* Fit a picture into a network's input. SL_ERROR_SIZE for a side outside 1..SL_MAX_SIDE. */
sl_status sl_geometry_fit(int32_t source_width, int32_t source_height, int32_t network_width, int32_t network_height,
                          sl_resize resize, sl_geometry *geometry);

/*
 * Resize and crop the middle, as torchvision's Resize(short_side) and CenterCrop: the shorter side becomes short_side,
 * the longer floor(short_side * longer / shorter), left and top cut round(half of the rest), ties to even. short_side
 * 0: the smallest picture with this ratio of sides that covers the input (for a square one its side).
 * SL_ERROR_SIZE when the resized picture does not cover the input or has a side above 2^24.
 */
sl_status sl_geometry_crop(int32_t source_width, int32_t source_height, int32_t network_width, int32_t network_height,
                           int32_t short_side, sl_geometry *geometry);

/* Write SL_GEOMETRY_FLOATS floats. */
void sl_geometry_to_floats(const sl_geometry *geometry, float *floats);

/* SL_OK when SL_GEOMETRY_FLOATS floats are valid, with sides of 1..SL_MAX_SIDE, and can be inverted. */
sl_status sl_geometry_check(const float *floats);

/*
 * The inverse. `floats` must have passed sl_geometry_check; in and out may be the same memory. Results are clipped to
 * the picture (0..source_width, 0..source_height); a NaN stays one.
 */

/* Box xyxy from network to source pixels. */
void sl_box_to_source(const float *floats, const float *network_box, float *source_box);

/* Point x, y from network to source pixels. */
void sl_point_to_source(const float *floats, const float *network_point, float *source_point);

/* `count` points; each begins `step` floats after the one before (3 for keypoints x, y, confidence), in both arrays. */
void sl_points_to_source(const float *floats, const float *network_points, size_t count, size_t step,
                         float *source_points);

/*
 * Whole source pixels that a box in source pixels touches: x, y, width, height inside the picture. Width and height
 * are 0 when there are none or the box is not finite.
 */
void sl_box_to_region(const float *floats, const float *source_box, int32_t *region);

/* The way there: a box xyxy, or the centre of a source pixel, in network pixels; not clipped. */
void sl_box_to_network(const float *floats, const float *source_box, float *network_box);
void sl_pixel_to_network(const float *floats, int32_t x, int32_t y, float *network_point);

#ifdef __cplusplus
}
#endif
#endif
