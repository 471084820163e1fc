/* SPDX-License-Identifier: Apache-2.0 */
/* The edge between Triton and the stages: requests in, responses out, failures into Triton's errors. */
#ifndef SIGHTLINE_BACKEND_REQUEST_H
#define SIGHTLINE_BACKEND_REQUEST_H

#include "stage.h"
#include "triton.h"

/* The one place where a failure becomes Triton's error. */
TRITONSERVER_Error *triton_error(const failure *why);
/* True where `error` is NULL; else `why` gets its text and it is deleted. */
bool triton_ok(TRITONSERVER_Error *error, failure *why);
/* Log and delete an error that nobody can be told of. */
void triton_log(TRITONSERVER_Error *error);

/* Answer the requests one by one: each gets one final response, its statistics, and is released. */
void requests_answer(instance *self, TRITONBACKEND_ModelInstance *host, TRITONBACKEND_Request **requests,
                     uint32_t count);

#endif
