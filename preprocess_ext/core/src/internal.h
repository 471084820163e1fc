/* SPDX-License-Identifier: Apache-2.0 */
/* What the source files of the core share; not installed. */
#ifndef SL_INTERNAL_H
#define SL_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sightline_core.h"

/*
 * Wider vectors where the CPU has them, chosen when the library is loaded. Results keep their bits because the core is
 * compiled with -ffp-contract=off. Sanitizers run before the choice can be made, so they get the plain code.
 */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(SL_NO_CLONES)
#define SL_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define SL_CLONES
#endif

/* ---- scratch.c: cut typed pieces off the caller's scratch ---- */

typedef struct sl_arena {
    unsigned char *next; /* NULL while only the size is counted */
    size_t used;
    size_t limit;
    bool overflow;
} sl_arena;

sl_arena sl_arena_over(void *scratch, size_t bytes);
/* `count` items of `item_bytes`, aligned to 64 bytes; NULL when only counting or when it does not fit. */
void *sl_arena_take(sl_arena *arena, size_t count, size_t item_bytes);
/* Bytes to ask the caller for so that the pieces taken fit at any alignment; 0 on overflow. */
size_t sl_arena_bytes(const sl_arena *arena);

/* ---- resample.c: bilinear interpolation of one row ---- */

/* Where output position i reads: source samples lo and hi, mixed as lo + (hi - lo) * weight. */
typedef struct sl_tap {
    int32_t lo;
    int32_t hi;
    float weight;
} sl_tap;

/* The same for all columns of a row, as arrays; lo and hi are already multiplied by the pixel step. */
typedef struct sl_columns {
    int32_t *lo;
    int32_t *hi;
    float *weight;
} sl_columns;

/* ratio: source samples per output sample; samples: length of the source. */
sl_tap sl_tap_at(int32_t position, double ratio, int32_t samples);
void sl_columns_fill(const sl_columns *columns, int32_t count, double ratio, int32_t samples, int32_t step);
/* out[i] = top[i] + (bottom[i] - top[i]) * weight */
void sl_blend_rows(const uint8_t *top, const uint8_t *bottom, float weight, float *out, size_t count);
void sl_pick_columns(const float *row, const sl_columns *columns, float *out, int32_t count);

/* ---- colour.c: levels to normalised output ---- */

typedef struct sl_matrix {
    float luma_offset, luma_scale, red_v, green_u, green_v, blue_u;
} sl_matrix;

/* One output channel: value = (level - mean) * scale */
typedef struct sl_norm {
    float mean;
    float scale;
} sl_norm;

sl_matrix sl_matrix_of(sl_colour_space colour);
/* In place: rows of Y, U, V levels become rows of R, G, B levels, clamped to 0..255. */
void sl_yuv_to_rgb(float *y, float *u, float *v, int32_t count, const sl_matrix *matrix);
void sl_normalise(const float *levels, float *out, int32_t count, sl_norm norm);

/* ---- order.c: candidates by descending score ---- */

/* Sorts ascending: higher scores first, then lower indices. */
uint64_t sl_order_key(float score, uint32_t index);
static inline uint32_t sl_order_index(uint64_t key) { return (uint32_t)(key & UINT32_MAX); }
/* Radix sort by score of keys whose indices already ascend; the result is in the returned array, one of the two. */
uint64_t *sl_order_sort(uint64_t *keys, uint64_t *spare, size_t count);

/* ---- nms.c: the boxes kept so far ---- */

typedef struct sl_kept {
    float *x1, *y1, *x2, *y2, *area;
    int32_t *class_id;
    size_t count;
    float iou; /* suppress when IoU > iou, compared in float32 */
} sl_kept;

void sl_kept_take(sl_kept *kept, sl_arena *arena, size_t capacity);
/* The largest float that is <= iou: then `x > result` equals `x > iou` for every float x. */
float sl_iou_limit(double iou);
/* Adds the box unless a kept box of its class suppresses it; false when suppressed. There must be room. */
bool sl_kept_add(sl_kept *kept, const float *box, int32_t class_id);

#endif
