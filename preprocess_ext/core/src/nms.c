/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Greedy non-maximum suppression, per class: each candidate, best first, is compared with the boxes kept so far.
 * The work is at most SL_MAX_CANDIDATES x capacity, and ends when the capacity is reached.
 */
#include <math.h>

#include "internal.h"

enum { BLOCK = 64 };

void sl_kept_take(sl_kept *kept, sl_arena *arena, size_t capacity) {
    kept->x1 = sl_arena_take(arena, capacity, sizeof(float));
    kept->y1 = sl_arena_take(arena, capacity, sizeof(float));
    kept->x2 = sl_arena_take(arena, capacity, sizeof(float));
    kept->y2 = sl_arena_take(arena, capacity, sizeof(float));
    kept->area = sl_arena_take(arena, capacity, sizeof(float));
    kept->class_id = sl_arena_take(arena, capacity, sizeof(int32_t));
    kept->count = 0;
    kept->iou = 1.0F;
}

float sl_iou_limit(double iou) {
    float limit = (float)iou;
    return (double)limit > iou ? nextafterf(limit, -1.0F) : limit;
}

static inline float larger(float a, float b) { return a > b ? a : b; }
static inline float smaller(float a, float b) { return a < b ? a : b; }

/*
 * Intersection over union in torchvision's order of operations, so that borderline cases fall the same way; NaN (two
 * boxes without area) suppresses nothing. Blocks of fixed length let the compiler use vectors and still end early.
 */
SL_CLONES
static bool suppressed(const sl_kept *kept, const float *box, float area, int32_t class_id) {
    const float *restrict x1 = kept->x1, *restrict y1 = kept->y1, *restrict x2 = kept->x2, *restrict y2 = kept->y2;
    const float *restrict areas = kept->area;
    const int32_t *restrict classes = kept->class_id;
    const float left = box[0], top = box[1], right = box[2], bottom = box[3], limit = kept->iou;
    for (size_t start = 0; start < kept->count; start += BLOCK) {
        size_t end = kept->count - start < BLOCK ? kept->count : start + BLOCK;
        int32_t hit = 0;
        for (size_t k = start; k < end; k++) {
            float width = larger(smaller(x2[k], right) - larger(x1[k], left), 0.0F);
            float height = larger(smaller(y2[k], bottom) - larger(y1[k], top), 0.0F);
            float inter = width * height;
            float iou = inter / (areas[k] + area - inter);
            hit |= (int32_t)(iou > limit) & (int32_t)(classes[k] == class_id);
        }
        if (hit) return true;
    }
    return false;
}

bool sl_kept_add(sl_kept *kept, const float *box, int32_t class_id) {
    float area = (box[2] - box[0]) * (box[3] - box[1]);
    if (suppressed(kept, box, area, class_id)) return false;
    size_t last = kept->count++;
    kept->x1[last] = box[0];
    kept->y1[last] = box[1];
    kept->x2[last] = box[2];
    kept->y2[last] = box[3];
    kept->area[last] = area;
    kept->class_id[last] = class_id;
    return true;
}

typedef struct nms_buffers {
    uint64_t *keys, *spare;
    sl_kept kept;
} nms_buffers;

static size_t room(size_t count, size_t capacity) {
    size_t most = count < SL_MAX_CANDIDATES ? count : SL_MAX_CANDIDATES;
    return capacity < most ? capacity : most;
}

static void take_buffers(nms_buffers *buffers, sl_arena *arena, size_t count, size_t capacity) {
    buffers->keys = sl_arena_take(arena, count, sizeof(uint64_t));
    buffers->spare = sl_arena_take(arena, count, sizeof(uint64_t));
    sl_kept_take(&buffers->kept, arena, room(count, capacity));
}

size_t sl_nms_scratch_bytes(size_t count, size_t capacity) {
    if (count > SL_MAX_ANCHORS) return 0;
    nms_buffers buffers;
    sl_arena arena = sl_arena_over(NULL, 0);
    take_buffers(&buffers, &arena, count, capacity);
    return sl_arena_bytes(&arena);
}

static size_t collect(const float *boxes, const float *scores, size_t count, uint64_t *keys) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const float *box = boxes + 4 * i;
        bool finite_box = isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]);
        if (finite_box && isfinite(scores[i])) keys[found++] = sl_order_key(scores[i], (uint32_t)i);
    }
    return found;
}

static size_t keep_best(nms_buffers *buffers, size_t found, size_t limit, const float *boxes, const int32_t *classes,
                        int64_t *keep) {
    const uint64_t *sorted = sl_order_sort(buffers->keys, buffers->spare, found);
    size_t candidates = found < SL_MAX_CANDIDATES ? found : SL_MAX_CANDIDATES, kept = 0;
    for (size_t i = 0; i < candidates && kept < limit; i++) {
        uint32_t index = sl_order_index(sorted[i]);
        if (sl_kept_add(&buffers->kept, boxes + 4 * (size_t)index, classes[index])) keep[kept++] = (int64_t)index;
    }
    return kept;
}

sl_status sl_nms(const float *boxes, const float *scores, const int32_t *classes, size_t count, double iou,
                 int64_t *keep, size_t capacity, size_t *kept, void *scratch, size_t scratch_bytes) {
    if (kept == NULL || scratch == NULL) return SL_ERROR_NULL;
    *kept = 0;
    if (count > SL_MAX_ANCHORS) return SL_ERROR_SIZE;
    if (!(iou >= 0.0 && iou <= 1.0)) return SL_ERROR_VALUE;
    if (count == 0 || capacity == 0) return SL_OK;
    if (boxes == NULL || scores == NULL || classes == NULL || keep == NULL) return SL_ERROR_NULL;
    nms_buffers buffers;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    take_buffers(&buffers, &arena, count, capacity);
    if (arena.overflow) return SL_ERROR_SCRATCH;
    buffers.kept.iou = sl_iou_limit(iou);
    size_t found = collect(boxes, scores, count, buffers.keys);
    *kept = keep_best(&buffers, found, room(count, capacity), boxes, classes, keep);
    return SL_OK;
}
