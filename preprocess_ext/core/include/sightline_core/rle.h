/* SPDX-License-Identifier: Apache-2.0 */
/* COCO's run-length encoding: runs column by column, zeros first, and the text that pycocotools makes of them. */
#ifndef SIGHTLINE_CORE_RLE_H
#define SIGHTLINE_CORE_RLE_H

#include "sightline_core/masks.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Texts are bytes 48..111 without a terminating zero. Counts are uint32: lengths of runs of zeros and ones in turn.
 * Frames have sides of 1..SL_MAX_SIDE.
 */

/* Most bytes that the text of a mask can have whose pixels all lie in a region of this size; 0 for sizes refused. */
size_t sl_rle_bytes_bound(int32_t region_width, int32_t region_height, int32_t frame_width, int32_t frame_height);

/* Scratch of sl_rle_encode and sl_rle_encode_bytes for a region or mask of this height; 0 for sizes refused. */
size_t sl_rle_scratch_bytes(int32_t height);

/*
 * The text of a mask that is 0 outside `region`; the region must lie inside the frame. Equal to
 * pycocotools.mask.encode(frame)["counts"]. When `capacity` is too small: SL_ERROR_SIZE, and *length says what is
 * needed (sl_rle_bytes_bound of the region always suffices).
 */
sl_status sl_rle_encode(const sl_region *region, const uint64_t *bits, int32_t frame_width, int32_t frame_height,
                        char *text, size_t capacity, size_t *length, void *scratch, size_t scratch_bytes);

/* The same for a whole mask of one byte a pixel, row by row, `stride` bytes apart; what is not 0 counts as 1. */
sl_status sl_rle_encode_bytes(const uint8_t *mask, size_t stride, int32_t width, int32_t height, char *text,
                              size_t capacity, size_t *length, void *scratch, size_t scratch_bytes);

/* Scratch of sl_rle_from_prototypes: room for the bits and everything below; 0 when the view is refused. */
size_t sl_rle_from_prototypes_scratch_bytes(const sl_mask_view *view);

/* sl_mask_region, sl_mask_from_prototypes and sl_rle_encode in one call: an object's text in the view's output. */
sl_status sl_rle_from_prototypes(const sl_prototypes *prototypes, const sl_mask_view *view, const float *coefficients,
                                 const float *box, char *text, size_t capacity, size_t *length, void *scratch,
                                 size_t scratch_bytes);

/* Scratch of sl_rle_from_paste, likewise; 0 for sizes refused. */
size_t sl_rle_from_paste_scratch_bytes(int32_t width, int32_t height, int32_t frame_width, int32_t frame_height);

/* sl_paste_region, sl_paste_mask and sl_rle_encode in one call: an object's text in a frame. */
sl_status sl_rle_from_paste(const float *mask, int32_t width, int32_t height, const float *box, int32_t frame_width,
                            int32_t frame_height, float threshold, char *text, size_t capacity, size_t *length,
                            void *scratch, size_t scratch_bytes);

/*
 * Counts of a text from anywhere. counts: room for `capacity`; `length` always suffices. Refused with SL_ERROR_VALUE:
 * a byte outside 48..111, a number that is cut off, longer than 7 bytes or below 0, runs that do not sum up to
 * frame_width * frame_height. No room: SL_ERROR_SIZE.
 */
sl_status sl_rle_counts(const char *text, size_t length, int32_t frame_width, int32_t frame_height, uint32_t *counts,
                        size_t capacity, size_t *count);

/* The text of counts that sum up to the frame, else SL_ERROR_VALUE. Room and *length as in sl_rle_encode. */
sl_status sl_rle_text(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height, char *text,
                      size_t capacity, size_t *length);

/* The functions below take counts that sum up to the frame and refuse others with SL_ERROR_VALUE. */

/* Pixels that are set. */
sl_status sl_rle_area(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height, uint64_t *area);

/* The smallest region that holds all set pixels; all zeros when none is set. */
sl_status sl_rle_region(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height,
                        sl_region *region);

/* Intersection over union of two masks; with `crowd` over the area of `a` alone, as pycocotools. 0 when none meet. */
sl_status sl_rle_iou(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count, int32_t frame_width,
                     int32_t frame_height, int32_t crowd, double *iou);

/*
 * Union of two masks, or intersection. counts: room for `capacity`, a_count + b_count + 1 always suffices; none but the
 * first is 0.
 */
sl_status sl_rle_merge(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count, int32_t frame_width,
                       int32_t frame_height, int32_t intersect, uint32_t *counts, size_t capacity, size_t *count);

size_t sl_rle_decode_scratch_bytes(int32_t frame_height);

/* One byte a pixel, 0 or 1: frame_height rows of frame_width bytes, `stride` bytes apart. */
sl_status sl_rle_decode(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height, uint8_t *out,
                        size_t stride, void *scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
