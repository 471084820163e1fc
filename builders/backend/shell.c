/* SPDX-License-Identifier: Apache-2.0 */
/* What Triton calls: the life of the backend, its models and their instances. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "pool.h"
#include "request.h"

#define NETWORK_FILE "/model.xml"

/* Lives as long as the library is in use; Triton may load models in several threads. */
typedef struct backend {
    pthread_mutex_t guard;
    char openvino_path[PATH_MAX];
    openvino *library; /* NULL until the first network */
} backend;

/* What runs requests: a stage and, where it has no network of the model's, its own. */
typedef struct worker {
    instance stage; /* first, so that the pool's instance is a worker */
    engine *own;
} worker;

typedef struct model {
    settings options;
    backend *owner;
    char network_path[PATH_MAX];
    engine *shared; /* NULL where each worker has its own */
    pool idle;      /* of `workers`, where the instances have none of their own */
    worker workers[MAX_WORKERS];
} model;

typedef struct model_instance {
    model *owner;
    worker own; /* unused where the model has workers */
} model_instance;

/* A message's JSON text, handed to `use` while it lives. */
static bool with_text(TRITONSERVER_Message *message, bool (*use)(void *, const char *, size_t, failure *), void *target,
                      failure *why) {
    const char *text = NULL;
    size_t bytes = 0;
    return triton_ok(TRITONSERVER_MessageSerializeToJson(message, &text, &bytes), why) &&
           use(target, text, bytes, why);
}

/* ---- backend ---- */

static bool read_backend_config(void *target, const char *text, size_t bytes, failure *why) {
    backend *self = target;
    return settings_backend_option(text, bytes, "openvino", self->openvino_path, sizeof self->openvino_path, why);
}

static bool backend_open(TRITONBACKEND_Backend *host, backend **out, failure *why) {
    TRITONSERVER_Message *config = NULL;
    uint32_t major = 0, minor = 0;
    *out = NULL;
    if (!triton_ok(TRITONBACKEND_ApiVersion(&major, &minor), why)) return false;
    if (major != TRITONBACKEND_API_MAJOR)
        return fail(why, FAILURE_UNSUPPORTED, "the server speaks backend API %" PRIu32 "; this library speaks 1", major);
    if (!triton_ok(TRITONBACKEND_BackendConfig(host, &config), why)) return false; /* stays the server's */
    backend *self = calloc(1, sizeof *self);
    if (self == NULL) return fail(why, FAILURE_UNAVAILABLE, "no memory for the backend");
    if (!with_text(config, read_backend_config, self, why) || pthread_mutex_init(&self->guard, NULL) != 0) {
        free(self);
        return false;
    }
    *out = self;
    return true;
}

SIGHTLINE_ENTRY TRITONSERVER_Error *TRITONBACKEND_Initialize(TRITONBACKEND_Backend *host) {
    failure why = {FAILURE_INTERNAL, "the backend cannot start"};
    backend *self;
    if (!backend_open(host, &self, &why)) return triton_error(&why);
    return TRITONBACKEND_BackendSetState(host, self);
}

SIGHTLINE_ENTRY TRITONSERVER_Error *TRITONBACKEND_Finalize(TRITONBACKEND_Backend *host) {
    void *state = NULL;
    TRITONSERVER_Error *error = TRITONBACKEND_BackendState(host, &state);
    backend *self = state;
    if (error != NULL || self == NULL) return error;
    openvino_free(self->library);
    (void)pthread_mutex_destroy(&self->guard);
    free(self);
    return NULL;
}

static bool backend_library(backend *self, openvino **out, failure *why) {
    (void)pthread_mutex_lock(&self->guard);
    bool ok = self->library != NULL || openvino_load(self->openvino_path, &self->library, why);
    *out = self->library;
    (void)pthread_mutex_unlock(&self->guard);
    return ok;
}

/* ---- model ---- */

static bool read_model_config(void *target, const char *text, size_t bytes, failure *why) {
    return settings_read(target, text, bytes, why);
}

static bool has_network(const settings *options) {
    return options->stage == STAGE_NETWORK || options->stage == STAGE_FUSED;
}

static bool compile(const model *self, int32_t streams, engine **out, failure *why) {
    openvino *library;
    const engine_options options = {self->options.precision, streams, self->options.outputs};
    return backend_library(self->owner, &library, why) &&
           engine_open(library, self->network_path, &options, out, why);
}

/* The folder of the model's version; `room` bytes at `out`. */
static bool find_folder(TRITONBACKEND_Model *host, char *out, size_t room, failure *why) {
    TRITONBACKEND_ArtifactType type = TRITONBACKEND_ARTIFACT_FILESYSTEM;
    const char *folder = NULL;
    uint64_t version = 0;
    if (!triton_ok(TRITONBACKEND_ModelRepository(host, &type, &folder), why)) return false;
    if (!triton_ok(TRITONBACKEND_ModelVersion(host, &version), why)) return false;
    if (type != TRITONBACKEND_ARTIFACT_FILESYSTEM)
        return fail(why, FAILURE_UNSUPPORTED, "the model must lie in a folder of the file system");
    int length = snprintf(out, room, "%s/%" PRIu64, folder, version);
    return (length > 0 && (size_t)length < room) || fail(why, FAILURE_BAD_INPUT, "the path of the model is too long");
}

