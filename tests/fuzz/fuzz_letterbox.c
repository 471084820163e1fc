/* Invariant: for any sizes, strides, options and bytes sl_convert answers with a status and stays inside its blocks;
 * with SL_OK it writes the whole output, and each level of instructions gives the same bits. */
/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>

#include "input.h"

enum { MOST_SIDE = 48, MOST_PITCH = 9, MOST_PIXELS = 1500, FAR = 700 };

/* Mostly small; now and then long rows, or a side that must be refused. */
static int32_t side(fuzz_input *input) {
    uint8_t kind = fuzz_u8(input);
    if (kind == 255) return (int32_t)fuzz_u32(input);
    return kind > 240 ? fuzz_between(input, 1, FAR) : fuzz_between(input, 1, MOST_SIDE);
}

static float number(fuzz_input *input) {
    uint32_t bits = fuzz_u32(input);
    float value;
    memcpy(&value, &bits, sizeof value);
    return bits & 1 ? value : (float)(bits >> 24);
}

static sl_letterbox_options options_of(fuzz_input *input) {
    sl_letterbox_options options;
    for (int c = 0; c < 3; c++) {
        options.mean[c] = number(input);
        options.std[c] = number(input);
    }
    options.pad_value = number(input);
    options.resize = (sl_resize)(fuzz_u8(input) % 5);
    options.order = (sl_channel_order)(fuzz_u8(input) % 3);
    options.layout = (sl_layout)(fuzz_u8(input) % 3);
    options.filter = (sl_filter)(fuzz_u8(input) % 4);
    options.short_side = fuzz_u8(input);
    return options;
}

/* Planes in blocks of their own, exactly as long as their rows need; fewer bytes than that when the input says so. */
static void make_planes(fuzz_input *input, sl_image *image) {
    size_t width = (size_t)image->width, height = (size_t)image->height, half = (width + 1) / 2;
    bool packed = image->format == SL_RGB || image->format == SL_BGR;
    for (int p = 0; p < 3; p++) {
        size_t row = packed ? 3 * width : p == 0 ? width : image->format == SL_NV12 ? 2 * half : half;
        size_t rows = p == 0 ? height : (height + 1) / 2, stride = row + fuzz_u8(input) % MOST_PITCH;
        size_t bytes = stride * (rows - 1) + row, missing = fuzz_u8(input) > 250 ? 1 : 0;
        uint8_t *data = fuzz_block(bytes - missing);
        uint32_t seed = fuzz_u32(input);
        for (size_t i = 0; i < bytes - missing; i++) data[i] = (uint8_t)((seed = seed * 1664525U + 1013904223U) >> 24);
        image->plane[p] = data;
        image->stride[p] = stride;
        image->bytes[p] = bytes - missing;
    }
}

typedef struct target {
    int32_t width, height;
    sl_output_type type;
    size_t bytes;
} target;

static sl_status convert(const sl_image *image, const sl_letterbox_options *options, const target *to, int fill,
                         void *out) {
    size_t scratch_bytes = sl_letterbox_scratch_bytes(image->width, to->width);
    void *scratch = fuzz_block(scratch_bytes);
    sl_geometry fit;
    float floats[SL_GEOMETRY_FLOATS];
    memset(out, fill, to->bytes);
    sl_status status = sl_convert(image, options, to->width, to->height, to->type, out, to->bytes, &fit, scratch,
                                  scratch_bytes);
    if (status == SL_OK) {
        sl_geometry_to_floats(&fit, floats);
        FUZZ_CHECK(sl_geometry_check(floats) == SL_OK);
    }
    free(scratch);
    return status;
}

static void compare(const sl_image *image, const sl_letterbox_options *options, const target *to) {
    void *first = fuzz_block(to->bytes), *other = fuzz_block(to->bytes);
    sl_cpu_limit(SL_CPU_SCALAR);
    sl_status status = convert(image, options, to, 0x5A, first);
    for (int level = SL_CPU_SCALAR; level <= SL_CPU_AVX512; level++) {
        sl_cpu_limit((sl_cpu_level)level);
        FUZZ_CHECK(convert(image, options, to, 0xA5, other) == status);
        FUZZ_CHECK(status != SL_OK || memcmp(first, other, to->bytes) == 0);
    }
    free(first);
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    sl_image image = {.width = side(&input), .height = side(&input)};
    target to = {side(&input), side(&input), (sl_output_type)(fuzz_u8(&input) % 4), 0};
    image.format = (sl_pixel_format)(fuzz_u8(&input) & 3);
    image.colour = (sl_colour_space)(fuzz_u8(&input) & 3);
    sl_letterbox_options options = options_of(&input);
    sl_geometry fit;
    bool small = image.width >= 1 && image.width <= FAR && image.height >= 1 && image.height <= FAR &&
                 to.width >= 1 && to.width <= FAR && to.height >= 1 && to.height <= FAR;
    if (!small || image.width * image.height > MOST_PIXELS || to.width * to.height > MOST_PIXELS) {
        (void)sl_image_check(&image);
        (void)sl_geometry_fit(image.width, image.height, to.width, to.height, options.resize, &fit);
        (void)sl_geometry_crop(image.width, image.height, to.width, to.height, options.short_side, &fit);
        return 0;
    }
    make_planes(&input, &image);
    to.bytes = sl_convert_bytes(to.width, to.height, to.type);
    if (to.bytes > 0) compare(&image, &options, &to);
    for (int p = 0; p < 3; p++) free((void *)(uintptr_t)image.plane[p]);
    return 0;
}
