/* SPDX-License-Identifier: Apache-2.0 */
/* Masks and run lengths: regions against whole frames, exact sizes, hostile numbers, the same bits at each level. */
#include <stdbool.h>

#include "check.h"

typedef struct map {
    float *data;
    float *coefficients;
    sl_prototypes prototypes;
} map;

static map random_map(int32_t channels, int32_t width, int32_t height, bool strange) {
    const float bad[] = {NAN, INFINITY, -INFINITY, 3.4e38F, -3.4e38F, 1e-40F, 0.0F, -0.0F};
    size_t count = (size_t)channels * (size_t)width * (size_t)height;
    map m = {exact(count * sizeof(float)), exact((size_t)channels * sizeof(float)), {0}};
    for (size_t i = 0; i < count; i++) m.data[i] = unit() - 0.5F;
    for (int32_t i = 0; i < channels; i++) m.coefficients[i] = unit() - 0.5F;
    for (int i = 0; strange && i < 9; i++) {
        const size_t where = next_random() % count;
        m.data[where] = bad[next_random() & 7];
    }
    m.prototypes = (sl_prototypes){m.data, channels, height, width};
    return m;
}

static void free_map(map *m) {
    free(m->data);
    free(m->coefficients);
}

/* ---- the definition of masks.h, step by step over the whole frame ---- */

static float sample(float low, float high, float weight) {
    volatile float difference = high - low; /* each step rounded, whatever the compiler may do */
    volatile float part = difference * weight;
    return low + part;
}

static float position(int32_t cells, int32_t pixels, int32_t pixel) {
    volatile float scale = (float)cells / (float)pixels;
    volatile float scaled = scale * ((float)pixel + 0.5F);
    float at = scaled - 0.5F;
    return at < 0.0F ? 0.0F : at;
}

typedef struct place {
    int32_t low, high;
    float weight;
} place;

/* Where an output pixel lies among `cells`, of which a cut of `count` from `first` on is shown, perhaps beyond both ends. */
static place place_of(int32_t first, int32_t count, int32_t cells, int32_t pixels, int32_t pixel) {
    const float at = position(count, pixels, pixel);
    const int32_t own = (int32_t)at < count - 1 ? (int32_t)at : count - 1, low = first + own;
    const bool covers = first <= 0 && first + count >= cells && count > cells;
    const int32_t last = covers ? cells - 1 : first + count - 1;
    if (covers && low < 0) return (place){0, last > 0 ? 1 : 0, 0.0F};
    if (covers && low >= last) return (place){last, last, 0.0F};
    return (place){low, low < last ? low + 1 : low, at - (float)own};
}

/* out (height_out, width_out) from the cut of in (height, width). */
static void resize(const float *in, int32_t width, int32_t height, const sl_region *cut, float *out, int32_t width_out,
                   int32_t height_out) {
    for (int32_t y = 0; y < height_out; y++)
        for (int32_t x = 0; x < width_out; x++) {
            const place at_x = place_of(cut->x, cut->width, width, width_out, x);
            const place at_y = place_of(cut->y, cut->height, height, height_out, y);
            const float *top = in + (size_t)at_y.low * (size_t)width, *bottom = in + (size_t)at_y.high * (size_t)width;
            out[(size_t)y * (size_t)width_out + (size_t)x] =
                sample(sample(top[at_x.low], top[at_x.high], at_x.weight),
                       sample(bottom[at_x.low], bottom[at_x.high], at_x.weight), at_y.weight);
        }
}

static uint8_t *whole_mask(const map *m, const sl_mask_view *view) {
    const size_t cells = (size_t)view->map_width * (size_t)view->map_height;
    const int32_t wide = view->map_width * view->factor, high = view->map_height * view->factor;
    float *logits = exact(cells * sizeof(float)), *large = exact((size_t)wide * (size_t)high * sizeof(float));
    size_t pixels = (size_t)view->out_width * (size_t)view->out_height;
    float *out = exact(pixels * sizeof(float));
    uint8_t *mask = exact(pixels);
    for (size_t i = 0; i < cells; i++) {
        logits[i] = 0.0F;
        for (int32_t c = 0; c < m->prototypes.channels; c++) {
            volatile float product = m->coefficients[c] * m->data[(size_t)c * cells + i];
            logits[i] += product;
        }
    }
    if (view->factor == 1)
        memcpy(large, logits, cells * sizeof(float));
    else
        resize(logits, view->map_width, view->map_height, &(sl_region){0, 0, view->map_width, view->map_height}, large,
               wide, high);
    resize(large, wide, high, &(sl_region){view->left, view->top, view->width, view->height}, out, view->out_width,
           view->out_height);
    for (size_t i = 0; i < pixels; i++) mask[i] = out[i] > 0.0F;
    free(logits);
    free(large);
    free(out);
    return mask;
}

