/* SPDX-License-Identifier: Apache-2.0 */
/* Pixels: every format, size, type, layout, filter and resize mode in blocks of the exact size; strides; geometry. */
#include "check.h"

static size_t packed_bytes(int32_t width, int32_t height, sl_pixel_format format) {
    size_t w = (size_t)width, h = (size_t)height;
    return format == SL_RGB || format == SL_BGR ? w * h * 3 : w * h + 2 * ((w + 1) / 2) * ((h + 1) / 2);
}

static sl_letterbox_options plain_options(void) {
    sl_letterbox_options options = {.std = {255.0F, 255.0F, 255.0F}, .pad_value = 114.0F};
    return options;
}

static sl_letterbox_options random_options(void) {
    sl_letterbox_options options = plain_options();
    options.resize = (sl_resize)(next_random() & 3);
    options.order = (sl_channel_order)(next_random() & 1);
    options.layout = (sl_layout)(next_random() & 1);
    options.filter = (sl_filter)(next_random() % 4 == 0 ? 1 + next_random() % 2 : 0);
    return options;
}

/* Every item of the output lies between the least and the greatest level: nothing was left as it was. */
static void check_output(const void *out, size_t values, sl_output_type type, float std) {
    for (size_t i = 0; i < values; i++) {
        if (type == SL_OUTPUT_FLOAT32) {
            float value = ((const float *)out)[i] * std;
            CHECK(value >= -0.01F && value <= 255.01F);
        } else if (type == SL_OUTPUT_FLOAT16) {
            CHECK(((const uint16_t *)out)[i] <= (std > 1.0F ? 0x3C00 : 0x5BF8)); /* 1.0, 255.0 */
        }
    }
}

typedef struct block {
    void *at;
    size_t bytes;
} block;

static sl_status convert(const sl_image *image, const sl_letterbox_options *options, int32_t width, int32_t height,
                         sl_output_type type, block out, block scratch) {
    sl_geometry fit;
    return sl_convert(image, options, width, height, type, out.at, out.bytes, &fit, scratch.at, scratch.bytes);
}

static void convert_once(int32_t width, int32_t height, int32_t out_width, int32_t out_height, sl_pixel_format format) {
    sl_output_type type = (sl_output_type)(next_random() % 3);
    size_t bytes = packed_bytes(width, height, format), values = (size_t)out_width * (size_t)out_height * 3;
    size_t scratch_bytes = sl_letterbox_scratch_bytes(width, out_width);
    size_t out_bytes = sl_convert_bytes(out_width, out_height, type);
    uint8_t *data = exact(bytes);
    void *out = exact(out_bytes), *scratch = exact(scratch_bytes);
    sl_letterbox_options options = random_options();
    sl_image image;
    if (type == SL_OUTPUT_UINT8) options.std[0] = options.std[1] = options.std[2] = 1.0F;
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)next_random();
    memset(out, 0xFF, out_bytes); /* NaN */
    sl_colour_space colour = (sl_colour_space)(next_random() & 3);
    CHECK(sl_image_from_packed(data, bytes, width, height, format, colour, &image) == SL_OK);
    block whole = {out, out_bytes}, one_less = {out, out_bytes - 1}, work = {scratch, scratch_bytes};
    block half = {scratch, scratch_bytes / 2};
    sl_status status = convert(&image, &options, out_width, out_height, type, whole, work);
    CHECK(status == SL_OK || (status == SL_ERROR_SIZE && options.resize == SL_CENTRE_CROP));
    if (status == SL_OK) {
        check_output(out, values, type, options.std[0]);
        add_to_checksum(out, out_bytes);
        CHECK(convert(&image, &options, out_width, out_height, type, whole, half) == SL_ERROR_SCRATCH);
        CHECK(convert(&image, &options, out_width, out_height, type, one_less, work) == SL_ERROR_BYTES);
    }
    CHECK(sl_image_from_packed(data, bytes - 1, width, height, format, colour, &image) == SL_ERROR_BYTES);
    free(data);
    free(out);
    free(scratch);
}

