/* SPDX-License-Identifier: Apache-2.0 */
/* How much two oriented boxes overlap; not installed. */
#ifndef SL_OVERLAP_H
#define SL_OVERLAP_H

#include "boxes/boxes.h"

struct sl_oriented_box {
    double x, y, half_width, half_height, cosine, sine, area;
    double xx, yy, xy; /* covariance of its Gaussian: of x, of y, of both */
};

/* From centre x, centre y, width, height, angle. Sizes that are not above 0 give area 0. */
sl_oriented_box sl_oriented_box_of(const float *box);

/*
 * The upright box around all boxes that `box` can overlap by more than `limit`, as far as their own such box reaches:
 * where the two do not meet, neither suppresses the other.
 */
void sl_oriented_around(const sl_oriented_box *box, const sl_oriented_options *options, float *around);

/* Whether they overlap by more than options->limit. Both have an area. */
bool sl_oriented_overlaps(const sl_oriented_box *a, const sl_oriented_box *b, const sl_oriented_options *options);

#endif