static void random_box(const sl_mask_view *view, float *box) {
    const float width = (float)view->out_width, height = (float)view->out_height;
    for (int i = 0; i < 4; i++) box[i] = (unit() * 1.4F - 0.2F) * (i % 2 == 0 ? width : height);
    if (next_random() % 8 == 0) memcpy(box, (float[4]){-5.0F, -5.0F, width + 5.0F, height + 5.0F}, 4 * sizeof(float));
    if (next_random() % 2 == 0) return;
    for (int i = 0; i < 2; i++)
        if (box[i] > box[i + 2]) {
            float swap = box[i];
            box[i] = box[i + 2];
            box[i + 2] = swap;
        }
}

static bool inside(const float *box, int32_t x, int32_t y) {
    return (float)x >= box[0] && (float)x < box[2] && (float)y >= box[1] && (float)y < box[3];
}

/* The region's text must be that of the whole mask, cropped; with one byte less room it must be refused. */
static void check_text(const sl_region *region, const uint64_t *bits, const uint8_t *frame, int32_t width,
                       int32_t height) {
    const size_t scratch_bytes = sl_rle_scratch_bytes(height), bound = sl_rle_bytes_bound(width, height, width, height);
    const size_t own_bound = sl_rle_bytes_bound(region->width, region->height, width, height);
    size_t length = 0, whole_length = 0, short_length = 0;
    void *scratch = exact(scratch_bytes);
    char *whole = exact(bound);
    CHECK(sl_rle_encode_bytes(frame, (size_t)width, width, height, whole, bound, &whole_length, scratch,
                              scratch_bytes) == SL_OK);
    char *text = exact(whole_length);
    CHECK(sl_rle_encode(region, bits, width, height, text, whole_length, &length, scratch, scratch_bytes) == SL_OK);
    CHECK(length == whole_length && length <= own_bound && memcmp(text, whole, length) == 0);
    CHECK(sl_rle_encode(region, bits, width, height, text, length - 1, &short_length, scratch, scratch_bytes) ==
          SL_ERROR_SIZE);
    CHECK(short_length == length);
    if (sl_region_words(region) > 0)
        CHECK(sl_rle_encode(region, bits, width, height, text, length, &length, scratch, 100) == SL_ERROR_SCRATCH);
    add_to_checksum(text, length);
    free(scratch);
    free(whole);
    free(text);
}

static void mask_once(const map *m, const sl_mask_view *view) {
    const size_t pixels = (size_t)view->out_width * (size_t)view->out_height, width = (size_t)view->out_width;
    const size_t scratch_bytes = sl_mask_scratch_bytes(view), rle_bytes = sl_rle_from_prototypes_scratch_bytes(view);
    uint8_t *whole = whole_mask(m, view), *frame = exact(pixels);
    void *scratch = exact(scratch_bytes), *rle_scratch = exact(rle_bytes);
    sl_region region;
    float box[4];
    random_box(view, box);
    CHECK(sl_mask_region(view, box, &region) == SL_OK);
    uint64_t *bits = exact(sl_region_words(&region) * sizeof *bits);
    memset(frame, 0, pixels);
    CHECK(sl_mask_from_prototypes(&m->prototypes, view, m->coefficients, &region, bits, scratch, scratch_bytes) ==
          SL_OK);
    if (sl_region_words(&region) > 0)
        CHECK(sl_region_to_bytes(&region, bits, frame + (size_t)region.y * width + (size_t)region.x, width) == SL_OK);
    for (int32_t y = 0; y < view->out_height; y++)
        for (int32_t x = 0; x < view->out_width; x++) {
            size_t at = (size_t)y * width + (size_t)x;
            CHECK(frame[at] == (inside(box, x, y) ? whole[at] : 0));
        }
    check_text(&region, bits, frame, view->out_width, view->out_height);
    size_t length = 0, bound = sl_rle_bytes_bound(region.width, region.height, view->out_width, view->out_height);
    char *text = exact(bound);
    CHECK(sl_rle_from_prototypes(&m->prototypes, view, m->coefficients, box, text, bound, &length, rle_scratch,
                                 rle_bytes) == SL_OK);
    add_to_checksum(text, length);
    CHECK(sl_rle_from_prototypes(&m->prototypes, view, m->coefficients, box, text, bound, &length, rle_scratch,
                                 rle_bytes / 2) == SL_ERROR_SCRATCH);
    if (sl_region_words(&region) > 0)
        CHECK(sl_mask_from_prototypes(&m->prototypes, view, m->coefficients, &region, bits, scratch, 64) ==
              SL_ERROR_SCRATCH);
    add_to_checksum(bits, sl_region_words(&region) * sizeof *bits);
    free(whole);
    free(frame);
    free(scratch);
    free(rle_scratch);
    free(bits);
    free(text);
}

