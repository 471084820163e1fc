/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "engine.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "openvino.h"

struct openvino {
    openvino_api api;
    ov_core_t *core;
};

struct engine {
    openvino *library;
    ov_compiled_model_t *model;
    net_shape input;
    net_shape output[ENGINE_MAX_OUTPUTS];
    size_t outputs;
};

struct runner {
    engine *network;
    ov_infer_request_t *request;
};

typedef struct symbol {
    const char *name;
    size_t offset;
} symbol;

#define SYMBOL(name) {"ov_" #name, offsetof(openvino_api, name)}

static const symbol symbols[] = {
    SYMBOL(get_last_err_msg),
    SYMBOL(free),
    SYMBOL(core_create),
    SYMBOL(core_free),
    SYMBOL(core_compile_model_from_file),
    SYMBOL(compiled_model_free),
    SYMBOL(compiled_model_inputs_size),
    SYMBOL(compiled_model_outputs_size),
    SYMBOL(compiled_model_input_by_index),
    SYMBOL(compiled_model_output_by_index),
    SYMBOL(compiled_model_create_infer_request),
    SYMBOL(const_port_get_shape),
    SYMBOL(port_get_element_type),
    SYMBOL(output_const_port_free),
    SYMBOL(shape_free),
    SYMBOL(tensor_create_from_host_ptr),
    SYMBOL(tensor_free),
    SYMBOL(infer_request_set_input_tensor_by_index),
    SYMBOL(infer_request_set_output_tensor_by_index),
    SYMBOL(infer_request_infer),
    SYMBOL(infer_request_free),
};

static bool refused(const openvino *library, const char *what, failure *why) {
    const char *reason = library->api.get_last_err_msg();
    (void)fail(why, FAILURE_INTERNAL, "OpenVINO cannot %s: %s", what, reason != NULL ? reason : "no reason given");
    if (reason != NULL) library->api.free(reason);
    return false;
}

static bool find_symbols(void *handle, openvino_api *api, failure *why) {
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *found = dlsym(handle, symbols[i].name);
        if (found == NULL) return fail(why, FAILURE_UNAVAILABLE, "OpenVINO's library has no %s", symbols[i].name);
        memcpy((char *)api + symbols[i].offset, &found, sizeof found); /* no cast from void * to a function in ISO C */
    }
    return true;
}

bool openvino_load(const char *path, openvino **out, failure *why) {
    *out = NULL;
    if (path[0] != '/')
        return fail(why, FAILURE_UNAVAILABLE,
                    "a network needs OpenVINO: start the server with --backend-config=sightline,openvino=/PATH/TO/"
                    "libopenvino_c.so.*");
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) return fail(why, FAILURE_UNAVAILABLE, "OpenVINO cannot be loaded: %s", dlerror());
    openvino *library = calloc(1, sizeof *library);
    if (library == NULL) return fail(why, FAILURE_UNAVAILABLE, "no memory for OpenVINO");
    bool ok = find_symbols(handle, &library->api, why);
    if (ok && library->api.core_create(&library->core) != OV_OK) ok = refused(library, "start", why);
    if (!ok) {
        openvino_free(library);
        return false;
    }
    *out = library;
    return true;
}

void openvino_free(openvino *library) {
    if (library != NULL && library->core != NULL) library->api.core_free(library->core);
    free(library);
}

static bool read_port(const openvino *library, ov_output_const_port_t *port, const char *name, net_shape *out,
                      failure *why) {
    ov_shape_t found = {0, NULL};
    ov_element_type_e type = 0;
    if (library->api.port_get_element_type(port, &type) != OV_OK || type != OV_ELEMENT_F32)
        return fail(why, FAILURE_UNSUPPORTED, "the network's %s is not float32", name);
    if (library->api.const_port_get_shape(port, &found) != OV_OK)
        return fail(why, FAILURE_UNSUPPORTED, "the network's %s has no fixed shape", name);
    bool fits = found.rank >= 1 && found.rank <= ENGINE_MAX_RANK && found.dims[0] == 1;
    out->rank = found.rank;
    for (int64_t i = 0; fits && i < found.rank; i++) out->dims[i] = found.dims[i];
    (void)library->api.shape_free(&found);
    if (!fits) return fail(why, FAILURE_UNSUPPORTED, "the network's %s is not of batch 1 and at most rank 6", name);
    return true;
}

static bool read_shapes(engine *self, failure *why) {
    const openvino_api *api = &self->library->api;
    ov_output_const_port_t *port = NULL;
    size_t inputs = 0, outputs = 0;
    if (api->compiled_model_inputs_size(self->model, &inputs) != OV_OK || inputs != 1)
        return fail(why, FAILURE_UNSUPPORTED, "the network has %zu inputs; it must have one", inputs);
    if (api->compiled_model_outputs_size(self->model, &outputs) != OV_OK || outputs < self->outputs)
        return fail(why, FAILURE_UNSUPPORTED, "the network has %zu outputs; %zu are read", outputs, self->outputs);
    if (api->compiled_model_input_by_index(self->model, 0, &port) != OV_OK)
        return refused(self->library, "name the input", why);
    bool ok = read_port(self->library, port, "input", &self->input, why);
    api->output_const_port_free(port);
    for (size_t i = 0; ok && i < self->outputs; i++) {
        if (api->compiled_model_output_by_index(self->model, i, &port) != OV_OK)
            return refused(self->library, "name an output", why);
        ok = read_port(self->library, port, "output", &self->output[i], why);
        api->output_const_port_free(port);
    }
    return ok;
}