static void test_convert(void) {
    const int32_t edges[] = {1, 2, 3, 17, 64};
    for (int format = SL_I420; format <= SL_BGR; format++) {
        for (int w = 0; w < 5; w++)
            for (int h = 0; h < 5; h++) convert_once(edges[w], edges[h], 19, 13, (sl_pixel_format)format);
        for (int i = 0; i < 130; i++) {
            int far = i >= 120; /* columns far apart */
            int32_t width = far ? between(500, 900) : between(1, 200), height = between(1, far ? 9 : 200);
            int32_t out_width = between(1, far ? 60 : 90), out_height = between(1, far ? 9 : 90);
            convert_once(width, height, out_width, out_height, (sl_pixel_format)format);
        }
        convert_once(SL_MAX_SIDE, 1, 8, 8, (sl_pixel_format)format);
        convert_once(1, SL_MAX_SIDE, 8, 8, (sl_pixel_format)format);
    }
}

/* sl_letterbox is sl_convert with float32, at any alignment of picture and scratch. */
static void test_letterbox_at_any_alignment(void) {
    enum { WIDTH = 61, HEIGHT = 33, SIDE = 40 };
    size_t bytes = packed_bytes(WIDTH, HEIGHT, SL_I420), scratch_bytes = sl_letterbox_scratch_bytes(WIDTH, SIDE);
    static float first[3 * SIDE * SIDE], out[3 * SIDE * SIDE];
    sl_letterbox_options options = plain_options();
    sl_geometry fit;
    sl_image image;
    uint8_t *data = exact(bytes + 64), *scratch = exact(scratch_bytes + 64), pixels[WIDTH * HEIGHT * 2];
    for (size_t i = 0; i < bytes; i++) pixels[i] = (uint8_t)next_random();
    for (size_t shift = 0; shift < 64; shift++) {
        memcpy(data + shift, pixels, bytes);
        CHECK(sl_image_from_packed(data + shift, bytes, WIDTH, HEIGHT, SL_I420, SL_BT709_FULL, &image) == SL_OK);
        CHECK(sl_letterbox(&image, &options, SIDE, SIDE, out, &fit, scratch + shift, scratch_bytes) == SL_OK);
        if (shift == 0) memcpy(first, out, sizeof out);
        CHECK(memcmp(first, out, sizeof out) == 0);
    }
    block whole = {out, sizeof out}, work = {scratch, scratch_bytes};
    CHECK(convert(&image, &options, SIDE, SIDE, SL_OUTPUT_FLOAT32, whole, work) == SL_OK);
    CHECK(memcmp(first, out, sizeof out) == 0);
    free(data);
    free(scratch);
}

/* Rows with a stride, the last one without its padding: not a byte behind it may be read. */
static void test_strides(void) {
    enum { WIDTH = 7, HEIGHT = 5, STRIDE = 32 };
    size_t bytes = STRIDE * (HEIGHT - 1) + WIDTH * 3, scratch_bytes = sl_letterbox_scratch_bytes(WIDTH, WIDTH);
    uint8_t *data = exact(bytes);
    float *out = exact(sizeof(float) * 3 * WIDTH * HEIGHT);
    void *scratch = exact(scratch_bytes);
    sl_letterbox_options options = plain_options();
    sl_geometry fit;
    sl_image image = {.plane = {data}, .stride = {STRIDE}, .bytes = {bytes}, .format = SL_RGB};
    image.width = WIDTH;
    image.height = HEIGHT;
    memset(data, 255, bytes);
    for (size_t y = 0; y < HEIGHT; y++)
        for (size_t i = 0; i < WIDTH * 3; i++) data[y * STRIDE + i] = (uint8_t)(y * 40);
    CHECK(sl_letterbox(&image, &options, WIDTH, HEIGHT, out, &fit, scratch, scratch_bytes) == SL_OK);
    for (size_t i = 0; i < 3 * WIDTH * HEIGHT; i++)
        CHECK(fabsf(out[i] * 255.0F - (float)(i / WIDTH % HEIGHT * 40)) < 1e-3F);
    image.stride[0] = WIDTH * 3 - 1;
    CHECK(sl_image_check(&image) == SL_ERROR_STRIDE);
    image.stride[0] = SIZE_MAX;
    CHECK(sl_image_check(&image) == SL_ERROR_BYTES);
    image.stride[0] = STRIDE;
    image.bytes[0]--;
    CHECK(sl_image_check(&image) == SL_ERROR_BYTES);
    free(data);
    free(out);
    free(scratch);
}

