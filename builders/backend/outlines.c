/* SPDX-License-Identifier: Apache-2.0 */
/* Instance masks from prototypes as COCO's run-length texts, in pixels of the picture sent. */
#include <string.h>

#include "items.h"

enum { FIRST_ROOM = 1 << 14, LENGTH_BYTES = 4 };

typedef struct masks_work {
    sl_prototypes prototypes;
    sl_mask_view view;
    void *scratch;
    size_t scratch_bytes;
} masks_work;

/* The prototypes are the last output: (coefficients, rows, columns). */
static bool prepare(instance *self, const raw_outputs *raw, const float *geometry, masks_work *work, failure *why) {
    const sl_head *head = &self->options->head;
    const sl_tensor *map = &raw->tensor[raw->count - 1];
    if (raw->count < 2 || map->rank != 3 || map->dims[0] != (size_t)head->extra_values ||
        map->dims[1] > SL_MAX_MASK_SIDE || map->dims[2] > SL_MAX_MASK_SIDE)
        return fail(why, FAILURE_BAD_INPUT, "the last output must be prototypes [items, %d, rows, columns]",
                    (int)head->extra_values);
    int32_t rows = (int32_t)map->dims[1], columns = (int32_t)map->dims[2];
    work->prototypes = (sl_prototypes){.data = map->data, .channels = head->extra_values, .height = rows,
                                       .width = columns};
    sl_status status = sl_mask_view_source(geometry, head->network_width, head->network_height, columns, rows,
                                           &work->view);
    if (!core_ok(status, FAILURE_BAD_INPUT, why)) return false;
    work->scratch_bytes = sl_rle_from_prototypes_scratch_bytes(&work->view);
    if (work->scratch_bytes == 0) return fail(why, FAILURE_BAD_INPUT, "masks of this size are not made");
    work->scratch = scratch_take(&self->memory, BLOCK_WORK, work->scratch_bytes, why);
    return work->scratch != NULL;
}

/*
 * One text behind the others; when the block is too small it is grown to what is needed, and once more tried. It at
 * least doubles when it grows, so that few texts are copied.
 */
static bool add_text(instance *self, answers *into, size_t row, const masks_work *work, failure *why) {
    const float *coefficients = into->extras + row * (size_t)self->options->head.extra_values;
    size_t length = 0, room = self->memory.bytes[BLOCK_MASKS];
    if (room < into->mask_bytes + FIRST_ROOM) room = 2 * into->mask_bytes + FIRST_ROOM;
    for (int attempt = 0; attempt < 2; attempt++) {
        char *text = scratch_grow(&self->memory, BLOCK_MASKS, into->mask_bytes, room, why);
        if (text == NULL) return false;
        sl_status status = sl_rle_from_prototypes(&work->prototypes, &work->view, coefficients, into->boxes + 4 * row,
                                                  text + into->mask_bytes, room - into->mask_bytes, &length,
                                                  work->scratch, work->scratch_bytes);
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