static void test_prototypes(void) {
    for (int i = 0; i < 160; i++) {
        const int32_t cell = (int32_t[]){1, 2, 3, 4, 8}[next_random() % 5];
        const int32_t map_width = between(1, 40), map_height = between(1, 24), channels = between(1, 34);
        map m = random_map(channels, map_width, map_height, i % 5 == 0);
        sl_geometry fit;
        float floats[SL_GEOMETRY_FLOATS];
        sl_mask_view view;
        const int32_t width = cell * map_width, height = cell * map_height;
        const sl_resize mode = (sl_resize[]){SL_LETTERBOX, SL_LETTERBOX, SL_STRETCH, SL_CENTRE_CROP}[next_random() % 4];
        const int32_t source_width = between(1, 260), source_height = between(1, 200);
        CHECK(sl_geometry_fit(source_width, source_height, width, height, mode, &fit) == SL_OK);
        sl_geometry_to_floats(&fit, floats);
        CHECK(sl_mask_view_source(floats, width, height, map_width, map_height, &view) == SL_OK);
        CHECK(view.width > 0 && view.factor >= 1 && view.factor <= cell);
        mask_once(&m, &view);
        CHECK(sl_mask_view_network(width, height, map_width, map_height, &view) == SL_OK);
        mask_once(&m, &view);
        free_map(&m);
    }
}

static void test_views_refuse(void) {
    float floats[SL_GEOMETRY_FLOATS] = {1, 100, 50, 0.5F, 0.5F, 7, 19};
    sl_mask_view view;
    CHECK(sl_mask_view_source(floats, 64, 64, 16, 16, &view) == SL_OK && view.factor == 4);
    CHECK(sl_mask_view_source(floats, 64, 64, 16, 15, &view) == SL_ERROR_SIZE);
    CHECK(sl_mask_view_source(floats, 60, 64, 16, 16, &view) == SL_ERROR_SIZE);
    CHECK(sl_mask_view_source(floats, 0, 64, 16, 16, &view) == SL_ERROR_SIZE);
    CHECK(sl_mask_view_source(floats, 64, 64, INT32_MAX, 16, &view) == SL_ERROR_SIZE);
    CHECK(sl_mask_view_source(NULL, 64, 64, 16, 16, &view) == SL_ERROR_NULL);
    const float bad[][2] = {{0, 0}, {1, 1e9F}, {2, NAN}, {3, 1.0F}, {4, INFINITY}, {5, 7.5F}, {5, -1}, {6, 1e9F}};
    for (int i = 0; i < 8; i++) {
        float changed[SL_GEOMETRY_FLOATS];
        memcpy(changed, floats, sizeof floats);
        changed[(int)bad[i][0]] = bad[i][1];
        CHECK(sl_mask_view_source(changed, 64, 64, 16, 16, &view) == SL_ERROR_GEOMETRY);
    }
    const float crop[SL_GEOMETRY_FLOATS] = {1, 200, 50, 1.5F, 1.5F, -118, -5};
    CHECK(sl_mask_view_source(crop, 64, 64, 16, 16, &view) == SL_OK && view.factor == 4 && view.left == -118);
    const float half_out[][2] = {{1, 120}, {5, 1}, {5, -237}, {5, -1e8F}, {3, 1e6F}, {6, -12}};
    for (int i = 0; i < 6; i++) {
        float changed[SL_GEOMETRY_FLOATS];
        memcpy(changed, crop, sizeof crop);
        changed[(int)half_out[i][0]] = half_out[i][1];
        CHECK(sl_mask_view_source(changed, 64, 64, 16, 16, &view) == SL_ERROR_GEOMETRY);
    }
    CHECK(sl_mask_view_network(64, 64, 16, -1, &view) == SL_ERROR_SIZE);
    sl_mask_view good, broken;
    CHECK(sl_mask_view_network(64, 64, 16, 16, &good) == SL_OK);
    for (size_t i = 0; i < sizeof good / sizeof(int32_t); i++) {
        const int32_t values[] = {INT32_MIN, -1, INT32_MAX};
        for (int k = 0; k < 3; k++) {
            broken = good;
            memcpy((char *)&broken + i * sizeof(int32_t), values + k, sizeof(int32_t));
            CHECK(sl_mask_scratch_bytes(&broken) == 0);
            CHECK(sl_rle_from_prototypes_scratch_bytes(&broken) == 0);
            CHECK(sl_mask_region(&broken, (float[4]){0, 0, 1, 1}, &(sl_region){0}) == SL_ERROR_SIZE);
        }
    }
    sl_region region;
    CHECK(sl_mask_region(&good, (float[4]){0, NAN, 1, 1}, &region) == SL_ERROR_VALUE);
    CHECK(sl_mask_region(&good, (float[4]){0, 0, INFINITY, 1}, &region) == SL_ERROR_VALUE);
    CHECK(sl_mask_region(&good, (float[4]){-3e38F, -3e38F, 3e38F, 3e38F}, &region) == SL_OK && region.width == 64);
    CHECK(sl_mask_region(&good, (float[4]){9, 9, 3, 30}, &region) == SL_OK && sl_region_words(&region) == 0);
}

