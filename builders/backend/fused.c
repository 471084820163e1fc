/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Letterbox, network and post-processing in one execution: the tensors between them never leave this instance's
 * memory. Takes FRAME and FRAME_INFO, or TENSOR and GEOMETRY of a stage before it.
 */
#include <string.h>

#include "items.h"

typedef struct work {
    float *input;
    float *raw[ENGINE_MAX_OUTPUTS];
    raw_outputs outputs;
} work;

static bool take_work(instance *self, work *w, failure *why) {
    const engine *network = runner_engine(self->network);
    const net_shape *in = engine_input(network);
    const settings *options = self->options;
    if (in->rank != 4 || in->dims[1] != 3 || in->dims[2] != options->height || in->dims[3] != options->width)
        return fail(why, FAILURE_INTERNAL, "the network's input is not (1, 3, %d, %d)", (int)options->height,
                    (int)options->width);
    w->input = scratch_take(&self->memory, BLOCK_TENSOR, shape_values(in) * sizeof(float), why);
    w->outputs.count = engine_outputs(network);
    for (size_t k = 0; w->input != NULL && k < w->outputs.count; k++) {
        const net_shape *form = engine_output(network, k);
        if (form->rank < 2 || form->rank > 5) return fail(why, FAILURE_INTERNAL, "an output's rank is not 2..5");
        w->raw[k] = scratch_take(&self->memory, BLOCK_RAW + k, shape_values(form) * sizeof(float), why);
        if (w->raw[k] == NULL) return false;
        w->outputs.tensor[k] = (sl_tensor){.data = w->raw[k], .rank = (size_t)form->rank - 1};
        for (int64_t d = 1; d < form->rank; d++) w->outputs.tensor[k].dims[d - 1] = (size_t)form->dims[d];
    }
    return w->input != NULL;
}

static bool run_item(instance *self, work *w, const float *input, const float *geometry, answers *found, size_t index,
                     failure *why) {
    if (geometry[0] != 0.0F && !runner_run(self->network, input, w->raw, why)) return false;
    return answers_add(self, found, index, &w->outputs, geometry, why);
}

static bool run_frames(instance *self, call *request, work *w, failure *why) {
    frames from;
    notes errors;
    answers found;
    if (!frames_of(request, &from, why) || !notes_take(self, from.items, &errors, why)) return false;
    if (!answers_take(self, request, from.items, &found, why)) return false;
    for (size_t i = 0; i < from.items; i++) {
        float geometry[SL_GEOMETRY_FLOATS] = {0};
        if (!frame_convert(self, &from, i, w->input, geometry, why)) {
            if (from.items == 1 || why->kind != FAILURE_BAD_INPUT) return false;
            memcpy(errors.text[i], why->text, sizeof why->text);
        }
        if (!run_item(self, w, w->input, geometry, &found, i, why)) return false;
    }
    return answers_send(self, request, &found, why) && notes_send(request, &errors, why);
}

static bool run_tensors(instance *self, call *request, work *w, failure *why) {
    tensor in;
    answers found;
    const float *geometry;
    size_t items;
    if (!network_input(self, request, &in, why) || !geometry_read(self, request, &geometry, &items, why)) return false;
    if ((int64_t)items != in.shape[0])
        return fail(why, FAILURE_BAD_INPUT, "GEOMETRY must be [items, 7], with items as in TENSOR");
    if (!answers_take(self, request, items, &found, why)) return false;
    size_t values = shape_values(engine_input(runner_engine(self->network)));
    for (size_t i = 0; i < found.items; i++)
        if (!run_item(self, w, (const float *)in.data + i * values, geometry + i * SL_GEOMETRY_FLOATS, &found, i, why))
            return false;
    return answers_send(self, request, &found, why);
}

bool run_fused(instance *self, call *request, failure *why) {
    work w;
    if (!take_work(self, &w, why)) return false;
    return request->has_input(request, "TENSOR") ? run_tensors(self, request, &w, why)
                                                 : run_frames(self, request, &w, why);
}
