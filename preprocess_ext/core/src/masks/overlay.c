/* SPDX-License-Identifier: Apache-2.0 */
/* A colour blended into the pixels of a mask, in place. */
#include <math.h>

#include "masks/masks.h"

enum { WHOLE = 256, MOST_PIXEL_BYTES = 3 };

/* The part of a region's row that lies inside an image, and where. */
typedef struct canvas {
    const sl_image *image;
    const sl_region *region;
    const uint64_t *bits;
    size_t words;
    unsigned share; /* of the colour, in parts of WHOLE */
    uint8_t levels[3]; /* of the planes, or of the bytes of a pixel */
} canvas;

static uint8_t level(double value) { return (uint8_t)(value < 0.0 ? 0.0 : value > 255.0 ? 255.0 : rint(value)); }

/* Red, green, blue to the levels of a YUV picture (ITU-R BT.601 / BT.709). */
static void yuv_levels(sl_colour_space space, const uint8_t *colour, uint8_t levels[3]) {
    const bool bt709 = space == SL_BT709_LIMITED || space == SL_BT709_FULL;
    const bool full = space == SL_BT601_FULL || space == SL_BT709_FULL;
    const double red_share = bt709 ? 0.2126 : 0.299, blue_share = bt709 ? 0.0722 : 0.114;
    const double luma = red_share * colour[0] + (1.0 - red_share - blue_share) * colour[1] + blue_share * colour[2];
    const double chroma = full ? 1.0 : 224.0 / 255.0;
    levels[0] = level(full ? luma : 16.0 + luma * 219.0 / 255.0);
    levels[1] = level(128.0 + chroma * (colour[2] - luma) / (2.0 * (1.0 - blue_share)));
    levels[2] = level(128.0 + chroma * (colour[0] - luma) / (2.0 * (1.0 - red_share)));
}

static uint8_t *row_of(const canvas *c, int plane, int64_t y) {
    return (uint8_t *)(uintptr_t)c->image->plane[plane] + (size_t)y * c->image->stride[plane];
}

/* Word i of a row of the region, without the pixels outside the image. */
static uint64_t word_at(const canvas *c, int64_t y, size_t i) {
    if (y < 0 || y >= c->region->height) return 0;
    const int64_t first = (int64_t)i * SL_WORD, left = -(int64_t)c->region->x - first;
    const int64_t right = (int64_t)c->image->width + left;
    const int64_t rest = (int64_t)c->region->width - first;
    uint64_t keep = sl_low_bits((size_t)rest);
    if (right <= 0 || left >= SL_WORD) return 0;
    keep &= sl_low_bits((size_t)right);
    if (left > 0) keep &= ~sl_low_bits((size_t)left);
    return c->bits[(size_t)y * c->words + i] & keep;
}

/* `add` holds colour * share + half, byte by byte. */
static void blend(uint8_t *out, const uint16_t *add, size_t count, unsigned keep) {
    for (size_t i = 0; i < count; i++) out[i] = (uint8_t)((out[i] * keep + add[i]) / WHOLE);
}

/* Runs of set pixels of packed pixels or of a luma plane. */
static void blend_row(const canvas *c, int64_t y, size_t pixel_bytes, const uint16_t *add) {
    uint8_t *row = row_of(c, 0, y + c->region->y);
    for (size_t i = 0; i < c->words; i++) {
        uint64_t word = word_at(c, y, i);
        while (word != 0) {
            const unsigned first = (unsigned)__builtin_ctzll(word);
            const uint64_t rest = ~(word >> first);
            const unsigned count = rest == 0 ? SL_WORD : (unsigned)__builtin_ctzll(rest);
            const int64_t x = (int64_t)c->region->x + (int64_t)i * SL_WORD + first;
            blend(row + (size_t)x * pixel_bytes, add, count * pixel_bytes, WHOLE - c->share);
            word &= first + count >= SL_WORD ? 0 : UINT64_MAX << (first + count);
        }
    }
}