/* ---- paste ---- */

/* The text in one call is that of the steps. */
static void check_pasted_text(const float *mask, int32_t cells, const float *box, int32_t width, int32_t height,
                              const sl_region *region, const uint64_t *bits) {
    const size_t rle_bytes = sl_rle_scratch_bytes(height);
    const size_t own_bytes = sl_rle_from_paste_scratch_bytes(cells, cells, width, height);
    const size_t bound = sl_rle_bytes_bound(region->width, region->height, width, height);
    void *rle_scratch = exact(rle_bytes), *own_scratch = exact(own_bytes);
    char *steps = exact(bound), *text = exact(bound);
    size_t length = 0, own_length = 0;
    CHECK(sl_rle_encode(region, bits, width, height, steps, bound, &length, rle_scratch, rle_bytes) == SL_OK);
    CHECK(sl_rle_from_paste(mask, cells, cells, box, width, height, 0.5F, text, bound, &own_length, own_scratch,
                            own_bytes) == SL_OK);
    CHECK(own_length == length && memcmp(text, steps, length) == 0);
    CHECK(sl_rle_from_paste(mask, cells, cells, box, width, height, 0.5F, text, length - 1, &own_length, own_scratch,
                            own_bytes) == SL_ERROR_SIZE);
    CHECK(own_length == length);
    CHECK(sl_rle_from_paste(mask, cells, cells, box, width, height, 0.5F, text, bound, &own_length, own_scratch,
                            own_bytes / 2) == SL_ERROR_SCRATCH);
    add_to_checksum(text, length);
    free(rle_scratch);
    free(own_scratch);
    free(steps);
    free(text);
}

static void paste_once(int32_t cells, int32_t frame_width, int32_t frame_height) {
    float *mask = exact((size_t)cells * (size_t)cells * sizeof(float));
    for (int32_t i = 0; i < cells * cells; i++) mask[i] = unit();
    float box[4];
    box[0] = (unit() * 1.5F - 0.5F) * (float)frame_width;
    box[1] = (unit() * 1.5F - 0.5F) * (float)frame_height;
    box[2] = box[0] + unit() * (float)frame_width;
    box[3] = box[1] + unit() * (float)frame_height;
    size_t scratch_bytes = sl_paste_scratch_bytes(cells, cells, frame_width, frame_height);
    void *scratch = exact(scratch_bytes);
    sl_region region;
    CHECK(sl_paste_region(box, cells, cells, frame_width, frame_height, &region) == SL_OK);
    CHECK(region.x >= 0 && region.y >= 0 && region.x + region.width <= frame_width);
    uint64_t *bits = exact(sl_region_words(&region) * sizeof *bits);
    CHECK(sl_paste_mask(mask, cells, cells, box, frame_width, frame_height, 0.5F, &region, bits, scratch,
                        scratch_bytes) == SL_OK);
    add_to_checksum(bits, sl_region_words(&region) * sizeof *bits);
    check_pasted_text(mask, cells, box, frame_width, frame_height, &region, bits);
    const sl_region other = {region.x, region.y, region.width + 1, region.height};
    CHECK(sl_paste_mask(mask, cells, cells, box, frame_width, frame_height, 0.5F, &other, bits, scratch,
                        scratch_bytes) == SL_ERROR_SIZE);
    free(mask);
    free(scratch);
    free(bits);
}

