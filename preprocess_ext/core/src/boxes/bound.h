/* SPDX-License-Identifier: Apache-2.0 */
/* The bounds of a leaf: compiled once for each set of instructions. Not installed. */
#ifndef SL_BOUND_H
#define SL_BOUND_H

#include <math.h>

#include "boxes/lanes.h"
#include "boxes/leaves.h"
#include "boxes/rounding.h"

static void bound_leaf(const sl_tiles *tiles, size_t leaf) {
    const sl_leaves *leaves = &tiles->leaves;
    float low_x[LANES], high_x[LANES], low_y[LANES], high_y[LANES], least[LANES], most[LANES];
    for (size_t i = 0; i < LANES; i++) {
        low_x[i] = low_y[i] = least[i] = INFINITY;
        high_x[i] = high_y[i] = -INFINITY;
        most[i] = 0.0F;
    }
    for (size_t start = leaf * SL_LEAF; start < (leaf + 1) * SL_LEAF; start += LANES)
        for (size_t i = 0; i < LANES; i++) {
            const size_t at = start + i;
            const float x1 = leaves->x1[at], y1 = leaves->y1[at], x2 = leaves->x2[at], y2 = leaves->y2[at];
            const float area = leaves->area[at], shift = tiles->class_step * (float)leaves->class_id[at];
            const float shrink = area >= SL_SMALL_AREA ? tiles->shrink : 0.0F;
            const float far_away = area > 0.0F ? 0.0F : INFINITY; /* past the last box */
            const float in_x = shrink * (x2 - x1) - SL_SLACK * (fabsf(x1) + fabsf(x2));
            const float in_y = shrink * (y2 - y1) - SL_SLACK * (fabsf(y1) + fabsf(y2));
            low_x[i] = smaller(x1 + in_x + shift + far_away, low_x[i]);
            high_x[i] = larger(x2 - in_x + shift - far_away, high_x[i]);
            low_y[i] = smaller(y1 + in_y + far_away, low_y[i]);
            high_y[i] = larger(y2 - in_y - far_away, high_y[i]);
            least[i] = smaller(area + far_away, least[i]);
            most[i] = larger(area, most[i]);
        }
    const sl_bounds *to = &tiles->leaf;
    to->low_x[leaf] = least_of(low_x);
    to->high_x[leaf] = most_of(high_x);
    to->low_y[leaf] = least_of(low_y);
    to->high_y[leaf] = most_of(high_y);
    to->least_area[leaf] = least_of(least);
    to->most_area[leaf] = most_of(most);
}

#endif