/* Planes in blocks of their own with strides give what the packed picture gives. */
static void test_pitched_planes(void) {
    for (int i = 0; i < 60; i++) {
        sl_pixel_format format = (sl_pixel_format)(next_random() & 1);
        int32_t width = between(1, 70), height = between(1, 40), side = between(1, 50);
        size_t bytes = packed_bytes(width, height, format), scratch_bytes = sl_letterbox_scratch_bytes(width, side);
        size_t out_bytes = sl_convert_bytes(side, side, SL_OUTPUT_FLOAT32), pitch = (size_t)between(0, 20);
        uint8_t *data = exact(bytes), *planes[3] = {NULL, NULL, NULL};
        float *packed = exact(out_bytes), *out = exact(out_bytes);
        void *scratch = exact(scratch_bytes);
        sl_letterbox_options options = plain_options();
        sl_geometry fit;
        sl_image image;
        for (size_t k = 0; k < bytes; k++) data[k] = (uint8_t)next_random();
        CHECK(sl_image_from_packed(data, bytes, width, height, format, SL_BT601_FULL, &image) == SL_OK);
        CHECK(sl_letterbox(&image, &options, side, side, packed, &fit, scratch, scratch_bytes) == SL_OK);
        for (int p = 0; p < (format == SL_I420 ? 3 : 2); p++) {
            size_t row = image.stride[p], rows = image.bytes[p] / row;
            planes[p] = exact((row + pitch) * (rows - 1) + row);
            for (size_t y = 0; y < rows; y++) memcpy(planes[p] + y * (row + pitch), image.plane[p] + y * row, row);
            image.plane[p] = planes[p];
            image.stride[p] = row + pitch;
            image.bytes[p] = (row + pitch) * (rows - 1) + row;
        }
        CHECK(sl_letterbox(&image, &options, side, side, out, &fit, scratch, scratch_bytes) == SL_OK);
        CHECK(memcmp(packed, out, out_bytes) == 0);
        for (int p = 0; p < 3; p++) free(planes[p]);
        free(data);
        free(packed);
        free(out);
        free(scratch);
    }
}

/* All that float16 and uint8 outputs do to numbers: one pixel each, its level 255 and std chosen. */
static void test_rounding(void) {
    const float wanted_half[][2] = {{1.0F, 0x3C00}, {0.5F, 0x3800},      {65504.0F, 0x7BFF},  {65519.0F, 0x7BFF},
                                    {65520.0F, 0x7C00}, {1e9F, 0x7C00},  {6.1035e-5F, 0x0400}, {5.96e-8F, 0x0001},
                                    {2.98e-8F, 0x0000}, {1e-10F, 0x0000}, {2049.0F, 0x6800},  {2051.0F, 0x6802}};
    const float wanted_byte[][2] = {{0.5F, 0},      {1.5F, 2},   {2.5F, 2}, {254.5F, 254},
                                    {255.5F, 255}, {1e9F, 255}, {0.4F, 0}};
    uint8_t pixels[3 * 32], scratch[8192], bytes[3 * 32];
    uint16_t halves[3 * 32];
    sl_image image;
    block work = {scratch, sizeof scratch}, half_out = {halves, sizeof halves}, byte_out = {bytes, sizeof bytes};
    memset(pixels, 0, sizeof pixels);
    CHECK(sl_image_from_packed(pixels, sizeof pixels, 32, 1, SL_RGB, SL_BT601_FULL, &image) == SL_OK);
    CHECK(sl_letterbox_scratch_bytes(32, 32) <= sizeof scratch);
    for (size_t i = 0; i < sizeof wanted_half / sizeof wanted_half[0]; i++) {
        sl_letterbox_options options = {.mean = {-wanted_half[i][0], wanted_half[i][0]}, .std = {1, 1, 1}};
        CHECK(convert(&image, &options, 32, 1, SL_OUTPUT_FLOAT16, half_out, work) == SL_OK);
        for (int k = 0; k < 32; k++)
            CHECK(halves[k] == (uint16_t)wanted_half[i][1] && halves[32 + k] == ((uint16_t)wanted_half[i][1] | 0x8000));
    }
    for (size_t i = 0; i < sizeof wanted_byte / sizeof wanted_byte[0]; i++) {
        sl_letterbox_options options = {.mean = {-wanted_byte[i][0], wanted_byte[i][0]}, .std = {1, 1, 1}};
        CHECK(convert(&image, &options, 32, 1, SL_OUTPUT_UINT8, byte_out, work) == SL_OK);
        for (int k = 0; k < 32; k++) CHECK(bytes[k] == (uint8_t)wanted_byte[i][1] && bytes[32 + k] == 0);
    }
}