static void test_paste(void) {
    for (int i = 0; i < 200; i++) {
        const int32_t cells = i % 3 == 0 ? between(1, 60) : 28, width = between(1, 300), height = between(1, 200);
        paste_once(cells, width, height);
    }
    sl_region region;
    CHECK(sl_paste_region((float[4]){0, 0, NAN, 1}, 28, 28, 64, 64, &region) == SL_ERROR_VALUE);
    CHECK(sl_paste_region((float[4]){-3e38F, 0, 3e38F, 1}, 28, 28, 64, 64, &region) == SL_ERROR_VALUE);
    CHECK(sl_paste_region((float[4]){0, 0, 1e7F, 1}, 28, 28, 64, 64, &region) == SL_ERROR_VALUE);
    CHECK(sl_paste_region((float[4]){0, 0, 1, 1}, 0, 28, 64, 64, &region) == SL_ERROR_SIZE);
    CHECK(sl_paste_region((float[4]){50, 50, 10, 10}, 28, 28, 64, 64, &region) == SL_OK && region.width == 0);
    CHECK(sl_rle_from_paste_scratch_bytes(28, -1, 64, 64) == 0 && sl_rle_from_paste_scratch_bytes(0, 28, 64, 64) == 0);
    CHECK(sl_paste_scratch_bytes(28, -1, 64, 64) == 0 && sl_paste_scratch_bytes(28, 28, 1 << 20, 64) == 0);
}

/* ---- run lengths ---- */

static void rle_round_trip(int32_t width, int32_t height, float density) {
    const size_t pixels = (size_t)width * (size_t)height, scratch_bytes = sl_rle_scratch_bytes(height);
    const size_t bound = sl_rle_bytes_bound(width, height, width, height);
    uint8_t *mask = exact(pixels), *back = exact(pixels);
    char *text = exact(bound), *again = exact(bound);
    void *scratch = exact(scratch_bytes);
    uint64_t area = 0, expected = 0;
    for (size_t i = 0; i < pixels; i++) expected += mask[i] = unit() < density;
    size_t length = 0, count = 0, again_length = 0;
    CHECK(sl_rle_encode_bytes(mask, (size_t)width, width, height, text, bound, &length, scratch, scratch_bytes) ==
          SL_OK);
    CHECK(length <= bound);
    uint32_t *counts = exact(length * sizeof *counts);
    CHECK(sl_rle_counts(text, length, width, height, counts, length, &count) == SL_OK);
    CHECK(sl_rle_text(counts, count, width, height, again, bound, &again_length) == SL_OK);
    CHECK(again_length == length && memcmp(text, again, length) == 0);
    CHECK(sl_rle_area(counts, count, width, height, &area) == SL_OK && area == expected);
    CHECK(sl_rle_decode(counts, count, width, height, back, (size_t)width, scratch, scratch_bytes) == SL_OK);
    CHECK(memcmp(mask, back, pixels) == 0);
    CHECK(sl_rle_counts(text, length - 1, width, height, counts, length, &count) == SL_ERROR_VALUE);
    CHECK(sl_rle_decode(counts, 0, width, height, back, (size_t)width, scratch, scratch_bytes) == SL_ERROR_VALUE);
    add_to_checksum(text, length);
    free(mask);
    free(back);
    free(text);
    free(again);
    free(scratch);
    free(counts);
}

