/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIGHTLINE_TRITON_API_H
#define SIGHTLINE_TRITON_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is used of libtritonserver's C API (version 1 of release 24.10), declared by hand: no wheel carries its header.
 * The library is opened at run time, so this extension loads where no server is installed. */

typedef struct TRITONSERVER_Error TRITONSERVER_Error;
typedef struct TRITONSERVER_Server TRITONSERVER_Server;
typedef struct TRITONSERVER_ServerOptions TRITONSERVER_ServerOptions;
typedef struct TRITONSERVER_Message TRITONSERVER_Message;
typedef struct TRITONSERVER_ResponseAllocator TRITONSERVER_ResponseAllocator;
typedef struct TRITONSERVER_InferenceRequest TRITONSERVER_InferenceRequest;
typedef struct TRITONSERVER_InferenceResponse TRITONSERVER_InferenceResponse;
typedef struct TRITONSERVER_InferenceTrace TRITONSERVER_InferenceTrace;

enum { TRITON_ERROR_INTERNAL = 1, TRITON_MEMORY_CPU = 0, TRITON_CONTROL_EXPLICIT = 2 };
enum { TRITON_REQUEST_RELEASE_ALL = 1, TRITON_RESPONSE_FINAL = 1 };

typedef TRITONSERVER_Error *(*triton_allocate)(TRITONSERVER_ResponseAllocator *, const char *name, size_t bytes,
                                               int memory_type, int64_t memory_id, void *user, void **buffer,
                                               void **buffer_user, int *actual_type, int64_t *actual_id);
typedef TRITONSERVER_Error *(*triton_release)(TRITONSERVER_ResponseAllocator *, void *buffer, void *buffer_user,
                                              size_t bytes, int memory_type, int64_t memory_id);
typedef void (*triton_request_released)(TRITONSERVER_InferenceRequest *, const uint32_t flags, void *user);
typedef void (*triton_responded)(TRITONSERVER_InferenceResponse *, const uint32_t flags, void *user);