static void test_hostile_sizes(void) {
    const int32_t sides[] = {INT32_MIN, -1, 0, SL_MAX_SIDE + 1, INT32_MAX};
    uint8_t byte = 0;
    float out = 0.0F;
    sl_image image;
    sl_geometry fit;
    for (int i = 0; i < 5; i++) {
        CHECK(sl_image_from_packed(&byte, SIZE_MAX, sides[i], 1, SL_RGB, SL_BT601_FULL, &image) == SL_ERROR_SIZE);
        CHECK(sl_image_from_packed(&byte, SIZE_MAX, 1, sides[i], SL_I420, SL_BT601_FULL, &image) == SL_ERROR_SIZE);
        for (int mode = SL_LETTERBOX; mode <= SL_CENTRE_CROP; mode++) {
            CHECK(sl_geometry_fit(1, 1, sides[i], 1, (sl_resize)mode, &fit) == SL_ERROR_SIZE);
            CHECK(sl_geometry_fit(1, sides[i], 1, 1, (sl_resize)mode, &fit) == SL_ERROR_SIZE);
        }
        if (sides[i] != 0) CHECK(sl_geometry_crop(9, 9, 1, 1, sides[i], &fit) == SL_ERROR_SIZE);
        CHECK(sl_letterbox_scratch_bytes(sides[i], 1) == 0);
        CHECK(sl_letterbox_scratch_bytes(1, sides[i]) == 0);
        CHECK(sl_convert_bytes(sides[i], 1, SL_OUTPUT_UINT8) == 0);
        CHECK(sl_convert_bytes(1, sides[i], SL_OUTPUT_FLOAT16) == 0);
    }
    CHECK(sl_convert_bytes(2, 3, (sl_output_type)3) == 0 && sl_convert_bytes(2, 3, SL_OUTPUT_FLOAT16) == 36);
    CHECK(sl_image_from_packed(&byte, 1, 2, 2, SL_NV12, SL_BT601_FULL, &image) == SL_ERROR_BYTES);
    CHECK(sl_image_from_packed(&byte, 1, 1, 1, (sl_pixel_format)9, SL_BT601_FULL, &image) == SL_ERROR_FORMAT);
    CHECK(sl_image_from_packed(NULL, 1, 1, 1, SL_RGB, SL_BT601_FULL, &image) == SL_ERROR_NULL);
    CHECK(sl_letterbox(NULL, NULL, 1, 1, &out, &fit, &byte, 1) == SL_ERROR_NULL);
}

