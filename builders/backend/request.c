/* SPDX-License-Identifier: Apache-2.0 */
#include "request.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { MAX_OUTPUTS = 16, MAX_TEXT_BYTES = 1 << 26 };

typedef struct hosted_call {
    call base; /* first, so that a call is a hosted_call */
    TRITONBACKEND_Request *request;
    TRITONBACKEND_Response *response;
    const char *wanted[MAX_OUTPUTS];
    uint32_t wanted_count;
    uint64_t items;
} hosted_call;

TRITONSERVER_Error *triton_error(const failure *why) {
    static const TRITONSERVER_Error_Code codes[] = {
        [FAILURE_BAD_INPUT] = TRITONSERVER_ERROR_INVALID_ARG,
        [FAILURE_UNSUPPORTED] = TRITONSERVER_ERROR_UNSUPPORTED,
        [FAILURE_UNAVAILABLE] = TRITONSERVER_ERROR_UNAVAILABLE,
        [FAILURE_INTERNAL] = TRITONSERVER_ERROR_INTERNAL,
    };
    return TRITONSERVER_ErrorNew(codes[why->kind], why->text);
}

bool triton_ok(TRITONSERVER_Error *error, failure *why) {
    if (error == NULL) return true;
    (void)fail(why, FAILURE_INTERNAL, "%s", TRITONSERVER_ErrorMessage(error));
    TRITONSERVER_ErrorDelete(error);
    return false;
}

void triton_log(TRITONSERVER_Error *error) {
    if (error == NULL) return;
    TRITONSERVER_Error *second =
        TRITONSERVER_LogMessage(TRITONSERVER_LOG_ERROR, "sightline", 0, TRITONSERVER_ErrorMessage(error));
    TRITONSERVER_ErrorDelete(error);
    if (second != NULL) TRITONSERVER_ErrorDelete(second);
}

static uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static const TRITONSERVER_DataType types[] = {
    [ELEMENT_U8] = TRITONSERVER_TYPE_UINT8,
    [ELEMENT_I32] = TRITONSERVER_TYPE_INT32,
    [ELEMENT_F32] = TRITONSERVER_TYPE_FP32,
    [ELEMENT_TEXT] = TRITONSERVER_TYPE_BYTES,
};

/* ---- inputs ---- */

static bool shape_bytes(tensor *out, const int64_t *dims, uint32_t rank, const char *name, failure *why) {
    out->bytes = element_bytes(out->type);
    out->rank = rank;
    if (rank < 1 || rank > MAX_RANK)
        return fail(why, FAILURE_BAD_INPUT, "%s has rank %" PRIu32 "; it must be 1..%d", name, rank, MAX_RANK);
    for (uint32_t i = 0; i < rank; i++) {
        out->shape[i] = dims[i];
        if (dims[i] < 0 || (dims[i] > 0 && (uint64_t)dims[i] > SIZE_MAX / 2 / (out->bytes > 0 ? out->bytes : 1)))
            return fail(why, FAILURE_BAD_INPUT, "%s has an impossible size %" PRId64, name, dims[i]);
        out->bytes *= (size_t)dims[i];
    }
    return true;
}

static bool buffer_of(TRITONBACKEND_Input *input, uint32_t index, const char *name, const void **data,
                      uint64_t *bytes, failure *why) {
    TRITONSERVER_MemoryType type = TRITONSERVER_MEMORY_CPU;
    int64_t id = 0;
    if (!triton_ok(TRITONBACKEND_InputBuffer(input, index, data, bytes, &type, &id), why)) return false;
    if (type == TRITONSERVER_MEMORY_GPU)
        return fail(why, FAILURE_UNSUPPORTED, "%s lies in GPU memory; this stage reads CPU memory", name);
    if (*data == NULL && *bytes > 0) return fail(why, FAILURE_BAD_INPUT, "%s has no data", name);
    return true;
}

