/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "blocks.h"
#include "host_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_OWN = 16 };

typedef struct block_entry {
  void *data;
  struct block_entry *next;
} block_entry;

struct sl_call {
  sl_host *host;
  TRITONSERVER_InferenceRequest *request;
  TRITONSERVER_InferenceResponse *response;
  block_entry *blocks;
  struct {
    char name[64];
    void *data;
    size_t bytes;
  } own[MAX_OWN];
  size_t own_count;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  int waits_for; /* final response, release of the request */
  bool finished;
  void (*on_finished)(void *);
  void *owner;
};

TRITONSERVER_Error *sl_allocate(TRITONSERVER_ResponseAllocator *allocator, const char *name, size_t bytes,
                                int memory_type, int64_t memory_id, void *user, void **buffer, void **buffer_user,
                                int *actual_type, int64_t *actual_id) {
  (void)allocator, (void)memory_type, (void)memory_id;
  sl_call *call = user;
  *actual_type = TRITON_MEMORY_CPU;
  *actual_id = 0;
  *buffer_user = NULL;
  *buffer = NULL;
  for (size_t i = 0; i < call->own_count; i++) {
    if (strcmp(call->own[i].name, name) == 0) {
      if (bytes > call->own[i].bytes)
        return triton.ErrorNew(TRITON_ERROR_INTERNAL, "the buffer given for an output is too small");
      *buffer = call->own[i].data;
      return NULL;
    }
  }
  if (bytes == 0)
    return NULL;
  block_entry *entry = malloc(sizeof *entry);
  void *block = entry == NULL ? NULL : sl_block_take(bytes);
  if (block == NULL) {
    free(entry);
    return triton.ErrorNew(TRITON_ERROR_INTERNAL, "no memory for an output");
  }
  pthread_mutex_lock(&call->lock);
  *entry = (block_entry){block, call->blocks};
  call->blocks = entry;
  pthread_mutex_unlock(&call->lock);
  *buffer = block;
  return NULL;
}

TRITONSERVER_Error *sl_keep_buffer(TRITONSERVER_ResponseAllocator *allocator, void *buffer, void *buffer_user,
                                   size_t bytes, int memory_type, int64_t memory_id) {
  (void)allocator, (void)buffer, (void)buffer_user, (void)bytes, (void)memory_type, (void)memory_id;
  return NULL; /* blocks are the call's, other buffers the caller's */
}

/* One of the two events that a call waits for. The last one finishes it; then it may be freed by whoever waits, so the
 * host, which outlives its calls, is told last and through a copy. */
static void arrived(sl_call *call) {
  sl_host *host = call->host;
  pthread_mutex_lock(&call->lock);
  bool over = --call->waits_for == 0;
  TRITONSERVER_InferenceRequest *request = call->request;
  if (over)
    call->request = NULL;
  pthread_mutex_unlock(&call->lock);
  if (!over)
    return;
  sl_forget(triton.InferenceRequestDelete(request));
  pthread_mutex_lock(&call->lock);
  call->finished = true;
  void (*on_finished)(void *) = call->on_finished;
  void *owner = call->owner;
  pthread_cond_broadcast(&call->changed);
  pthread_mutex_unlock(&call->lock);
  if (on_finished != NULL)
    on_finished(owner);
  sl_host_lost_a_call(host);
}

static void released(TRITONSERVER_InferenceRequest *request, const uint32_t flags, void *user) {
  (void)request;
  if (flags & TRITON_REQUEST_RELEASE_ALL)
    arrived(user);
}

static void responded(TRITONSERVER_InferenceResponse *response, const uint32_t flags, void *user) {
  sl_call *call = user;
  TRITONSERVER_InferenceResponse *surplus = response;
  pthread_mutex_lock(&call->lock);
  if (call->response == NULL) {
    call->response = response;
    surplus = NULL;
  }
  pthread_mutex_unlock(&call->lock);
  if (surplus != NULL)
    sl_forget(triton.InferenceResponseDelete(surplus));
  if (flags & TRITON_RESPONSE_FINAL)
    arrived(call);
}

static bool add_input(TRITONSERVER_InferenceRequest *request, const sl_value *input, sl_fault *fault) {
  int datatype = triton.StringToDataType(input->datatype);
  return !sl_failed(triton.InferenceRequestAddInput(request, input->name, datatype, input->shape, input->rank), fault) &&
         !sl_failed(triton.InferenceRequestAppendInputData(request, input->name, input->data, input->bytes,
                                                        TRITON_MEMORY_CPU, 0),
                 fault);
}

static bool fill_request(sl_call *call, const char *model, const sl_value *inputs, size_t count, sl_fault *fault) {
  if (sl_failed(triton.InferenceRequestNew(&call->request, call->host->server, model, -1), fault))
    return false;
  for (size_t i = 0; i < count; i++)
    if (!add_input(call->request, &inputs[i], fault))
      return false;
  return !sl_failed(triton.InferenceRequestSetReleaseCallback(call->request, released, call), fault) &&
         !sl_failed(triton.InferenceRequestSetResponseCallback(call->request, call->host->allocator, call, responded, call),
                 fault);
}

