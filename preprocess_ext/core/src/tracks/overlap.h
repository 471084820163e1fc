/* SPDX-License-Identifier: Apache-2.0 */
/* The loop that each variant compiles for its own instructions; element by element, so all give the same bits. */
#ifndef SL_TRACKS_OVERLAP_H
#define SL_TRACKS_OVERLAP_H

#include "tracks/tracks.h"

static inline float larger(float a, float b) { return a > b ? a : b; }
static inline float smaller(float a, float b) { return a < b ? a : b; }

static inline float overlap_cost(float width, float height, float area, float other_area) {
    const float inter = larger(width, 0.0F) * larger(height, 0.0F);
    return 1.0F - inter / (other_area + area - inter + 1e-7F);
}

#define SL_COST_ROW(name)                                                                                         \
    void name(const float *xyxy, const sl_boxes *boxes, const float *scores, size_t count, float *cost) {         \
        const float left = xyxy[0], top = xyxy[1], right = xyxy[2], bottom = xyxy[3];                             \
        const float area = (right - left) * (bottom - top);                                                       \
        const float *restrict x1 = boxes->x1, *restrict y1 = boxes->y1, *restrict x2 = boxes->x2;                 \
        const float *restrict y2 = boxes->y2, *restrict areas = boxes->area;                                      \
        float *restrict out = cost;                                                                               \
        for (size_t k = 0; k < count; k++)                                                                        \
            out[k] = overlap_cost(smaller(right, x2[k]) - larger(left, x1[k]),                                    \
                                  smaller(bottom, y2[k]) - larger(top, y1[k]), area, areas[k]);                   \
        if (scores == NULL) return;                                                                               \
        for (size_t k = 0; k < count; k++) out[k] = 1.0F - (1.0F - out[k]) * scores[k];                           \
    }

#endif
