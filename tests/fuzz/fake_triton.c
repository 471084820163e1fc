/* SPDX-License-Identifier: Apache-2.0 */
#include "fake_triton.h"

#include <math.h>

int fake_errors;

struct TRITONSERVER_Error {
    TRITONSERVER_Error_Code code;
    char text[512];
};

TRITONSERVER_Error *TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char *message) {
    TRITONSERVER_Error *error = fuzz_block(sizeof *error);
    FUZZ_CHECK(code >= 1 && code <= 5 && message != NULL && message[0] != '\0');
    error->code = code;
    (void)snprintf(error->text, sizeof error->text, "%s", message);
    fake_errors++;
    return error;
}

void TRITONSERVER_ErrorDelete(TRITONSERVER_Error *error) {
    free(error);
    fake_errors--;
}

const char *TRITONSERVER_ErrorMessage(TRITONSERVER_Error *error) { return error->text; }

TRITONSERVER_Error *TRITONSERVER_LogMessage(TRITONSERVER_LogLevel level, const char *file, int line,
                                            const char *message) {
    (void)level;
    (void)line;
    FUZZ_CHECK(file != NULL && message != NULL);
    return NULL;
}

static TRITONSERVER_Error *refuse(const char *text) {
    return TRITONSERVER_ErrorNew(TRITONSERVER_ERROR_INTERNAL, text);
}

TRITONSERVER_Error *TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message *message, const char **base,
                                                        size_t *byte_size) {
    *base = message->text;
    *byte_size = message->length;
    return NULL;
}

TRITONSERVER_Error *TRITONSERVER_MessageDelete(TRITONSERVER_Message *message) {
    (void)message;
    return NULL;
}

/* ---- backend, model, instance ---- */