/* Put the buffers of an input one behind the other into scratch block `block`. */
static bool gather(const call *self, TRITONBACKEND_Input *input, uint32_t buffers, const char *name, size_t block,
                   tensor *out, failure *why) {
    unsigned char *into = scratch_take(self->memory, block, out->bytes, why);
    size_t used = 0;
    if (into == NULL) return false;
    for (uint32_t i = 0; i < buffers; i++) {
        const void *data = NULL;
        uint64_t bytes = 0;
        if (!buffer_of(input, i, name, &data, &bytes, why)) return false;
        if (bytes > out->bytes - used) return fail(why, FAILURE_BAD_INPUT, "%s has more bytes than it says", name);
        if (bytes > 0) memcpy(into + used, data, bytes);
        used += bytes;
    }
    out->data = into;
    return used == out->bytes || fail(why, FAILURE_BAD_INPUT, "%s has fewer bytes than it says", name);
}

static bool read_data(call *self, TRITONBACKEND_Input *input, uint32_t buffers, const char *name, tensor *out,
                      failure *why) {
    size_t block = BLOCK_INPUT + self->inputs++;
    const void *data = NULL;
    uint64_t bytes = 0;
    if (block >= BLOCK_INPUT + MAX_INPUTS) return fail(why, FAILURE_INTERNAL, "too many inputs");
    if (buffers != 1) return gather(self, input, buffers, name, block, out, why);
    if (!buffer_of(input, 0, name, &data, &bytes, why)) return false;
    if (bytes != out->bytes)
        return fail(why, FAILURE_BAD_INPUT, "%s has %" PRIu64 " bytes; its shape needs %zu", name, bytes, out->bytes);
    out->data = data;
    bool aligned = (uintptr_t)data % element_bytes(out->type) == 0;
    return aligned && data != NULL ? true : gather(self, input, 1, name, block, out, why);
}

static bool take_input(call *self, const char *name, element type, tensor *out, failure *why) {
    hosted_call *hosted = (hosted_call *)self;
    TRITONBACKEND_Input *input = NULL;
    TRITONSERVER_DataType found = TRITONSERVER_TYPE_UINT8;
    const int64_t *dims = NULL;
    uint32_t rank = 0, buffers = 0;
    uint64_t bytes = 0;
    *out = (tensor){.type = type};
    if (!triton_ok(TRITONBACKEND_RequestInput(hosted->request, name, &input), why)) {
        why->kind = FAILURE_BAD_INPUT;
        return false;
    }
    if (!triton_ok(TRITONBACKEND_InputProperties(input, NULL, &found, &dims, &rank, &bytes, &buffers), why))
        return false;
    if (found != types[type]) return fail(why, FAILURE_BAD_INPUT, "%s has another datatype than the stage reads", name);
    if (!shape_bytes(out, dims, rank, name, why)) return false;
    if (type == ELEMENT_TEXT && bytes <= MAX_TEXT_BYTES) out->bytes = bytes; /* each string says how long it is */
    if (bytes != out->bytes)
        return fail(why, FAILURE_BAD_INPUT, "%s has %" PRIu64 " bytes; its shape needs %zu", name, bytes, out->bytes);
    if (hosted->items == 0 && dims[0] > 0) hosted->items = (uint64_t)dims[0];
    return read_data(self, input, buffers, name, out, why);
}

static bool has_input(call *self, const char *name) {
    TRITONBACKEND_Input *input = NULL;
    TRITONSERVER_Error *error = TRITONBACKEND_RequestInput(((hosted_call *)self)->request, name, &input);
    if (error != NULL) TRITONSERVER_ErrorDelete(error);
    return error == NULL;
}

/* ---- outputs ---- */

static bool is_wanted(const hosted_call *hosted, const char *name) {
    for (uint32_t i = 0; i < hosted->wanted_count; i++)
        if (strcmp(hosted->wanted[i], name) == 0) return true;
    return false;
}

static bool wants_output(call *self, const char *name) { return is_wanted((const hosted_call *)self, name); }

