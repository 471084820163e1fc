# SPDX-License-Identifier: Apache-2.0
from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef extern from "<stdbool.h>" nogil:
    ctypedef bint cbool "bool"


cdef extern from "triton_api.h" nogil:
    const char *triton_load(const char *library)
    const char *triton_preload(const char *library)


cdef extern from "blocks.h" nogil:
    void *sl_block_take(size_t bytes)
    void sl_block_give(void *block)


cdef extern from "host.h" nogil:
    ctypedef struct sl_host:
        pass
    ctypedef struct sl_call:
        pass
    ctypedef struct sl_fault:
        char code[32]
        char text[2048]
    ctypedef struct sl_setting:
        const char *backend
        const char *name
        const char *value
    ctypedef struct sl_host_options:
        const char *repository
        const char *backends
        const char *log_file
        const char **models
        size_t model_count
        const sl_setting *settings
        size_t setting_count
        unsigned int exit_seconds
        unsigned int load_threads
    ctypedef struct sl_value:
        const char *name
        const char *datatype
        const int64_t *shape
        uint64_t rank
        void *data
        size_t bytes
    bint sl_host_open(const sl_host_options *options, sl_host **host, sl_fault *fault)
    bint sl_host_close(sl_host *host, sl_fault *fault)
    bint sl_host_ready(sl_host *host, const char *model, cbool *ready, sl_fault *fault)
    bint sl_host_config(sl_host *host, const char *model, char **json, sl_fault *fault)
    bint sl_host_index(sl_host *host, char **json, sl_fault *fault)
    bint sl_call_start(sl_host *host, const char *model, const sl_value *inputs, size_t input_count,
                       const sl_value *own, size_t own_count, void (*finished)(void *) noexcept nogil, void *owner,
                       sl_call **call, sl_fault *fault)
    bint sl_call_wait(sl_call *call, int64_t nanoseconds)
    bint sl_call_leave(sl_call *call, void (*finished)(void *) noexcept nogil, void *owner)
    void sl_call_cancel(sl_call *call)
    bint sl_call_succeeded(sl_call *call, sl_fault *fault)
    uint32_t sl_call_output_count(sl_call *call)
    bint sl_call_output(sl_call *call, uint32_t index, sl_value *output, sl_fault *fault)
    void *sl_call_take_block(sl_call *call, const void *data)
    void sl_call_free(sl_call *call)