static void test_hostile_options(void) {
    uint8_t pixels[12] = {0}, scratch[8192];
    float out[12];
    sl_image image;
    sl_geometry fit;
    CHECK(sl_image_from_packed(pixels, sizeof pixels, 2, 2, SL_RGB, SL_BT601_FULL, &image) == SL_OK);
    for (int i = 0; i < 8; i++) {
        sl_letterbox_options options = plain_options();
        sl_status wanted = i < 4 ? SL_ERROR_FORMAT : SL_ERROR_VALUE;
        if (i == 0) options.resize = (sl_resize)4;
        if (i == 1) options.order = (sl_channel_order)-1;
        if (i == 2) options.layout = (sl_layout)2;
        if (i == 3) options.filter = (sl_filter)77;
        if (i == 4) options.std[1] = -1.0F;
        if (i == 5) options.std[2] = 1e-45F;
        if (i == 6) options.mean[0] = NAN;
        if (i == 7) options.pad_value = NAN;
        CHECK(sl_letterbox(&image, &options, 2, 2, out, &fit, scratch, sizeof scratch) == wanted);
    }
    sl_letterbox_options options = plain_options();
    CHECK(sl_convert(&image, &options, 2, 2, (sl_output_type)3, out, sizeof out, &fit, scratch, sizeof scratch) ==
          SL_ERROR_FORMAT);
}

static void test_letterbox_geometry(void) {
    for (int i = 0; i < 2000; i++) {
        sl_geometry fit;
        float floats[SL_GEOMETRY_FLOATS], back[4];
        int32_t width = between(1, 4000), height = between(1, 4000), network = between(32, 1280);
        int corner = (int)(next_random() & 1);
        sl_resize resize = corner ? SL_LETTERBOX_CORNER : SL_LETTERBOX;
        CHECK(sl_geometry_fit(width, height, network, network, resize, &fit) == SL_OK);
        CHECK(fit.pad_left + fit.resized_width <= network && fit.pad_top + fit.resized_height <= network);
        CHECK(fit.pad_left >= 0 && fit.pad_top >= 0 && fit.resized_width >= 1 && fit.resized_height >= 1);
        CHECK(!corner || (fit.pad_left == 0 && fit.pad_top == 0));
        sl_geometry_to_floats(&fit, floats);
        CHECK(sl_geometry_check(floats) == SL_OK);
        const float left = (float)fit.pad_left, top = (float)fit.pad_top;
        const float box[4] = {left, top, left + (float)fit.resized_width, top + (float)fit.resized_height};
        sl_box_to_source(floats, box, back);
        CHECK(back[0] == 0.0F && back[1] == 0.0F);
        CHECK(fabsf(back[2] - (float)width) < 0.01F && fabsf(back[3] - (float)height) < 0.01F);
    }
    float bad[SL_GEOMETRY_FLOATS] = {1, 10, 10, 1, 1, 0, 0};
    bad[3] = 0.0F;
    CHECK(sl_geometry_check(bad) == SL_ERROR_GEOMETRY);
    bad[3] = NAN;
    CHECK(sl_geometry_check(bad) == SL_ERROR_GEOMETRY);
    const float sides[] = {-1.0F, 0.0F, 0.5F, (float)SL_MAX_SIDE + 1.0F, 3e9F};
    for (int i = 0; i < 5; i++) {
        float wide[SL_GEOMETRY_FLOATS] = {1, sides[i], 10, 1, 1, 0, 0}, high[SL_GEOMETRY_FLOATS] = {1, 10, sides[i], 1, 1};
        CHECK(sl_geometry_check(wide) == SL_ERROR_GEOMETRY && sl_geometry_check(high) == SL_ERROR_GEOMETRY);
    }
    const float largest[SL_GEOMETRY_FLOATS] = {1, SL_MAX_SIDE, SL_MAX_SIDE, 1, 1};
    CHECK(sl_geometry_check(largest) == SL_OK);
}