static bool give_output(call *self, const char *name, element type, const int64_t *dims, size_t rank,
                        size_t text_bytes, void **data, failure *why) {
    const hosted_call *hosted = (const hosted_call *)self;
    TRITONBACKEND_Output *output = NULL;
    TRITONSERVER_MemoryType memory = TRITONSERVER_MEMORY_CPU;
    int64_t id = 0;
    size_t bytes = element_bytes(type);
    *data = NULL;
    if (!is_wanted(hosted, name)) return true;
    for (size_t i = 0; i < rank; i++) bytes *= (size_t)dims[i];
    if (type == ELEMENT_TEXT) bytes = text_bytes;
    if (!triton_ok(TRITONBACKEND_ResponseOutput(hosted->response, &output, name, types[type], dims, (uint32_t)rank),
                   why) ||
        !triton_ok(TRITONBACKEND_OutputBuffer(output, data, bytes, &memory, &id), why))
        return false;
    if (memory == TRITONSERVER_MEMORY_GPU)
        return fail(why, FAILURE_UNSUPPORTED, "%s is wanted in GPU memory; this stage writes CPU memory", name);
    if (bytes == 0) *data = NULL;
    else if (*data == NULL) return fail(why, FAILURE_UNAVAILABLE, "no memory for the output %s", name);
    return true;
}

static bool read_wanted(hosted_call *hosted, failure *why) {
    if (!triton_ok(TRITONBACKEND_RequestOutputCount(hosted->request, &hosted->wanted_count), why)) return false;
    if (hosted->wanted_count > MAX_OUTPUTS)
        return fail(why, FAILURE_BAD_INPUT, "%" PRIu32 " outputs are asked for; at most %d are known",
                    hosted->wanted_count, MAX_OUTPUTS);
    for (uint32_t i = 0; i < hosted->wanted_count; i++)
        if (!triton_ok(TRITONBACKEND_RequestOutputName(hosted->request, i, &hosted->wanted[i]), why)) return false;
    return true;
}

/* ---- requests ---- */

static bool run(instance *self, hosted_call *hosted, failure *why) {
    return read_wanted(hosted, why) && stage_run(self, &hosted->base, why);
}

static void send(TRITONBACKEND_Response *response, bool ok, const failure *why) {
    TRITONSERVER_Error *error = ok ? NULL : triton_error(why);
    triton_log(TRITONBACKEND_ResponseSend(response, TRITONSERVER_RESPONSE_COMPLETE_FINAL, error));
    if (error != NULL) TRITONSERVER_ErrorDelete(error);
}

/* One request from its inputs to its release; returns its batch size, 0 where that was not learnt. */
static uint64_t answer(instance *self, TRITONBACKEND_ModelInstance *host, TRITONBACKEND_Request *request) {
    hosted_call hosted = {.base = {.has_input = has_input, .wants = wants_output, .input = take_input, .output = give_output,
                                   .memory = &self->memory},
                          .request = request};
    failure why;
    uint64_t start = now_ns();
    bool ok = triton_ok(TRITONBACKEND_ResponseNew(&hosted.response, request), &why);
    if (!ok) triton_log(triton_error(&why)); /* without a response there is nobody to tell */
    bool success = ok && run(self, &hosted, &why);
    uint64_t computed = now_ns();
    if (ok) send(hosted.response, success, &why);
    triton_log(TRITONBACKEND_ModelInstanceReportStatistics(host, request, success, start, start, computed, now_ns()));
    triton_log(TRITONBACKEND_RequestRelease(request, TRITONSERVER_REQUEST_RELEASE_ALL));
    return hosted.items;
}

void requests_answer(instance *self, TRITONBACKEND_ModelInstance *host, TRITONBACKEND_Request **requests,
                     uint32_t count) {
    uint64_t start = now_ns(), items = 0;
    for (uint32_t i = 0; i < count; i++) items += answer(self, host, requests[i]);
    uint64_t end = now_ns();
    if (items > 0) triton_log(TRITONBACKEND_ModelInstanceReportBatchStatistics(host, items, start, start, end, end));
}
