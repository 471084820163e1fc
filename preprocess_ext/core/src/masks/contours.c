/* SPDX-License-Identifier: Apache-2.0 */
/* Outer borders of a mask: Suzuki and Abe, "Topological structural analysis of digitized binary images by border
   following", 1985, algorithm 2. */
#include <string.h>

#include "masks/masks.h"

/* Pixels with a margin of one; FOLLOWED_RIGHT: on a border, and the pixel to the right was seen to be empty. */
enum { EMPTY = 0, SET = 1, FOLLOWED = 2, FOLLOWED_RIGHT = -2 };

typedef struct tracer {
    int8_t *pixels;
    ptrdiff_t stride;
    ptrdiff_t around[8]; /* east, then against the clock as seen on a screen: north-east, north, ... */
    int32_t left;        /* frame position of the pixel at 0, 0 of the margin */
    int32_t top;
    int32_t *points;
    size_t capacity;
    size_t count;
} tracer;

static void put_point(tracer *t, ptrdiff_t at) {
    if (t->count < t->capacity) {
        t->points[2 * t->count] = t->left + (int32_t)(at % t->stride);
        t->points[2 * t->count + 1] = t->top + (int32_t)(at / t->stride);
    }
    t->count++;
}

/* The first set neighbour, looking round clockwise from the west; -1 for a pixel on its own. */
static int first_neighbour(const tracer *t, ptrdiff_t at) {
    for (int k = 1; k < 8; k++) {
        int direction = (4 - k) & 7;
        if (t->pixels[at + t->around[direction]] != EMPTY) return direction;
    }
    return -1;
}

/* The next border pixel, looking round against the clock from `direction`; marks the pixel that we stand on. */
static int next_neighbour(tracer *t, ptrdiff_t at, int direction) {
    bool right_is_empty = false;
    int next = direction;
    for (int k = 1; k <= 8; k++) {
        next = (direction + k) & 7;
        if (t->pixels[at + t->around[next]] != EMPTY) break;
        if (next == 0) right_is_empty = true;
    }
    if (right_is_empty)
        t->pixels[at] = FOLLOWED_RIGHT;
    else if (t->pixels[at] == SET)
        t->pixels[at] = FOLLOWED;
    return next;
}

static void follow(tracer *t, ptrdiff_t start) {
    int direction = first_neighbour(t, start);
    if (direction < 0) {
        t->pixels[start] = FOLLOWED_RIGHT;
        put_point(t, start);
        return;
    }
    const ptrdiff_t last = start + t->around[direction];
    ptrdiff_t at = start;
    for (int came = direction ^ 4;;) {
        int next = next_neighbour(t, at, direction);
        if (next != came) put_point(t, at);
        came = next;
        ptrdiff_t to = at + t->around[next];
        if (to == start && at == last) return;
        at = to;
        direction = next ^ 4;
    }
}

static void unpack(const sl_region *region, const uint64_t *bits, int8_t *pixels) {
    const size_t words = sl_region_row_words(region->width), stride = (size_t)region->width + 2;
    memset(pixels, EMPTY, stride * ((size_t)region->height + 2));
    for (size_t y = 0; y < (size_t)region->height; y++) {
        int8_t *row = pixels + (y + 1) * stride + 1;
        for (size_t x = 0; x < (size_t)region->width; x++)
            row[x] = (int8_t)(bits[y * words + x / SL_WORD] >> (x % SL_WORD) & 1);
    }
}

static bool size_ok(const sl_region *region) {
    const int32_t most = 1 << 30;
    return region->width >= 0 && region->width <= SL_MAX_SIDE && region->height >= 0 && region->height <= SL_MAX_SIDE &&
           region->x >= -most && region->x <= most && region->y >= -most && region->y <= most;
}

size_t sl_contours_scratch_bytes(const sl_region *region) {
    if (region == NULL || !size_ok(region)) return 0;
    sl_arena arena = sl_arena_over(NULL, 0);
    (void)sl_arena_take(&arena, ((size_t)region->width + 2) * ((size_t)region->height + 2), 1);
    return sl_arena_bytes(&arena);
}

/* A border starts where a set pixel follows an empty one and the last border seen in this row lies behind us. */
static void scan(tracer *t, const sl_region *region, int32_t *ends, size_t capacity, size_t *contours) {
    for (ptrdiff_t y = 1; y <= region->height; y++) {
        int8_t seen = EMPTY;
        for (ptrdiff_t at = y * t->stride + 1, end = at + region->width; at < end; at++) {
            if (t->pixels[at] == EMPTY) continue;
            if (t->pixels[at] == SET && t->pixels[at - 1] == EMPTY && seen <= EMPTY) {
                follow(t, at);
                if (*contours < capacity) ends[*contours] = (int32_t)t->count;
                (*contours)++;
            }
            if (t->pixels[at] != SET) seen = t->pixels[at];
        }
    }
}

sl_status sl_contours(const sl_region *region, const uint64_t *bits, int32_t *points, size_t point_capacity,
                      int32_t *ends, size_t contour_capacity, size_t *point_count, size_t *contour_count, void *scratch,
                      size_t scratch_bytes) {
    if (region == NULL || point_count == NULL || contour_count == NULL || scratch == NULL) return SL_ERROR_NULL;
    if ((points == NULL && point_capacity > 0) || (ends == NULL && contour_capacity > 0)) return SL_ERROR_NULL;
    if (!size_ok(region)) return SL_ERROR_SIZE;
    *point_count = *contour_count = 0;
    if (sl_region_words(region) == 0) return SL_OK;
    if (bits == NULL) return SL_ERROR_NULL;
    sl_arena arena = sl_arena_over(scratch, scratch_bytes);
    const ptrdiff_t stride = (ptrdiff_t)region->width + 2;
    tracer t = {.stride = stride, .around = {1, 1 - stride, -stride, -1 - stride, -1, stride - 1, stride, stride + 1}};
    t.pixels = sl_arena_take(&arena, (size_t)stride * ((size_t)region->height + 2), 1);
    if (t.pixels == NULL) return SL_ERROR_SCRATCH;
    t.left = region->x - 1;
    t.top = region->y - 1;
    t.points = points;
    t.capacity = point_capacity;
    unpack(region, bits, t.pixels);
    scan(&t, region, ends, contour_capacity, contour_count);
    *point_count = t.count;
    return t.count > point_capacity || *contour_count > contour_capacity ? SL_ERROR_SIZE : SL_OK;
}
