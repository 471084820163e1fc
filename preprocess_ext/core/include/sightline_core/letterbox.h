/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels into a network's input. */
#ifndef SIGHTLINE_CORE_LETTERBOX_H
#define SIGHTLINE_CORE_LETTERBOX_H

#include "sightline_core/geometry.h"
#include "sightline_core/images.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sl_channel_order { SL_ORDER_RGB = 0, SL_ORDER_BGR = 1 } sl_channel_order;

/* (3, height, width), or (height, width, 3) */
typedef enum sl_layout { SL_LAYOUT_CHW = 0, SL_LAYOUT_HWC = 1 } sl_layout;

/*
 * SL_OUTPUT_FLOAT16 is IEEE 754 binary16, rounded to nearest, ties to even, infinite from 65520 on. SL_OUTPUT_UINT8 is
 * (level - mean) / std clamped to 0..255 and rounded to nearest, ties to even: for plain levels mean 0 and std 1.
 */
typedef enum sl_output_type { SL_OUTPUT_FLOAT32 = 0, SL_OUTPUT_FLOAT16 = 1, SL_OUTPUT_UINT8 = 2 } sl_output_type;

/*
 * How source samples make an output sample; half-pixel centres and no rounding between the steps in all three.
 *   BILINEAR  two by two samples, edges replicated, as cv2.INTER_LINEAR
 *   TRIANGLE  antialiased bilinear, as Pillow's BILINEAR and torchvision's with antialias: a triangle as wide as two
 *             output samples, cut at the picture's edge and normalised
 *   BOX       mean of the source area under the output sample, as cv2.INTER_AREA
 * Along an axis that is enlarged TRIANGLE and BOX are bilinear.
 */
typedef enum sl_filter { SL_FILTER_BILINEAR = 0, SL_FILTER_TRIANGLE = 1, SL_FILTER_BOX = 2 } sl_filter;

/*
 * Output = (level - mean) / std, levels 0..255; mean and std follow the order of the output's channels; std > 0.
 * All fields from `resize` on may be 0.
 */
typedef struct sl_letterbox_options {
    float mean[3];
    float std[3];
    float pad_value; /* level of the padding, 0..255, before mean and std */
    sl_resize resize;
    sl_channel_order order;
    sl_layout layout;
    sl_filter filter;
    int32_t short_side; /* SL_CENTRE_CROP: see sl_geometry_crop */
} sl_letterbox_options;

/* Enough for any picture of this width, any options and any output type. */
size_t sl_letterbox_scratch_bytes(int32_t source_width, int32_t network_width);

/* Bytes of a network's input: 3 * network_width * network_height values; 0 when a size or the type is refused. */
size_t sl_convert_bytes(int32_t network_width, int32_t network_height, sl_output_type type);

/*
 * Write the network's input at `out`, every value of it: values of `type` (aligned to their size), packed in
 * options->layout, sl_convert_bytes() bytes (`out_bytes` may be more). YUV is interpolated plane by plane, converted at
 * the network's resolution (ITU-R BT.601 / BT.709) and clamped to 0..255. `geometry` gets the fit.
 * Where memory is touched depends on sizes and options only, never on pixels: another process may write to the picture
 * meanwhile, only the pixels of the result are then undefined. Picture, output and scratch may have any alignment that
 * their types allow. Nothing outside the rows of the picture is read.
 */
sl_status sl_convert(const sl_image *image, const sl_letterbox_options *options, int32_t network_width,
                     int32_t network_height, sl_output_type type, void *out, size_t out_bytes, sl_geometry *geometry,
                     void *scratch, size_t scratch_bytes);

/* sl_convert with SL_OUTPUT_FLOAT32 into `out`, which has 3 * network_width * network_height floats. */
sl_status sl_letterbox(const sl_image *image, const sl_letterbox_options *options, int32_t network_width,
                       int32_t network_height, float *out, sl_geometry *geometry, void *scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
