/* SPDX-License-Identifier: Apache-2.0 */
/* Area, extent, overlap and union of masks, read off their counts. */
#include "masks/rle.h"

sl_status sl_rle_area(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height, uint64_t *area) {
    if (area == NULL) return SL_ERROR_NULL;
    sl_status status = sl_rle_check(counts, count, frame_width, frame_height);
    if (status != SL_OK) return status;
    *area = 0;
    for (size_t i = 1; i < count; i += 2) *area += counts[i];
    return SL_OK;
}

typedef struct extent {
    uint64_t left, right, top, bottom; /* last column and row included */
} extent;

static void include(extent *e, uint64_t first, uint64_t last, uint64_t height) {
    const uint64_t left = first / height, right = last / height;
    const uint64_t top = left == right ? first % height : 0, bottom = left == right ? last % height : height - 1;
    if (left < e->left) e->left = left;
    if (right > e->right) e->right = right;
    if (top < e->top) e->top = top;
    if (bottom > e->bottom) e->bottom = bottom;
}

sl_status sl_rle_region(const uint32_t *counts, size_t count, int32_t frame_width, int32_t frame_height,
                        sl_region *region) {
    if (region == NULL) return SL_ERROR_NULL;
    sl_status status = sl_rle_check(counts, count, frame_width, frame_height);
    if (status != SL_OK) return status;
    extent e = {UINT64_MAX, 0, UINT64_MAX, 0};
    uint64_t at = 0;
    for (size_t i = 0; i < count; at += counts[i++])
        if (i % 2 == 1 && counts[i] > 0) include(&e, at, at + counts[i] - 1, (uint64_t)frame_height);
    *region = (sl_region){0, 0, 0, 0};
    if (e.left == UINT64_MAX) return SL_OK;
    *region = (sl_region){(int32_t)e.left, (int32_t)e.top, (int32_t)(e.right - e.left + 1),
                          (int32_t)(e.bottom - e.top + 1)};
    return SL_OK;
}

/* Walks along two masks at once: pieces in which neither changes. */
typedef struct walker {
    const uint32_t *counts;
    size_t count;
    size_t next;
    uint64_t left; /* of the run we are in */
    bool set;
} walker;

static walker walk(const uint32_t *counts, size_t count) { return (walker){counts, count, 0, 0, true}; }

/* Goes on to the next run that is not empty; false at the end. */
static bool advance(walker *w) {
    while (w->left == 0) {
        if (w->next == w->count) return false;
        w->left = w->counts[w->next++];
        w->set = !w->set;
    }
    return true;
}

/* Length of the next piece, 0 at the end. */
static uint64_t step(walker *a, walker *b) {
    if (!advance(a) || !advance(b)) return 0;
    const uint64_t length = a->left < b->left ? a->left : b->left;
    a->left -= length;
    b->left -= length;
    return length;
}

static sl_status check_two(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count, int32_t frame_width,
                           int32_t frame_height) {
    sl_status status = sl_rle_check(a, a_count, frame_width, frame_height);
    return status != SL_OK ? status : sl_rle_check(b, b_count, frame_width, frame_height);
}

sl_status sl_rle_iou(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count, int32_t frame_width,
                     int32_t frame_height, int32_t crowd, double *iou) {
    if (iou == NULL) return SL_ERROR_NULL;
    sl_status status = check_two(a, a_count, b, b_count, frame_width, frame_height);
    if (status != SL_OK) return status;
    walker first = walk(a, a_count), second = walk(b, b_count);
    uint64_t both = 0, either = 0, area = 0;
    for (uint64_t length; (length = step(&first, &second)) > 0;) {
        if (first.set && second.set) both += length;
        if (first.set || second.set) either += length;
        if (first.set) area += length;
    }
    const uint64_t whole = crowd != 0 ? area : either;
    *iou = both == 0 ? 0.0 : (double)both / (double)whole;
    return SL_OK;
}

sl_status sl_rle_merge(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count, int32_t frame_width,
                       int32_t frame_height, int32_t intersect, uint32_t *counts, size_t capacity, size_t *count) {
    if (count == NULL || (counts == NULL && capacity > 0)) return SL_ERROR_NULL;
    sl_status status = check_two(a, a_count, b, b_count, frame_width, frame_height);
    if (status != SL_OK) return status;
    walker first = walk(a, a_count), second = walk(b, b_count);
    size_t found = 0;
    uint64_t run = 0;
    bool set = false;
    for (uint64_t length; (length = step(&first, &second)) > 0; run += length) {
        const bool now = intersect != 0 ? first.set && second.set : first.set || second.set;
        if (now == set) continue;
        if (found == capacity) return SL_ERROR_SIZE;
        counts[found++] = (uint32_t)run;
        run = 0;
        set = now;
    }
    if (found == capacity) return SL_ERROR_SIZE;
    counts[found++] = (uint32_t)run;
    *count = found;
    return SL_OK;
}
