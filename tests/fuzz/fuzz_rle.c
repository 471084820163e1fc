/* Invariant: a text from anywhere is refused, or its counts fill the frame and come back from text, mask and merge. */
/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"

enum { MOST_SIDE = 40, MOST_TEXT = 64 };

typedef struct frame {
    int32_t width;
    int32_t height;
    size_t pixels;
} frame;

static size_t encode(const frame *f, const uint8_t *mask, char *text, size_t bound) {
    const size_t scratch_bytes = sl_rle_scratch_bytes(f->height);
    void *scratch = fuzz_block(scratch_bytes);
    size_t length = 0;
    FUZZ_CHECK(sl_rle_encode_bytes(mask, (size_t)f->width, f->width, f->height, text, bound, &length, scratch,
                                   scratch_bytes) == SL_OK);
    free(scratch);
    return length;
}

/* The mask, written out, must have the same area, extent and overlap with itself; its text is the shortest. */
static void check_counts(const frame *f, const uint32_t *counts, size_t count, size_t length) {
    const size_t scratch_bytes = sl_rle_decode_scratch_bytes(f->height);
    const size_t bound = sl_rle_bytes_bound(f->width, f->height, f->width, f->height);
    uint8_t *mask = fuzz_block(f->pixels);
    void *scratch = fuzz_block(scratch_bytes);
    char *text = fuzz_block(bound), *merged_text = fuzz_block(bound);
    uint32_t *merged = fuzz_block((2 * count + 1) * sizeof *merged);
    uint64_t area = 0, set = 0;
    double iou = 0.0;
    size_t merged_count = 0, merged_length = 0;
    FUZZ_CHECK(sl_rle_decode(counts, count, f->width, f->height, mask, (size_t)f->width, scratch,
                             scratch_bytes) == SL_OK);
    for (size_t i = 0; i < f->pixels; i++) set += mask[i];
    FUZZ_CHECK(sl_rle_area(counts, count, f->width, f->height, &area) == SL_OK && area == set);
    FUZZ_CHECK(sl_rle_iou(counts, count, counts, count, f->width, f->height, 0, &iou) == SL_OK);
    FUZZ_CHECK(iou == (set > 0 ? 1.0 : 0.0));
    const size_t own = encode(f, mask, text, bound);
    FUZZ_CHECK(own <= bound && own <= length + 1);
    FUZZ_CHECK(sl_rle_merge(counts, count, counts, count, f->width, f->height, 0, merged, 2 * count + 1,
                            &merged_count) == SL_OK);
    FUZZ_CHECK(sl_rle_text(merged, merged_count, f->width, f->height, merged_text, bound, &merged_length) == SL_OK);
    FUZZ_CHECK(merged_length == own && memcmp(merged_text, text, own) == 0);
    sl_region region;
    FUZZ_CHECK(sl_rle_region(counts, count, f->width, f->height, &region) == SL_OK);
    FUZZ_CHECK(region.x + region.width <= f->width && region.y + region.height <= f->height);
    free(mask);
    free(scratch);
    free(text);
    free(merged_text);
    free(merged);
}

/* Runs that fill the frame, as text, perhaps with a byte changed: random bytes alone hardly ever fit. */
static size_t plausible_text(fuzz_input *input, const frame *f, char *text) {
    uint32_t counts[MOST_TEXT / 8];
    size_t count = 0, length = 0;
    uint32_t left = (uint32_t)f->pixels;
    while (count + 1 < MOST_TEXT / 8 && left > 0 && input->left > 2) {
        counts[count] = fuzz_u8(input) % (left + 1);
        left -= counts[count++];
    }
    counts[count++] = left;
    FUZZ_CHECK(sl_rle_text(counts, count, f->width, f->height, text, MOST_TEXT, &length) == SL_OK);
    const uint8_t where = fuzz_u8(input);
    if (where < length) text[where] = (char)fuzz_u8(input);
    return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    frame f = {fuzz_between(&input, 1, MOST_SIDE), fuzz_between(&input, 1, MOST_SIDE), 0};
    f.pixels = (size_t)f.width * (size_t)f.height;
    char made[MOST_TEXT];
    size_t length = input.left < MOST_TEXT ? input.left : MOST_TEXT;
    if (fuzz_u8(&input) % 2 == 0)
        length = plausible_text(&input, &f, made);
    else
        fuzz_bytes(&input, made, length);
    char *text = fuzz_block(length);
    memcpy(text, made, length);
    uint32_t *counts = fuzz_block(length * sizeof *counts);
    size_t count = 0;
    if (sl_rle_counts(text, length, f.width, f.height, counts, length, &count) == SL_OK) {
        FUZZ_CHECK(count <= length);
        check_counts(&f, counts, count, length);
    }
    free(text);
    free(counts);
    return 0;
}
