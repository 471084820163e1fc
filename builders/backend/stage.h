/* SPDX-License-Identifier: Apache-2.0 */
/* What a stage is, and what it may ask of the server that hosts it. Nothing here knows Triton. */
#ifndef SIGHTLINE_BACKEND_STAGE_H
#define SIGHTLINE_BACKEND_STAGE_H

#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "failure.h"
#include "scratch.h"
#include "settings.h"

enum { MAX_RANK = 8, MAX_INPUTS = MAX_RAW + 4, MAX_ITEMS = 1 << 16 };

/* Scratch blocks of a stage; the host gathers input number i in block BLOCK_INPUT + i. */
enum { BLOCK_WORK, BLOCK_TENSOR, BLOCK_BOXES, BLOCK_SCORES, BLOCK_CLASSES, BLOCK_COUNTS, BLOCK_TEXT, BLOCK_GEOMETRY,
       BLOCK_EXTRAS, BLOCK_MASKS, BLOCK_LENGTHS, BLOCK_INDICES, BLOCK_INPUT, BLOCK_RAW = BLOCK_INPUT + MAX_INPUTS };

typedef enum element { ELEMENT_U8, ELEMENT_I32, ELEMENT_F32, ELEMENT_TEXT } element;

/*
 * An input in CPU memory: `bytes` is what its shape says, of ELEMENT_TEXT what was sent: strings, each behind the four
 * bytes of its length. `data` is aligned for the element. shape[0] is the batch.
 */
typedef struct tensor {
    element type;
    size_t rank;
    int64_t shape[MAX_RANK];
    const void *data;
    size_t bytes;
} tensor;

/* One request, as the host gives it. */
typedef struct call call;
struct call {
    /* Is there an input of this name? */
    bool (*has_input)(call *self, const char *name);
    /* Does the client want an output of this name? */
    bool (*wants)(call *self, const char *name);
    /* False, and why, where it is missing, of another type or not readable. */
    bool (*input)(call *self, const char *name, element type, tensor *out, failure *why);
    /*
     * Room for an output of this shape (for ELEMENT_TEXT `text_bytes` bytes), each output at most once. *data is NULL
     * where nobody asked for it or it has no bytes.
     */
    bool (*output)(call *self, const char *name, element type, const int64_t *shape, size_t rank, size_t text_bytes,
                   void **data, failure *why);
    scratch *memory; /* of the instance */
    size_t inputs;   /* for the host */
};

/* One instance of a stage; used by one thread at a time. */
typedef struct instance {
    const settings *options;
    runner *network; /* NULL where the stage has none */
    scratch memory;
} instance;

size_t element_bytes(element type);

/* Answer one request. On false nothing of what was put into the outputs counts. */
bool stage_run(instance *self, call *request, failure *why);

#endif
