/* SPDX-License-Identifier: Apache-2.0 */
/* Intersection over union of one box with many. */
#include "tracks/overlap.h"

SL_COST_ROW(sl_cost_row_scalar)

sl_cost_row *sl_cost_row_now(void) {
#if defined(__x86_64__)
    if (sl_cpu() >= SL_CPU_AVX512) return sl_cost_row_avx512;
    if (sl_cpu() >= SL_CPU_AVX2) return sl_cost_row_avx2;
#endif
    return sl_cost_row_scalar;
}

void sl_boxes_take(sl_boxes *boxes, sl_arena *arena, size_t count) {
    boxes->x1 = sl_arena_take(arena, count, sizeof(float));
    boxes->y1 = sl_arena_take(arena, count, sizeof(float));
    boxes->x2 = sl_arena_take(arena, count, sizeof(float));
    boxes->y2 = sl_arena_take(arena, count, sizeof(float));
    boxes->area = sl_arena_take(arena, count, sizeof(float));
}

void sl_boxes_set(const sl_boxes *boxes, size_t at, const float *xyxy) {
    boxes->x1[at] = xyxy[0];
    boxes->y1[at] = xyxy[1];
    boxes->x2[at] = xyxy[2];
    boxes->y2[at] = xyxy[3];
    boxes->area[at] = (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1]);
}
