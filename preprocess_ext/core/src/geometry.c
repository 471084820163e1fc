/* SPDX-License-Identifier: Apache-2.0 */
/* The only place that knows how source pixels and network pixels map to each other. */
#include <math.h>

#include "internal.h"

static bool side_ok(int32_t side) { return side >= 1 && side <= SL_MAX_SIDE; }

static int32_t clamp_side(double value, int32_t most) {
    if (value < 1.0) return 1;
    return value > (double)most ? most : (int32_t)value;
}

static int32_t half_padding(int32_t outer, int32_t inner) {
    double half = rint((double)(outer - inner) / 2.0 - 0.1);
    return half < 0.0 ? 0 : (int32_t)half;
}

sl_status sl_geometry_fit(int32_t source_width, int32_t source_height, int32_t network_width, int32_t network_height,
                          sl_resize resize, sl_geometry *geometry) {
    if (geometry == NULL) return SL_ERROR_NULL;
    if (!side_ok(source_width) || !side_ok(source_height)) return SL_ERROR_SIZE;
    if (!side_ok(network_width) || !side_ok(network_height)) return SL_ERROR_SIZE;
    if (resize != SL_LETTERBOX && resize != SL_STRETCH) return SL_ERROR_FORMAT;
    sl_geometry g = {.source_width = source_width, .source_height = source_height};
    g.resized_width = network_width;
    g.resized_height = network_height;
    if (resize == SL_LETTERBOX) {
        double by_width = (double)network_width / source_width, by_height = (double)network_height / source_height;
        double ratio = by_width < by_height ? by_width : by_height;
        g.resized_width = clamp_side(rint(source_width * ratio), network_width);
        g.resized_height = clamp_side(rint(source_height * ratio), network_height);
    }
    g.pad_left = half_padding(network_width, g.resized_width);
    g.pad_top = half_padding(network_height, g.resized_height);
    g.scale_x = (double)g.resized_width / source_width;
    g.scale_y = (double)g.resized_height / source_height;
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
    return floats[0] == 1.0F && invertible && sized ? SL_OK : SL_ERROR_GEOMETRY;
}

static float clip(float value, float most) { return value < 0.0F ? 0.0F : value > most ? most : value; }

void sl_box_to_source(const float *floats, const float *network_box, float *source_box) {
    for (int i = 0; i < 4; i++) {
        int axis = i & 1;
        source_box[i] = clip((network_box[i] - floats[5 + axis]) / floats[3 + axis], floats[1 + axis]);
    }
}