static void test_crop_geometry(void) {
    sl_geometry fit;
    CHECK(sl_geometry_crop(640, 480, 224, 224, 256, &fit) == SL_OK);
    CHECK(fit.resized_width == 341 && fit.resized_height == 256 && fit.pad_left == -58 && fit.pad_top == -16);
    CHECK(sl_geometry_crop(640, 480, 224, 224, 0, &fit) == SL_OK);
    CHECK(fit.resized_width == 298 && fit.resized_height == 224 && fit.pad_left == -37 && fit.pad_top == 0);
    CHECK(sl_geometry_crop(640, 480, 224, 224, 223, &fit) == SL_ERROR_SIZE);
    CHECK(sl_geometry_crop(SL_MAX_SIDE, 1, 300, 300, 0, &fit) == SL_ERROR_SIZE);
    for (int i = 0; i < 2000; i++) {
        int32_t width = between(1, 4000), height = between(1, 4000), wide = between(1, 700), high = between(1, 700);
        sl_status status = sl_geometry_fit(width, height, wide, high, SL_CENTRE_CROP, &fit);
        CHECK(status == SL_OK);
        CHECK(fit.resized_width == wide || fit.resized_height == high);
        CHECK(fit.pad_left <= 0 && fit.pad_top <= 0);
        CHECK(fit.resized_width + fit.pad_left >= wide && fit.resized_height + fit.pad_top >= high);
    }
}

static void test_inverse(void) {
    for (int i = 0; i < 2000; i++) {
        sl_geometry fit;
        float floats[SL_GEOMETRY_FLOATS], network[4], back[4];
        int32_t width = between(1, 3000), height = between(1, 3000), region[4];
        sl_resize resize = (sl_resize)(next_random() & 3);
        int32_t wide = between(1, 640), high = between(1, 640);
        if (sl_geometry_fit(width, height, wide, high, resize, &fit) != SL_OK) continue;
        sl_geometry_to_floats(&fit, floats);
        float x = unit() * (float)width, y = unit() * (float)height;
        const float box[4] = {x, y, x + unit() * ((float)width - x), y + unit() * ((float)height - y)};
        sl_box_to_network(floats, box, network);
        sl_box_to_source(floats, network, back);
        for (int k = 0; k < 4; k++) {
            const float scale = floats[3 + (k & 1)], pad = floats[5 + (k & 1)];
            CHECK(fabsf(back[k] - box[k]) < 0.05F + 1e-6F * fabsf(pad) / scale);
        }
        sl_points_to_source(floats, network, 2, 2, network);
        CHECK(memcmp(network, back, sizeof back) == 0);
        sl_box_to_region(floats, box, region);
        CHECK(region[0] >= 0 && region[1] >= 0 && region[2] >= 0 && region[3] >= 0);
        CHECK(region[0] + region[2] <= width && region[1] + region[3] <= height);
        if (region[2] > 0) CHECK((float)region[0] <= box[0] && (float)(region[0] + region[2]) >= box[2]);
        sl_pixel_to_network(floats, region[0], region[1], network);
        add_to_checksum(network, 2 * sizeof(float));
        add_to_checksum(back, sizeof back);
    }
}

static void test_regions(void) {
    const float floats[SL_GEOMETRY_FLOATS] = {1, 100, 50, 1, 1, 0, 0};
    const float boxes[][4] = {{1.5F, 2, 3.5F, 4}, {-5, -5, 200, 200}, {3, 3, 3, 9}, {NAN, 0, 5, 5}, {0, 0, INFINITY, 5},
                              {100, 0, 120, 5}, {-9, 0, 0, 5}, {9, 9, 2, 2}, {99.5F, 49.5F, 100, 50}};
    const int32_t wanted[][4] = {{1, 2, 3, 2}, {0, 0, 100, 50}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0},
                                 {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {99, 49, 1, 1}};
    for (size_t i = 0; i < sizeof boxes / sizeof boxes[0]; i++) {
        int32_t region[4];
        sl_box_to_region(floats, boxes[i], region);
        CHECK(region[2] == wanted[i][2] && region[3] == wanted[i][3]);
        if (region[2] > 0) CHECK(region[0] == wanted[i][0] && region[1] == wanted[i][1]);
    }
}

int main(int argc, char **argv) {
    start_checks(argc, argv);
    test_convert();
    test_letterbox_at_any_alignment();
    test_strides();
    test_pitched_planes();
    test_rounding();
    test_hostile_sizes();
    test_hostile_options();
    test_letterbox_geometry();
    test_crop_geometry();
    test_inverse();
    test_regions();
    return finish_checks();
}
