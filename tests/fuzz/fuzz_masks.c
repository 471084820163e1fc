/* Invariant: any prototypes, view and box are refused, or give the same bits at each level, and a text that reads back. */
/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"

enum { MOST_CELLS = 10, MOST_CHANNELS = 3, MOST_PIXELS = 80 };

typedef struct subject {
    sl_prototypes prototypes;
    float *data;
    float *coefficients;
    float box[4];
    sl_mask_view view;
} subject;

/* Mostly tame numbers, so that masks are not all NaN. */
static float number(fuzz_input *input) {
    const uint8_t kind = fuzz_u8(input);
    float value;
    if (kind < 250) return ((float)kind - 125.0F) / 32.0F;
    fuzz_bytes(input, &value, sizeof value);
    return value;
}

static sl_status make_view(fuzz_input *input, int32_t width, int32_t height, sl_mask_view *view) {
    const int32_t cell = fuzz_between(input, 1, 8);
    const int32_t network_width = cell * width + (fuzz_u8(input) == 7), network_height = cell * height;
    if (fuzz_u8(input) % 4 == 0) return sl_mask_view_network(network_width, network_height, width, height, view);
    float geometry[SL_GEOMETRY_FLOATS];
    sl_geometry fit;
    if (sl_geometry_fit(fuzz_between(input, 1, MOST_PIXELS), fuzz_between(input, 1, MOST_PIXELS), network_width,
                        network_height, (sl_resize)(fuzz_u8(input) % 4), &fit) != SL_OK)
        return SL_ERROR_SIZE;
    sl_geometry_to_floats(&fit, geometry);
    const uint8_t change = fuzz_u8(input);
    if (change % 8 == 0) fuzz_bytes(input, geometry + change / 8 % SL_GEOMETRY_FLOATS, sizeof(float));
    const sl_status status = sl_mask_view_source(geometry, network_width, network_height, width, height, view);
    return status == SL_OK && (view->out_width > 300 || view->out_height > 300) ? SL_ERROR_SIZE : status;
}

/* A view as a caller may have written it. */
static void disturb(fuzz_input *input, sl_mask_view *view) {
    const uint8_t which = fuzz_u8(input);
    if (which >= 8) return;
    fuzz_bytes(input, (char *)view + which * sizeof(int32_t), sizeof(int32_t));
    if (sl_mask_scratch_bytes(view) > 1U << 20) view->map_width = 0;
}

static void check_mask(const subject *s, const sl_region *region, uint64_t *bits) {
    const size_t words = sl_region_words(region), bytes = sl_mask_scratch_bytes(&s->view);
    uint64_t *reference = fuzz_block(words * sizeof *reference);
    void *scratch = fuzz_block(bytes);
    sl_cpu_limit(SL_CPU_SCALAR);
    const sl_status status =
        sl_mask_from_prototypes(&s->prototypes, &s->view, s->coefficients, region, reference, scratch, bytes);
    sl_cpu_limit(SL_CPU_AVX512);
    FUZZ_CHECK(sl_mask_from_prototypes(&s->prototypes, &s->view, s->coefficients, region, bits, scratch, bytes) ==
               status);
    if (status == SL_OK) FUZZ_CHECK(memcmp(bits, reference, words * sizeof *bits) == 0);
    const size_t row_words = sl_region_row_words(region->width);
    for (size_t i = 0; status == SL_OK && i < words; i++)
        if (i % row_words == row_words - 1 && region->width % 64 != 0) FUZZ_CHECK(bits[i] >> (region->width % 64) == 0);
    free(reference);
    free(scratch);
}

static void check_text(const subject *s) {
    const size_t bytes = sl_rle_from_prototypes_scratch_bytes(&s->view);
    const int32_t width = s->view.out_width, height = s->view.out_height;
    const size_t bound = sl_rle_bytes_bound(width, height, width, height);
    void *scratch = fuzz_block(bytes);
    char *text = fuzz_block(bound);
    uint32_t *counts = fuzz_block(bound * sizeof *counts);
    size_t length = 0, count = 0;
    const sl_status status = sl_rle_from_prototypes(&s->prototypes, &s->view, s->coefficients, s->box, text, bound,
                                                    &length, scratch, bytes);
    if (status == SL_OK) FUZZ_CHECK(sl_rle_counts(text, length, width, height, counts, bound, &count) == SL_OK);
    free(scratch);
    free(text);
    free(counts);
}

