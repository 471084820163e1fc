/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over the output rows: mix two source rows, pick the columns, convert the colour, normalise, pad. */
#include <math.h>

#include "internal.h"

typedef struct work {
    sl_columns luma;   /* also used for packed RGB */
    sl_columns chroma;
    float *mixed;      /* one source row (all channels), vertically interpolated */
    float *level[3];   /* one output row per channel: Y, U, V and then R, G, B */
} work;

typedef struct job {
    const sl_image *image;
    const sl_geometry *fit;
    sl_matrix matrix;
    sl_norm norm[3];   /* of R, G, B */
    float *plane[3];   /* output planes of R, G, B */
    float pad[3];
    int32_t width, height;
    work scratch;
} job;

static sl_columns take_columns(sl_arena *arena, size_t count) {
    sl_columns columns;
    columns.lo = sl_arena_take(arena, count, sizeof(int32_t));
    columns.hi = sl_arena_take(arena, count, sizeof(int32_t));
    columns.weight = sl_arena_take(arena, count, sizeof(float));
    return columns;
}

static work take_work(sl_arena *arena, int32_t source_width, int32_t network_width) {
    work w;
    size_t count = (size_t)network_width;
    w.luma = take_columns(arena, count);
    w.chroma = take_columns(arena, count);
    w.mixed = sl_arena_take(arena, (size_t)source_width * 3 + 3, sizeof(float));
    for (int c = 0; c < 3; c++) w.level[c] = sl_arena_take(arena, count, sizeof(float));
    return w;
}

static bool side_ok(int32_t side) { return side >= 1 && side <= SL_MAX_SIDE; }

size_t sl_letterbox_scratch_bytes(int32_t source_width, int32_t network_width) {
    if (!side_ok(source_width) || !side_ok(network_width)) return 0;
    sl_arena arena = sl_arena_over(NULL, 0);
    (void)take_work(&arena, source_width, network_width);
    return sl_arena_bytes(&arena);
}

static void fill(float *out, int32_t count, float value) {
    for (int32_t i = 0; i < count; i++) out[i] = value;
}

static sl_status check_options(const sl_letterbox_options *options) {
    if (options->order != SL_ORDER_RGB && options->order != SL_ORDER_BGR) return SL_ERROR_FORMAT;
    if (!(options->pad_value >= 0.0F && options->pad_value <= 255.0F)) return SL_ERROR_VALUE;
    for (int c = 0; c < 3; c++)
        if (!isfinite(options->mean[c]) || !isnormal(options->std[c]) || options->std[c] < 0.0F) return SL_ERROR_VALUE;
    return SL_OK;
}

static void set_channels(job *j, const sl_letterbox_options *options, float *out) {
    size_t pixels = (size_t)j->width * (size_t)j->height;
    for (int c = 0; c < 3; c++) {
        int slot = options->order == SL_ORDER_BGR ? 2 - c : c;
        j->plane[c] = out + pixels * (size_t)slot;
        j->norm[c] = (sl_norm){options->mean[slot], 1.0F / options->std[slot]};
        j->pad[c] = (options->pad_value - options->mean[slot]) * j->norm[c].scale;
    }
}

static void set_columns(job *j) {
    const sl_image *image = j->image;
    int32_t count = j->fit->resized_width;
    double ratio = (double)image->width / count;
    if (image->format == SL_RGB || image->format == SL_BGR) {
        sl_columns_fill(&j->scratch.luma, count, ratio, image->width, 3);
        return;
    }
    sl_columns_fill(&j->scratch.luma, count, ratio, image->width, 1);
    sl_columns_fill(&j->scratch.chroma, count, ratio / 2.0, (image->width + 1) / 2, image->format == SL_NV12 ? 2 : 1);
}

static void mix(const job *j, int plane, sl_tap row, size_t count) {
    const uint8_t *data = j->image->plane[plane];
    size_t stride = j->image->stride[plane];
    sl_blend_rows(data + stride * (size_t)row.lo, data + stride * (size_t)row.hi, row.weight, j->scratch.mixed, count);
}

