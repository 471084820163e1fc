/* SPDX-License-Identifier: Apache-2.0 */
/* Pictures in the caller's memory. */
#ifndef SIGHTLINE_CORE_IMAGES_H
#define SIGHTLINE_CORE_IMAGES_H

#include "sightline_core/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers of both enumerations are part of the wire contract. */
typedef enum sl_pixel_format { SL_I420 = 0, SL_NV12 = 1, SL_RGB = 2, SL_BGR = 3 } sl_pixel_format;

typedef enum sl_colour_space {
    SL_BT601_LIMITED = 0,
    SL_BT709_LIMITED = 1,
    SL_BT601_FULL = 2,
    SL_BT709_FULL = 3
} sl_colour_space;

/*
 * A picture in the caller's memory.
 * Planes: I420 has Y, U, V; NV12 has Y and interleaved UV; RGB and BGR have one packed plane.
 * Chroma planes have (width + 1) / 2 columns and (height + 1) / 2 rows; each chroma sample lies in the middle of its
 * 2x2 luma samples. stride: bytes from one row to the next; bytes: readable bytes of the plane, at least
 * (rows - 1) * stride + row length. `colour` is ignored for RGB and BGR.
 */
typedef struct sl_image {
    const uint8_t *plane[3];
    size_t stride[3];
    size_t bytes[3];
    int32_t width;
    int32_t height;
    sl_pixel_format format;
    sl_colour_space colour;
} sl_image;

/* Fill `image` for `bytes` bytes at `data` that hold the planes one after the other without row padding. */
sl_status sl_image_from_packed(const uint8_t *data, size_t bytes, int32_t width, int32_t height,
                               sl_pixel_format format, sl_colour_space colour, sl_image *image);

/* SL_OK when every plane of `image` can be read as its sizes say. */
sl_status sl_image_check(const sl_image *image);

#ifdef __cplusplus
}
#endif
#endif
