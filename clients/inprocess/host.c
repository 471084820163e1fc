/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "forks.h"
#include "host_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sl_failed(TRITONSERVER_Error *error, sl_fault *fault) {
  if (error == NULL)
    return false;
  snprintf(fault->code, sizeof fault->code, "%s", triton.ErrorCodeString(error));
  snprintf(fault->text, sizeof fault->text, "%s", triton.ErrorMessage(error));
  triton.ErrorDelete(error);
  return true;
}

bool sl_fails(sl_fault *fault, const char *code, const char *text) {
  snprintf(fault->code, sizeof fault->code, "%s", code);
  snprintf(fault->text, sizeof fault->text, "%s", text);
  return false;
}

void sl_forget(TRITONSERVER_Error *error) {
  if (error != NULL)
    triton.ErrorDelete(error);
}

void sl_monotonic_condition(pthread_cond_t *condition) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(condition, &attributes);
  pthread_condattr_destroy(&attributes);
}

struct timespec sl_moment_after(int64_t nanoseconds) {
  struct timespec moment;
  clock_gettime(CLOCK_MONOTONIC, &moment);
  int64_t total = moment.tv_nsec + nanoseconds % SL_SECOND;
  moment.tv_sec += (time_t)(nanoseconds / SL_SECOND + total / SL_SECOND);
  moment.tv_nsec = (long)(total % SL_SECOND);
  return moment;
}

static bool set_options(TRITONSERVER_ServerOptions *options, const sl_host_options *wanted, sl_fault *fault) {
  if (sl_failed(triton.ServerOptionsSetModelRepositoryPath(options, wanted->repository), fault) ||
      sl_failed(triton.ServerOptionsSetBackendDirectory(options, wanted->backends), fault) ||
      sl_failed(triton.ServerOptionsSetLogFile(options, wanted->log_file), fault) ||
      sl_failed(triton.ServerOptionsSetModelControlMode(options, TRITON_CONTROL_EXPLICIT), fault) ||
      sl_failed(triton.ServerOptionsSetStrictModelConfig(options, true), fault) ||
      sl_failed(triton.ServerOptionsSetPinnedMemoryPoolByteSize(options, 0), fault) ||
      sl_failed(triton.ServerOptionsSetExitOnError(options, false), fault) ||
      sl_failed(triton.ServerOptionsSetStrictReadiness(options, true), fault) ||
      sl_failed(triton.ServerOptionsSetExitTimeout(options, wanted->exit_seconds), fault) ||
      sl_failed(triton.ServerOptionsSetModelLoadThreadCount(options, wanted->load_threads), fault) ||
      sl_failed(triton.ServerOptionsSetModelLoadRetryCount(options, 0), fault) ||
      sl_failed(triton.ServerOptionsSetMetrics(options, false), fault))
    return false;
  for (size_t i = 0; i < wanted->model_count; i++)
    if (sl_failed(triton.ServerOptionsSetStartupModel(options, wanted->models[i]), fault))
      return false;
  for (size_t i = 0; i < wanted->setting_count; i++) {
    const sl_setting *setting = &wanted->settings[i];
    if (sl_failed(triton.ServerOptionsSetBackendConfig(options, setting->backend, setting->name, setting->value), fault))
      return false;
  }
  return true;
}

static bool open_server(sl_host *host, const sl_host_options *wanted, sl_fault *fault) {
  TRITONSERVER_ServerOptions *options = NULL;
  if (sl_failed(triton.ServerOptionsNew(&options), fault))
    return false;
  bool good = set_options(options, wanted, fault) && !sl_failed(triton.ServerNew(&host->server, options), fault);
  sl_forget(triton.ServerOptionsDelete(options));
  return good;
}

bool sl_host_open(const sl_host_options *options, sl_host **opened, sl_fault *fault) {
  *opened = NULL;
  sl_host *host = calloc(1, sizeof *host);
  if (host == NULL)
    return sl_fails(fault, "Internal", "no memory for a server");
  host->exit_seconds = options->exit_seconds;
  sl_forks_in_turn();
  if (sl_failed(triton.ResponseAllocatorNew(&host->allocator, sl_allocate, sl_keep_buffer, NULL), fault)) {
    free(host);
    return false;
  }
  if (!open_server(host, options, fault)) {
    sl_forget(triton.ResponseAllocatorDelete(host->allocator));
    free(host);
    return false;
  }
  pthread_mutex_init(&host->lock, NULL);
  sl_monotonic_condition(&host->idle);
  *opened = host;
  return true;
}

static bool becomes_idle(sl_host *host) {
  struct timespec end = sl_moment_after((int64_t)host->exit_seconds * SL_SECOND);
  int timed_out = 0;
  pthread_mutex_lock(&host->lock);
  while (host->calls > 0 && timed_out == 0)
    timed_out = pthread_cond_timedwait(&host->idle, &host->lock, &end);
  bool idle = host->calls == 0;
  pthread_mutex_unlock(&host->lock);
  return idle;
}

bool sl_host_close(sl_host *host, sl_fault *fault) {
  bool idle = becomes_idle(host);
  if (sl_failed(triton.ServerStop(host->server), fault))
    return false;
  if (!idle)
    return sl_fails(fault, "Unavailable", "requests are still under way");
  if (sl_failed(triton.ServerDelete(host->server), fault))
    return false;
  sl_forget(triton.ResponseAllocatorDelete(host->allocator));
  pthread_cond_destroy(&host->idle);
  pthread_mutex_destroy(&host->lock);
  free(host);
  return true;
}

bool sl_host_ready(sl_host *host, const char *model, bool *ready, sl_fault *fault) {
  *ready = false;
  if (model != NULL)
    return !sl_failed(triton.ServerModelIsReady(host->server, model, -1, ready), fault);
  return !sl_failed(triton.ServerIsReady(host->server, ready), fault);
}

static bool json_of(TRITONSERVER_Message *message, char **json, sl_fault *fault) {
  const char *text = NULL;
  size_t bytes = 0;
  bool good = !sl_failed(triton.MessageSerializeToJson(message, &text, &bytes), fault);
  if (good) {
    *json = malloc(bytes + 1);
    if (*json != NULL) {
      memcpy(*json, text, bytes);
      (*json)[bytes] = 0;
    } else {
      good = sl_fails(fault, "Internal", "no memory for a message");
    }
  }
  sl_forget(triton.MessageDelete(message));
  return good;
}

bool sl_host_config(sl_host *host, const char *model, char **json, sl_fault *fault) {
  TRITONSERVER_Message *message = NULL;
  *json = NULL;
  return !sl_failed(triton.ServerModelConfig(host->server, model, -1, 1, &message), fault) &&
         json_of(message, json, fault);
}

bool sl_host_index(sl_host *host, char **json, sl_fault *fault) {
  TRITONSERVER_Message *message = NULL;
  *json = NULL;
  return !sl_failed(triton.ServerModelIndex(host->server, 0, &message), fault) && json_of(message, json, fault);
}

void sl_host_lost_a_call(sl_host *host) {
  pthread_mutex_lock(&host->lock);
  if (--host->calls == 0)
    pthread_cond_broadcast(&host->idle);
  pthread_mutex_unlock(&host->lock);
}
