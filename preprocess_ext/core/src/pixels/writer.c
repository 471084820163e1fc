/* SPDX-License-Identifier: Apache-2.0 */
#include "pixels/writer.h"

#include <string.h>

enum { FILL_FLOATS = 1024 }; /* from so many on it pays */

size_t sl_item_bytes(sl_output_type type) {
    return type == SL_OUTPUT_FLOAT32 ? sizeof(float) : type == SL_OUTPUT_FLOAT16 ? sizeof(uint16_t) : 1;
}

void sl_writer_take(sl_writer *writer, sl_arena *arena, int32_t network_width) {
    for (int c = 0; c < 3; c++) {
        writer->value[c] = sl_arena_take(arena, sl_padded(network_width), sizeof(float));
        writer->item[c] = sl_arena_take(arena, sl_padded(network_width), sizeof(float));
    }
}

static int32_t shown_of(int32_t resized, int32_t pad, int32_t network) {
    int32_t begin = pad > 0 ? pad : 0, end = resized < network - pad ? resized + pad : network;
    return end - begin;
}

void sl_writer_set(sl_writer *writer, const sl_letterbox_options *options, const sl_geometry *fit, int32_t width,
                   int32_t height, sl_output_type type, void *out) {
    sl_writer *w = writer;
    w->out = out;
    w->type = type;
    w->layout = options->layout;
    w->width = width;
    w->height = height;
    w->left = fit->pad_left > 0 ? fit->pad_left : 0;
    w->top = fit->pad_top > 0 ? fit->pad_top : 0;
    w->shown = shown_of(fit->resized_width, fit->pad_left, width);
    w->rows = shown_of(fit->resized_height, fit->pad_top, height);
    for (int c = 0; c < 3; c++) {
        int slot = options->order == SL_ORDER_BGR ? 2 - c : c;
        w->slot[c] = slot;
        w->norm[c] = (sl_norm){options->mean[slot], 1.0F / options->std[slot]};
        w->pad[slot] = (options->pad_value - options->mean[slot]) * w->norm[c].scale;
    }
}

static void pack(sl_output_type type, const sl_kernels *kernels, const float *values, void *out, int32_t count) {
    if (type == SL_OUTPUT_FLOAT16) kernels->to_half(values, out, count);
    else kernels->to_bytes(values, out, count);
}

/* Whole rows of floats: the processor's own fill does not read the memory first. Sanitizers see plain stores. */
static void fill_floats(float *out, size_t count, size_t step, float value) {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
    if (count >= FILL_FLOATS && step == 1) {
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        __asm__ volatile("rep stosl" : "+D"(out), "+c"(count) : "a"(bits) : "memory");
        return;
    }
#endif
    for (size_t i = 0; i < count; i++) out[i * step] = value;
}

/* `count` padding items of a channel, from `out` on, `step` items apart. */
static void fill(const sl_writer *w, int channel, void *out, size_t count, size_t step) {
    if (w->type == SL_OUTPUT_FLOAT32) {
        fill_floats(out, count, step, w->pad[channel]);
    } else if (w->type == SL_OUTPUT_FLOAT16) {
        uint16_t *at = out, value;
        sl_kernels_scalar.to_half(&w->pad[channel], &value, 1);
        for (size_t i = 0; i < count; i++) at[i * step] = value;
    } else {
        uint8_t *at = out, value;
        sl_kernels_scalar.to_bytes(&w->pad[channel], &value, 1);
        for (size_t i = 0; i < count; i++) at[i * step] = value;
    }
}

static void *item_at(const sl_writer *w, int channel, int32_t y, int32_t x) {
    size_t width = (size_t)w->width, pixel = (size_t)y * width + (size_t)x;
    size_t item = w->layout == SL_LAYOUT_HWC ? 3 * pixel + (size_t)channel
                                             : (size_t)channel * width * (size_t)w->height + pixel;
    return w->out + item * sl_item_bytes(w->type);
}

static void pad_span(const sl_writer *w, int32_t y, int32_t x, size_t count) {
    for (int c = 0; c < 3; c++) {
        void *at = item_at(w, c, y, x);
        if (w->layout == SL_LAYOUT_HWC) fill(w, c, at, count, 3);
        else fill(w, c, at, count, 1);
    }
}

void sl_write_padding(const sl_writer *writer, int32_t first, int32_t end) {
    if (end > first) pad_span(writer, first, 0, (size_t)(end - first) * (size_t)writer->width);
}

#define INTERLEAVE(type)                                                   \
    do {                                                                   \
        const type *restrict a = channel[0];                               \
        const type *restrict b = channel[1];                               \
        const type *restrict c = channel[2];                               \
        type *restrict at = out;                                           \
        for (int32_t i = 0; i < count; i++) {                              \
            at[3 * i] = a[i];                                              \
            at[3 * i + 1] = b[i];                                          \
            at[3 * i + 2] = c[i];                                          \
        }                                                                  \
    } while (0)

static void interleave(sl_output_type type, void *const channel[3], int32_t count, void *out) {
    if (type == SL_OUTPUT_FLOAT32) INTERLEAVE(float);
    else if (type == SL_OUTPUT_FLOAT16) INTERLEAVE(uint16_t);
    else INTERLEAVE(uint8_t);
}

static void write_planes(const sl_writer *w, const sl_kernels *kernels, int32_t y, float *const level[3],
                         const sl_matrix *matrix) {
    float *rgb[3];
    bool direct = w->type == SL_OUTPUT_FLOAT32;
    for (int c = 0; c < 3; c++) rgb[c] = direct ? item_at(w, w->slot[c], y, w->left) : w->value[w->slot[c]];
    kernels->normalise(level, w->shown, matrix, w->norm, rgb);
    if (direct) return;
    for (int c = 0; c < 3; c++) pack(w->type, kernels, w->value[c], item_at(w, c, y, w->left), w->shown);
}

static void write_pixels(const sl_writer *w, const sl_kernels *kernels, int32_t y, float *const level[3],
                         const sl_matrix *matrix) {
    float *rgb[3];
    void *channel[3];
    for (int c = 0; c < 3; c++) rgb[c] = w->value[w->slot[c]];
    kernels->normalise(level, w->shown, matrix, w->norm, rgb);
    for (int c = 0; c < 3; c++) {
        bool direct = w->type == SL_OUTPUT_FLOAT32;
        channel[c] = direct ? (void *)w->value[c] : w->item[c];
        if (!direct) pack(w->type, kernels, w->value[c], w->item[c], w->shown);
    }
    interleave(w->type, channel, w->shown, item_at(w, 0, y, w->left));
}

void sl_write_row(const sl_writer *writer, const sl_kernels *kernels, int32_t y, float *const level[3],
                  const sl_matrix *matrix) {
    const sl_writer *w = writer;
    int32_t right = w->left + w->shown;
    pad_span(w, y, 0, (size_t)w->left);
    if (w->layout == SL_LAYOUT_HWC) write_pixels(w, kernels, y, level, matrix);
    else write_planes(w, kernels, y, level, matrix);
    if (right < w->width) pad_span(w, y, right, (size_t)(w->width - right));
}