static void check_pasted_text(const subject *s, const sl_region *region, const uint64_t *bits, int32_t side) {
    const int32_t width = s->prototypes.width, height = s->prototypes.height;
    const size_t bytes = sl_rle_from_paste_scratch_bytes(width, height, side, side);
    const size_t bound = sl_rle_bytes_bound(region->width, region->height, side, side);
    const size_t rle_bytes = sl_rle_scratch_bytes(side);
    void *scratch = fuzz_block(bytes), *rle_scratch = fuzz_block(rle_bytes);
    char *text = fuzz_block(bound), *steps = fuzz_block(bound);
    size_t length = 0, step_length = 0;
    FUZZ_CHECK(sl_rle_from_paste(s->data, width, height, s->box, side, side, 0.5F, text, bound, &length, scratch, bytes) ==
               SL_OK);
    FUZZ_CHECK(sl_rle_encode(region, bits, side, side, steps, bound, &step_length, rle_scratch, rle_bytes) == SL_OK);
    FUZZ_CHECK(length == step_length && memcmp(text, steps, length) == 0);
    free(scratch);
    free(rle_scratch);
    free(text);
    free(steps);
}

/* Mask R-CNN, outlines and drawing on whatever came out. */
static void check_drawing(fuzz_input *input, const subject *s) {
    sl_region region;
    const int32_t side = fuzz_between(input, 1, MOST_PIXELS);
    const int32_t width = s->prototypes.width, height = s->prototypes.height;
    if (sl_paste_region(s->box, width, height, side, side, &region) != SL_OK) return;
    const size_t bytes = sl_paste_scratch_bytes(width, height, side, side), words = sl_region_words(&region);
    const size_t trace_bytes = sl_contours_scratch_bytes(&region);
    void *scratch = fuzz_block(bytes), *trace = fuzz_block(trace_bytes);
    uint64_t *bits = fuzz_block(words * sizeof *bits);
    FUZZ_CHECK(sl_paste_mask(s->data, width, height, s->box, side, side, 0.5F, &region, bits, scratch, bytes) == SL_OK);
    check_pasted_text(s, &region, bits, side);
    size_t points = 0, contours = 0;
    int32_t xy[128], ends[8];
    const sl_status status = sl_contours(&region, bits, xy, 64, ends, 8, &points, &contours, trace, trace_bytes);
    FUZZ_CHECK(status == (points > 64 || contours > 8 ? SL_ERROR_SIZE : SL_OK));
    const sl_pixel_format format = (sl_pixel_format)(fuzz_u8(input) % 4);
    const size_t half = (size_t)(side + 1) / 2, pixels = (size_t)side * (size_t)side;
    const size_t image_bytes = format >= SL_RGB ? 3 * pixels : pixels + 2 * half * half;
    uint8_t *image_data = fuzz_block(image_bytes);
    const uint8_t colour[3] = {fuzz_u8(input), fuzz_u8(input), fuzz_u8(input)};
    sl_image image;
    memset(image_data, 90, image_bytes);
    FUZZ_CHECK(sl_image_from_packed(image_data, image_bytes, side, side, format, SL_BT601_FULL, &image) == SL_OK);
    region.x += fuzz_between(input, -100, 100);
    region.y += fuzz_between(input, -100, 100);
    FUZZ_CHECK(sl_overlay(&image, &region, bits, colour, (float)fuzz_u8(input) / 255.0F) == SL_OK);
    free(scratch);
    free(trace);
    free(bits);
    free(image_data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    subject s = {.prototypes = {NULL, fuzz_between(&input, 1, MOST_CHANNELS), fuzz_between(&input, 1, MOST_CELLS),
                                fuzz_between(&input, 1, MOST_CELLS)}};
    sl_region region;
    if (make_view(&input, s.prototypes.width, s.prototypes.height, &s.view) != SL_OK) return 0;
    disturb(&input, &s.view);
    for (int i = 0; i < 4; i++) s.box[i] = number(&input) * 40.0F;
    const size_t channels = (size_t)s.prototypes.channels;
    const size_t values = channels * (size_t)s.prototypes.width * (size_t)s.prototypes.height;
    s.data = fuzz_block(values * sizeof(float));
    s.coefficients = fuzz_block(channels * sizeof(float));
    s.prototypes.data = s.data;
    for (size_t i = 0; i < channels; i++) s.coefficients[i] = number(&input);
    for (size_t i = 0; i < values; i++) s.data[i] = number(&input);
    if (sl_mask_region(&s.view, s.box, &region) == SL_OK && sl_mask_scratch_bytes(&s.view) <= 1U << 20) {
        uint64_t *bits = fuzz_block(sl_region_words(&region) * sizeof *bits);
        check_mask(&s, &region, bits);
        if (s.view.out_width <= 300 && s.view.out_height <= 300) check_text(&s);
        free(bits);
    }
    check_drawing(&input, &s);
    free(s.data);
    free(s.coefficients);
    return 0;
}