static void test_rle(void) {
    const float densities[] = {0.0F, 0.02F, 0.5F, 0.98F, 1.0F};
    const int32_t sides[] = {1, 2, 63, 64, 65, 128, 200};
    for (int w = 0; w < 7; w++)
        for (int h = 0; h < 7; h++)
            for (int d = 0; d < 5; d++) rle_round_trip(sides[w], sides[h], densities[d]);
    rle_round_trip(SL_MAX_SIDE, 1, 0.5F);
    rle_round_trip(1, SL_MAX_SIDE, 0.5F);
    CHECK(sl_rle_bytes_bound(2, 1, 1, 1) == 0 && sl_rle_bytes_bound(-1, 1, 1, 1) == 0);
    CHECK(sl_rle_scratch_bytes(-1) == 0 && sl_rle_scratch_bytes(1 << 20) == 0);
}

/* Every second pixel set: the most runs, and a frame in which each column's gap differs. */
static void test_rle_bound(void) {
    const int32_t side = 60;
    uint8_t *mask = exact((size_t)(side * side));
    const size_t bound = sl_rle_bytes_bound(side, side, side, side), scratch_bytes = sl_rle_scratch_bytes(side);
    char *text = exact(bound);
    void *scratch = exact(scratch_bytes);
    size_t length;
    for (int step = 1; step < 40; step++) {
        for (int x = 0; x < side; x++)
            for (int y = 0; y < side; y++) mask[y * side + x] = (uint8_t)((x * side + y) % (step + x % 3) == 0);
        CHECK(sl_rle_encode_bytes(mask, (size_t)side, side, side, text, bound, &length, scratch, scratch_bytes) ==
              SL_OK);
    }
    free(mask);
    free(text);
    free(scratch);
}

static void test_hostile_texts(void) {
    uint32_t counts[64];
    size_t count;
    const char *bad[] = {"",  "0",     "P",        "PPPPPPPP", "oooooooo0", "\x2f", "p", "\x80", "@", "OOOOOOO0",
                         "1", "000@1", "ooooooO0", "d3",       "\xff\xff"};
    for (int i = 0; i < 15; i++)
        CHECK(sl_rle_counts(bad[i], strlen(bad[i]), 10, 10, counts, 64, &count) == SL_ERROR_VALUE);
    CHECK(sl_rle_counts("T3", 2, 10, 10, counts, 64, &count) == SL_OK && count == 1 && counts[0] == 100);
    CHECK(sl_rle_counts("T3", 2, 10, 10, counts, 0, &count) == SL_ERROR_SIZE);
    CHECK(sl_rle_counts("T3", 2, 0, 10, counts, 64, &count) == SL_ERROR_SIZE);
    const uint32_t most[] = {UINT32_MAX, UINT32_MAX, 2};
    uint64_t area;
    double iou;
    sl_region region;
    CHECK(sl_rle_area(most, 3, 1, 1, &area) == SL_ERROR_VALUE);
    CHECK(sl_rle_region(most, 3, 1, 1, &region) == SL_ERROR_VALUE);
    CHECK(sl_rle_iou(most, 3, most, 3, 1, 1, 0, &iou) == SL_ERROR_VALUE);
    CHECK(sl_rle_merge(most, 3, most, 3, 1, 1, 0, counts, 64, &count) == SL_ERROR_VALUE);
    for (int i = 0; i < 20000; i++) {
        char text[24];
        const size_t length = next_random() % sizeof text;
        for (size_t k = 0; k < length; k++)
            text[k] = (char)(next_random() % 20 == 0 ? between(-128, 127) : between(48, 111));
        if (sl_rle_counts(text, length, 8, 9, counts, 64, &count) != SL_OK) continue;
        CHECK(sl_rle_area(counts, count, 8, 9, &area) == SL_OK && area <= 72);
    }
}

/* ---- outlines and drawing ---- */

static void outline_once(int32_t width, int32_t height) {
    const int32_t left = between(-50, 50), top = between(-50, 50);
    const sl_region region = {left, top, width, height};
    uint8_t *mask = exact((size_t)width * (size_t)height);
    const float density = unit();
    for (int32_t i = 0; i < width * height; i++) mask[i] = unit() < density;
    uint64_t *bits = exact(sl_region_words(&region) * sizeof *bits);
    CHECK(sl_region_from_bytes(&region, mask, (size_t)width, bits) == SL_OK);
    size_t scratch_bytes = sl_contours_scratch_bytes(&region), points = 0, contours = 0, again, contours_again;
    void *scratch = exact(scratch_bytes);
    sl_status status = sl_contours(&region, bits, NULL, 0, NULL, 0, &points, &contours, scratch, scratch_bytes);
    CHECK(status == (points == 0 ? SL_OK : SL_ERROR_SIZE));
    int32_t *xy = exact(points * 8), *ends = exact(contours * 4);
    CHECK(sl_contours(&region, bits, xy, points, ends, contours, &again, &contours_again, scratch, scratch_bytes) ==
          SL_OK);
    CHECK(again == points && contours_again == contours && (contours == 0 || ends[contours - 1] == (int32_t)points));
    for (size_t i = 0; i < points; i++) {
        int32_t x = xy[2 * i] - region.x, y = xy[2 * i + 1] - region.y;
        CHECK(x >= 0 && x < width && y >= 0 && y < height && mask[y * width + x] == 1);
    }
    add_to_checksum(xy, points * 8);
    free(mask);
    free(bits);
    free(scratch);
    free(xy);
    free(ends);
}

