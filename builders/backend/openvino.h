/* SPDX-License-Identifier: Apache-2.0 */
/* The part of OpenVINO's C API (2026) that is used, as types of functions to look up; the library is not linked. */
#ifndef SIGHTLINE_BACKEND_OPENVINO_H
#define SIGHTLINE_BACKEND_OPENVINO_H

#include <stddef.h>
#include <stdint.h>

typedef struct ov_core ov_core_t;
typedef struct ov_compiled_model ov_compiled_model_t;
typedef struct ov_infer_request ov_infer_request_t;
typedef struct ov_output_const_port ov_output_const_port_t;
typedef struct ov_tensor ov_tensor_t;

typedef struct ov_shape {
    int64_t rank;
    int64_t *dims;
} ov_shape_t;

enum { OV_OK = 0, OV_ELEMENT_F32 = 4 };

typedef int ov_status_e;
typedef unsigned ov_element_type_e;

typedef struct openvino_api {
    const char *(*get_last_err_msg)(void); /* the caller frees it */
    void (*free)(const char *text);
    ov_status_e (*core_create)(ov_core_t **core);
    void (*core_free)(ov_core_t *core);
    ov_status_e (*core_compile_model_from_file)(const ov_core_t *core, const char *path, const char *device,
                                                size_t argument_count, ov_compiled_model_t **model, ...);
    void (*compiled_model_free)(ov_compiled_model_t *model);
    ov_status_e (*compiled_model_inputs_size)(const ov_compiled_model_t *model, size_t *size);
    ov_status_e (*compiled_model_outputs_size)(const ov_compiled_model_t *model, size_t *size);
    ov_status_e (*compiled_model_input_by_index)(const ov_compiled_model_t *model, size_t index,
                                                 ov_output_const_port_t **port);
    ov_status_e (*compiled_model_output_by_index)(const ov_compiled_model_t *model, size_t index,
                                                  ov_output_const_port_t **port);
    ov_status_e (*compiled_model_create_infer_request)(const ov_compiled_model_t *model, ov_infer_request_t **request);
    ov_status_e (*const_port_get_shape)(const ov_output_const_port_t *port, ov_shape_t *shape);
    ov_status_e (*port_get_element_type)(const ov_output_const_port_t *port, ov_element_type_e *type);
    void (*output_const_port_free)(ov_output_const_port_t *port);
    ov_status_e (*shape_free)(ov_shape_t *shape);
    ov_status_e (*tensor_create_from_host_ptr)(ov_element_type_e type, ov_shape_t shape, void *data,
                                               ov_tensor_t **tensor);
    void (*tensor_free)(ov_tensor_t *tensor);
    ov_status_e (*infer_request_set_input_tensor_by_index)(ov_infer_request_t *request, size_t index,
                                                           const ov_tensor_t *tensor);
    ov_status_e (*infer_request_set_output_tensor_by_index)(ov_infer_request_t *request, size_t index,
                                                            const ov_tensor_t *tensor);
    ov_status_e (*infer_request_infer)(ov_infer_request_t *request);
    void (*infer_request_free)(ov_infer_request_t *request);
} openvino_api;

#endif
