/* SPDX-License-Identifier: Apache-2.0 */
/* The task of post-processing, and the settings of the tasks about whole pictures. */
#include "settings_read.h"

enum { MAX_MAP_CLASSES = 256 }; /* what a byte of CLASS_MAP can tell */

static bool read_semantic(const json *j, settings *out, failure *why) {
    static const char *const upsamples[] = {"logits", "classes"};
    sl_semantic *semantic = &out->semantic;
    int64_t classes;
    int upsample = SL_UPSAMPLE_LOGITS;
    if (!settings_optional_word(j, JSON_ROOT, "upsample", upsamples, 2, "logits or classes", &upsample, why) ||
        !settings_optional_flag(j, "channels_last", &semantic->channels_last, why))
        return false;
    if (!json_integer(j, json_member(j, JSON_ROOT, "classes"), 1, MAX_MAP_CLASSES, &classes))
        return settings_missing("classes", "how many classes there are, 1..256: CLASS_MAP is UINT8", why);
    if (out->head.network_width < 2) return settings_missing("size", "[width, height] of the network's input", why);
    semantic->classes = (int32_t)classes;
    semantic->upsample = (sl_upsample)upsample;
    semantic->network_width = out->head.network_width;
    semantic->network_height = out->head.network_height;
    return true;
}

static bool read_classify(const json *j, settings *out, failure *why) {
    static const char *const activations[] = {"none", "sigmoid", "softmax"};
    int activation = SL_ACTIVATION_NONE;
    int32_t top = 0;
    if (!settings_optional_word(j, JSON_ROOT, "activation", activations, 3, "none, sigmoid or softmax", &activation, why) ||
        !settings_optional_integer(j, JSON_ROOT, "top", 1, SL_MAX_CLASSES, &top, why))
        return false;
    if (top == 0) return settings_missing("top", "how many classes are answered", why);
    out->head.activation = (sl_activation)activation;
    out->top = (size_t)top;
    return true;
}

static const char *const tasks[] = {"detect", "classify", "semantic", "embed", "segment"};

enum { TASKS = sizeof tasks / sizeof tasks[0], SEGMENT = TASKS - 1 };

bool settings_is_segment(const json *j) { return settings_word(j, JSON_ROOT, "task", tasks, TASKS) == SEGMENT; }

bool settings_read_task(const json *j, settings *out, failure *why) {
    int task = TASK_DETECT;
    if (!settings_optional_word(j, JSON_ROOT, "task", tasks, TASKS, "detect, segment, classify, semantic or embed", &task,
                                why))
        return false;
    out->task = task == SEGMENT ? TASK_DETECT : (task_kind)task;
    switch (out->task) {
    case TASK_CLASSIFY: return read_classify(j, out, why);
    case TASK_SEMANTIC: return settings_read_network_size(j, out, why) && read_semantic(j, out, why);
    case TASK_EMBED: return true;
    case TASK_DETECT: break;
    }
    return settings_read_head(j, out, why);
}