static void draw_once(sl_pixel_format format) {
    int32_t width = between(1, 90), height = between(1, 60);
    size_t chroma = (size_t)((width + 1) / 2) * (size_t)((height + 1) / 2);
    size_t bytes = format >= SL_RGB ? (size_t)(3 * width * height) : (size_t)(width * height) + 2 * chroma;
    uint8_t *data = exact(bytes), colour[3] = {250, 30, 110};
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)next_random();
    sl_image image;
    CHECK(sl_image_from_packed(data, bytes, width, height, format, SL_BT709_LIMITED, &image) == SL_OK);
    const int32_t left = between(-80, 80), top = between(-50, 50), across = between(0, 150), down = between(0, 90);
    sl_region region = {left, top, across, down};
    uint64_t *bits = exact(sl_region_words(&region) * sizeof *bits);
    for (size_t i = 0; i < sl_region_words(&region); i++) {
        bits[i] = next_random();
        bits[i] |= (uint64_t)next_random() << 32;
    }
    CHECK(sl_overlay(&image, &region, bits, colour, unit()) == SL_OK);
    add_to_checksum(data, bytes);
    CHECK(sl_overlay(&image, &region, bits, colour, NAN) == SL_ERROR_VALUE);
    CHECK(sl_overlay(&image, &region, bits, colour, 1.01F) == SL_ERROR_VALUE);
    region.x = next_random() & 1 ? INT32_MIN : INT32_MAX;
    CHECK(sl_overlay(&image, &region, bits, colour, 1.0F) == SL_OK);
    free(data);
    free(bits);
}

static void test_nulls(void) {
    const sl_region region = {0, 0, 3, 3};
    uint64_t bits[3] = {0};
    size_t length, contours;
    char text[8];
    uint8_t byte = 0;
    CHECK(sl_region_to_bytes(NULL, bits, &byte, 3) == SL_ERROR_NULL);
    CHECK(sl_region_to_bytes(&region, NULL, &byte, 3) == SL_ERROR_NULL);
    CHECK(sl_region_to_bytes(&region, bits, &byte, 2) == SL_ERROR_STRIDE);
    CHECK(sl_rle_encode(&region, NULL, 3, 3, text, 8, &length, text, 8) == SL_ERROR_NULL);
    CHECK(sl_rle_encode(&region, bits, 2, 3, text, 8, &length, text, 8) == SL_ERROR_SIZE);
    CHECK(sl_rle_encode_bytes(&byte, 2, 3, 3, text, 8, &length, text, 8) == SL_ERROR_STRIDE);
    CHECK(sl_contours(&region, bits, NULL, 1, NULL, 0, &length, &contours, text, 8) == SL_ERROR_NULL);
    CHECK(sl_contours(&region, bits, NULL, 0, NULL, 0, &length, &contours, text, 8) == SL_ERROR_SCRATCH);
    CHECK(sl_overlay(NULL, &region, bits, &byte, 0.5F) == SL_ERROR_NULL);
    CHECK(sl_mask_from_prototypes(NULL, NULL, NULL, &region, bits, text, 8) == SL_ERROR_NULL);
}

int main(int argc, char **argv) {
    start_checks(argc, argv);
    test_prototypes();
    test_views_refuse();
    test_paste();
    test_rle();
    test_rle_bound();
    test_hostile_texts();
    for (int i = 0; i < 300; i++) {
        const int32_t width = between(1, 150), height = between(1, 40);
        outline_once(width, height);
    }
    for (int i = 0; i < 100; i++) draw_once((sl_pixel_format)(i % 4));
    test_nulls();
    return finish_checks();
}
