/* SPDX-License-Identifier: Apache-2.0 */
/* Counts and their text: differences to the count before the last, five bits a byte, as COCO's maskApi writes them. */
#include "masks/rle.h"

enum { FIRST_BYTE = SL_RLE_FIRST_BYTE, GROUP_BITS = 5, GROUP = 31, SIGN = 16, MORE = 32, LAST_BYTE = FIRST_BYTE + 63 };

static void put_byte(sl_rle_writer *writer, int64_t value) {
    if (writer->length < writer->capacity) writer->text[writer->length] = (char)(value + FIRST_BYTE);
    writer->length++;
}

/* Floor division by 32: what an arithmetic shift does, without relying on one. */
static int64_t shift_down(int64_t value) {
    return value >= 0 ? value >> GROUP_BITS : -((-value + GROUP) >> GROUP_BITS);
}

void sl_rle_put_difference(sl_rle_writer *writer, int64_t difference) {
    int64_t value = difference;
    for (bool more = true; more;) {
        int64_t group = value & GROUP;
        value = shift_down(value);
        more = (group & SIGN) != 0 ? value != -1 : value != 0;
        put_byte(writer, more ? group | MORE : group);
    }
}

sl_status sl_rle_finish(sl_rle_writer *writer, uint64_t pixels, size_t *length) {
    sl_rle_flush(writer);
    if (writer->done < pixels) sl_rle_put(writer, pixels - writer->done);
    *length = writer->length;
    return writer->length > writer->capacity ? SL_ERROR_SIZE : SL_OK;
}

/* One number: SL_RLE_NUMBER_BYTES at most, the last without the mark. */
static bool read_number(const char *text, size_t length, size_t *at, int64_t *number) {
    uint64_t bits = 0;
    for (unsigned i = 0; i < SL_RLE_NUMBER_BYTES && *at < length; i++) {
        const unsigned char byte = (unsigned char)text[(*at)++];
        if (byte < FIRST_BYTE || byte > LAST_BYTE) return false;
        const uint64_t group = (uint64_t)byte - FIRST_BYTE;
        bits |= (group & GROUP) << (GROUP_BITS * i);
        if ((group & MORE) != 0) continue;
        const uint64_t range = UINT64_C(1) << (GROUP_BITS * (i + 1));
        *number = (group & SIGN) != 0 ? -(int64_t)(range - bits) : (int64_t)bits;
        return true;
    }
    return false;
}

sl_status sl_rle_counts(const char *text, size_t length, int32_t frame_width, int32_t frame_height, uint32_t *counts,
                        size_t capacity, size_t *count) {
    if (count == NULL || (text == NULL && length > 0) || (counts == NULL && capacity > 0)) return SL_ERROR_NULL;
    if (!sl_frame_ok(frame_width, frame_height)) return SL_ERROR_SIZE;
    int64_t left = (int64_t)sl_frame_pixels(frame_width, frame_height);
    size_t found = 0;
    for (size_t at = 0; at < length; found++) {
        int64_t number;
        if (!read_number(text, length, &at, &number)) return SL_ERROR_VALUE;
        if (found == capacity) return SL_ERROR_SIZE;
        if (found > 2) number += counts[found - 2];
        if (number < 0 || number > left) return SL_ERROR_VALUE;
        left -= number;
        counts[found] = (uint32_t)number;
    }
    *count = found;
    return left == 0 ? SL_OK : SL_ERROR_VALUE;
}

sl_status sl_rle_check(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height) {
    if (counts == NULL) return SL_ERROR_NULL;
    if (!sl_frame_ok(frame_width, frame_height)) return SL_ERROR_SIZE;
    uint64_t left = sl_frame_pixels(frame_width, frame_height);
    for (size_t i = 0; i < count; i++) {
        if (counts[i] > left) return SL_ERROR_VALUE;
        left -= counts[i];
    }
    return left == 0 ? SL_OK : SL_ERROR_VALUE;
}

sl_status sl_rle_text(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height, char *text,
                      size_t capacity, size_t *length) {
    if (length == NULL || (text == NULL && capacity > 0)) return SL_ERROR_NULL;
    sl_status status = sl_rle_check(counts, count, frame_width, frame_height);
    if (status != SL_OK) return status;
    sl_rle_writer writer = {.text = text, .capacity = capacity};
    for (size_t i = 0; i < count; i++) sl_rle_put(&writer, counts[i]);
    *length = writer.length;
    return writer.length > capacity ? SL_ERROR_SIZE : SL_OK;
}
