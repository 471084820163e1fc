/* SPDX-License-Identifier: Apache-2.0 */
/* Raw frames to the network's input. Texts and checks are those of the Python stage (sightline.frame, pixels.py). */
#include <inttypes.h>
#include <string.h>

#include "items.h"

enum { INFO_FIELDS = 4 };

static const char *const format_names[] = {"I420", "NV12", "RGB", "BGR"};

bool frames_of(call *request, frames *out, failure *why) {
    if (!request->input(request, "FRAME", ELEMENT_U8, &out->frame, why)) return false;
    if (!request->input(request, "FRAME_INFO", ELEMENT_I32, &out->info, why)) return false;
    const tensor *frame = &out->frame, *info = &out->info;
    if (frame->rank != 2 || info->rank != 2 || info->shape[1] != INFO_FIELDS || frame->shape[0] != info->shape[0])
        return fail(why, FAILURE_BAD_INPUT, "FRAME must be [items, bytes] and FRAME_INFO [items, 4], with equal items");
    if (frame->shape[0] < 1 || frame->shape[0] > MAX_ITEMS)
        return fail(why, FAILURE_BAD_INPUT, "the request has %" PRId64 " items; it must have 1..%d", frame->shape[0],
                    MAX_ITEMS);
    out->items = (size_t)frame->shape[0];
    return true;
}

static bool bad_sides(int64_t width, int64_t height, failure *why) {
    return fail(why, FAILURE_BAD_INPUT,
                "[bad_frame] frame is %" PRId64 "x%" PRId64 "; width and height must be at least 1 and their product "
                "at most %d",
                width, height, MAX_PIXELS);
}

static bool check_frame(const int32_t *info, size_t bytes, failure *why) {
    int64_t width = info[0], height = info[1];
    if (info[2] < SL_I420 || info[2] > SL_BGR || info[3] < SL_BT601_LIMITED || info[3] > SL_BT709_FULL)
        return fail(why, FAILURE_BAD_INPUT,
                    "[bad_frame] FRAME_INFO is [%" PRId32 ", %" PRId32 ", %" PRId32 ", %" PRId32 "]; it must be [width, "
                    "height, pixel format 0..3, colour 0..3]",
                    info[0], info[1], info[2], info[3]);
    if (width < 1 || height < 1 || width * height > MAX_PIXELS) return bad_sides(width, height, why);
    bool packed = info[2] == SL_RGB || info[2] == SL_BGR;
    int64_t need = packed ? width * height * 3 : width * height + 2 * ((width + 1) / 2) * ((height + 1) / 2);
    if ((uint64_t)need > bytes)
        return fail(why, FAILURE_BAD_INPUT,
                    "[bad_frame] frame data has %zu bytes; %" PRId64 "x%" PRId64 " %s needs %" PRId64, bytes, width,
                    height, format_names[info[2]], need);
    if (width > SL_MAX_SIDE || height > SL_MAX_SIDE)
        return fail(why, FAILURE_BAD_INPUT,
                    "[bad_frame] frame is %" PRId64 "x%" PRId64 "; width and height must be at most %d pixels", width,
                    height, SL_MAX_SIDE);
    return true;
}

/* The shorter side may be too short for the other side of the input, and a strip too long to be resized at all. */
static bool no_cover(const settings *options, const int32_t *info, failure *why) {
    return fail(why, FAILURE_BAD_INPUT,
                "[bad_frame] frame is %" PRId32 "x%" PRId32 "; resized for the crop it does not cover the network's input "
                "of %" PRId32 "x%" PRId32 ", or is too long: use another input.resize or a larger input.short_side",
                info[0], info[1], options->width, options->height);
}

bool frame_convert(instance *self, const frames *from, size_t index, float *out, float *geometry, failure *why) {
    const settings *options = self->options;
    size_t bytes = (size_t)from->frame.shape[1];
    int32_t info[INFO_FIELDS];
    sl_image image;
    sl_geometry fit;
    memcpy(info, (const int32_t *)from->info.data + index * INFO_FIELDS, sizeof info);
    if (!check_frame(info, bytes, why)) return false;
    const uint8_t *data = (const uint8_t *)from->frame.data + index * bytes;
    sl_status status = sl_image_from_packed(data, bytes, info[0], info[1], (sl_pixel_format)info[2],
                                            (sl_colour_space)info[3], &image);
    if (!core_ok(status, FAILURE_INTERNAL, why)) return false;
    size_t need = sl_letterbox_scratch_bytes(info[0], options->width);
    void *work = scratch_take(&self->memory, BLOCK_WORK, need, why);
    if (work == NULL) return false;
    status = sl_letterbox(&image, &options->letterbox, options->width, options->height, out, &fit, work, need);
    if (status == SL_ERROR_SIZE && options->letterbox.resize == SL_CENTRE_CROP) return no_cover(options, info, why);
    if (!core_ok(status, FAILURE_INTERNAL, why)) return false;
    sl_geometry_to_floats(&fit, geometry);
    return true;
}

/* In a request of several items a bad one fails alone: its tensor and geometry are zero and it gets a note. */
static bool convert_all(instance *self, const frames *from, float *tensors, float *geometry, const notes *errors,
                        failure *why) {
    size_t values = (size_t)3 * (size_t)self->options->width * (size_t)self->options->height;
    for (size_t i = 0; i < from->items; i++) {
        float *out = tensors + i * values, *fit = geometry + i * SL_GEOMETRY_FLOATS;
        if (frame_convert(self, from, i, out, fit, why)) continue;
        if (from->items == 1 || why->kind != FAILURE_BAD_INPUT) return false;
        memset(out, 0, values * sizeof *out);
        memset(fit, 0, SL_GEOMETRY_FLOATS * sizeof *fit);
        memcpy(errors->text[i], why->text, sizeof why->text);
    }
    return true;
}

bool run_letterbox(instance *self, call *request, failure *why) {
    frames from;
    notes errors;
    void *tensors, *geometry;
    if (!frames_of(request, &from, why) || !notes_take(self, from.items, &errors, why)) return false;
    int64_t form[4] = {(int64_t)from.items, 3, self->options->height, self->options->width};
    int64_t fit[2] = {(int64_t)from.items, SL_GEOMETRY_FLOATS};
    size_t values = (size_t)3 * (size_t)self->options->width * (size_t)self->options->height;
    if (!request->output(request, "TENSOR", ELEMENT_F32, form, 4, 0, &tensors, why)) return false;
    if (!request->output(request, "GEOMETRY", ELEMENT_F32, fit, 2, 0, &geometry, why)) return false;
    if (tensors == NULL) /* nobody asked for it; errors and geometry still follow from the work */
        tensors = scratch_take(&self->memory, BLOCK_TENSOR, from.items * values * sizeof(float), why);
    if (geometry == NULL)
        geometry = scratch_take(&self->memory, BLOCK_GEOMETRY, from.items * SL_GEOMETRY_FLOATS * sizeof(float), why);
    if (tensors == NULL || geometry == NULL) return false;
    return convert_all(self, &from, tensors, geometry, &errors, why) && notes_send(request, &errors, why);
}
