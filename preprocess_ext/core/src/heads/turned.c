/* SPDX-License-Identifier: Apache-2.0 */
/* Boxes with an angle. */
#include <math.h>

#include "heads/heads.h"

bool sl_turned_row(const sl_view *view, const sl_group *group, size_t anchor, float *row) {
    const float most = 1e9F; /* what suppression takes */
    bool sound = true;
    for (size_t i = 0; i < 4; i++) row[i] = sl_lane(&group->boxes, i, anchor) * (i & 1 ? view->scale_y : view->scale_x);
    row[4] = sl_lane(&group->extras, 0, anchor);
    for (size_t i = 0; i < 5; i++) sound &= fabsf(row[i]) <= most;
    return sound;
}

bool sl_turned_box(const sl_view *view, const sl_group *group, size_t anchor, float *box) {
    float row[5];
    return sl_turned_row(view, group, anchor, row) && sl_centre_box(view, group, anchor, box);
}

/* Sine and cosine of |angle| <= 1e9 from their series after taking off quarter turns: no C library, the same bits. */
static void turn_of(double angle, double *sine, double *cosine) {
    const double quarter = 1.5707963267948966, turns = rint(angle / quarter), r = angle - turns * quarter, rr = r * r;
    double s = 0.0, c = 0.0;
    for (int k = 10; k >= 1; k--) {
        s = (s + 1.0) * -rr / (double)(2 * k * (2 * k + 1));
        c = (c + 1.0) * -rr / (double)((2 * k - 1) * 2 * k);
    }
    s = (s + 1.0) * r;
    c += 1.0;
    int64_t quadrant = (int64_t)turns & 3;
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
    *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}

/* The arc tangent of |x| <= 1/4 from its series. */
static double small_arc_tangent(double x) {
    double sum = 0.0;
    for (int k = 14; k >= 0; k--) sum = 1.0 / (double)(2 * k + 1) - x * x * sum;
    return x * sum;
}

/* x = tan a: halve the angle until the series is short, tan(a / 2) = tan a / (1 + sqrt(1 + tan^2 a)). */
static double arc_tangent(double x) {
    double halves = 1.0;
    for (; fabs(x) > 0.25; halves *= 2.0) x = x / (1.0 + sqrt(1.0 + x * x));
    return halves * small_arc_tangent(x);
}

static float narrow(double value) {
    const double most = 3e38; /* a scale may be tiny */
    return (float)(value > most ? most : value < -most ? -most : value);
}

/*
 * The axes of the box are mapped one by one: exact where both scales are equal, else the rectangle nearest to the
 * parallelogram that the box becomes. The turn between the old and the new first axis is added to the angle.
 */
void sl_turned_to_source(const float *geometry, const float *row, float *box, float *angle) {
    double sine, cosine, scale_x = (double)geometry[3], scale_y = (double)geometry[4];
    turn_of((double)row[4], &sine, &cosine);
    double ux = cosine / scale_x, uy = sine / scale_y, vx = sine / scale_x, vy = cosine / scale_y;
    double half_width = 0.5 * (double)row[2] * sqrt(ux * ux + uy * uy);
    double half_height = 0.5 * (double)row[3] * sqrt(vx * vx + vy * vy);
    double x = ((double)row[0] - (double)geometry[5]) / scale_x, y = ((double)row[1] - (double)geometry[6]) / scale_y;
    box[0] = narrow(x - half_width);
    box[1] = narrow(y - half_height);
    box[2] = narrow(x + half_width);
    box[3] = narrow(y + half_height);
    double along = cosine * ux + sine * uy, across = cosine * uy - sine * ux;
    *angle = scale_x == scale_y ? row[4] : (float)((double)row[4] + arc_tangent(across / along));
}