static void rgb_row(const job *j, int32_t y) {
    const sl_image *image = j->image;
    const work *w = &j->scratch;
    mix(j, 0, sl_tap_at(y, (double)image->height / j->fit->resized_height, image->height), (size_t)image->width * 3);
    for (int c = 0; c < 3; c++) {
        int offset = image->format == SL_BGR ? 2 - c : c;
        sl_pick_columns(w->mixed + offset, &w->luma, w->level[c], j->fit->resized_width);
    }
}

static void yuv_row(const job *j, int32_t y) {
    const sl_image *image = j->image;
    const work *w = &j->scratch;
    int32_t count = j->fit->resized_width;
    double ratio = (double)image->height / j->fit->resized_height;
    sl_tap chroma_row = sl_tap_at(y, ratio / 2.0, (image->height + 1) / 2);
    size_t chroma_width = ((size_t)image->width + 1) / 2;
    mix(j, 0, sl_tap_at(y, ratio, image->height), (size_t)image->width);
    sl_pick_columns(w->mixed, &w->luma, w->level[0], count);
    if (image->format == SL_NV12) {
        mix(j, 1, chroma_row, chroma_width * 2);
        sl_pick_columns(w->mixed, &w->chroma, w->level[1], count);
        sl_pick_columns(w->mixed + 1, &w->chroma, w->level[2], count);
    } else {
        for (int plane = 1; plane < 3; plane++) {
            mix(j, plane, chroma_row, chroma_width);
            sl_pick_columns(w->mixed, &w->chroma, w->level[plane], count);
        }
    }
    sl_yuv_to_rgb(w->level[0], w->level[1], w->level[2], count, &j->matrix);
}

/* The resized picture's row y with its padding left and right. */
static void write_row(const job *j, int32_t y) {
    const sl_geometry *fit = j->fit;
    size_t start = (size_t)(y + fit->pad_top) * (size_t)j->width;
    int32_t right = fit->pad_left + fit->resized_width;
    for (int c = 0; c < 3; c++) {
        float *out = j->plane[c] + start;
        fill(out, fit->pad_left, j->pad[c]);
        sl_normalise(j->scratch.level[c], out + fit->pad_left, fit->resized_width, j->norm[c]);
        fill(out + right, j->width - right, j->pad[c]);
    }
}

static void pad_rows(const job *j, int32_t first, int32_t end) {
    for (int c = 0; c < 3; c++)
        for (int32_t y = first; y < end; y++) fill(j->plane[c] + (size_t)y * (size_t)j->width, j->width, j->pad[c]);
}

static void run(job *j) {
    bool packed = j->image->format == SL_RGB || j->image->format == SL_BGR;
    set_columns(j);
    pad_rows(j, 0, j->fit->pad_top);
    for (int32_t y = 0; y < j->fit->resized_height; y++) {
        if (packed) rgb_row(j, y);
        else yuv_row(j, y);
        write_row(j, y);
    }
    pad_rows(j, j->fit->pad_top + j->fit->resized_height, j->height);
}

sl_status sl_letterbox(const sl_image *image, const sl_letterbox_options *options, int32_t network_width,
                       int32_t network_height, float *out, sl_geometry *geometry, void *scratch, size_t scratch_bytes) {
    if (options == NULL || out == NULL || geometry == NULL || scratch == NULL) return SL_ERROR_NULL;
    sl_status status = sl_image_check(image);
    if (status == SL_OK) status = check_options(options);
    if (status == SL_OK)
        status = sl_geometry_fit(image->width, image->height, network_width, network_height, options->resize, geometry);
    if (status != SL_OK) return status;
    if ((size_t)network_width > SIZE_MAX / 3 / sizeof(float) / (size_t)network_height) return SL_ERROR_SIZE;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    job j = {.image = image, .fit = geometry, .width = network_width, .height = network_height};
    j.scratch = take_work(&arena, image->width, network_width);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    j.matrix = sl_matrix_of(image->colour);
    set_channels(&j, options, out);
    run(&j);
    return SL_OK;
}
