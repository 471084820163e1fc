/* Any bytes are read as JSON or refused; what was read lies inside the text, and settings are in bounds or refused. */
/* SPDX-License-Identifier: Apache-2.0 */
#include "input.h"
#include "json.h"
#include "settings.h"

static void ask(const json *j, uint32_t node) {
    char text[64];
    size_t length = 0;
    double number = 0.0;
    int64_t whole = 0;
    const json_node *at = &j->nodes[node];
    FUZZ_CHECK(at->end > node && at->end <= j->count);
    FUZZ_CHECK(at->start <= j->length);
    if (json_text(j, node, text, 1 + node % sizeof text, &length)) {
        FUZZ_CHECK(at->kind == JSON_STRING && length <= node % sizeof text && text[length] == '\0');
        FUZZ_CHECK(length <= at->length && strlen(text) == length);
    }
    if (json_number(j, node, &number)) FUZZ_CHECK(at->kind == JSON_NUMBER && number - number == 0.0);
    if (json_integer(j, node, -5, 70000, &whole)) FUZZ_CHECK(whole >= -5 && whole <= 70000);
    uint32_t member = json_member(j, node, "size");
    FUZZ_CHECK(member == JSON_NONE || (at->kind == JSON_OBJECT && member > node && member < at->end));
    uint32_t count = json_count(j, node);
    FUZZ_CHECK(json_item(j, node, count) == JSON_NONE);
    if (count > 0) FUZZ_CHECK(json_item(j, node, count - 1) < at->end && json_item(j, node, 0) == node + 1);
}

static void check_settings(const settings *s) {
    FUZZ_CHECK(s->precision == ENGINE_F32 || s->precision == ENGINE_BF16);
    FUZZ_CHECK(s->workers <= 64 && s->streams >= 0 && s->streams <= 64 && s->outputs <= MAX_RAW);
    if (s->stage == STAGE_LETTERBOX || s->stage == STAGE_FUSED) {
        FUZZ_CHECK(s->width >= 1 && s->width <= SL_MAX_SIDE && s->height >= 1 && s->height <= SL_MAX_SIDE);
        for (int i = 0; i < 3; i++) FUZZ_CHECK(s->letterbox.std[i] > 0.0F);
        FUZZ_CHECK(s->letterbox.pad_value >= 0.0F && s->letterbox.pad_value <= 255.0F);
        FUZZ_CHECK(s->letterbox.resize <= SL_CENTRE_CROP && s->letterbox.filter <= SL_FILTER_BOX);
        int32_t shorter = s->width < s->height ? s->width : s->height, side = s->letterbox.short_side;
        FUZZ_CHECK(side == 0 || (s->letterbox.resize == SL_CENTRE_CROP && side >= shorter && side <= SL_MAX_SIDE));
    }
    if (s->stage == STAGE_POSTPROCESS && s->task == TASK_CLASSIFY) FUZZ_CHECK(s->top >= 1 && s->top <= SL_MAX_CLASSES);
    if (s->stage == STAGE_POSTPROCESS && s->task == TASK_SEMANTIC)
        FUZZ_CHECK(s->semantic.classes >= 1 && s->semantic.classes <= 256);
    if (s->stage == STAGE_FUSED || (s->stage == STAGE_POSTPROCESS && s->task == TASK_DETECT)) {
        FUZZ_CHECK(s->outputs >= 1 && s->outputs <= MAX_RAW);
        FUZZ_CHECK(!s->pasted || (s->head.kind == SL_HEAD_MASK_RCNN && s->outputs >= 4));
        FUZZ_CHECK(strchr(s->anchors_file, '/') == NULL && s->anchors_file[0] != '.');
        FUZZ_CHECK(s->detections >= 1 && s->detections <= MAX_DETECTIONS);
        FUZZ_CHECK(s->limits.score >= 0.0 && s->limits.score <= 1.0 && s->limits.iou >= 0.0 && s->limits.iou <= 1.0);
        FUZZ_CHECK((s->head.anchors == NULL) == (s->head.anchor_count == 0));
    }
}

/* The bytes as the string of the parameter; escaped, so that they arrive as they are. */
static size_t wrap(const uint8_t *data, size_t size, char *out) {
    static const char before[] = "{\"max_batch_size\":8,\"parameters\":{\"sightline\":{\"string_value\":\"";
    static const char after[] = "\"}}}";
    size_t length = sizeof before - 1;
    memcpy(out, before, length);
    for (size_t i = 0; i < size; i++) {
        if (data[i] == '"' || data[i] == '\\') out[length++] = '\\';
        out[length++] = (char)data[i];
    }
    memcpy(out + length, after, sizeof after - 1);
    return length + sizeof after - 1;
}

static void read_settings(const char *text, size_t length) {
    settings found;
    failure why = {FAILURE_INTERNAL, ""};
    if (settings_read(&found, text, length, &why)) check_settings(&found);
    else FUZZ_CHECK(why.text[0] != '\0' && strlen(why.text) < sizeof why.text);
    settings_free(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json j;
    char option[32];
    failure why;
    char *text = fuzz_block(2 * size + 128);
    if (json_read(&j, (const char *)data, size)) {
        FUZZ_CHECK(j.count >= 1 && j.nodes[JSON_ROOT].end == j.count);
        for (uint32_t node = 0; node < j.count; node++) ask(&j, node);
    }
    json_free(&j);
    read_settings((const char *)data, size);
    size_t length = wrap(data, size, text);
    char *exact = fuzz_block(length);
    memcpy(exact, text, length);
    read_settings(exact, length);
    if (settings_backend_option((const char *)data, size, "openvino", option, sizeof option, &why))
        FUZZ_CHECK(strlen(option) < sizeof option);
    free(exact);
    free(text);
    return 0;
}
