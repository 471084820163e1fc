/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIGHTLINE_HOST_INTERNAL_H
#define SIGHTLINE_HOST_INTERNAL_H

#include "host.h"
#include "triton_api.h"

#include <pthread.h>
#include <time.h>

/* What host.c (the server) and calls.c (requests to it) share. */

#define SL_SECOND INT64_C(1000000000)

struct sl_host {
  TRITONSERVER_Server *server;
  TRITONSERVER_ResponseAllocator *allocator;
  pthread_mutex_t lock;
  pthread_cond_t idle;
  size_t calls; /* that have not finished */
  unsigned int exit_seconds;
};

/* Whether there is an error, which goes into the fault; it is freed. */
bool sl_failed(TRITONSERVER_Error *error, sl_fault *fault);

/* Fill in the fault; false. */
bool sl_fails(sl_fault *fault, const char *code, const char *text);

void sl_forget(TRITONSERVER_Error *error);
void sl_monotonic_condition(pthread_cond_t *condition);
struct timespec sl_moment_after(int64_t nanoseconds);

/* A call has finished and is free. */
void sl_host_lost_a_call(sl_host *host);

/* The server's callbacks for the memory of results; `user` is the call. */
TRITONSERVER_Error *sl_allocate(TRITONSERVER_ResponseAllocator *allocator, const char *name, size_t bytes,
                                int memory_type, int64_t memory_id, void *user, void **buffer, void **buffer_user,
                                int *actual_type, int64_t *actual_id);
TRITONSERVER_Error *sl_keep_buffer(TRITONSERVER_ResponseAllocator *allocator, void *buffer, void *buffer_user,
                                   size_t bytes, int memory_type, int64_t memory_id);

#endif
