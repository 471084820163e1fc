/* SPDX-License-Identifier: Apache-2.0 */
/* Instance masks, from prototypes or pasted, as COCO's run-length texts in pixels of the picture sent. */
#include <string.h>

#include "items.h"

enum { FIRST_ROOM = 1 << 14, LENGTH_BYTES = 4 };

#define PASTE_THRESHOLD 0.5F /* a pixel belongs to the object from more than this probability on, as in torchvision */

/* A network's masks of one item: prototypes, or a mask of probabilities for each of its rows. */
typedef struct masks_work {
    sl_prototypes prototypes;
    sl_mask_view view;
    const sl_tensor *pasted; /* (A, 1, rows, columns) or (A, rows, columns); NULL where there are prototypes */
    int32_t rows, columns;   /* of a pasted mask, cells */
    int32_t width, height;   /* of the picture */
    void *scratch;
    size_t scratch_bytes;
} masks_work;

static bool take_scratch(instance *self, size_t bytes, masks_work *work, failure *why) {
    work->scratch_bytes = bytes;
    if (bytes == 0) return fail(why, FAILURE_BAD_INPUT, "masks of this size are not made");
    work->scratch = scratch_take(&self->memory, BLOCK_WORK, bytes, why);
    return work->scratch != NULL;
}

/* The prototypes are the last output: (coefficients, rows, columns). */
static bool prepare_prototypes(instance *self, const sl_tensor *map, const float *geometry, masks_work *work,
                               failure *why) {
    const sl_head *head = &self->options->head;
    if (map->rank != 3 || map->dims[0] != (size_t)head->extra_values || map->dims[1] > SL_MAX_MASK_SIDE ||
        map->dims[2] > SL_MAX_MASK_SIDE)
        return fail(why, FAILURE_BAD_INPUT, "the last output must be prototypes [items, %d, rows, columns]",
                    (int)head->extra_values);
    int32_t rows = (int32_t)map->dims[1], columns = (int32_t)map->dims[2];
    work->prototypes = (sl_prototypes){.data = map->data, .channels = head->extra_values, .height = rows,
                                       .width = columns};
    sl_status status = sl_mask_view_source(geometry, head->network_width, head->network_height, columns, rows,
                                           &work->view);
    return core_ok(status, FAILURE_BAD_INPUT, why) &&
           take_scratch(self, sl_rle_from_prototypes_scratch_bytes(&work->view), work, why);
}

/* The masks are the last output, one for each of the first output's boxes. */
static bool prepare_pasted(instance *self, const sl_tensor *boxes, const sl_tensor *masks, const float *geometry,
                           masks_work *work, failure *why) {
    size_t first = masks->rank == 4 ? 2 : 1;
    bool fits = (masks->rank == 3 || (masks->rank == 4 && masks->dims[1] == 1)) && masks->dims[0] == boxes->dims[0] &&
                masks->dims[first] <= SL_MAX_MASK_SIDE && masks->dims[first + 1] <= SL_MAX_MASK_SIDE;
    if (!fits)
        return fail(why, FAILURE_BAD_INPUT, "the last output must be masks [items, %zu, 1, rows, columns], one a box",
                    boxes->dims[0]);
    work->pasted = masks;
    work->rows = (int32_t)masks->dims[first];
    work->columns = (int32_t)masks->dims[first + 1];
    work->width = (int32_t)geometry[1];
    work->height = (int32_t)geometry[2];
    return take_scratch(self, sl_rle_from_paste_scratch_bytes(work->columns, work->rows, work->width, work->height), work,
                        why);
}

static bool prepare(instance *self, const raw_outputs *raw, const float *geometry, masks_work *work, failure *why) {
    const sl_tensor *last = &raw->tensor[raw->count - 1];
    *work = (masks_work){.pasted = NULL};
    return self->options->pasted ? prepare_pasted(self, &raw->tensor[0], last, geometry, work, why)
                                 : prepare_prototypes(self, last, geometry, work, why);
}

/* The text of detection `row`, as sl_rle_encode writes it. */
static sl_status write_text(const instance *self, const answers *from, size_t row, const masks_work *work, char *text,
                            size_t room, size_t *length) {
    const float *box = from->boxes + 4 * row;
    if (work->pasted == NULL) {
        const float *coefficients = from->extras + row * (size_t)self->options->head.extra_values;
        return sl_rle_from_prototypes(&work->prototypes, &work->view, coefficients, box, text, room, length,
                                      work->scratch, work->scratch_bytes);
    }
    size_t values = (size_t)work->rows * (size_t)work->columns;
    return sl_rle_from_paste(work->pasted->data + (size_t)from->indices[row] * values, work->columns, work->rows, box,
                             work->width, work->height, PASTE_THRESHOLD, text, room, length, work->scratch,
                             work->scratch_bytes);
}

/*
 * One text behind the others; when the block is too small it is grown to what is needed, and once more tried. It at
 * least doubles when it grows, so that few texts are copied.
 */
static bool add_text(instance *self, answers *into, size_t row, const masks_work *work, failure *why) {
    size_t length = 0, room = self->memory.bytes[BLOCK_MASKS];
    if (room < into->mask_bytes + FIRST_ROOM) room = 2 * into->mask_bytes + FIRST_ROOM;
    for (int attempt = 0; attempt < 2; attempt++) {
        char *text = scratch_grow(&self->memory, BLOCK_MASKS, into->mask_bytes, room, why);
        if (text == NULL) return false;
        sl_status status = write_text(self, into, row, work, text + into->mask_bytes, room - into->mask_bytes, &length);
        if (status == SL_ERROR_SIZE && length > room - into->mask_bytes && length < SCRATCH_MAX_BYTES / 2) {
            room = 2 * into->mask_bytes + length + FIRST_ROOM;
            continue;
        }
        if (!core_ok(status, FAILURE_BAD_INPUT, why)) return false;
        into->mask_lengths[row] = (uint32_t)length;
        into->mask_bytes += length;
        return true;
    }
    return fail(why, FAILURE_INTERNAL, "a mask's text does not fit");
}

bool masks_add(instance *self, answers *into, size_t index, const raw_outputs *raw, const float *geometry,
               failure *why) {
    masks_work work;
    size_t first = index * into->capacity, count = (size_t)into->counts[index];
    if (!prepare(self, raw, geometry, &work, why)) return false;
    for (size_t row = first; row < first + count; row++)
        if (!add_text(self, into, row, &work, why)) return false;
    return true;
}

bool masks_send(const instance *self, call *request, const answers *from, int64_t rows, failure *why) {
    int64_t form[2] = {(int64_t)from->items, rows};
    const unsigned char *texts = self->memory.block[BLOCK_MASKS];
    size_t bytes = from->mask_bytes + from->items * (size_t)rows * LENGTH_BYTES, used = 0;
    void *data;
    if (!request->output(request, "MASKS", ELEMENT_TEXT, form, 2, bytes, &data, why)) return false;
    unsigned char *at = data;
    for (size_t i = 0; at != NULL && i < from->items; i++) {
        for (int64_t row = 0; row < rows; row++) {
            uint32_t length = row < from->counts[i] ? from->mask_lengths[i * from->capacity + (size_t)row] : 0;
            memcpy(at, &length, LENGTH_BYTES);
            if (length > 0) memcpy(at + LENGTH_BYTES, texts + used, length);
            at += LENGTH_BYTES + length;
            used += length;
        }
    }
    return true;
}
