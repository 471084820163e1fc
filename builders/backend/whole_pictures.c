/* SPDX-License-Identifier: Apache-2.0 */
/* Answers about a whole picture: its classes, a class for each pixel, its embedding. */
#include <string.h>

#include "items.h"

enum { NO_CLASS = -1, MAX_MAP_BYTES = 1 << 30 }; /* the latter of CLASS_MAP */

static size_t values_of(const sl_tensor *one) {
    size_t values = 1;
    for (size_t i = 0; i < one->rank; i++) values *= one->dims[i];
    return values;
}

/* One item's `top` best; false where there are none, which is NaN everywhere, or in what a softmax is made of. */
static bool classify_one(const instance *self, const float *values, size_t count, size_t top, float *scores,
                         int32_t *classes) {
    size_t written = 0;
    sl_status status = sl_classify(values, count, self->options->head.activation, top, scores, classes, &written);
    if (status != SL_OK) written = 0;
    for (size_t k = written; k < top; k++) {
        scores[k] = 0.0F;
        classes[k] = NO_CLASS;
    }
    return written > 0;
}

/* SCORES and CLASSES, the best first; class -1 where there is none (picture not usable, NaN). */
bool run_classify(instance *self, call *request, failure *why) {
    raw_outputs raw;
    notes errors;
    const float *geometry;
    size_t strides[MAX_RAW], items;
    void *scores, *classes;
    if (!raw_read(self, request, &raw, strides, &geometry, &items, why)) return false;
    size_t count = values_of(&raw.tensor[0]), top = self->options->top < count ? self->options->top : count;
    int64_t form[2] = {(int64_t)items, (int64_t)top};
    if (count > SL_MAX_CLASSES) return fail(why, FAILURE_BAD_INPUT, "RAW has %zu classes; at most 65536 are read", count);
    if (!request->output(request, "SCORES", ELEMENT_F32, form, 2, 0, &scores, why) ||
        !request->output(request, "CLASSES", ELEMENT_I32, form, 2, 0, &classes, why))
        return false;
    if (scores == NULL) scores = scratch_take(&self->memory, BLOCK_SCORES, items * top * sizeof(float), why);
    if (classes == NULL) classes = scratch_take(&self->memory, BLOCK_CLASSES, items * top * sizeof(int32_t), why);
    if (scores == NULL || classes == NULL || !notes_take_over(self, request, items, &errors, why)) return false;
    memset(scores, 0, items * top * sizeof(float));
    memset(classes, 0xFF, items * top * sizeof(int32_t)); /* NO_CLASS */
    for (size_t i = 0; i < items; i++) {
        const float *fit = geometry + i * SL_GEOMETRY_FLOATS;
        if (fit[0] == 0.0F || !classify_one(self, raw.tensor[0].data + i * strides[0], count, top,
                                            (float *)scores + i * top, (int32_t *)classes + i * top))
            notes_say(&errors, i, no_answer(fit));
    }
    return notes_send(request, &errors, why);
}

/* EMBEDDING: of length 1; zeros where there is none (picture not usable, NaN). */
bool run_embed(instance *self, call *request, failure *why) {
    raw_outputs raw;
    notes errors;
    const float *geometry;
    size_t strides[MAX_RAW], items;
    void *out;
    if (!raw_read(self, request, &raw, strides, &geometry, &items, why)) return false;
    size_t count = values_of(&raw.tensor[0]);
    int64_t form[2] = {(int64_t)items, (int64_t)count};
    if (count > SL_MAX_ANCHORS) return fail(why, FAILURE_BAD_INPUT, "RAW has %zu numbers; at most 2^24 are read", count);
    if (!request->output(request, "EMBEDDING", ELEMENT_F32, form, 2, 0, &out, why)) return false;
    if (out == NULL) out = scratch_take(&self->memory, BLOCK_TENSOR, items * count * sizeof(float), why);
    if (out == NULL || !notes_take_over(self, request, items, &errors, why)) return false;
    memset(out, 0, items * count * sizeof(float));
    for (size_t i = 0; i < items; i++) {
        const float *fit = geometry + i * SL_GEOMETRY_FLOATS;
        if (fit[0] == 0.0F || sl_embedding(raw.tensor[0].data + i * strides[0], count, (float *)out + i * count) != SL_OK)
            notes_say(&errors, i, no_answer(fit)); /* NaN has no direction */
    }
    return notes_send(request, &errors, why);
}

