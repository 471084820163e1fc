/* SPDX-License-Identifier: Apache-2.0 */
#include "settings.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "settings_read.h"

static const char *const stage_names[] = {"letterbox", "network", "postprocess", "identity", "fused"};

enum { STAGE_NAMES = sizeof stage_names / sizeof stage_names[0], MAX_PARALLEL = 64, LONGEST_WORD = 32, USUAL_PAD = 114 };

bool settings_missing(const char *name, const char *wanted, failure *why) {
    return fail(why, FAILURE_BAD_INPUT, "the parameter 'sightline' needs \"%s\": %s; " SETTINGS_AGAIN, name, wanted);
}

int settings_word(const json *j, uint32_t object, const char *name, const char *const *words, int count) {
    char text[LONGEST_WORD];
    size_t length;
    if (!json_text(j, json_member(j, object, name), text, sizeof text, &length)) return -1;
    for (int i = 0; i < count; i++)
        if (strcmp(text, words[i]) == 0) return i;
    return -1;
}

uint32_t settings_given(const json *j, uint32_t object, const char *name) {
    uint32_t node = json_member(j, object, name);
    return node == JSON_NONE || json_kind_of(j, node) == JSON_NULL ? JSON_NONE : node;
}

bool settings_optional_word(const json *j, uint32_t object, const char *name, const char *const *words, int count,
                            const char *wanted, int *value, failure *why) {
    if (settings_given(j, object, name) == JSON_NONE) return true;
    *value = settings_word(j, object, name, words, count);
    return *value >= 0 || settings_missing(name, wanted, why);
}

bool settings_optional_integer(const json *j, uint32_t object, const char *name, int64_t low, int64_t high,
                               int32_t *value, failure *why) {
    int64_t number;
    uint32_t node = settings_given(j, object, name);
    if (node == JSON_NONE) return true;
    if (!json_integer(j, node, low, high, &number))
        return fail(why, FAILURE_BAD_INPUT, "the parameter 'sightline' has a \"%s\" outside %d..%d; " SETTINGS_AGAIN,
                    name, (int)low, (int)high);
    *value = (int32_t)number;
    return true;
}

bool settings_optional_flag(const json *j, const char *name, int32_t *value, failure *why) {
    uint32_t node = settings_given(j, JSON_ROOT, name);
    if (node == JSON_NONE) return true;
    json_kind kind = json_kind_of(j, node);
    *value = kind == JSON_TRUE;
    return kind == JSON_TRUE || kind == JSON_FALSE || settings_missing(name, "true or false", why);
}

static bool read_size(const json *j, settings *out, failure *why) {
    uint32_t size = json_member(j, JSON_ROOT, "size");
    int64_t width, height;
    if (json_count(j, size) != 2 || !json_integer(j, json_item(j, size, 0), 1, SL_MAX_SIDE, &width) ||
        !json_integer(j, json_item(j, size, 1), 1, SL_MAX_SIDE, &height))
        return settings_missing("size", "[width, height] of the network's input, pixels", why);
    out->width = (int32_t)width;
    out->height = (int32_t)height;
    return true;
}

static bool read_triple(const json *j, uint32_t object, const char *name, double least, float *values) {
    uint32_t array = json_member(j, object, name);
    if (json_count(j, array) != 3) return false;
    for (uint32_t i = 0; i < 3; i++) {
        double value;
        if (!json_number(j, json_item(j, array, i), &value) || value < least || value > (double)FLT_MAX) return false;
        values[i] = (float)value;
    }
    return true;
}

/* The card's input section by its own names; see settings.h. */
static bool read_letterbox_words(const json *j, uint32_t object, sl_letterbox_options *out, failure *why) {
    static const char *const resizes[] = {"letterbox", "stretch", "corner", "crop"}; /* in the order of sl_resize */
    static const char *const orders[] = {"rgb", "bgr"}, *const filters[] = {"bilinear", "triangle", "box"};
    int resize = settings_word(j, object, "resize", resizes, 4), order = settings_word(j, object, "colour", orders, 2);
    int filter = SL_FILTER_BILINEAR;
    if (resize < 0 || order < 0)
        return settings_missing("letterbox", "\"resize\" of letterbox, stretch, corner, crop; \"colour\" of rgb, bgr", why);
    if (!settings_optional_word(j, object, "filter", filters, 3, "bilinear, triangle or box", &filter, why)) return false;
    out->resize = (sl_resize)resize;
    out->order = (sl_channel_order)order;
    out->filter = (sl_filter)filter;
    return true;
}

static bool read_short_side(const json *j, uint32_t object, settings *out, failure *why) {
    int32_t least = out->width < out->height ? out->width : out->height;
    if (settings_given(j, object, "short_side") == JSON_NONE) return true;
    if (out->letterbox.resize != SL_CENTRE_CROP)
        return settings_missing("resize", "crop, as there is a \"short_side\"", why);
    return settings_optional_integer(j, object, "short_side", least, SL_MAX_SIDE, &out->letterbox.short_side, why);
}

