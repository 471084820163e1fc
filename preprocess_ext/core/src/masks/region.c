/* SPDX-License-Identifier: Apache-2.0 */
/* Regions of bits, and bytes. */
#include <string.h>

#include "masks/masks.h"

static bool axis_inside(int32_t first, int32_t count, int32_t outer) {
    return count >= 0 && first >= 0 && first <= outer && count <= outer - first;
}

bool sl_region_inside(const sl_region *region, int32_t frame_width, int32_t frame_height) {
    return axis_inside(region->x, region->width, frame_width) && axis_inside(region->y, region->height, frame_height);
}

static sl_status check(const sl_region *region, const void *bits, const void *bytes, size_t stride) {
    if (region == NULL) return SL_ERROR_NULL;
    if (region->width < 0 || region->height < 0) return SL_ERROR_SIZE;
    if (region->width > SL_MAX_SIDE || region->height > SL_MAX_SIDE) return SL_ERROR_SIZE;
    if (sl_region_words(region) > 0 && (bits == NULL || bytes == NULL)) return SL_ERROR_NULL;
    return stride < (size_t)region->width ? SL_ERROR_STRIDE : SL_OK;
}

sl_status sl_region_to_bytes(const sl_region *region, const uint64_t *bits, uint8_t *out, size_t stride) {
    sl_status status = check(region, bits, out, stride);
    if (status != SL_OK || sl_region_words(region) == 0) return status;
    size_t words = sl_region_row_words(region->width), width = (size_t)region->width;
    for (size_t y = 0; y < (size_t)region->height; y++, out += stride)
        for (size_t x = 0; x < width; x++) out[x] = (uint8_t)(bits[y * words + x / SL_WORD] >> (x % SL_WORD) & 1);
    return SL_OK;
}

sl_status sl_region_from_bytes(const sl_region *region, const uint8_t *bytes, size_t stride, uint64_t *bits) {
    sl_status status = check(region, bits, bytes, stride);
    if (status != SL_OK || sl_region_words(region) == 0) return status;
    const sl_mask_kernels *kernels = sl_mask_kernels_now();
    size_t words = sl_region_row_words(region->width), width = (size_t)region->width;
    for (size_t y = 0; y < (size_t)region->height; y++)
        for (size_t i = 0; i < words; i++) {
            size_t left = width - i * SL_WORD;
            kernels->pack(bytes + y * stride + i * SL_WORD, stride, 1, left < SL_WORD ? left : SL_WORD,
                          bits + y * words + i);
        }
    return SL_OK;
}
