/* SPDX-License-Identifier: Apache-2.0 */
/* The network's outputs to detections in pixels of the picture sent. */
#include <string.h>

#include "items.h"

enum { BAD_ITEM = -1, BOX_ROWS = 4, POINT = 3 };

bool answers_take(instance *self, call *request, size_t items, answers *out, failure *why) {
    scratch *memory = &self->memory;
    size_t capacity = self->options->detections, rows = items * capacity;
    size_t values = (size_t)self->options->head.extra_values;
    *out = (answers){.items = items, .capacity = capacity};
    out->counts = scratch_take(memory, BLOCK_COUNTS, items * sizeof(int32_t), why);
    if (out->counts == NULL) return false;
    out->boxes = scratch_take(memory, BLOCK_BOXES, rows * 4 * sizeof(float), why);
    if (out->boxes == NULL) return false;
    out->scores = scratch_take(memory, BLOCK_SCORES, rows * sizeof(float), why);
    if (out->scores == NULL) return false;
    out->classes = scratch_take(memory, BLOCK_CLASSES, rows * sizeof(int32_t), why);
    if (out->classes == NULL) return false;
    if (values > 0) out->extras = scratch_take(memory, BLOCK_EXTRAS, rows * values * sizeof(float), why);
    if (values > 0 && out->extras == NULL) return false;
    bool masks = self->options->pasted || self->options->head.extra == SL_EXTRA_MASKS;
    if (!masks || !request->wants(request, "MASKS")) return true;
    out->mask_lengths = scratch_take(memory, BLOCK_LENGTHS, rows * sizeof(uint32_t), why);
    if (out->mask_lengths == NULL || !self->options->pasted) return out->mask_lengths != NULL;
    out->indices = scratch_take(memory, BLOCK_INDICES, rows * sizeof(int32_t), why);
    return out->indices != NULL;
}

/* The head of the settings; where they leave the classes open they are what the tensor has room for. */
static bool head_of(const instance *self, const raw_outputs *raw, sl_head *head, failure *why) {
    const sl_tensor *first = &raw->tensor[0];
    *head = self->options->head;
    if (head->classes > 0) return true;
    size_t others = BOX_ROWS + (size_t)head->extra_values;
    if (first->rank != 2 || first->dims[0] <= others || first->dims[0] - others > SL_MAX_CLASSES)
        return fail(why, FAILURE_BAD_INPUT, "RAW must be [items, 4 + classes, anchors] for the head yolov8");
    head->classes = (int32_t)(first->dims[0] - others);
    return true;
}

/* How many detections EfficientNMS says: a number that cannot be spoils this item, not the request. */
static bool says_a_count(const sl_head *head, const raw_outputs *raw) {
    const sl_tensor *first = &raw->tensor[0];
    if (head->kind != SL_HEAD_EFFICIENT_NMS || raw->count < 2 || first->rank != 1 || first->dims[0] != 1) return true;
    return first->data[0] >= 0.0F && first->data[0] <= (float)raw->tensor[1].dims[0];
}

/* *count: -1 where the network gave no answer for this item. */
static bool decode(instance *self, const raw_outputs *raw, const float *geometry, const sl_detections *out,
                   int32_t *count, failure *why) {
    sl_head head;
    size_t found = 0;
    *count = BAD_ITEM;
    if (!head_of(self, raw, &head, why)) return false;
    if (!says_a_count(&head, raw)) return core_ok(sl_geometry_check(geometry), FAILURE_BAD_INPUT, why);
    size_t need = sl_head_scratch_bytes(&head, raw->tensor, raw->count, out->capacity);
    if (need == 0) return fail(why, FAILURE_BAD_INPUT, "the network's outputs do not have the shapes of this head");
    void *work = scratch_take(&self->memory, BLOCK_WORK, need, why);
    if (work == NULL) return false;
    sl_status status = sl_head_decode(&head, raw->tensor, raw->count, geometry, &self->options->limits, out, &found,
                                      work, need);
    *count = (int32_t)found;
    return core_ok(status, FAILURE_BAD_INPUT, why);
}