/* Each line: result, name without TRITONSERVER_, arguments. Enumerations are passed as int. */
#define TRITON_FUNCTIONS(F)                                                                                            \
  F(TRITONSERVER_Error *, ApiVersion, (uint32_t *, uint32_t *))                                                        \
  F(TRITONSERVER_Error *, ErrorNew, (int, const char *))                                                               \
  F(void, ErrorDelete, (TRITONSERVER_Error *))                                                                         \
  F(const char *, ErrorCodeString, (TRITONSERVER_Error *))                                                             \
  F(const char *, ErrorMessage, (TRITONSERVER_Error *))                                                                \
  F(int, StringToDataType, (const char *))                                                                             \
  F(const char *, DataTypeString, (int))                                                                               \
  F(TRITONSERVER_Error *, ServerOptionsNew, (TRITONSERVER_ServerOptions **))                                           \
  F(TRITONSERVER_Error *, ServerOptionsDelete, (TRITONSERVER_ServerOptions *))                                         \
  F(TRITONSERVER_Error *, ServerOptionsSetModelRepositoryPath, (TRITONSERVER_ServerOptions *, const char *))           \
  F(TRITONSERVER_Error *, ServerOptionsSetModelControlMode, (TRITONSERVER_ServerOptions *, int))                       \
  F(TRITONSERVER_Error *, ServerOptionsSetStartupModel, (TRITONSERVER_ServerOptions *, const char *))                  \
  F(TRITONSERVER_Error *, ServerOptionsSetStrictModelConfig, (TRITONSERVER_ServerOptions *, bool))                     \
  F(TRITONSERVER_Error *, ServerOptionsSetPinnedMemoryPoolByteSize, (TRITONSERVER_ServerOptions *, uint64_t))          \
  F(TRITONSERVER_Error *, ServerOptionsSetExitOnError, (TRITONSERVER_ServerOptions *, bool))                           \
  F(TRITONSERVER_Error *, ServerOptionsSetStrictReadiness, (TRITONSERVER_ServerOptions *, bool))                       \
  F(TRITONSERVER_Error *, ServerOptionsSetExitTimeout, (TRITONSERVER_ServerOptions *, unsigned int))                   \
  F(TRITONSERVER_Error *, ServerOptionsSetModelLoadThreadCount, (TRITONSERVER_ServerOptions *, unsigned int))          \
  F(TRITONSERVER_Error *, ServerOptionsSetModelLoadRetryCount, (TRITONSERVER_ServerOptions *, unsigned int))            \
  F(TRITONSERVER_Error *, ServerOptionsSetLogFile, (TRITONSERVER_ServerOptions *, const char *))                       \
  F(TRITONSERVER_Error *, ServerOptionsSetMetrics, (TRITONSERVER_ServerOptions *, bool))                               \
  F(TRITONSERVER_Error *, ServerOptionsSetBackendDirectory, (TRITONSERVER_ServerOptions *, const char *))              \
  F(TRITONSERVER_Error *, ServerOptionsSetBackendConfig,                                                               \
    (TRITONSERVER_ServerOptions *, const char *, const char *, const char *))                                          \
  F(TRITONSERVER_Error *, ServerNew, (TRITONSERVER_Server **, TRITONSERVER_ServerOptions *))                           \
  F(TRITONSERVER_Error *, ServerDelete, (TRITONSERVER_Server *))                                                       \
  F(TRITONSERVER_Error *, ServerStop, (TRITONSERVER_Server *))                                                         \
  F(TRITONSERVER_Error *, ServerIsReady, (TRITONSERVER_Server *, bool *))                                              \
  F(TRITONSERVER_Error *, ServerModelIsReady, (TRITONSERVER_Server *, const char *, int64_t, bool *))                  \
  F(TRITONSERVER_Error *, ServerModelConfig,                                                                           \
    (TRITONSERVER_Server *, const char *, int64_t, uint32_t, TRITONSERVER_Message **))                                 \
  F(TRITONSERVER_Error *, ServerModelIndex, (TRITONSERVER_Server *, uint32_t, TRITONSERVER_Message **))                \
  F(TRITONSERVER_Error *, MessageSerializeToJson, (TRITONSERVER_Message *, const char **, size_t *))                   \
  F(TRITONSERVER_Error *, MessageDelete, (TRITONSERVER_Message *))                                                     \
  F(TRITONSERVER_Error *, ResponseAllocatorNew,                                                                        \
    (TRITONSERVER_ResponseAllocator **, triton_allocate, triton_release, void *))                                      \
  F(TRITONSERVER_Error *, ResponseAllocatorDelete, (TRITONSERVER_ResponseAllocator *))                                 \
  F(TRITONSERVER_Error *, InferenceRequestNew,                                                                         \
    (TRITONSERVER_InferenceRequest **, TRITONSERVER_Server *, const char *, int64_t))                                  \
  F(TRITONSERVER_Error *, InferenceRequestDelete, (TRITONSERVER_InferenceRequest *))                                   \
  F(TRITONSERVER_Error *, InferenceRequestCancel, (TRITONSERVER_InferenceRequest *))                                   \
  F(TRITONSERVER_Error *, InferenceRequestAddInput,                                                                    \
    (TRITONSERVER_InferenceRequest *, const char *, int, const int64_t *, uint64_t))                                   \
  F(TRITONSERVER_Error *, InferenceRequestAppendInputData,                                                             \
    (TRITONSERVER_InferenceRequest *, const char *, const void *, size_t, int, int64_t))                               \
  F(TRITONSERVER_Error *, InferenceRequestSetReleaseCallback,                                                          \
    (TRITONSERVER_InferenceRequest *, triton_request_released, void *))                                                \
  F(TRITONSERVER_Error *, InferenceRequestSetResponseCallback,                                                         \
    (TRITONSERVER_InferenceRequest *, TRITONSERVER_ResponseAllocator *, void *, triton_responded, void *))             \
  F(TRITONSERVER_Error *, ServerInferAsync,                                                                            \
    (TRITONSERVER_Server *, TRITONSERVER_InferenceRequest *, TRITONSERVER_InferenceTrace *))                           \
  F(TRITONSERVER_Error *, InferenceResponseError, (TRITONSERVER_InferenceResponse *))                                  \
  F(TRITONSERVER_Error *, InferenceResponseOutputCount, (TRITONSERVER_InferenceResponse *, uint32_t *))                \
  F(TRITONSERVER_Error *, InferenceResponseOutput,                                                                     \
    (TRITONSERVER_InferenceResponse *, const uint32_t, const char **, int *, const int64_t **, uint64_t *,             \
     const void **, size_t *, int *, int64_t *, void **))                                                              \
  F(TRITONSERVER_Error *, InferenceResponseDelete, (TRITONSERVER_InferenceResponse *))

typedef struct triton_api {
#define TRITON_MEMBER(result, name, arguments) result(*name) arguments;
  TRITON_FUNCTIONS(TRITON_MEMBER)
#undef TRITON_MEMBER
} triton_api;

/* The functions of the library that triton_load opened; never unloaded. */
extern triton_api triton;

/* Open the library and let backends find its functions (see forward.h). Returns NULL, or what is wrong (static or of
 * dlerror, valid until the next call). Not safe for threads: the caller holds a lock. */
const char *triton_load(const char *library);

/* Open a library that others need, by its real path; NULL or dlerror's text. */
const char *triton_preload(const char *library);

#endif