typedef struct compile_job {
    engine *self;
    const char *path;
    const engine_options *options;
    bool done;
    failure *why;
} compile_job;

static void *compile(void *argument) {
    compile_job *job = argument;
    openvino *library = job->self->library;
    char threads[16];
    (void)snprintf(threads, sizeof threads, "%d", (int)job->options->streams);
    /* The settings of builders/stages/cpu_engine.py, which says why: the same bits as there. */
    const char *const hint = job->options->streams > 1 ? "THROUGHPUT" : "LATENCY";
    const char *const precision = job->options->precision == ENGINE_BF16 ? "bf16" : "f32";
    job->done = library->api.core_compile_model_from_file(
                    library->core, job->path, "CPU", 10, &job->self->model, "PERFORMANCE_HINT", hint,
                    "INFERENCE_NUM_THREADS", threads, "NUM_STREAMS", threads, "ENABLE_CPU_PINNING", "NO",
                    "INFERENCE_PRECISION_HINT", precision) == OV_OK;
    if (!job->done) (void)refused(library, "compile the network", job->why);
    return NULL;
}

/*
 * In a thread that ends: OpenVINO's CPU plugin gives the compiling thread a signal stack and can leave it pointing at
 * freed memory; the next signal there would end the server.
 */
static bool compile_apart(engine *self, const char *path, const engine_options *options, failure *why) {
    compile_job job = {self, path, options, false, why};
    pthread_t thread;
    if (pthread_create(&thread, NULL, compile, &job) != 0)
        return fail(why, FAILURE_UNAVAILABLE, "no thread to compile the network");
    (void)pthread_join(thread, NULL);
    return job.done;
}

bool engine_open(openvino *library, const char *path, const engine_options *options, engine **out, failure *why) {
    *out = NULL;
    engine *self = calloc(1, sizeof *self);
    if (self == NULL) return fail(why, FAILURE_UNAVAILABLE, "no memory for the network");
    self->library = library;
    self->outputs = options->outputs;
    bool ok = self->outputs >= 1 && self->outputs <= ENGINE_MAX_OUTPUTS;
    if (!ok) (void)fail(why, FAILURE_UNSUPPORTED, "%zu outputs are to be read; 1..8 can be", self->outputs);
    if (!ok || !compile_apart(self, path, options, why) || !read_shapes(self, why)) {
        engine_close(self);
        return false;
    }
    *out = self;
    return true;
}

void engine_close(engine *self) {
    if (self != NULL && self->model != NULL) self->library->api.compiled_model_free(self->model);
    free(self);
}

size_t shape_values(const net_shape *form) {
    size_t values = 1;
    for (int64_t i = 1; i < form->rank; i++) values *= (size_t)form->dims[i];
    return values;
}

const net_shape *engine_input(const engine *self) { return &self->input; }

const net_shape *engine_output(const engine *self, size_t index) { return &self->output[index]; }

size_t engine_outputs(const engine *self) { return self->outputs; }

bool runner_open(engine *network, runner **out, failure *why) {
    *out = NULL;
    runner *self = calloc(1, sizeof *self);
    if (self == NULL) return fail(why, FAILURE_UNAVAILABLE, "no memory for the network");
    self->network = network;
    if (network->library->api.compiled_model_create_infer_request(network->model, &self->request) != OV_OK) {
        free(self);
        return refused(network->library, "make a request", why);
    }
    *out = self;
    return true;
}

void runner_close(runner *self) {
    if (self != NULL) self->network->library->api.infer_request_free(self->request);
    free(self);
}

const engine *runner_engine(const runner *self) { return self->network; }

typedef ov_status_e (*set_tensor)(ov_infer_request_t *request, size_t index, const ov_tensor_t *tensor);

/* Let the request read or write `data` in place. */
static bool attach(runner *self, set_tensor set, size_t index, net_shape *form, const void *data) {
    const openvino_api *api = &self->network->library->api;
    ov_tensor_t *tensor = NULL;
    void *bare;
    memcpy(&bare, &data, sizeof bare); /* OpenVINO's inputs are not const, though it does not write them */
    ov_shape_t as_is = {form->rank, form->dims};
    if (api->tensor_create_from_host_ptr(OV_ELEMENT_F32, as_is, bare, &tensor) != OV_OK) return false;
    ov_status_e status = set(self->request, index, tensor);
    api->tensor_free(tensor);
    return status == OV_OK;
}

bool runner_run(runner *self, const float *input, float *const *outputs, failure *why) {
    engine *network = self->network;
    const openvino_api *api = &network->library->api;
    if (!attach(self, api->infer_request_set_input_tensor_by_index, 0, &network->input, input))
        return refused(network->library, "take the input", why);
    for (size_t i = 0; i < network->outputs; i++)
        if (!attach(self, api->infer_request_set_output_tensor_by_index, i, &network->output[i], outputs[i]))
            return refused(network->library, "take an output", why);
    if (api->infer_request_infer(self->request) != OV_OK) return refused(network->library, "run the network", why);
    return true;
}
