/* SPDX-License-Identifier: Apache-2.0 */
/* A stand-in for the server: Triton's backend API over plain structures that a fuzzer fills, and that keep count. */
#ifndef SL_FAKE_TRITON_H
#define SL_FAKE_TRITON_H

#include "input.h"
#include "triton.h"

enum { FAKE_INPUTS = 6, FAKE_BUFFERS = 3, FAKE_OUTPUTS = 16, FAKE_RANK = 10 };
enum { FAKE_MOST_BYTES = 1 << 30, FAKE_ROOM_BYTES = 1 << 18 }; /* no output may ask for more; there is room for */

/* Which calls fail, or answer something unwelcome. */
typedef enum fake_fault {
    FAKE_NO_RESPONSE = 1,
    FAKE_NO_OUTPUT = 2,
    FAKE_NO_BUFFER = 4,
    FAKE_NULL_BUFFER = 8,
    FAKE_GPU_BUFFER = 16,
    FAKE_NO_SEND = 32,
    FAKE_NO_STATISTICS = 64
} fake_fault;

struct TRITONSERVER_Message {
    const char *text;
    size_t length;
};

struct TRITONBACKEND_Input {
    TRITONBACKEND_Request *request;
    const char *name;
    TRITONSERVER_DataType type;
    int64_t shape[FAKE_RANK];
    uint32_t rank;
    uint64_t byte_size; /* what it says */
    uint32_t buffer_count;
    const void *buffer[FAKE_BUFFERS];
    uint64_t buffer_bytes[FAKE_BUFFERS];
    TRITONSERVER_MemoryType memory;
    bool shared; /* lies in memory that the client writes to: whenever the server is asked for a buffer */
};

struct TRITONBACKEND_Output {
    TRITONBACKEND_Request *request;
    const char *name;
    TRITONSERVER_DataType type;
    int64_t shape[FAKE_RANK];
    uint32_t rank;
    void *buffer; /* a heap block of exactly `bytes` */
    uint64_t bytes;
};

struct TRITONBACKEND_Response {
    TRITONBACKEND_Request *request;
};

struct TRITONBACKEND_Request {
    TRITONBACKEND_Input inputs[FAKE_INPUTS];
    uint32_t input_count;
    const char *wanted[FAKE_OUTPUTS + 4];
    uint32_t wanted_count;
    unsigned faults; /* of fake_fault */
    uint32_t scribble; /* what the client writes to its shared inputs follows from this */
    TRITONBACKEND_Response response;
    TRITONBACKEND_Output outputs[FAKE_OUTPUTS];
    uint32_t output_count;
    int responses, sent, failed, released, reported; /* how often */
    char error[512];
};

struct TRITONBACKEND_Backend {
    struct TRITONSERVER_Message config;
    void *state;
};

struct TRITONBACKEND_Model {
    TRITONBACKEND_Backend *backend;
    struct TRITONSERVER_Message config;
    void *state;
};

struct TRITONBACKEND_ModelInstance {
    TRITONBACKEND_Model *model;
    void *state;
};

/* Errors that were made and not deleted. */
extern int fake_errors;

/* The output of this name, NULL where the response has none. */
const TRITONBACKEND_Output *fake_output(const TRITONBACKEND_Request *request, const char *name);
void fake_free_outputs(TRITONBACKEND_Request *request);

#endif
