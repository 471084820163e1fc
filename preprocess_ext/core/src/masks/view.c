/* SPDX-License-Identifier: Apache-2.0 */
/* Which cells of a map of logits a mask shows, and which of its pixels a box holds. */
#include <math.h>

#include "masks/view.h"
#include "sightline_core/geometry.h"

enum { MOST_CUT = 1 << 24 }; /* whole numbers up to here are exact as floats */

bool sl_mask_view_ok(const sl_mask_view *view) {
    if (!sl_side_ok(view->map_width, SL_MAX_MASK_SIDE) || !sl_side_ok(view->map_height, SL_MAX_MASK_SIDE)) return false;
    if (!sl_side_ok(view->out_width, SL_MAX_SIDE) || !sl_side_ok(view->out_height, SL_MAX_SIDE)) return false;
    if (view->factor < 1 || view->factor > SL_MAX_SIDE / view->map_width) return false;
    if (view->factor > SL_MAX_SIDE / view->map_height || view->width < 1 || view->height < 1) return false;
    return sl_mask_cut_fits(view->left, view->width, view->map_width * view->factor) &&
           sl_mask_cut_fits(view->top, view->height, view->map_height * view->factor);
}

bool sl_mask_cut_fits(int32_t first, int32_t count, int32_t cells) {
    if (first < -MOST_CUT || first > MOST_CUT || count < 1 || count > MOST_CUT) return false;
    return (first >= 0 && first + count <= cells) || sl_mask_cut_covers(first, count, cells);
}

static int32_t common_divisor(int32_t a, int32_t b) {
    while (b != 0) {
        int32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a < 0 ? -a : a;
}

/* Where the whole resized picture lies in the network's input, in whole pixels. */
static bool content(const float *geometry, int32_t network_width, int32_t network_height, sl_region *region) {
    const double width = rint((double)geometry[1] * (double)geometry[3]);
    const double height = rint((double)geometry[2] * (double)geometry[4]);
    const double left = (double)geometry[5], top = (double)geometry[6];
    if (left != rint(left) || top != rint(top) || !(fabs(left) <= MOST_CUT) || !(fabs(top) <= MOST_CUT)) return false;
    if (!(width <= MOST_CUT) || !(height <= MOST_CUT)) return false;
    *region = (sl_region){(int32_t)left, (int32_t)top, (int32_t)width, (int32_t)height};
    return sl_mask_cut_fits(region->x, region->width, network_width) &&
           sl_mask_cut_fits(region->y, region->height, network_height);
}

static sl_status check_sizes(int32_t network_width, int32_t network_height, int32_t map_width, int32_t map_height,
                             const sl_mask_view *view) {
    if (view == NULL) return SL_ERROR_NULL;
    bool network = sl_side_ok(network_width, SL_MAX_SIDE) && sl_side_ok(network_height, SL_MAX_SIDE);
    bool map = sl_side_ok(map_width, SL_MAX_MASK_SIDE) && sl_side_ok(map_height, SL_MAX_MASK_SIDE);
    return network && map ? SL_OK : SL_ERROR_SIZE;
}

sl_status sl_mask_view_source(const float *geometry, int32_t network_width, int32_t network_height, int32_t map_width,
                              int32_t map_height, sl_mask_view *view) {
    sl_status status = check_sizes(network_width, network_height, map_width, map_height, view);
    if (status != SL_OK) return status;
    const int32_t cell = network_width / map_width;
    if (cell < 1 || network_width != cell * map_width || network_height != cell * map_height) return SL_ERROR_SIZE;
    status = sl_geometry_check(geometry);
    if (status != SL_OK) return status;
    sl_region picture;
    if (!content(geometry, network_width, network_height, &picture)) return SL_ERROR_GEOMETRY;
    int32_t step = common_divisor(common_divisor(cell, picture.x), common_divisor(cell, picture.y));
    step = common_divisor(common_divisor(step, picture.width), common_divisor(step, picture.height));
    *view = (sl_mask_view){.map_width = map_width, .map_height = map_height, .factor = cell / step};
    view->left = picture.x / step;
    view->top = picture.y / step;
    view->width = picture.width / step;
    view->height = picture.height / step;
    view->out_width = (int32_t)geometry[1];
    view->out_height = (int32_t)geometry[2];
    return SL_OK;
}

sl_status sl_mask_view_network(int32_t network_width, int32_t network_height, int32_t map_width, int32_t map_height,
                               sl_mask_view *view) {
    sl_status status = check_sizes(network_width, network_height, map_width, map_height, view);
    if (status != SL_OK) return status;
    *view = (sl_mask_view){.map_width = map_width, .map_height = map_height, .factor = 1};
    view->width = map_width;
    view->height = map_height;
    view->out_width = network_width;
    view->out_height = network_height;
    return SL_OK;
}

/* The first whole number that is not below `edge`, in 0..most. */
static int32_t first_pixel(float edge, int32_t most) {
    float pixel = ceilf(edge);
    if (!(pixel > 0.0F)) return 0;
    return pixel < (float)most ? (int32_t)pixel : most;
}

sl_status sl_mask_region(const sl_mask_view *view, const float *box, sl_region *region) {
    if (view == NULL || box == NULL || region == NULL) return SL_ERROR_NULL;
    if (!sl_mask_view_ok(view)) return SL_ERROR_SIZE;
    for (int i = 0; i < 4; i++)
        if (!isfinite(box[i])) return SL_ERROR_VALUE;
    int32_t left = first_pixel(box[0], view->out_width), right = first_pixel(box[2], view->out_width);
    int32_t top = first_pixel(box[1], view->out_height), bottom = first_pixel(box[3], view->out_height);
    bool empty = right <= left || bottom <= top;
    *region = empty ? (sl_region){left, top, 0, 0} : (sl_region){left, top, right - left, bottom - top};
    return SL_OK;
}