static bool keep_own(sl_call *call, const sl_value *own, size_t count, sl_fault *fault) {
  if (count > MAX_OWN)
    return sl_fails(fault, "Invalid argument", "too many outputs have buffers of their own");
  for (size_t i = 0; i < count; i++) {
    if (strlen(own[i].name) >= sizeof call->own[i].name)
      return sl_fails(fault, "Invalid argument", "an output's name is too long");
    strcpy(call->own[i].name, own[i].name);
    call->own[i].data = own[i].data;
    call->own[i].bytes = own[i].bytes;
  }
  call->own_count = count;
  return true;
}

bool sl_call_start(sl_host *host, const char *model, const sl_value *inputs, size_t input_count, const sl_value *own,
                   size_t own_count, void (*finished)(void *), void *owner, sl_call **started, sl_fault *fault) {
  *started = NULL;
  sl_call *call = calloc(1, sizeof *call);
  if (call == NULL)
    return sl_fails(fault, "Internal", "no memory for a request");
  call->host = host;
  call->waits_for = 2;
  call->on_finished = finished;
  call->owner = owner;
  pthread_mutex_init(&call->lock, NULL);
  sl_monotonic_condition(&call->changed);
  pthread_mutex_lock(&host->lock);
  host->calls++;
  pthread_mutex_unlock(&host->lock);
  *started = call; /* before it can finish */
  if (keep_own(call, own, own_count, fault) && fill_request(call, model, inputs, input_count, fault) &&
      !sl_failed(triton.ServerInferAsync(host->server, call->request, NULL), fault))
    return true;
  *started = NULL;
  if (call->request != NULL)
    sl_forget(triton.InferenceRequestDelete(call->request));
  sl_call_free(call);
  sl_host_lost_a_call(host);
  return false;
}

bool sl_call_wait(sl_call *call, int64_t nanoseconds) {
  struct timespec end = sl_moment_after(nanoseconds < 0 ? 0 : nanoseconds);
  int timed_out = 0;
  pthread_mutex_lock(&call->lock);
  while (!call->finished && timed_out == 0)
    timed_out = pthread_cond_timedwait(&call->changed, &call->lock, &end);
  bool finished = call->finished;
  pthread_mutex_unlock(&call->lock);
  return finished;
}

bool sl_call_leave(sl_call *call, void (*finished)(void *), void *owner) {
  pthread_mutex_lock(&call->lock);
  bool left = !call->finished;
  if (left) {
    call->on_finished = finished;
    call->owner = owner;
  }
  pthread_mutex_unlock(&call->lock);
  return left;
}

void sl_call_cancel(sl_call *call) {
  pthread_mutex_lock(&call->lock);
  if (call->request != NULL && !call->finished)
    sl_forget(triton.InferenceRequestCancel(call->request));
  pthread_mutex_unlock(&call->lock);
}

bool sl_call_succeeded(sl_call *call, sl_fault *fault) {
  if (call->response == NULL)
    return sl_fails(fault, "Internal", "the model sent no response");
  TRITONSERVER_Error *error = triton.InferenceResponseError(call->response); /* the response owns it */
  if (error == NULL)
    return true;
  return sl_fails(fault, triton.ErrorCodeString(error), triton.ErrorMessage(error));
}

uint32_t sl_call_output_count(sl_call *call) {
  uint32_t count = 0;
  sl_forget(triton.InferenceResponseOutputCount(call->response, &count));
  return count;
}

bool sl_call_output(sl_call *call, uint32_t index, sl_value *output, sl_fault *fault) {
  int datatype = 0, memory_type = 0;
  int64_t memory_id = 0;
  const void *data = NULL;
  void *user = NULL;
  if (sl_failed(triton.InferenceResponseOutput(call->response, index, &output->name, &datatype, &output->shape,
                                            &output->rank, &data, &output->bytes, &memory_type, &memory_id, &user),
             fault))
    return false;
  output->datatype = triton.DataTypeString(datatype);
  memcpy(&output->data, &data, sizeof data);
  return true;
}

void *sl_call_take_block(sl_call *call, const void *data) {
  for (block_entry **link = &call->blocks; *link != NULL; link = &(*link)->next) {
    block_entry *entry = *link;
    if (entry->data == data) {
      void *block = entry->data;
      *link = entry->next;
      free(entry);
      return block;
    }
  }
  return NULL;
}

void sl_call_free(sl_call *call) {
  if (call == NULL)
    return;
  if (call->response != NULL)
    sl_forget(triton.InferenceResponseDelete(call->response));
  while (call->blocks != NULL) {
    block_entry *entry = call->blocks;
    call->blocks = entry->next;
    sl_block_give(entry->data);
    free(entry);
  }
  pthread_cond_destroy(&call->changed);
  pthread_mutex_destroy(&call->lock);
  free(call);
}
