/* SPDX-License-Identifier: Apache-2.0 */
/* What the stages do to one item, so that the fused stage does the very same. */
#ifndef SIGHTLINE_BACKEND_ITEMS_H
#define SIGHTLINE_BACKEND_ITEMS_H

#include "stage.h"

enum { MAX_PIXELS = 50000000 }; /* of one picture; sightline.frame.MAX_PIXELS */

/* ---- pictures.c ---- */

/* FRAME and FRAME_INFO of a request, checked against each other. */
typedef struct frames {
    tensor frame; /* (items, bytes) uint8 */
    tensor info;  /* (items, 4) int32 */
    size_t items;
} frames;

bool frames_of(call *request, frames *out, failure *why);
/* Item `index` into the network's input `out` and its seven floats of geometry. A failure's text starts with [bad_frame]. */
bool frame_convert(instance *self, const frames *from, size_t index, float *out, float *geometry, failure *why);

/* ---- notes.c ---- */

/* Texts for the output ERROR, one an item. */
typedef struct notes {
    char (*text)[sizeof((failure *)0)->text];
    size_t items;
} notes;

/* All empty. */
bool notes_take(instance *self, size_t items, notes *out, failure *why);
/* The same, with what an earlier stage said, where the request has an input ERROR. */
bool notes_take_over(instance *self, call *request, size_t items, notes *out, failure *why);
/* Say why an item has no answer, unless something was said before. */
void notes_say(const notes *into, size_t index, const char *text);
bool notes_send(call *request, const notes *from, failure *why);

/* ---- detections.c ---- */

/* Detections of a request's items, `capacity` rows an item, in scratch. */
typedef struct answers {
    int32_t *counts; /* -1: the item's picture could not be used */
    float *boxes;
    float *scores;
    int32_t *classes;
    float *extras; /* extra_values a row; NULL where the head has none */
    int32_t *indices; /* of the network's row that each detection was read from; NULL where nobody needs it */
    uint32_t *mask_lengths; /* bytes of each row's text in block BLOCK_MASKS; NULL where no masks are wanted */
    size_t mask_bytes;
    size_t items;
    size_t capacity;
} answers;

/* One item's outputs of the network; dims without the batch. */
typedef struct raw_outputs {
    sl_tensor tensor[MAX_RAW];
    size_t count;
} raw_outputs;

bool answers_take(instance *self, call *request, size_t items, answers *out, failure *why);
/* Decode one item into row `index`; geometry[0] == 0 gives a count of -1. */
bool answers_add(instance *self, answers *into, size_t index, const raw_outputs *raw, const float *geometry,
                 failure *why);
/*
 * COUNT, BOXES, SCORES, CLASSES, and KEYPOINTS or ANGLES, with as many rows as the fullest item has; the rows past an
 * item's count are zero.
 */
bool answers_send(const instance *self, call *request, const answers *from, failure *why);

/* ---- outlines.c ---- */

/* The masks of row `index`: a text for each of its `count` detections behind the texts before. */
bool masks_add(instance *self, answers *into, size_t index, const raw_outputs *raw, const float *geometry,
               failure *why);
/* MASKS: COCO's run-length texts of a frame of the source's size; rows past an item's count are empty. */
bool masks_send(const instance *self, call *request, const answers *from, int64_t rows, failure *why);

/* ---- whole_pictures.c ---- */

bool run_classify(instance *self, call *request, failure *why);
bool run_semantic(instance *self, call *request, failure *why);
bool run_embed(instance *self, call *request, failure *why);

/* ---- the stages ---- */

/*
 * RAW, RAW_1, ... and GEOMETRY of a request, as item 0 sees them; strides[k]: values from item to item. *items is
 * their number.
 */
bool raw_read(instance *self, call *request, raw_outputs *out, size_t *strides, const float **geometry, size_t *items,
              failure *why);
/*
 * GEOMETRY of a request, copied into this instance's memory: a client may write to what it sent at any time. No usable
 * picture has more than MAX_PIXELS; sl_geometry_check has not been asked.
 */
bool geometry_read(instance *self, call *request, const float **geometry, size_t *items, failure *why);

/* Why an item has no answer: its picture, or what the network made of it. */
const char *no_answer(const float *geometry);

bool run_letterbox(instance *self, call *request, failure *why);
bool run_network(instance *self, call *request, failure *why);
bool run_postprocess(instance *self, call *request, failure *why);
bool run_identity(instance *self, call *request, failure *why);
bool run_fused(instance *self, call *request, failure *why);

/* Name of the network's output of this index on the wire: RAW, RAW_1, ... */
const char *raw_name(size_t index);
/* SL_OK, or the failure in words. */
bool core_ok(sl_status status, failure_kind kind, failure *why);
/* TENSOR of a request: (items, 3, height, width) as the network's input wants it. */
bool network_input(const instance *self, call *request, tensor *out, failure *why);

#endif