static bool read_semantic(const instance *self, const sl_tensor *logits, sl_semantic *out, failure *why) {
    *out = self->options->semantic;
    size_t first = out->channels_last ? 0 : 1, channels = out->channels_last ? 2 : 0;
    if (logits->rank != 3 || logits->dims[channels] != (size_t)out->classes || logits->dims[first] > SL_MAX_SIDE ||
        logits->dims[first + 1] > SL_MAX_SIDE)
        return fail(why, FAILURE_BAD_INPUT, "RAW must be the logits of %d classes", (int)out->classes);
    out->rows = (int32_t)logits->dims[first];
    out->columns = (int32_t)logits->dims[first + 1];
    return true;
}

/* The sides that hold every picture of the request. */
static bool largest_sides(const float *geometry, size_t items, int64_t *width, int64_t *height, failure *why) {
    *width = *height = 0;
    for (size_t i = 0; i < items; i++) {
        const float *fit = geometry + i * SL_GEOMETRY_FLOATS;
        if (fit[0] == 0.0F) continue;
        if (!core_ok(sl_geometry_check(fit), FAILURE_BAD_INPUT, why)) return false;
        *width = (int64_t)fit[1] > *width ? (int64_t)fit[1] : *width;
        *height = (int64_t)fit[2] > *height ? (int64_t)fit[2] : *height;
    }
    return *width * *height <= MAX_MAP_BYTES / (int64_t)items ||
           fail(why, FAILURE_BAD_INPUT, "CLASS_MAP would be [%zu, %d, %d]; it may have at most %d bytes", items,
                (int)*height, (int)*width, MAX_MAP_BYTES);
}

/* One picture's map into the left upper corner of its place. */
static bool map_one(instance *self, const sl_semantic *semantic, const float *logits, const float *fit, uint8_t *out,
                    size_t row_bytes, failure *why) {
    size_t width = (size_t)fit[1], height = (size_t)fit[2], need = sl_semantic_scratch_bytes(semantic, fit);
    if (need == 0) return fail(why, FAILURE_BAD_INPUT, "a class map of this size is not made");
    void *work = scratch_take(&self->memory, BLOCK_WORK, need, why);
    uint8_t *map = scratch_take(&self->memory, BLOCK_TENSOR, width * height, why);
    if (work == NULL || map == NULL) return false;
    sl_status status = sl_semantic_map(semantic, logits, fit, map, NULL, width * height, work, need);
    if (!core_ok(status, FAILURE_BAD_INPUT, why)) return false;
    for (size_t y = 0; y < height; y++) memcpy(out + y * row_bytes, map + y * width, width);
    return true;
}

/* CLASS_MAP: as high and wide as the largest picture of the request; zeros beside a picture and where none was usable. */
bool run_semantic(instance *self, call *request, failure *why) {
    raw_outputs raw;
    notes errors;
    sl_semantic semantic;
    const float *geometry;
    size_t strides[MAX_RAW], items;
    int64_t width, height;
    void *out;
    if (!raw_read(self, request, &raw, strides, &geometry, &items, why)) return false;
    if (!read_semantic(self, &raw.tensor[0], &semantic, why)) return false;
    if (!largest_sides(geometry, items, &width, &height, why)) return false;
    int64_t form[3] = {(int64_t)items, height, width};
    size_t bytes = (size_t)width * (size_t)height;
    if (!request->output(request, "CLASS_MAP", ELEMENT_U8, form, 3, 0, &out, why)) return false;
    if (!notes_take_over(self, request, items, &errors, why)) return false;
    if (out != NULL) memset(out, 0, items * bytes);
    for (size_t i = 0; i < items; i++) {
        const float *fit = geometry + i * SL_GEOMETRY_FLOATS;
        if (fit[0] == 0.0F) notes_say(&errors, i, no_answer(fit));
        if (out != NULL && fit[0] != 0.0F && !map_one(self, &semantic, raw.tensor[0].data + i * strides[0], fit,
                                       (uint8_t *)out + i * bytes, (size_t)width, why))
            return false;
    }
    return notes_send(request, &errors, why);
}
