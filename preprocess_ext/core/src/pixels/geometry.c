/* SPDX-License-Identifier: Apache-2.0 */
/* The only place that knows how source pixels and network pixels map to each other. */
#include <math.h>

#include "pixels/pixels.h"

enum { MAX_RESIZED = 1 << 24 }; /* whole numbers up to here are exact as floats */

static bool side_ok(int32_t side) { return side >= 1 && side <= SL_MAX_SIDE; }

static int32_t clamp_side(double value, int32_t most) {
    if (value < 1.0) return 1;
    return value > (double)most ? most : (int32_t)value;
}

static int32_t half_padding(int32_t outer, int32_t inner) {
    double half = rint((double)(outer - inner) / 2.0 - 0.1);
    return half < 0.0 ? 0 : (int32_t)half;
}

/* The picture's size is set; the rest follows. */
static void place(sl_geometry *g, int32_t pad_left, int32_t pad_top) {
    g->pad_left = pad_left;
    g->pad_top = pad_top;
    g->scale_x = (double)g->resized_width / g->source_width;
    g->scale_y = (double)g->resized_height / g->source_height;
}

sl_status sl_geometry_fit(int32_t source_width, int32_t source_height, int32_t network_width, int32_t network_height,
                          sl_resize resize, sl_geometry *geometry) {
    if (geometry == NULL) return SL_ERROR_NULL;
    if ((unsigned)resize > SL_CENTRE_CROP) return SL_ERROR_FORMAT;
    if (resize == SL_CENTRE_CROP)
        return sl_geometry_crop(source_width, source_height, network_width, network_height, 0, geometry);
    if (!side_ok(source_width) || !side_ok(source_height)) return SL_ERROR_SIZE;
    if (!side_ok(network_width) || !side_ok(network_height)) return SL_ERROR_SIZE;
    sl_geometry g = {.source_width = source_width, .source_height = source_height};
    g.resized_width = network_width;
    g.resized_height = network_height;
    if (resize != SL_STRETCH) {
        double by_width = (double)network_width / source_width, by_height = (double)network_height / source_height;
        double ratio = by_width < by_height ? by_width : by_height;
        g.resized_width = clamp_side(rint(source_width * ratio), network_width);
        g.resized_height = clamp_side(rint(source_height * ratio), network_height);
    }
    bool corner = resize == SL_LETTERBOX_CORNER;
    place(&g, corner ? 0 : half_padding(network_width, g.resized_width),
          corner ? 0 : half_padding(network_height, g.resized_height));
    *geometry = g;
    return SL_OK;
}

static int32_t half_rest(int64_t resized, int32_t network) { return (int32_t)rint((double)(resized - network) / 2.0); }

sl_status sl_geometry_crop(int32_t source_width, int32_t source_height, int32_t network_width, int32_t network_height,
                           int32_t short_side, sl_geometry *geometry) {
    if (geometry == NULL) return SL_ERROR_NULL;
    if (!side_ok(source_width) || !side_ok(source_height)) return SL_ERROR_SIZE;
    if (!side_ok(network_width) || !side_ok(network_height)) return SL_ERROR_SIZE;
    if (short_side < 0 || short_side > SL_MAX_SIDE) return SL_ERROR_SIZE;
    int64_t width = source_width, height = source_height, wide, high;
    bool by_width = short_side > 0 ? width <= height : width * network_height <= height * network_width;
    if (by_width) {
        wide = short_side > 0 ? short_side : network_width;
        high = wide * height / width;
    } else {
        high = short_side > 0 ? short_side : network_height;
        wide = high * width / height;
    }
    if (wide < network_width || high < network_height || wide > MAX_RESIZED || high > MAX_RESIZED) return SL_ERROR_SIZE;
    sl_geometry g = {.source_width = source_width, .source_height = source_height};
    g.resized_width = (int32_t)wide;
    g.resized_height = (int32_t)high;
    place(&g, -half_rest(wide, network_width), -half_rest(high, network_height));
    *geometry = g;
    return SL_OK;
}

void sl_geometry_to_floats(const sl_geometry *geometry, float *floats) {
    floats[0] = 1.0F;
    floats[1] = (float)geometry->source_width;
    floats[2] = (float)geometry->source_height;
    floats[3] = (float)geometry->scale_x;
    floats[4] = (float)geometry->scale_y;
    floats[5] = (float)geometry->pad_left;
    floats[6] = (float)geometry->pad_top;
}

sl_status sl_geometry_check(const float *floats) {
    if (floats == NULL) return SL_ERROR_NULL;
    for (int i = 0; i < SL_GEOMETRY_FLOATS; i++)
        if (!isfinite(floats[i])) return SL_ERROR_GEOMETRY;
    bool invertible = floats[3] > 0.0F && floats[4] > 0.0F && isnormal(floats[3]) && isnormal(floats[4]);
    bool sized = floats[1] >= 1.0F && floats[2] >= 1.0F;
    sized &= floats[1] <= (float)SL_MAX_SIDE && floats[2] <= (float)SL_MAX_SIDE;
    return floats[0] == 1.0F && invertible && sized ? SL_OK : SL_ERROR_GEOMETRY;
}

static float clip(float value, float most) { return value < 0.0F ? 0.0F : value > most ? most : value; }

static float to_source(const float *floats, int axis, float value) {
    return clip((value - floats[5 + axis]) / floats[3 + axis], floats[1 + axis]);
}

static float to_network(const float *floats, int axis, float value) {
    return value * floats[3 + axis] + floats[5 + axis];
}

void sl_box_to_source(const float *floats, const float *network_box, float *source_box) {
    for (int i = 0; i < 4; i++) source_box[i] = to_source(floats, i & 1, network_box[i]);
}

void sl_point_to_source(const float *floats, const float *network_point, float *source_point) {
    for (int axis = 0; axis < 2; axis++) source_point[axis] = to_source(floats, axis, network_point[axis]);
}

void sl_points_to_source(const float *floats, const float *network_points, size_t count, size_t step,
                         float *source_points) {
    for (size_t i = 0; i < count; i++) sl_point_to_source(floats, network_points + i * step, source_points + i * step);
}

void sl_box_to_region(const float *floats, const float *source_box, int32_t *region) {
    for (int axis = 0; axis < 2; axis++) {
        float low = source_box[axis], high = source_box[axis + 2], most = floorf(floats[1 + axis]);
        bool some = isfinite(low) && isfinite(high) && high > low && high > 0.0F && low < most;
        int32_t first = some ? (int32_t)floorf(clip(low, most)) : 0;
        region[axis] = first;
        region[axis + 2] = some ? (int32_t)ceilf(clip(high, most)) - first : 0;
    }
    if (region[2] == 0 || region[3] == 0) region[2] = region[3] = 0;
}

void sl_box_to_network(const float *floats, const float *source_box, float *network_box) {
    for (int i = 0; i < 4; i++) network_box[i] = to_network(floats, i & 1, source_box[i]);
}

void sl_pixel_to_network(const float *floats, int32_t x, int32_t y, float *network_point) {
    network_point[0] = to_network(floats, 0, (float)x + 0.5F);
    network_point[1] = to_network(floats, 1, (float)y + 0.5F);
}
