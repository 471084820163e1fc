/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Class maps at source size. The best class of each cell is found once; a pixel between four cells of one class has
 * that class, since a mixture keeps the order of the logits. Only at borders are logits interpolated.
 */
#include <math.h>
#include <string.h>

#include "heads/heads.h"

enum { RUN = 64 };

typedef struct tap {
    int32_t lo, hi, nearest;
    float weight;
} tap;

typedef struct axis {
    double step, offset; /* cell position = pixel centre * step + offset */
    int32_t first, last; /* cells that the picture touches */
} axis;

typedef struct work {
    const sl_semantic *semantic;
    const float *logits;
    size_t class_step, row_step, column_step;
    int32_t width, height;
    axis x, y;
    tap *taps;              /* one a source column */
    int32_t *classes[2];    /* best class of each cell of two rows */
    int32_t row_of[2];      /* which rows; -1: none */
    int32_t *line;          /* one row of the output */
} work;

static int32_t bounded(double value, int32_t low, int32_t high) {
    return value < (double)low ? low : value > (double)high ? high : (int32_t)value;
}

/* A cell that the picture only touches by rounding of the float scale does not count. */
static axis axis_of(float scale, float pad, int32_t source, int32_t network, int32_t cells) {
    const double least = 1e-3;
    double per_pixel = (double)cells / network;
    axis a = {.step = (double)scale * per_pixel, .offset = (double)pad * per_pixel - 0.5};
    a.first = bounded(floor((double)pad * per_pixel + least), 0, cells - 1);
    a.last = bounded(ceil(((double)pad + (double)scale * source) * per_pixel - least) - 1.0, a.first, cells - 1);
    return a;
}

static tap tap_at(const axis *a, int32_t pixel) {
    double position = ((double)pixel + 0.5) * a->step + a->offset;
    position = position < (double)a->first ? (double)a->first : position;
    position = position > (double)a->last ? (double)a->last : position;
    tap t = {.lo = (int32_t)position};
    t.hi = t.lo < a->last ? t.lo + 1 : t.lo;
    t.weight = (float)(position - (double)t.lo);
    t.nearest = t.weight < 0.5F ? t.lo : t.hi;
    return t;
}

static float logit(const work *w, size_t class_id, int32_t row, int32_t column) {
    return w->logits[class_id * w->class_step + (size_t)row * w->row_step + (size_t)column * w->column_step];
}

static void classify_row(const work *w, int32_t row, int32_t *classes) {
    float best[SL_SCAN_BLOCK];
    size_t columns = (size_t)w->semantic->columns, count = (size_t)w->semantic->classes;
    for (size_t start = 0; start < columns; start += SL_SCAN_BLOCK) {
        size_t some = columns - start < SL_SCAN_BLOCK ? columns - start : SL_SCAN_BLOCK;
        const float *first = w->logits + (size_t)row * w->row_step + start * w->column_step;
        if (w->column_step == 1)
            (void)sl_scan_columns(first, w->class_step, count, some, -INFINITY, best, classes + start);
        else
            (void)sl_scan_rows(first, w->column_step, count, some, -INFINITY, best, classes + start);
        if (count == 1)
            for (size_t i = 0; i < some; i++) classes[start + i] = best[i] > 0.0F;
    }
}

/* The best classes of a row of cells; the two rows last asked for are kept. */
static const int32_t *cell_row(work *w, int32_t row, int32_t other) {
    for (int i = 0; i < 2; i++)
        if (w->row_of[i] == row) return w->classes[i];
    int slot = w->row_of[0] == other ? 1 : 0;
    classify_row(w, row, w->classes[slot]);
    w->row_of[slot] = row;
    return w->classes[slot];
}

static float mix(float a, float b, float weight) { return a + (b - a) * weight; }

/* Pixels start..end - 1 of a row lie between the same four cells. */
static void mix_run(const work *w, const tap *y, int32_t start, int32_t end, int32_t *out) {
    float best[RUN];
    const tap *taps = w->taps + start;
    size_t count = (size_t)(end - start), classes = (size_t)w->semantic->classes;
    for (size_t i = 0; i < count; i++) {
        best[i] = classes == 1 ? 0.0F : -INFINITY;
        out[i] = 0;
    }
    for (size_t c = 0; c < classes; c++) {
        float left = mix(logit(w, c, y->lo, taps->lo), logit(w, c, y->hi, taps->lo), y->weight);
        float right = mix(logit(w, c, y->lo, taps->hi), logit(w, c, y->hi, taps->hi), y->weight);
        int32_t class_id = classes == 1 ? 1 : (int32_t)c;
        for (size_t i = 0; i < count; i++) {
            float value = mix(left, right, taps[i].weight);
            bool better = value > best[i];
            best[i] = better ? value : best[i];
            out[i] = better ? class_id : out[i];
        }
    }
}

