/* SPDX-License-Identifier: Apache-2.0 */
/* The anchor-free head of YOLOv8, v9 and 11: read once, class row by class row, in blocks that stay in cache. */
#include <math.h>

#include "internal.h"

enum { BLOCK = 512, BOX_ROWS = 4 };

typedef struct decode_buffers {
    uint64_t *keys, *spare;
    int32_t *best_class; /* by anchor */
    sl_kept kept;
} decode_buffers;

typedef struct head {
    const float *raw;
    size_t classes, anchors;
} head;

static size_t room(size_t anchors, size_t capacity) {
    size_t most = anchors < SL_MAX_CANDIDATES ? anchors : SL_MAX_CANDIDATES;
    return capacity < most ? capacity : most;
}

static void take_buffers(decode_buffers *buffers, sl_arena *arena, size_t anchors, size_t capacity) {
    buffers->keys = sl_arena_take(arena, anchors, sizeof(uint64_t));
    buffers->spare = sl_arena_take(arena, anchors, sizeof(uint64_t));
    buffers->best_class = sl_arena_take(arena, anchors, sizeof(int32_t));
    sl_kept_take(&buffers->kept, arena, room(anchors, capacity));
}

size_t sl_yolov8_scratch_bytes(size_t anchors, size_t capacity) {
    if (anchors < 1 || anchors > SL_MAX_ANCHORS) return 0;
    decode_buffers buffers;
    sl_arena arena = sl_arena_over(NULL, 0);
    take_buffers(&buffers, &arena, anchors, capacity);
    return sl_arena_bytes(&arena);
}

SL_CLONES
static void take_better(const float *restrict scores, int32_t class_id, float *restrict best,
                        int32_t *restrict best_class, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bool better = scores[i] > best[i];
        best[i] = better ? scores[i] : best[i];
        best_class[i] = better ? class_id : best_class[i];
    }
}

/* The anchor's corners in network pixels; false when one is not finite. */
static bool corners(const head *h, size_t anchor, float *box) {
    const float *at = h->raw + anchor;
    float x = at[0], y = at[h->anchors];
    float half_width = at[2 * h->anchors] * 0.5F, half_height = at[3 * h->anchors] * 0.5F;
    box[0] = x - half_width;
    box[1] = y - half_height;
    box[2] = x + half_width;
    box[3] = y + half_height;
    return isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]);
}

/* Only finite boxes become candidates, so that the bound on candidates holds for them. */
static size_t collect_block(const head *h, size_t start, size_t count, float limit, decode_buffers *buffers,
                            size_t found) {
    float best[BLOCK], box[4];
    int32_t *best_class = buffers->best_class + start;
    for (size_t i = 0; i < count; i++) {
        best[i] = -INFINITY;
        best_class[i] = 0;
    }
    for (size_t c = 0; c < h->classes; c++)
        take_better(h->raw + (BOX_ROWS + c) * h->anchors + start, (int32_t)c, best, best_class, count);
    for (size_t i = 0; i < count; i++)
        if (best[i] >= limit && isfinite(best[i]) && corners(h, start + i, box))
            buffers->keys[found++] = sl_order_key(best[i], (uint32_t)(start + i));
    return found;
}

static size_t collect(const head *h, float limit, decode_buffers *buffers) {
    size_t found = 0;
    for (size_t start = 0; start < h->anchors; start += BLOCK) {
        size_t count = h->anchors - start < BLOCK ? h->anchors - start : BLOCK;
        found = collect_block(h, start, count, limit, buffers, found);
    }
    return found;
}

static size_t keep_best(const head *h, size_t found, decode_buffers *buffers, const float *geometry,
                        const sl_detections *out) {
    const uint64_t *sorted = sl_order_sort(buffers->keys, buffers->spare, found);
    size_t candidates = found < SL_MAX_CANDIDATES ? found : SL_MAX_CANDIDATES;
    size_t limit = room(h->anchors, out->capacity), kept = 0;
    float box[4];
    for (size_t i = 0; i < candidates && kept < limit; i++) {
        size_t anchor = sl_order_index(sorted[i]);
        int32_t class_id = buffers->best_class[anchor];
        (void)corners(h, anchor, box);
        if (!sl_kept_add(&buffers->kept, box, class_id)) continue;
        sl_box_to_source(geometry, box, out->boxes + 4 * kept);
        out->scores[kept] = h->raw[(BOX_ROWS + (size_t)class_id) * h->anchors + anchor];
        out->classes[kept++] = class_id;
    }
    return kept;
}

static sl_status check(const float *raw, size_t classes, size_t anchors, const sl_detect_limits *limits) {
    if (raw == NULL || limits == NULL) return SL_ERROR_NULL;
    if (classes < 1 || classes > SL_MAX_CLASSES || anchors < 1 || anchors > SL_MAX_ANCHORS) return SL_ERROR_SIZE;
    if (BOX_ROWS + classes > SIZE_MAX / sizeof(float) / anchors) return SL_ERROR_SIZE;
    if (!(limits->score >= 0.0 && limits->score <= 1.0)) return SL_ERROR_VALUE;
    if (!(limits->iou >= 0.0 && limits->iou <= 1.0)) return SL_ERROR_VALUE;
    return SL_OK;
}

sl_status sl_yolov8_decode(const float *raw, size_t classes, size_t anchors, const float *geometry,
                           const sl_detect_limits *limits, const sl_detections *out, size_t *count, void *scratch,
                           size_t scratch_bytes) {
    if (count == NULL || out == NULL || scratch == NULL) return SL_ERROR_NULL;
    *count = 0;
    sl_status status = check(raw, classes, anchors, limits);
    if (status == SL_OK) status = sl_geometry_check(geometry);
    if (status != SL_OK || out->capacity == 0) return status;
    if (out->boxes == NULL || out->scores == NULL || out->classes == NULL) return SL_ERROR_NULL;
    decode_buffers buffers;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    take_buffers(&buffers, &arena, anchors, out->capacity);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    buffers.kept.iou = sl_iou_limit(limits->iou);
    head h = {raw, classes, anchors};
    size_t found = collect(&h, (float)limits->score, &buffers);
    *count = keep_best(&h, found, &buffers, geometry, out);
    return SL_OK;
}
