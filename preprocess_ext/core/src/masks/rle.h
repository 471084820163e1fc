/* SPDX-License-Identifier: Apache-2.0 */
/* What the run-length files share; not installed. */
#ifndef SL_RLE_H
#define SL_RLE_H

#include "masks/masks.h"
#include "sightline_core/rle.h"

/* Numbers of up to 34 bits in groups of five: more bytes than this no count needs. */
enum { SL_RLE_NUMBER_BYTES = 7, SL_RLE_FIRST_BYTE = 48 };

static inline bool sl_frame_ok(int32_t width, int32_t height) {
    return sl_side_ok(width, SL_MAX_SIDE) && sl_side_ok(height, SL_MAX_SIDE);
}

static inline uint64_t sl_frame_pixels(int32_t width, int32_t height) { return (uint64_t)width * (uint64_t)height; }

/* ---- rle_text.c: counts one after the other become text ---- */

typedef struct sl_rle_writer {
    char *text;
    size_t capacity;
    size_t length; /* needed so far, perhaps more than there is room for */
    size_t count;
    int64_t before[2]; /* the count before the last, the last */
    uint64_t done;     /* pixels written */
    uint64_t start;    /* the run of ones that may still grow */
    uint64_t end;
} sl_rle_writer;

/* The bytes of a difference of any size. */
void sl_rle_put_difference(sl_rle_writer *writer, int64_t difference);

static inline void sl_rle_put(sl_rle_writer *writer, uint64_t count) {
    const int64_t difference = (int64_t)count - (writer->count > 2 ? writer->before[0] : 0);
    writer->before[0] = writer->before[1];
    writer->before[1] = (int64_t)count;
    writer->count++;
    writer->done += count;
    if (difference >= -16 && difference < 16 && writer->length < writer->capacity)
        writer->text[writer->length++] = (char)((difference & 31) + SL_RLE_FIRST_BYTE); /* one byte, as most are */
    else
        sl_rle_put_difference(writer, difference);
}

static inline void sl_rle_flush(sl_rle_writer *writer) {
    if (writer->end == writer->start) return;
    sl_rle_put(writer, writer->start - writer->done);
    sl_rle_put(writer, writer->end - writer->start);
}

/* A run of ones from pixel start to before end; runs ascend, and one that begins where the last ended continues it. */
static inline void sl_rle_run(sl_rle_writer *writer, uint64_t start, uint64_t end) {
    if (start != writer->end || writer->end == writer->start) {
        sl_rle_flush(writer);
        writer->start = start;
    }
    writer->end = end;
}

/* All runs are there: SL_OK, or SL_ERROR_SIZE when there was no room. */
sl_status sl_rle_finish(sl_rle_writer *writer, uint64_t pixels, size_t *length);

/* SL_OK when the counts sum up to the frame. */
sl_status sl_rle_check(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height);

#endif