static bool read_letterbox(const json *j, settings *out, failure *why) {
    uint32_t object = json_member(j, JSON_ROOT, "letterbox"), pad = settings_given(j, object, "pad");
    double level = USUAL_PAD;
    if (!read_triple(j, object, "mean", -(double)FLT_MAX, out->letterbox.mean) ||
        !read_triple(j, object, "std", (double)FLT_MIN, out->letterbox.std))
        return settings_missing("letterbox", "three numbers in \"mean\", three above 0 in \"std\"", why);
    if (pad != JSON_NONE && (!json_number(j, pad, &level) || level < 0.0 || level > 255.0))
        return settings_missing("pad", "a level in 0..255", why);
    out->letterbox.pad_value = (float)level;
    return read_letterbox_words(j, object, &out->letterbox, why) && read_size(j, out, why) &&
           read_short_side(j, object, out, why);
}

static bool read_outputs(const json *j, settings *out, failure *why) {
    int64_t outputs;
    if (!json_integer(j, json_member(j, JSON_ROOT, "outputs"), 1, MAX_RAW, &outputs))
        return settings_missing("outputs", "how many outputs of the network are read, 1..8", why);
    out->outputs = (size_t)outputs;
    return true;
}

/* An optional number of things done at the same time; 0 where it is not there. */
static bool read_parallel(const json *j, const char *name, int64_t *value, failure *why) {
    uint32_t node = json_member(j, JSON_ROOT, name);
    *value = 0;
    if (node == JSON_NONE || json_integer(j, node, 0, MAX_PARALLEL, value)) return true;
    return settings_missing(name, "0..64", why);
}

static bool read_network(const json *j, settings *out, failure *why) {
    static const char *const precisions[] = {"f32", "bf16"};
    int64_t streams;
    int precision = ENGINE_F32;
    if (!read_parallel(j, "streams", &streams, why) ||
        !settings_optional_word(j, JSON_ROOT, "precision", precisions, 2, "f32 or bf16", &precision, why))
        return false;
    out->precision = (engine_precision)precision;
    out->shared = streams > 0;
    out->streams = (int32_t)streams;
    return read_outputs(j, out, why);
}

static bool read_stage(const json *j, settings *out, failure *why) {
    int64_t workers;
    int stage = settings_word(j, JSON_ROOT, "stage", stage_names, STAGE_NAMES);
    if (stage < 0) return settings_missing("stage", "letterbox, network, postprocess, fused or identity", why);
    out->stage = (stage_kind)stage;
    if (!read_parallel(j, "workers", &workers, why)) return false;
    out->workers = (size_t)workers;
    switch (out->stage) {
    case STAGE_LETTERBOX: return read_letterbox(j, out, why);
    case STAGE_NETWORK: return read_network(j, out, why);
    case STAGE_POSTPROCESS: return read_outputs(j, out, why) && settings_read_task(j, out, why);
    case STAGE_FUSED:
        return read_letterbox(j, out, why) && read_network(j, out, why) && settings_read_head(j, out, why);
    case STAGE_IDENTITY: break;
    }
    return true;
}

static bool read_parameter(const char *text, size_t length, settings *out, failure *why) {
    json j;
    bool ok = json_read(&j, text, length) && json_kind_of(&j, JSON_ROOT) == JSON_OBJECT;
    if (!ok) (void)fail(why, FAILURE_BAD_INPUT, "the parameter 'sightline' is not a JSON object; " SETTINGS_AGAIN);
    else ok = read_stage(&j, out, why);
    json_free(&j);
    return ok;
}

static bool read_config(const json *j, settings *out, failure *why) {
    int64_t batch;
    uint32_t parameter = json_member(j, json_member(j, JSON_ROOT, "parameters"), "sightline");
    uint32_t value = json_member(j, parameter, "string_value");
    size_t length, room = value == JSON_NONE ? 1 : (size_t)j->nodes[value].length + 1;
    if (!json_integer(j, json_member(j, JSON_ROOT, "max_batch_size"), 1, INT32_MAX, &batch))
        return fail(why, FAILURE_BAD_INPUT, "max_batch_size must be at least 1: the stages take batches");
    char *text = malloc(room);
    if (text == NULL) return fail(why, FAILURE_UNAVAILABLE, "no memory for the configuration");
    bool ok = json_text(j, value, text, room, &length);
    if (!ok) (void)fail(why, FAILURE_BAD_INPUT, "the configuration has no parameter 'sightline'; " SETTINGS_AGAIN);
    else ok = read_parameter(text, length, out, why);
    free(text);
    return ok;
}

bool settings_read(settings *out, const char *model_config, size_t length, failure *why) {
    json j;
    *out = (settings){0};
    bool ok = json_read(&j, model_config, length);
    if (!ok) (void)fail(why, FAILURE_BAD_INPUT, "the model configuration is not readable JSON");
    else ok = read_config(&j, out, why);
    json_free(&j);
    return ok;
}

void settings_free(settings *self) {
    free(self->anchors);
    self->anchors = NULL;
}

bool settings_backend_option(const char *backend_config, size_t length, const char *name, char *out, size_t room,
                             failure *why) {
    json j;
    size_t used;
    out[0] = '\0';
    bool ok = json_read(&j, backend_config, length);
    if (!ok) (void)fail(why, FAILURE_BAD_INPUT, "the backend's configuration is not readable JSON");
    uint32_t node = ok ? json_member(&j, json_member(&j, JSON_ROOT, "cmdline"), name) : JSON_NONE;
    if (node != JSON_NONE && !json_text(&j, node, out, room, &used))
        ok = fail(why, FAILURE_BAD_INPUT, "--backend-config=sightline,%s is not a text below %zu bytes", name, room);
    json_free(&j);
    return ok;
}