TRITONSERVER_Error *TRITONBACKEND_ApiVersion(uint32_t *major, uint32_t *minor) {
    *major = 1;
    *minor = 19;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_BackendConfig(TRITONBACKEND_Backend *backend, TRITONSERVER_Message **config) {
    *config = &backend->config;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_BackendState(TRITONBACKEND_Backend *backend, void **state) {
    *state = backend->state;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_BackendSetState(TRITONBACKEND_Backend *backend, void *state) {
    backend->state = state;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelVersion(TRITONBACKEND_Model *model, uint64_t *version) {
    (void)model;
    *version = 1;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelRepository(TRITONBACKEND_Model *model, TRITONBACKEND_ArtifactType *type,
                                                  const char **location) {
    (void)model;
    *type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
    *location = "/nowhere";
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelConfig(TRITONBACKEND_Model *model, uint32_t version,
                                              TRITONSERVER_Message **config) {
    FUZZ_CHECK(version == 1);
    *config = &model->config;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelBackend(TRITONBACKEND_Model *model, TRITONBACKEND_Backend **backend) {
    *backend = model->backend;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelState(TRITONBACKEND_Model *model, void **state) {
    *state = model->state;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelSetState(TRITONBACKEND_Model *model, void *state) {
    model->state = state;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelInstanceKind(TRITONBACKEND_ModelInstance *instance,
                                                    TRITONSERVER_InstanceGroupKind *kind) {
    (void)instance;
    *kind = TRITONSERVER_INSTANCEGROUPKIND_CPU;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelInstanceModel(TRITONBACKEND_ModelInstance *instance,
                                                     TRITONBACKEND_Model **model) {
    *model = instance->model;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelInstanceState(TRITONBACKEND_ModelInstance *instance, void **state) {
    *state = instance->state;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelInstanceSetState(TRITONBACKEND_ModelInstance *instance, void *state) {
    instance->state = state;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelInstanceReportStatistics(TRITONBACKEND_ModelInstance *instance,
                                                                TRITONBACKEND_Request *request, bool success,
                                                                uint64_t start_ns, uint64_t compute_start_ns,
                                                                uint64_t compute_end_ns, uint64_t end_ns) {
    (void)instance;
    FUZZ_CHECK(start_ns <= compute_start_ns && compute_start_ns <= compute_end_ns && compute_end_ns <= end_ns);
    FUZZ_CHECK(request->released == 0);
    FUZZ_CHECK(!success || request->failed == 0);
    request->reported++;
    return request->faults & FAKE_NO_STATISTICS ? refuse("no statistics") : NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelInstanceReportBatchStatistics(TRITONBACKEND_ModelInstance *instance,
                                                                     uint64_t batch_size, uint64_t start_ns,
                                                                     uint64_t compute_start_ns,
                                                                     uint64_t compute_end_ns, uint64_t end_ns) {
    (void)instance;
    FUZZ_CHECK(batch_size > 0 && start_ns <= compute_start_ns && compute_end_ns <= end_ns);
    return NULL;
}

/* ---- requests ---- */

/* Some numbers of the shared inputs become others, as a client could make them at any time. */
static void scribble(TRITONBACKEND_Request *request) {
    static const float numbers[] = {0.0F, 1.0F, 24.0F, 65535.0F, 1e9F, NAN, INFINITY, -3.0F};
    for (uint32_t i = 0; i < request->input_count; i++) {
        const TRITONBACKEND_Input *input = &request->inputs[i];
        for (uint32_t k = 0; input->shared && k < input->buffer_count; k++) {
            unsigned char *data = (unsigned char *)(uintptr_t)input->buffer[k];
            for (uint64_t at = 0; data != NULL && at + 4 <= input->buffer_bytes[k]; at += 4) {
                request->scribble = request->scribble * 1664525U + 1013904223U;
                if (request->scribble >> 30 == 0) memcpy(data + at, &numbers[request->scribble >> 27], sizeof(float));
            }
        }
    }
}

TRITONSERVER_Error *TRITONBACKEND_RequestInput(TRITONBACKEND_Request *request, const char *name,
                                               TRITONBACKEND_Input **input) {
    FUZZ_CHECK(request->released == 0);
    *input = NULL;
    for (uint32_t i = 0; i < request->input_count; i++)
        if (strcmp(request->inputs[i].name, name) == 0) *input = &request->inputs[i];
    return *input != NULL ? NULL : refuse("unknown request input name");
}

TRITONSERVER_Error *TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request *request, uint32_t *count) {
    *count = request->wanted_count;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request *request, uint32_t index,
                                                    const char **name) {
    FUZZ_CHECK(index < request->wanted_count);
    *name = request->wanted[index];
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_RequestRelease(TRITONBACKEND_Request *request, uint32_t flags) {
    FUZZ_CHECK(flags == TRITONSERVER_REQUEST_RELEASE_ALL && request->released == 0);
    request->released++;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_InputProperties(TRITONBACKEND_Input *input, const char **name,
                                                  TRITONSERVER_DataType *type, const int64_t **shape, uint32_t *rank,
                                                  uint64_t *byte_size, uint32_t *buffer_count) {
    if (name != NULL) *name = input->name;
    *type = input->type;
    *shape = input->shape;
    *rank = input->rank;
    *byte_size = input->byte_size;
    *buffer_count = input->buffer_count;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_InputBuffer(TRITONBACKEND_Input *input, uint32_t index, const void **buffer,
                                              uint64_t *byte_size, TRITONSERVER_MemoryType *memory_type,
                                              int64_t *memory_type_id) {
    *buffer = NULL;
    *byte_size = 0;
    scribble(input->request);
    if (index >= input->buffer_count) return refuse("no such buffer");
    *buffer = input->buffer[index];
    *byte_size = input->buffer_bytes[index];
    *memory_type = input->memory;
    *memory_type_id = 0;
    return NULL;
}

/* ---- responses ---- */

TRITONSERVER_Error *TRITONBACKEND_ResponseNew(TRITONBACKEND_Response **response, TRITONBACKEND_Request *request) {
    if (request->faults & FAKE_NO_RESPONSE) return refuse("no response");
    request->responses++;
    request->response.request = request;
    *response = &request->response;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ResponseOutput(TRITONBACKEND_Response *response, TRITONBACKEND_Output **output,
                                                 const char *name, TRITONSERVER_DataType type, const int64_t *shape,
                                                 uint32_t rank) {
    TRITONBACKEND_Request *request = response->request;
    FUZZ_CHECK(request->sent == 0 && request->output_count < FAKE_OUTPUTS && rank <= FAKE_RANK);
    FUZZ_CHECK(fake_output(request, name) == NULL); /* each output at most once */
    if (request->faults & FAKE_NO_OUTPUT) return refuse("no output");
    *output = &request->outputs[request->output_count++];
    **output = (TRITONBACKEND_Output){.request = request, .name = name, .type = type, .rank = rank};
    memcpy((*output)->shape, shape, rank * sizeof *shape);
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_OutputBuffer(TRITONBACKEND_Output *output, void **buffer, uint64_t byte_size,
                                               TRITONSERVER_MemoryType *memory_type, int64_t *memory_type_id) {
    (void)memory_type_id;
    FUZZ_CHECK(output->buffer == NULL && *memory_type == TRITONSERVER_MEMORY_CPU);
    FUZZ_CHECK(byte_size <= FAKE_MOST_BYTES);
    scribble(output->request);
    unsigned faults = output->request->faults;
    if (faults & FAKE_NO_BUFFER || byte_size > FAKE_ROOM_BYTES) return refuse("no memory");
    *buffer = NULL;
    if (faults & FAKE_NULL_BUFFER) return NULL;
    if (faults & FAKE_GPU_BUFFER) *memory_type = TRITONSERVER_MEMORY_GPU;
    output->buffer = fuzz_block(byte_size);
    output->bytes = byte_size;
    *buffer = output->buffer;
    return NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ResponseSend(TRITONBACKEND_Response *response, uint32_t flags,
                                               TRITONSERVER_Error *error) {
    TRITONBACKEND_Request *request = response->request;
    FUZZ_CHECK(flags == TRITONSERVER_RESPONSE_COMPLETE_FINAL && request->sent == 0 && request->released == 0);
    request->sent++;
    if (error != NULL) {
        request->failed++;
        (void)snprintf(request->error, sizeof request->error, "%s", error->text);
    }
    return request->faults & FAKE_NO_SEND ? refuse("not sent") : NULL;
}

const TRITONBACKEND_Output *fake_output(const TRITONBACKEND_Request *request, const char *name) {
    for (uint32_t i = 0; i < request->output_count; i++)
        if (strcmp(request->outputs[i].name, name) == 0) return &request->outputs[i];
    return NULL;
}

void fake_free_outputs(TRITONBACKEND_Request *request) {
    for (uint32_t i = 0; i < request->output_count; i++) free(request->outputs[i].buffer);
}