static void logits_line(work *w, const tap *y) {
    const int32_t *top = cell_row(w, y->lo, y->hi), *bottom = cell_row(w, y->hi, y->lo);
    for (int32_t start = 0, end; start < w->width; start = end) {
        const tap *t = &w->taps[start];
        for (end = start + 1; end < w->width && end - start < RUN && w->taps[end].lo == t->lo; end++) continue;
        int32_t class_id = top[t->lo];
        if (top[t->hi] == class_id && bottom[t->lo] == class_id && bottom[t->hi] == class_id)
            for (int32_t x = start; x < end; x++) w->line[x] = class_id;
        else
            mix_run(w, y, start, end, w->line + start);
    }
}

static void classes_line(work *w, const tap *y) {
    const int32_t *row = cell_row(w, y->nearest, y->nearest);
    for (int32_t x = 0; x < w->width; x++) w->line[x] = row[w->taps[x].nearest];
}

static void write_line(const work *w, int32_t y, uint8_t *out8, int32_t *out32) {
    size_t width = (size_t)w->width, first = (size_t)y * width;
    if (out32 != NULL) memcpy(out32 + first, w->line, width * sizeof(int32_t));
    if (out8 != NULL)
        for (size_t x = 0; x < width; x++) out8[first + x] = (uint8_t)w->line[x];
}

static sl_status check(const sl_semantic *s, const float *geometry) {
    if (s == NULL) return SL_ERROR_NULL;
    if (s->classes < 1 || s->classes > SL_MAX_CLASSES) return SL_ERROR_SIZE;
    if (s->rows < 1 || s->rows > SL_MAX_SIDE || s->columns < 1 || s->columns > SL_MAX_SIDE) return SL_ERROR_SIZE;
    if (s->network_width < 1 || s->network_width > SL_MAX_SIDE) return SL_ERROR_SIZE;
    if (s->network_height < 1 || s->network_height > SL_MAX_SIDE) return SL_ERROR_SIZE;
    if ((unsigned)s->upsample > SL_UPSAMPLE_CLASSES) return SL_ERROR_FORMAT;
    return sl_geometry_check(geometry);
}

static void take_buffers(work *w, sl_arena *arena) {
    size_t columns = (size_t)w->semantic->columns, width = (size_t)w->width;
    w->taps = sl_arena_take(arena, width, sizeof(tap));
    w->line = sl_arena_take(arena, width, sizeof(int32_t));
    for (int i = 0; i < 2; i++) {
        w->classes[i] = sl_arena_take(arena, columns, sizeof(int32_t));
        w->row_of[i] = -1;
    }
}

static work work_for(const sl_semantic *s, const float *logits, const float *geometry) {
    size_t classes = (size_t)s->classes, columns = (size_t)s->columns;
    bool last = s->channels_last != 0;
    work w = {.semantic = s, .logits = logits, .width = (int32_t)geometry[1], .height = (int32_t)geometry[2]};
    w.class_step = last ? 1 : (size_t)s->rows * columns;
    w.row_step = last ? columns * classes : columns;
    w.column_step = last ? classes : 1;
    w.x = axis_of(geometry[3], geometry[5], w.width, s->network_width, s->columns);
    w.y = axis_of(geometry[4], geometry[6], w.height, s->network_height, s->rows);
    return w;
}

size_t sl_semantic_scratch_bytes(const sl_semantic *semantic, const float *geometry) {
    if (check(semantic, geometry) != SL_OK) return 0;
    work w = work_for(semantic, NULL, geometry);
    sl_arena arena = sl_arena_over(NULL, 0);
    take_buffers(&w, &arena);
    return sl_arena_bytes(&arena);
}

sl_status sl_semantic_map(const sl_semantic *semantic, const float *logits, const float *geometry, uint8_t *out8,
                          int32_t *out32, size_t capacity, void *scratch, size_t scratch_bytes) {
    if (logits == NULL || scratch == NULL || (out8 == NULL) == (out32 == NULL)) return SL_ERROR_NULL;
    sl_status status = check(semantic, geometry);
    if (status != SL_OK) return status;
    work w = work_for(semantic, logits, geometry);
    if (out8 != NULL && semantic->classes > 256) return SL_ERROR_SIZE;
    if ((size_t)w.width * (size_t)w.height > capacity) return SL_ERROR_SIZE;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    take_buffers(&w, &arena);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    for (int32_t x = 0; x < w.width; x++) w.taps[x] = tap_at(&w.x, x);
    for (int32_t y = 0; y < w.height; y++) {
        tap at = tap_at(&w.y, y);
        if (semantic->upsample == SL_UPSAMPLE_LOGITS)
            logits_line(&w, &at);
        else
            classes_line(&w, &at);
        write_line(&w, y, out8, out32);
    }
    return SL_OK;
}