bool answers_add(instance *self, answers *into, size_t index, const raw_outputs *raw, const float *geometry,
                 failure *why) {
    size_t start = index * into->capacity, values = (size_t)self->options->head.extra_values;
    int32_t *count = &into->counts[index];
    sl_detections out = {.boxes = into->boxes + 4 * start,
                         .scores = into->scores + start,
                         .classes = into->classes + start,
                         .extras = into->extras != NULL ? into->extras + values * start : NULL,
                         .indices = into->indices != NULL ? into->indices + start : NULL,
                         .capacity = into->capacity};
    *count = BAD_ITEM;
    if (geometry[0] == 0.0F) return true;
    if (!decode(self, raw, geometry, &out, count, why)) return false;
    return into->mask_lengths == NULL || *count < 0 || masks_add(self, into, index, raw, geometry, why);
}

/* Each item's first `count` rows of `row_bytes`, then zeros up to `rows`. */
static void pack(const answers *from, const void *source, size_t row_bytes, size_t rows, void *out) {
    for (size_t i = 0; out != NULL && i < from->items; i++) {
        size_t count = from->counts[i] > 0 ? (size_t)from->counts[i] : 0;
        unsigned char *at = (unsigned char *)out + i * rows * row_bytes;
        memcpy(at, (const unsigned char *)source + i * from->capacity * row_bytes, count * row_bytes);
        memset(at + count * row_bytes, 0, (rows - count) * row_bytes);
    }
}

/* One output with a row a detection: shape is items, rows, and what a row has. */
static bool send_rows(call *request, const answers *from, const char *name, element type, const int64_t *shape,
                      size_t rank, const void *source, failure *why) {
    size_t row_bytes = element_bytes(type);
    void *out;
    for (size_t i = 2; i < rank; i++) row_bytes *= (size_t)shape[i];
    if (!request->output(request, name, type, shape, rank, 0, &out, why)) return false;
    pack(from, source, row_bytes, (size_t)shape[1], out);
    return true;
}

static bool send_extras(const instance *self, call *request, const answers *from, int64_t rows, failure *why) {
    const sl_head *head = &self->options->head;
    int64_t items = (int64_t)from->items, each = head->keypoint_values == 2 ? 2 : POINT;
    int64_t points[4] = {items, rows, head->extra_values / each, each}, list[2] = {items, rows};
    if (head->extra == SL_EXTRA_KEYPOINTS)
        return send_rows(request, from, "KEYPOINTS", ELEMENT_F32, points, 4, from->extras, why);
    if (head->extra == SL_EXTRA_ANGLE)
        return send_rows(request, from, "ANGLES", ELEMENT_F32, list, 2, from->extras, why);
    return from->mask_lengths == NULL || masks_send(self, request, from, rows, why);
}

bool answers_send(const instance *self, call *request, const answers *from, failure *why) {
    int32_t most = 0;
    for (size_t i = 0; i < from->items; i++) most = from->counts[i] > most ? from->counts[i] : most;
    int64_t items = (int64_t)from->items, one[2] = {items, 1}, list[2] = {items, most}, boxes[3] = {items, most, 4};
    void *counts;
    if (!request->output(request, "COUNT", ELEMENT_I32, one, 2, 0, &counts, why)) return false;
    if (counts != NULL) memcpy(counts, from->counts, from->items * sizeof(int32_t));
    return send_rows(request, from, "BOXES", ELEMENT_F32, boxes, 3, from->boxes, why) &&
           send_rows(request, from, "SCORES", ELEMENT_F32, list, 2, from->scores, why) &&
           send_rows(request, from, "CLASSES", ELEMENT_I32, list, 2, from->classes, why) &&
           send_extras(self, request, from, most, why);
}

