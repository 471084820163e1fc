/* SPDX-License-Identifier: Apache-2.0 */
#include "stage.h"

#include <string.h>

#include "items.h"

size_t element_bytes(element type) { return type == ELEMENT_U8 || type == ELEMENT_TEXT ? 1 : 4; }

const char *raw_name(size_t index) {
    static const char *const names[MAX_RAW] = {"RAW",   "RAW_1", "RAW_2", "RAW_3",
                                               "RAW_4", "RAW_5", "RAW_6", "RAW_7"};
    return names[index < MAX_RAW ? index : 0];
}

bool core_ok(sl_status status, failure_kind kind, failure *why) {
    return status == SL_OK || fail(why, kind, "%s", sl_status_text(status));
}

bool run_identity(instance *self, call *request, failure *why) {
    tensor in;
    void *out;
    (void)self;
    if (!request->input(request, "TENSOR", ELEMENT_F32, &in, why)) return false;
    if (!request->output(request, "TENSOR", ELEMENT_F32, in.shape, in.rank, 0, &out, why)) return false;
    if (out != NULL) memcpy(out, in.data, in.bytes);
    return true;
}

bool stage_run(instance *self, call *request, failure *why) {
    switch (self->options->stage) {
    case STAGE_LETTERBOX: return run_letterbox(self, request, why);
    case STAGE_NETWORK: return run_network(self, request, why);
    case STAGE_POSTPROCESS: return run_postprocess(self, request, why);
    case STAGE_IDENTITY: return run_identity(self, request, why);
    case STAGE_FUSED: return run_fused(self, request, why);
    }
    return fail(why, FAILURE_INTERNAL, "unknown stage");
}
