/* SPDX-License-Identifier: Apache-2.0 */
/* One pass over the output rows: sample the planes, convert the colour, normalise, pad. */
#include <math.h>

#include "pixels/pixels.h"
#include "pixels/writer.h"

typedef struct job {
    const sl_image *image;
    const sl_letterbox_options *options;
    const sl_kernels *kernels;
    sl_geometry fit;
    sl_axis luma_axis; /* of columns; also used for packed RGB */
    sl_axis chroma_axis;
    sl_columns luma, chroma;            /* bilinear */
    sl_spans luma_spans, chroma_spans;  /* antialiased */
    float *sums;                        /* antialiased: one row of a plane */
    float *level[3];                    /* one output row per channel: Y, U, V or R, G, B */
    sl_matrix matrix;
    sl_writer writer;
} job;

static bool side_ok(int32_t side) { return side >= 1 && side <= SL_MAX_SIDE; }

static bool packed(const sl_image *image) { return image->format == SL_RGB || image->format == SL_BGR; }

static void take_scratch(job *j, sl_arena *arena, int32_t source_width, int32_t network_width) {
    j->luma = sl_columns_take(arena, network_width);
    j->chroma = sl_columns_take(arena, network_width);
    j->luma_spans = sl_spans_take(arena, source_width, network_width);
    j->chroma_spans = sl_spans_take(arena, source_width, network_width);
    j->sums = sl_arena_take(arena, (size_t)source_width * 3, sizeof(float));
    for (int c = 0; c < 3; c++) j->level[c] = sl_arena_take(arena, sl_padded(network_width), sizeof(float));
    sl_writer_take(&j->writer, arena, network_width);
}

size_t sl_letterbox_scratch_bytes(int32_t source_width, int32_t network_width) {
    if (!side_ok(source_width) || !side_ok(network_width)) return 0;
    job j;
    sl_arena arena = sl_arena_over(NULL, 0);
    take_scratch(&j, &arena, source_width, network_width);
    return sl_arena_bytes(&arena);
}

static sl_status check_options(const sl_letterbox_options *options) {
    if ((unsigned)options->order > SL_ORDER_BGR || (unsigned)options->layout > SL_LAYOUT_HWC) return SL_ERROR_FORMAT;
    if ((unsigned)options->filter > SL_FILTER_BOX) return SL_ERROR_FORMAT;
    if (!(options->pad_value >= 0.0F && options->pad_value <= 255.0F)) return SL_ERROR_VALUE;
    for (int c = 0; c < 3; c++)
        if (!isfinite(options->mean[c]) || !isnormal(options->std[c]) || options->std[c] < 0.0F) return SL_ERROR_VALUE;
    return SL_OK;
}

static sl_status fit_picture(job *j, int32_t width, int32_t height) {
    const sl_image *image = j->image;
    if (j->options->resize == SL_CENTRE_CROP)
        return sl_geometry_crop(image->width, image->height, width, height, j->options->short_side, &j->fit);
    return sl_geometry_fit(image->width, image->height, width, height, j->options->resize, &j->fit);
}

/* Taps or spans of the columns; `shown` of them from resized column `first` on are written. */
static void set_columns(job *j, int32_t first, int32_t shown) {
    const sl_image *image = j->image;
    double ratio = (double)image->width / j->fit.resized_width;
    int32_t chroma_step = image->format == SL_NV12 ? 2 : 1;
    j->luma_axis = (sl_axis){first, shown, ratio, image->width, packed(image) ? 3 : 1};
    j->chroma_axis = (sl_axis){first, shown, ratio / 2.0, (image->width + 1) / 2, chroma_step};
    if (j->options->filter == SL_FILTER_BILINEAR) {
        sl_columns_fill(&j->luma, &j->luma_axis);
        if (!packed(image)) sl_columns_fill(&j->chroma, &j->chroma_axis);
    } else {
        sl_spans_fill(&j->luma_spans, &j->luma_axis, j->options->filter);
        if (!packed(image)) sl_spans_fill(&j->chroma_spans, &j->chroma_axis, j->options->filter);
    }
}

typedef struct rows {
    const uint8_t *top;
    const uint8_t *bottom;
    float weight;
} rows;

static rows rows_at(const sl_image *image, int plane, sl_tap tap) {
    const uint8_t *data = image->plane[plane];
    size_t stride = image->stride[plane];
    return (rows){data + stride * (size_t)tap.lo, data + stride * (size_t)tap.hi, tap.weight};
}

