/* SPDX-License-Identifier: Apache-2.0 */
/* The network on one CPU core: reads and writes the server's own buffers. */
#include <string.h>

#include "items.h"

bool network_input(const instance *self, call *request, tensor *out, failure *why) {
    const net_shape *wanted = engine_input(runner_engine(self->network));
    if (!request->input(request, "TENSOR", ELEMENT_F32, out, why)) return false;
    bool fits = (int64_t)out->rank == wanted->rank && out->shape[0] >= 1 && out->shape[0] <= MAX_ITEMS;
    for (size_t i = 1; fits && i < out->rank; i++) fits = out->shape[i] == wanted->dims[i];
    return fits || fail(why, FAILURE_BAD_INPUT, "TENSOR has not the shape of the network's input");
}

static bool take_outputs(call *request, const engine *network, int64_t items, float **outputs, failure *why) {
    for (size_t i = 0; i < engine_outputs(network); i++) {
        const net_shape *form = engine_output(network, i);
        void *data;
        int64_t dims[ENGINE_MAX_RANK];
        memcpy(dims, form->dims, sizeof dims);
        dims[0] = items;
        if (!request->output(request, raw_name(i), ELEMENT_F32, dims, (size_t)form->rank, 0, &data, why)) return false;
        outputs[i] = data;
    }
    return true;
}

bool run_network(instance *self, call *request, failure *why) {
    const engine *network = runner_engine(self->network);
    float *outputs[ENGINE_MAX_OUTPUTS], *item[ENGINE_MAX_OUTPUTS];
    tensor in;
    if (!network_input(self, request, &in, why)) return false;
    if (!take_outputs(request, network, in.shape[0], outputs, why)) return false;
    size_t in_values = shape_values(engine_input(network));
    for (size_t i = 0; i < (size_t)in.shape[0]; i++) {
        for (size_t k = 0; k < engine_outputs(network); k++) {
            size_t values = shape_values(engine_output(network, k));
            item[k] = outputs[k] != NULL ? outputs[k] + i * values
                                         : scratch_take(&self->memory, BLOCK_RAW + k, values * sizeof(float), why);
            if (item[k] == NULL) return false;
        }
        if (!runner_run(self->network, (const float *)in.data + i * in_values, item, why)) return false;
    }
    return true;
}