/* RAW, RAW_1, … of a request, each (items, …), as item 0 sees them; *strides: values from item to item. */
static bool read_raw(call *request, size_t wanted, int64_t items, raw_outputs *out, size_t *strides, failure *why) {
    out->count = wanted;
    for (size_t i = 0; i < wanted; i++) {
        const char *name = raw_name(i);
        tensor in;
        if (!request->input(request, name, ELEMENT_F32, &in, why)) return false;
        if (in.shape[0] != items || in.rank < 2 || in.rank > 5)
            return fail(why, FAILURE_BAD_INPUT, "%s must be [items, ...] of rank 2..5, with items as in GEOMETRY", name);
        out->tensor[i] = (sl_tensor){.data = in.data, .rank = in.rank - 1};
        strides[i] = 1;
        for (size_t k = 1; k < in.rank; k++) {
            if (in.shape[k] < 1) return fail(why, FAILURE_BAD_INPUT, "%s has no values", name);
            out->tensor[i].dims[k - 1] = (size_t)in.shape[k];
            strides[i] *= (size_t)in.shape[k];
        }
    }
    return true;
}

static bool pictures_fit(const float *geometry, size_t items, failure *why) {
    for (size_t i = 0; i < items; i++) {
        const float *fit = geometry + i * SL_GEOMETRY_FLOATS;
        if (fit[0] != 0.0F && (double)fit[1] * (double)fit[2] > MAX_PIXELS)
            return fail(why, FAILURE_BAD_INPUT,
                        "GEOMETRY says a picture of %.0fx%.0f pixels; the product of width and height must be at most %d",
                        (double)fit[1], (double)fit[2], MAX_PIXELS);
    }
    return true;
}

bool geometry_read(instance *self, call *request, const float **geometry, size_t *items, failure *why) {
    tensor fits;
    if (!request->input(request, "GEOMETRY", ELEMENT_F32, &fits, why)) return false;
    if (fits.rank != 2 || fits.shape[1] != SL_GEOMETRY_FLOATS || fits.shape[0] < 1 || fits.shape[0] > MAX_ITEMS)
        return fail(why, FAILURE_BAD_INPUT, "GEOMETRY must be [items, 7] with 1..%d items", MAX_ITEMS);
    float *copy = scratch_take(&self->memory, BLOCK_GEOMETRY, fits.bytes, why);
    if (copy == NULL) return false;
    memcpy(copy, fits.data, fits.bytes);
    *geometry = copy;
    *items = (size_t)fits.shape[0];
    return pictures_fit(copy, *items, why);
}

bool raw_read(instance *self, call *request, raw_outputs *out, size_t *strides, const float **geometry, size_t *items,
              failure *why) {
    return geometry_read(self, request, geometry, items, why) &&
           read_raw(request, self->options->outputs, (int64_t)*items, out, strides, why);
}

const char *no_answer(const float *geometry) {
    return geometry[0] == 0.0F ? "[bad_image] the picture could not be used"
                               : "[bad_answer] the network's numbers for this picture are not finite, or make no sense";
}

static bool run_detect(instance *self, call *request, failure *why) {
    raw_outputs raw;
    answers found;
    notes errors;
    const float *geometry;
    size_t strides[MAX_RAW], items;
    if (!raw_read(self, request, &raw, strides, &geometry, &items, why)) return false;
    if (!answers_take(self, request, items, &found, why)) return false;
    if (!notes_take_over(self, request, items, &errors, why)) return false;
    for (size_t i = 0; i < items; i++) {
        if (!answers_add(self, &found, i, &raw, geometry + i * SL_GEOMETRY_FLOATS, why)) return false;
        if (found.counts[i] < 0) notes_say(&errors, i, no_answer(geometry + i * SL_GEOMETRY_FLOATS));
        for (size_t k = 0; k < raw.count; k++) raw.tensor[k].data += strides[k];
    }
    return answers_send(self, request, &found, why) && notes_send(request, &errors, why);
}

bool run_postprocess(instance *self, call *request, failure *why) {
    switch (self->options->task) {
    case TASK_DETECT: return run_detect(self, request, why);
    case TASK_CLASSIFY: return run_classify(self, request, why);
    case TASK_SEMANTIC: return run_semantic(self, request, why);
    case TASK_EMBED: return run_embed(self, request, why);
    }
    return fail(why, FAILURE_INTERNAL, "unknown task");
}