static void bilinear_row(const job *j, int32_t y) {
    const sl_image *image = j->image;
    double ratio = (double)image->height / j->fit.resized_height;
    rows r = rows_at(image, 0, sl_tap_at(y, ratio, image->height));
    if (packed(image)) {
        float *const bgr[3] = {j->level[2], j->level[1], j->level[0]};
        float *const *out = image->format == SL_BGR ? bgr : j->level;
        j->kernels->sample_rgb(r.top, r.bottom, r.weight, &j->luma, (size_t)image->width * 3, out);
        return;
    }
    j->kernels->sample(r.top, r.bottom, r.weight, &j->luma, j->level[0]);
    sl_tap chroma = sl_tap_at(y, ratio / 2.0, (image->height + 1) / 2);
    for (int c = 1; c < 3; c++) {
        bool interleaved = image->format == SL_NV12;
        size_t skip = interleaved && c == 2 ? 1 : 0;
        r = rows_at(image, interleaved ? 1 : c, chroma);
        j->kernels->sample(r.top + skip, r.bottom + skip, r.weight, &j->chroma, j->level[c]);
    }
}

static void sum_plane(const job *j, int plane, int32_t y) {
    const sl_image *image = j->image;
    double ratio = (double)image->height / j->fit.resized_height;
    const sl_axis *axis = plane == 0 ? &j->luma_axis : &j->chroma_axis;
    sl_area_row row = {.data = image->plane[plane], .stride = image->stride[plane], .filter = j->options->filter};
    row.position = y;
    row.row_bytes = (size_t)axis->samples * (size_t)axis->step;
    row.rows = plane == 0 ? image->height : (image->height + 1) / 2;
    row.ratio = plane == 0 ? ratio : ratio / 2.0;
    sl_area_sum_rows(&row, j->sums);
}

static void area_row(const job *j, int32_t y) {
    const sl_image *image = j->image;
    int32_t count = j->luma_axis.count, step = j->chroma_axis.step;
    sum_plane(j, 0, y);
    if (packed(image)) {
        for (int c = 0; c < 3; c++) {
            int offset = image->format == SL_BGR ? 2 - c : c;
            sl_area_sum_columns(j->sums + offset, &j->luma_spans, count, 3, j->level[c]);
        }
        return;
    }
    sl_area_sum_columns(j->sums, &j->luma_spans, count, 1, j->level[0]);
    for (int c = 1; c < 3; c++) {
        bool shared = image->format == SL_NV12;
        if (!shared || c == 1) sum_plane(j, c, y);
        sl_area_sum_columns(j->sums + (shared ? c - 1 : 0), &j->chroma_spans, count, step, j->level[c]);
    }
}

static void run(job *j) {
    const sl_writer *w = &j->writer;
    int32_t first = w->top - j->fit.pad_top; /* resized row of the first output row that shows the picture */
    set_columns(j, w->left - j->fit.pad_left, w->shown);
    sl_write_padding(w, 0, w->top);
    for (int32_t y = 0; y < w->rows; y++) {
        if (j->options->filter == SL_FILTER_BILINEAR) bilinear_row(j, first + y);
        else area_row(j, first + y);
        sl_write_row(w, j->kernels, w->top + y, j->level, packed(j->image) ? NULL : &j->matrix);
    }
    sl_write_padding(w, w->top + w->rows, w->height);
}

size_t sl_convert_bytes(int32_t network_width, int32_t network_height, sl_output_type type) {
    if (!side_ok(network_width) || !side_ok(network_height) || (unsigned)type > SL_OUTPUT_UINT8) return 0;
    size_t values = 3 * (size_t)network_width, item = sl_item_bytes(type);
    if (values > SIZE_MAX / item / (size_t)network_height) return 0;
    return values * item * (size_t)network_height;
}

sl_status sl_convert(const sl_image *image, const sl_letterbox_options *options, int32_t network_width,
                     int32_t network_height, sl_output_type type, void *out, size_t out_bytes, sl_geometry *geometry,
                     void *scratch, size_t scratch_bytes) {
    if (options == NULL || out == NULL || geometry == NULL || scratch == NULL) return SL_ERROR_NULL;
    if ((unsigned)type > SL_OUTPUT_UINT8) return SL_ERROR_FORMAT;
    job j = {.image = image, .options = options, .kernels = sl_kernels_in_use()};
    sl_status status = sl_image_check(image);
    if (status == SL_OK) status = check_options(options);
    if (status == SL_OK) status = fit_picture(&j, network_width, network_height);
    if (status != SL_OK) return status;
    size_t need = sl_convert_bytes(network_width, network_height, type);
    if (need == 0) return SL_ERROR_SIZE;
    if (out_bytes < need) return SL_ERROR_BYTES;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    take_scratch(&j, &arena, image->width, network_width);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    j.matrix = sl_matrix_of(image->colour);
    sl_writer_set(&j.writer, options, &j.fit, network_width, network_height, type, out);
    run(&j);
    *geometry = j.fit;
    return SL_OK;
}

sl_status sl_letterbox(const sl_image *image, const sl_letterbox_options *options, int32_t network_width,
                       int32_t network_height, float *out, sl_geometry *geometry, void *scratch, size_t scratch_bytes) {
    return sl_convert(image, options, network_width, network_height, SL_OUTPUT_FLOAT32, out, SIZE_MAX, geometry,
                      scratch, scratch_bytes);
}
