/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Overlap of oriented boxes, in float64: the exact intersection of two rectangles (Sutherland and Hodgman 1974, in the
 * frame of one of them), and ProbIoU (Llerena et al., "Gaussian Bounding Boxes and Probabilistic Intersection-over-Union
 * for Object Detection", 2021), with the small numbers that Ultralytics adds.
 */
#include "boxes/overlap.h"

#include <math.h>

enum { MOST_CORNERS = 8 };

static const double TINY = 1e-7;

/* Sine and cosine from their series after taking off quarter turns: the same bits whatever the C library. */
static void turn_of(double angle, double *sine, double *cosine) {
    const double quarter = 1.57079632679489661923, rest_of_quarter = 6.123233995736766e-17;
    const double turns = floor(fmod(angle, 4.0 * quarter) / quarter + 0.5);
    const double r = (fmod(angle, 4.0 * quarter) - turns * quarter) - turns * rest_of_quarter, rr = r * r;
    double s = 1.0, c = 1.0;
    for (int k = 8; k >= 1; k--) {
        s = 1.0 - s * rr / (double)(2 * k * (2 * k + 1));
        c = 1.0 - c * rr / (double)(2 * k * (2 * k - 1));
    }
    s *= r;
    const int quadrant = (int)turns & 3;
    *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
    *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}

sl_oriented_box sl_oriented_box_of(const float *box) {
    sl_oriented_box b = {.x = (double)box[0], .y = (double)box[1]};
    const double width = box[2] > 0.0F ? (double)box[2] : 0.0, height = box[3] > 0.0F ? (double)box[3] : 0.0;
    b.half_width = 0.5 * width;
    b.half_height = 0.5 * height;
    b.area = width * height;
    turn_of((double)box[4], &b.sine, &b.cosine);
    const double along = width * width / 12.0, across = height * height / 12.0;
    b.xx = along * b.cosine * b.cosine + across * b.sine * b.sine;
    b.yy = along * b.sine * b.sine + across * b.cosine * b.cosine;
    b.xy = (along - across) * b.cosine * b.sine;
    return b;
}

/* ---- exact ---- */

typedef struct corner {
    double x, y;
} corner;

/* The part of a convex polygon where sign * (x or y) <= limit. */
static int cut(const corner *from, int count, corner *to, bool by_x, double sign, double limit) {
    int left = 0;
    for (int i = 0; i < count; i++) {
        const corner p = from[i], n = from[i + 1 < count ? i + 1 : 0];
        const double here = sign * (by_x ? p.x : p.y) - limit, there = sign * (by_x ? n.x : n.y) - limit;
        if (here <= 0.0) to[left++] = p;
        if ((here < 0.0 && there > 0.0) || (here > 0.0 && there < 0.0)) {
            const double part = here / (here - there);
            to[left++] = (corner){p.x + part * (n.x - p.x), p.y + part * (n.y - p.y)};
        }
    }
    return left;
}

static double area_of(const corner *corners, int count) {
    double twice = 0.0;
    for (int i = 1; i + 1 < count; i++)
        twice += (corners[i].x - corners[0].x) * (corners[i + 1].y - corners[0].y) -
                 (corners[i].y - corners[0].y) * (corners[i + 1].x - corners[0].x);
    return 0.5 * fabs(twice);
}

/* b's corners, counter-clockwise, in a's frame: a's centre is the origin, its sides are upright. */
static void corners_in_frame(const sl_oriented_box *a, const sl_oriented_box *b, corner *corners) {
    const double dx = b->x - a->x, dy = b->y - a->y;
    const double x = dx * a->cosine + dy * a->sine, y = dy * a->cosine - dx * a->sine;
    const double cosine = b->cosine * a->cosine + b->sine * a->sine, sine = b->sine * a->cosine - b->cosine * a->sine;
    const double ux = b->half_width * cosine, uy = b->half_width * sine;
    const double vx = -b->half_height * sine, vy = b->half_height * cosine;
    corners[0] = (corner){x - ux - vx, y - uy - vy};
    corners[1] = (corner){x + ux - vx, y + uy - vy};
    corners[2] = (corner){x + ux + vx, y + uy + vy};
    corners[3] = (corner){x - ux + vx, y - uy + vy};
}

static double intersection(const sl_oriented_box *a, const sl_oriented_box *b) {
    corner one[MOST_CORNERS + 1], other[MOST_CORNERS + 1];
    corners_in_frame(a, b, one);
    int count = cut(one, 4, other, true, 1.0, a->half_width);
    count = cut(other, count, one, true, -1.0, a->half_width);
    count = cut(one, count, other, false, 1.0, a->half_height);
    count = cut(other, count, one, false, -1.0, a->half_height);
    return area_of(one, count);
}

/* Two strips that cross at this sine meet in a parallelogram; with the areas it bounds the intersection from above. */
static double most_intersection(const sl_oriented_box *a, const sl_oriented_box *b) {
    const double sine = fabs(b->sine * a->cosine - b->cosine * a->sine);
    const double cosine = fabs(b->cosine * a->cosine + b->sine * a->sine);
    const double like = fmin(a->half_width * b->half_width, a->half_height * b->half_height);
    const double unlike = fmin(a->half_width * b->half_height, a->half_height * b->half_width);
    double most = fmin(a->area, b->area);
    if (most * sine > 4.0 * like) most = 4.0 * like / sine;
    if (most * cosine > 4.0 * unlike) most = 4.0 * unlike / cosine;
    return most * (1.0 + 1e-9);
}

static bool polygons_overlap(const sl_oriented_box *a, const sl_oriented_box *b, double limit) {
    const double most = most_intersection(a, b);
    if (most <= limit * (a->area + b->area - most)) return false;
    const double inter = intersection(a, b);
    return inter / (a->area + b->area - inter) > limit;
}

/* ---- Gaussians ---- */

/* ProbIoU > limit where the Bhattacharyya distance is below this. */
static double most_distance(double limit) {
    const double far = 1.0 - limit, inside = 1.0 + TINY - far * far;
    return inside > 0.0 ? -log(inside) : 100.0;
}

static bool gaussians_overlap(const sl_oriented_box *a, const sl_oriented_box *b, double limit) {
    const double xx = a->xx + b->xx, yy = a->yy + b->yy, xy = a->xy + b->xy, dx = a->x - b->x, dy = a->y - b->y;
    const double both = xx * yy - xy * xy;
    const double place = 0.25 * (xx * dy * dy + yy * dx * dx) / (both + TINY) - 0.5 * xy * dx * dy / (both + TINY);
    const double own_a = a->xx * a->yy - a->xy * a->xy, own_b = b->xx * b->yy - b->xy * b->xy;
    const double own = sqrt((own_a > 0.0 ? own_a : 0.0) * (own_b > 0.0 ? own_b : 0.0));
    const double shape = 0.5 * log(both / (4.0 * own + TINY) + TINY), sum = place + shape;
    const double distance = sum < TINY ? TINY : sum > 100.0 ? 100.0 : sum;
    return 1.0 - sqrt(1.0 - exp(-distance) + TINY) > limit;
}

bool sl_oriented_overlaps(const sl_oriented_box *a, const sl_oriented_box *b, const sl_oriented_options *options) {
    return options->overlap == SL_ORIENTED_POLYGON ? polygons_overlap(a, b, options->limit)
                                                   : gaussians_overlap(a, b, options->limit);
}

/* ---- reach ---- */

/*
 * Place alone is at least |d|^2 / (4 (v + w)), v and w the greatest variances, so at |dx| > sqrt(4 D) (sqrt v + sqrt w)
 * the distance exceeds D. Where the covariance is as small as the numbers added to it, the reach is not known.
 */
static double reach_of_gaussian(const sl_oriented_box *box, double limit) {
    const double longest = 2.0 * fmax(box->half_width, box->half_height), most = most_distance(limit);
    if (!(box->area > 1.0) || most >= 15.0) return INFINITY;
    return 1.001 * sqrt(4.0 * most / 12.0) * longest + 1e-3;
}

static float clamped(double value) { return (float)fmax(fmin(value, 1e15), -1e15); }

void sl_oriented_around(const sl_oriented_box *box, const sl_oriented_options *options, float *around) {
    double x = fabs(box->half_width * box->cosine) + fabs(box->half_height * box->sine);
    double y = fabs(box->half_width * box->sine) + fabs(box->half_height * box->cosine);
    if (options->overlap == SL_ORIENTED_PROBIOU) x = y = reach_of_gaussian(box, options->limit);
    x = x * (1.0 + 1e-6) + 1e-6 * fabs(box->x) + 1e-9;
    y = y * (1.0 + 1e-6) + 1e-6 * fabs(box->y) + 1e-9;
    around[0] = clamped(box->x - x);
    around[1] = clamped(box->y - y);
    around[2] = clamped(box->x + x);
    around[3] = clamped(box->y + y);
}
