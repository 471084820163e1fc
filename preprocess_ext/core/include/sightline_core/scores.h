/* SPDX-License-Identifier: Apache-2.0 */
/* Class scores of a whole picture, class maps and embeddings. */
#ifndef SIGHTLINE_CORE_SCORES_H
#define SIGHTLINE_CORE_SCORES_H

#include "sightline_core/geometry.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What turns a network's numbers into scores. The exponential is the core's own: the same bits on every machine. */
typedef enum sl_activation { SL_ACTIVATION_NONE = 0, SL_ACTIVATION_SIGMOID = 1, SL_ACTIVATION_SOFTMAX = 2 } sl_activation;

/*
 * The `top` best of `count` values (1..SL_MAX_CLASSES), best first, the lower class first on equal values; top 1..count.
 * scores, classes: room for `top`. NaN is left out, so *written may be less than `top`; with the softmax NaN or +Inf is
 * SL_ERROR_VALUE. No scratch; the time is count x log(top).
 */
sl_status sl_classify(const float *values, size_t count, sl_activation activation, size_t top, float *scores,
                      int32_t *classes, size_t *written);

/*
 * values / max(|values|, 1e-12), the Euclidean norm summed in double. out: room for `count` (1..SL_MAX_ANCHORS), may be
 * `values`. SL_ERROR_VALUE when a value is not finite.
 */
sl_status sl_embedding(const float *values, size_t count, float *out);

/* LOGITS: bilinear between the logits, then the best class. CLASSES: the best class of the nearest cell. */
typedef enum sl_upsample { SL_UPSAMPLE_LOGITS = 0, SL_UPSAMPLE_CLASSES = 1 } sl_upsample;

typedef struct sl_semantic {
    int32_t classes; /* 1: class 1 where the logit is above 0, else class 0 */
    int32_t rows;    /* cells of the map of logits, which covers the whole input of the network */
    int32_t columns;
    int32_t channels_last; /* 0: logits are (classes, rows, columns); 1: (rows, columns, classes) */
    int32_t network_width;
    int32_t network_height;
    sl_upsample upsample;
} sl_semantic;

/* Scratch of sl_semantic_map; 0 = the sizes are refused. */
size_t sl_semantic_scratch_bytes(const sl_semantic *semantic, const float *geometry);

/*
 * Logits to a class for each source pixel. geometry: SL_GEOMETRY_FLOATS floats. One of out8 and out32 gets
 * (source_height, source_width) values, row by row; the other is NULL; out8 needs classes <= 256. `capacity`: pixels
 * that it has room for.
 * LOGITS is what interpolation with half-pixel centres (align_corners = false) of the cells that the picture touches
 * gives, edges replicated, so that what a crop cut away has the class of the nearest cell; where the four cells around a pixel have the same best class it is taken as it is (no
 * mixture of them can differ but by rounding). The lowest class wins a tie; NaN never wins. The map is read row by row;
 * nothing of the source's size is kept but one table of its columns.
 */
sl_status sl_semantic_map(const sl_semantic *semantic, const float *logits, const float *geometry, uint8_t *out8,
                          int32_t *out32, size_t capacity, void *scratch, size_t scratch_bytes);

#ifdef __cplusplus
}
#endif
#endif