static unsigned pixel_at(const canvas *c, int64_t x, int64_t y) {
    const int64_t column = x - c->region->x, row = y - c->region->y;
    if (column < 0 || column >= c->region->width || row < 0 || row >= c->region->height) return 0;
    if (x >= c->image->width || y >= c->image->height) return 0;
    return (unsigned)(c->bits[(size_t)row * c->words + (size_t)column / SL_WORD] >> (column % SL_WORD) & 1);
}

static uint8_t mix(uint8_t old, uint8_t colour, unsigned share, unsigned pixels) {
    const unsigned whole = WHOLE * pixels;
    return (uint8_t)((old * (whole - share) + colour * share + whole / 2) / whole);
}

/* A chroma sample lies on 2 x 2 pixels, on fewer at an odd edge. */
static void blend_chroma(const canvas *c, int64_t x, int64_t y) {
    unsigned set = 0;
    for (int64_t k = 0; k < 4; k++) set += pixel_at(c, 2 * x + k % 2, 2 * y + k / 2);
    if (set == 0) return;
    const unsigned pixels = (2 * x + 1 < c->image->width ? 2U : 1U) * (2 * y + 1 < c->image->height ? 2U : 1U);
    const bool interleaved = c->image->format == SL_NV12;
    uint8_t *u = row_of(c, 1, y) + (interleaved ? 2 * x : x), *v = interleaved ? u + 1 : row_of(c, 2, y) + x;
    *u = mix(*u, c->levels[1], c->share * set, pixels);
    *v = mix(*v, c->levels[2], c->share * set, pixels);
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

static void draw(const canvas *c) {
    const sl_region *region = c->region;
    const int64_t left = larger(region->x, 0), top = larger(region->y, 0);
    const int64_t right = lesser((int64_t)region->x + region->width, c->image->width);
    const int64_t bottom = lesser((int64_t)region->y + region->height, c->image->height);
    if (left >= right || top >= bottom) return;
    const bool packed = c->image->format == SL_RGB || c->image->format == SL_BGR;
    const size_t pixel_bytes = packed ? MOST_PIXEL_BYTES : 1;
    uint16_t add[SL_WORD * MOST_PIXEL_BYTES];
    for (size_t i = 0; i < SL_WORD * MOST_PIXEL_BYTES; i++)
        add[i] = (uint16_t)(c->levels[i % pixel_bytes] * c->share + WHOLE / 2);
    for (int64_t y = top; y < bottom; y++) blend_row(c, y - region->y, pixel_bytes, add);
    if (packed) return;
    for (int64_t y = top / 2; y <= (bottom - 1) / 2; y++)
        for (int64_t x = left / 2; x <= (right - 1) / 2; x++) blend_chroma(c, x, y);
}

sl_status sl_overlay(const sl_image *image, const sl_region *region, const uint64_t *bits, const uint8_t *colour,
                     float alpha) {
    if (region == NULL || colour == NULL) return SL_ERROR_NULL;
    sl_status status = sl_image_check(image);
    if (status != SL_OK) return status;
    if (!(alpha >= 0.0F && alpha <= 1.0F)) return SL_ERROR_VALUE;
    if (region->width < 0 || region->width > SL_MAX_SIDE) return SL_ERROR_SIZE;
    if (region->height < 0 || region->height > SL_MAX_SIDE) return SL_ERROR_SIZE;
    if (sl_region_words(region) == 0) return SL_OK;
    if (bits == NULL) return SL_ERROR_NULL;
    canvas c = {.image = image, .region = region, .bits = bits, .words = sl_region_row_words(region->width)};
    c.share = (unsigned)lrintf(alpha * WHOLE);
    if (image->format == SL_RGB || image->format == SL_BGR)
        for (int i = 0; i < 3; i++) c.levels[i] = colour[image->format == SL_RGB ? i : 2 - i];
    else
        yuv_levels(image->colour, colour, c.levels);
    draw(&c);
    return SL_OK;
}
