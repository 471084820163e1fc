/* SPDX-License-Identifier: Apache-2.0 */
/* Planes of a picture: where they are and whether they hold what their sizes say. */
#include "pixels/pixels.h"

static bool known_format(const sl_image *image) {
    return (unsigned)image->format <= SL_BGR && (unsigned)image->colour <= SL_BT709_FULL;
}

static int plane_count(sl_pixel_format format) { return format == SL_I420 ? 3 : format == SL_NV12 ? 2 : 1; }

static size_t row_bytes(const sl_image *image, int plane) {
    size_t width = (size_t)image->width;
    if (image->format == SL_RGB || image->format == SL_BGR) return width * 3;
    if (plane == 0) return width;
    return (width + 1) / 2 * (image->format == SL_NV12 ? 2 : 1);
}

static size_t row_count(const sl_image *image, int plane) {
    size_t height = (size_t)image->height;
    return plane == 0 ? height : (height + 1) / 2;
}

static bool side_ok(int32_t side) { return side >= 1 && side <= SL_MAX_SIDE; }

sl_status sl_image_check(const sl_image *image) {
    if (image == NULL) return SL_ERROR_NULL;
    if (!known_format(image)) return SL_ERROR_FORMAT;
    if (!side_ok(image->width) || !side_ok(image->height)) return SL_ERROR_SIZE;
    for (int plane = 0; plane < plane_count(image->format); plane++) {
        if (image->plane[plane] == NULL) return SL_ERROR_NULL;
        size_t row = row_bytes(image, plane), gaps = row_count(image, plane) - 1, stride = image->stride[plane];
        if (stride < row) return SL_ERROR_STRIDE;
        if (image->bytes[plane] < row) return SL_ERROR_BYTES;
        if (gaps > 0 && stride > (image->bytes[plane] - row) / gaps) return SL_ERROR_BYTES;
    }
    return SL_OK;
}

sl_status sl_image_from_packed(const uint8_t *data, size_t bytes, int32_t width, int32_t height,
                               sl_pixel_format format, sl_colour_space colour, sl_image *image) {
    if (data == NULL || image == NULL) return SL_ERROR_NULL;
    *image = (sl_image){.width = width, .height = height, .format = format, .colour = colour};
    if (!known_format(image)) return SL_ERROR_FORMAT;
    if (!side_ok(width) || !side_ok(height)) return SL_ERROR_SIZE;
    size_t start = 0;
    for (int plane = 0; plane < plane_count(format); plane++) {
        size_t row = row_bytes(image, plane), rows = row_count(image, plane);
        if (rows > (bytes - start) / row) return SL_ERROR_BYTES;
        image->plane[plane] = data + start;
        image->stride[plane] = row;
        image->bytes[plane] = row * rows;
        start += row * rows;
    }
    return SL_OK;
}