/* What the settings say to read beside them. */
static bool read_files(TRITONBACKEND_Model *host, model *self, failure *why) {
    char folder[PATH_MAX - sizeof NETWORK_FILE];
    bool network = has_network(&self->options);
    if (!network && self->options.anchors_file[0] == '\0') return true;
    if (!find_folder(host, folder, sizeof folder, why) || !settings_read_anchors(&self->options, folder, why)) return false;
    (void)snprintf(self->network_path, sizeof self->network_path, "%s" NETWORK_FILE, folder);
    return !network || !self->options.shared || compile(self, self->options.streams, &self->shared, why);
}

static bool model_fill(TRITONBACKEND_Model *host, model *self, failure *why) {
    TRITONBACKEND_Backend *owner = NULL;
    TRITONSERVER_Message *config = NULL;
    void *state = NULL;
    if (!triton_ok(TRITONBACKEND_ModelBackend(host, &owner), why)) return false;
    if (!triton_ok(TRITONBACKEND_BackendState(owner, &state), why)) return false;
    self->owner = state;
    if (!triton_ok(TRITONBACKEND_ModelConfig(host, 1, &config), why)) return false;
    bool ok = with_text(config, read_model_config, &self->options, why);
    triton_log(TRITONSERVER_MessageDelete(config));
    return ok && read_files(host, self, why);
}

static void worker_close(worker *self) {
    runner_close(self->stage.network);
    engine_close(self->own);
    scratch_free(&self->stage.memory);
}

static bool worker_open(const model *owner, worker *self, failure *why) {
    self->stage.options = &owner->options;
    if (!has_network(&owner->options)) return true;
    if (owner->shared == NULL && !compile(owner, 1, &self->own, why)) return false;
    return runner_open(self->own != NULL ? self->own : owner->shared, &self->stage.network, why);
}

static void model_close(model *self) {
    for (size_t i = 0; i < self->options.workers; i++) worker_close(&self->workers[i]);
    engine_close(self->shared);
    pool_close(&self->idle);
    settings_free(&self->options);
    free(self);
}

static bool model_open(TRITONBACKEND_Model *host, model *self, failure *why) {
    if (!model_fill(host, self, why)) return false;
    for (size_t i = 0; i < self->options.workers; i++) {
        if (!worker_open(self, &self->workers[i], why)) return false;
        pool_give(&self->idle, &self->workers[i].stage);
    }
    return true;
}

SIGHTLINE_ENTRY TRITONSERVER_Error *TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model *host) {
    failure why = {FAILURE_UNAVAILABLE, "no memory for the model"};
    model *self = calloc(1, sizeof *self);
    if (self == NULL || !pool_open(&self->idle, &why)) {
        free(self);
        return triton_error(&why);
    }
    if (!model_open(host, self, &why)) {
        model_close(self);
        return triton_error(&why);
    }
    return TRITONBACKEND_ModelSetState(host, self);
}

SIGHTLINE_ENTRY TRITONSERVER_Error *TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model *host) {
    void *state = NULL;
    TRITONSERVER_Error *error = TRITONBACKEND_ModelState(host, &state);
    if (error == NULL && state != NULL) model_close(state);
    return error;
}

/* ---- instance ---- */

static bool instance_fill(TRITONBACKEND_ModelInstance *host, model_instance *self, failure *why) {
    TRITONSERVER_InstanceGroupKind kind = TRITONSERVER_INSTANCEGROUPKIND_CPU;
    if (!triton_ok(TRITONBACKEND_ModelInstanceKind(host, &kind), why)) return false;
    if (kind != TRITONSERVER_INSTANCEGROUPKIND_CPU)
        return fail(why, FAILURE_UNSUPPORTED, "the stages run on the CPU: the instance_group must be KIND_CPU");
    return self->owner->options.workers > 0 || worker_open(self->owner, &self->own, why);
}

SIGHTLINE_ENTRY TRITONSERVER_Error *TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance *host) {
    failure why = {FAILURE_UNAVAILABLE, "no memory for the instance"};
    TRITONBACKEND_Model *owner = NULL;
    void *state = NULL;
    TRITONSERVER_Error *error = TRITONBACKEND_ModelInstanceModel(host, &owner);
    if (error == NULL) error = TRITONBACKEND_ModelState(owner, &state);
    if (error != NULL) return error;
    model_instance *self = calloc(1, sizeof *self);
    if (self == NULL) return triton_error(&why);
    self->owner = state;
    if (!instance_fill(host, self, &why)) {
        worker_close(&self->own);
        free(self);
        return triton_error(&why);
    }
    return TRITONBACKEND_ModelInstanceSetState(host, self);
}

SIGHTLINE_ENTRY TRITONSERVER_Error *TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance *host) {
    void *state = NULL;
    TRITONSERVER_Error *error = TRITONBACKEND_ModelInstanceState(host, &state);
    model_instance *self = state;
    if (error != NULL || self == NULL) return error;
    worker_close(&self->own);
    free(self);
    return NULL;
}

SIGHTLINE_ENTRY TRITONSERVER_Error *TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance *host,
                                                                       TRITONBACKEND_Request **requests,
                                                                       uint32_t request_count) {
    void *state = NULL;
    TRITONSERVER_Error *error = TRITONBACKEND_ModelInstanceState(host, &state);
    if (error != NULL) return error; /* the requests stay the server's */
    model_instance *self = state;
    bool pooled = self->owner->options.workers > 0;
    instance *stage = pooled ? pool_take(&self->owner->idle) : &self->own.stage;
    requests_answer(stage, host, requests, request_count);
    if (pooled) pool_give(&self->owner->idle, stage);
    return NULL;
}
