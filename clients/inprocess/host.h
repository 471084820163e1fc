/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIGHTLINE_HOST_H
#define SIGHTLINE_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A Triton server inside this process, and requests to it. Every function may be called from any thread.
 * Functions that return bool give false on failure and then fill in the fault. */

typedef struct sl_host sl_host;
typedef struct sl_call sl_call;

/* code: Triton's word, such as "Not found". text: its message, cut at the end of the room. */
typedef struct sl_fault {
  char code[32];
  char text[2048];
} sl_fault;

typedef struct sl_setting {
  const char *backend, *name, *value;
} sl_setting;

/* All strings are read during sl_host_open only. models: those to load, of the repository. */
typedef struct sl_host_options {
  const char *repository, *backends, *log_file;
  const char *const *models;
  size_t model_count;
  const sl_setting *settings;
  size_t setting_count;
  unsigned int exit_seconds, load_threads;
} sl_host_options;

/* An input or an output. datatype: Triton's word ("FP32"). data: `bytes` bytes, C-contiguous. Of an output that is asked
 * for, `name`, `data` and `bytes` are the caller's own buffer, or data is NULL. */
typedef struct sl_value {
  const char *name, *datatype;
  const int64_t *shape;
  uint64_t rank;
  void *data;
  size_t bytes;
} sl_value;

/* triton_load must have succeeded before. A model that does not load is no failure here: see sl_host_index. */
bool sl_host_open(const sl_host_options *options, sl_host **host, sl_fault *fault);

/* Stop the server once its requests have ended, at most exit_seconds later, and free it. False where requests or models
 * still run: then nothing is freed, because they use it. No request may be started meanwhile or after. */
bool sl_host_close(sl_host *host, sl_fault *fault);

/* Whether the server, or a model where one is named, is ready. */
bool sl_host_ready(sl_host *host, const char *model, bool *ready, sl_fault *fault);

/* JSON texts, zero-terminated; the caller frees them. The index lists every model with state and reason. */
bool sl_host_config(sl_host *host, const char *model, char **json, sl_fault *fault);
bool sl_host_index(sl_host *host, char **json, sl_fault *fault);

/* Start a request. The inputs' data and the outputs' own buffers are used in place, without a copy, until the call has
 * finished; names and shapes are read here only. Outputs that are not listed come in blocks of sl_block_take.
 * finished(owner), where not NULL, is called once, on a thread of the server, when all is over and memory is free. */
bool sl_call_start(sl_host *host, const char *model, const sl_value *inputs, size_t input_count, const sl_value *own,
                   size_t own_count, void (*finished)(void *), void *owner, sl_call **call, sl_fault *fault);

/* Wait so long; true when the call has finished. */
bool sl_call_wait(sl_call *call, int64_t nanoseconds);

/* Nobody waits any more: from now on finished(owner) is called as in sl_call_start. False: it has finished already. */
bool sl_call_leave(sl_call *call, void (*finished)(void *), void *owner);

/* Ask the server to give the request up; it finishes later. */
void sl_call_cancel(sl_call *call);

/* After the end. The answer's fault, if any. */
bool sl_call_succeeded(sl_call *call, sl_fault *fault);

/* After the end, of a call that succeeded: outputs, valid until sl_call_free. */
uint32_t sl_call_output_count(sl_call *call);
bool sl_call_output(sl_call *call, uint32_t index, sl_value *output, sl_fault *fault);

/* Take the block of an output out of the call; the caller gives it back. NULL: it is the caller's own buffer. */
void *sl_call_take_block(sl_call *call, const void *data);

/* After the end, or of NULL. */
void sl_call_free(sl_call *call);

#endif
