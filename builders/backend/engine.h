/* SPDX-License-Identifier: Apache-2.0 */
/* A network on the CPU through OpenVINO's C API, which is loaded when the first network needs it. */
#ifndef SIGHTLINE_BACKEND_ENGINE_H
#define SIGHTLINE_BACKEND_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "failure.h"

enum { ENGINE_MAX_RANK = 6, ENGINE_MAX_OUTPUTS = 8 };

/* Arithmetic of the network; bf16 only where the processor has it. */
typedef enum engine_precision { ENGINE_F32, ENGINE_BF16 } engine_precision;

typedef struct net_shape {
    int64_t rank;
    int64_t dims[ENGINE_MAX_RANK]; /* dims[0] is the batch, always 1 */
} net_shape;

typedef struct openvino openvino; /* the loaded library */
typedef struct engine engine;     /* a compiled network */
typedef struct runner runner;     /* one request at a time of a compiled network */

/* Load the library (libopenvino_c.so.*). It stays loaded for good: its threads outlive us. */
bool openvino_load(const char *path, openvino **out, failure *why);
void openvino_free(openvino *library);

typedef struct engine_options {
    engine_precision precision;
    int32_t streams; /* requests at the same time, a thread each */
    size_t outputs;  /* so many outputs are read, from the first: 1..ENGINE_MAX_OUTPUTS */
} engine_options;

/*
 * Compile `path` for batch 1, as builders/stages/cpu_engine.py does. What is read must be float32 with fixed shapes;
 * shapes between input and outputs may depend on the picture. May be called from any thread.
 */
bool engine_open(openvino *library, const char *path, const engine_options *options, engine **out, failure *why);
void engine_close(engine *self);

/* Values of one item. */
size_t shape_values(const net_shape *form);

const net_shape *engine_input(const engine *self);
const net_shape *engine_output(const engine *self, size_t index);
size_t engine_outputs(const engine *self);

/* A runner must be closed before its engine. */
bool runner_open(engine *network, runner **out, failure *why);
void runner_close(runner *self);
const engine *runner_engine(const runner *self);

/* One item: reads `input` and writes `outputs` in place, as many as engine_outputs(). */
bool runner_run(runner *self, const float *input, float *const *outputs, failure *why);

#endif
