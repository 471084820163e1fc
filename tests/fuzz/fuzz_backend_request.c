/* Whatever a request holds and the server refuses, each request gets one final response and is released once. */
/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Also: no error object is left over, nothing is read or written outside the buffers, and an answer's counts lie in
 * -1..detections; no output asks for more than 1 GiB. Where the server makes no response there is none to send.
 * Inputs may lie in memory that changes while the request is worked on.
 */
#include "fake_triton.h"

enum { DETECTIONS = 5, MAX_REQUESTS = 3, LARGEST = 4096 };
enum { STRIP = 1 << 16, LEAST_REFUSED = 7072 }; /* pixels of a strip; side of a square that is too large */

#define CONFIG(parameters) \
    "{\"max_batch_size\":8,\"parameters\":{\"sightline\":{\"string_value\":\"{" parameters "}\"}}}"
#define LETTERBOX(resize)                                                                                        \
    "\\\"size\\\":[12,9],\\\"letterbox\\\":{\\\"mean\\\":[0,1,2],\\\"std\\\":[255,1,2],\\\"resize\\\":\\\"" resize \
    "\\\",\\\"colour\\\":\\\"bgr\\\"}"
#define CROP                                                                                              \
    "\\\"size\\\":[12,9],\\\"letterbox\\\":{\\\"mean\\\":[0,1,2],\\\"std\\\":[255,1,2],\\\"resize\\\":\\\"crop\\\"," \
    "\\\"colour\\\":\\\"rgb\\\",\\\"filter\\\":\\\"triangle\\\",\\\"short_side\\\":10}"
#define HEAD(head) \
    "\\\"stage\\\":\\\"postprocess\\\",\\\"head\\\":\\\"" head "\\\",\\\"score\\\":0.25,\\\"iou\\\":0.5,\\\"detections\\\":5"
#define TASK(task) "\\\"stage\\\":\\\"postprocess\\\",\\\"task\\\":\\\"" task "\\\",\\\"outputs\\\":1"

static const char *const configs[] = {
    CONFIG("\\\"stage\\\":\\\"letterbox\\\"," LETTERBOX("letterbox")),
    CONFIG("\\\"stage\\\":\\\"letterbox\\\",\\\"workers\\\":2," LETTERBOX("stretch")),
    CONFIG(HEAD("yolov8") ",\\\"outputs\\\":1"),
    CONFIG(HEAD("yolov8") ",\\\"outputs\\\":1,\\\"classes\\\":2,\\\"extra\\\":\\\"keypoints\\\",\\\"extra_values\\\":6"),
    CONFIG(HEAD("detr") ",\\\"outputs\\\":2,\\\"classes\\\":2,\\\"workers\\\":1"),
    CONFIG(HEAD("end_to_end") ",\\\"outputs\\\":1,\\\"classes\\\":2,\\\"extra\\\":\\\"angle\\\",\\\"extra_values\\\":1"),
    CONFIG(HEAD("yolov8") ",\\\"outputs\\\":2,\\\"extra\\\":\\\"masks\\\",\\\"extra_values\\\":2,\\\"size\\\":[8,8]"),
    CONFIG(TASK("classify") ",\\\"top\\\":3,\\\"activation\\\":\\\"softmax\\\""),
    CONFIG(TASK("semantic") ",\\\"classes\\\":2,\\\"size\\\":[8,8]"),
    CONFIG(TASK("semantic") ",\\\"classes\\\":2,\\\"size\\\":[8,8],\\\"channels_last\\\":true"),
    CONFIG(TASK("embed")),
    CONFIG(HEAD("yolov8") ",\\\"outputs\\\":1,\\\"classes\\\":2,\\\"multi_label\\\":true"),
    CONFIG(HEAD("yolov5") ",\\\"outputs\\\":1,\\\"classes\\\":2"),
    CONFIG("\\\"stage\\\":\\\"letterbox\\\"," CROP),
    CONFIG("\\\"stage\\\":\\\"letterbox\\\"," LETTERBOX("corner\\\",\\\"pad\\\":0,\\\"filter\\\":\\\"box")),
    CONFIG(HEAD("mask_rcnn") ",\\\"outputs\\\":4,\\\"classes\\\":3,\\\"task\\\":\\\"segment\\\""),
    CONFIG(HEAD("mask_rcnn") ",\\\"outputs\\\":3,\\\"classes\\\":3,\\\"background\\\":\\\"first\\\",\\\"centre_form\\\":true"),
    CONFIG(HEAD("efficient_nms") ",\\\"outputs\\\":4,\\\"classes\\\":3,\\\"normalised\\\":true,\\\"size\\\":[8,8]"),
    CONFIG(HEAD("ssd") ",\\\"outputs\\\":2,\\\"classes\\\":2,\\\"activation\\\":\\\"softmax\\\",\\\"background\\\":\\\"first\\\","
                  "\\\"box_weights\\\":[10,10,5,5],\\\"anchors\\\":[[0,0,4,4],[1,1,7,8],[2,2,9,9]]"),
    CONFIG(HEAD("yolox") ",\\\"outputs\\\":1,\\\"classes\\\":1,\\\"size\\\":[8,8],\\\"strides\\\":[4,8]"),
    CONFIG(HEAD("yolov5") ",\\\"outputs\\\":2,\\\"classes\\\":1,\\\"size\\\":[8,8],\\\"anchors\\\":[[2,3],[4,4]]"),
    CONFIG(TASK("classify") ",\\\"top\\\":2"),
    CONFIG(TASK("semantic") ",\\\"classes\\\":2,\\\"size\\\":[8,8],\\\"upsample\\\":\\\"classes\\\""),
    CONFIG("\\\"stage\\\":\\\"identity\\\""),
};

enum { CONFIGS = sizeof configs / sizeof configs[0] };

static TRITONBACKEND_Backend backend = {{"{\"cmdline\":{\"openvino\":\"/nowhere\"}}", 36}, NULL};
static TRITONBACKEND_Model models[CONFIGS];
static TRITONBACKEND_ModelInstance instances[CONFIGS];

static void start(void) {
    backend.config.length = strlen(backend.config.text);
    FUZZ_CHECK(TRITONBACKEND_Initialize(&backend) == NULL);
    for (int i = 0; i < CONFIGS; i++) {
        models[i] = (TRITONBACKEND_Model){&backend, {configs[i], strlen(configs[i])}, NULL};
        instances[i].model = &models[i];
        FUZZ_CHECK(TRITONBACKEND_ModelInitialize(&models[i]) == NULL);
        FUZZ_CHECK(TRITONBACKEND_ModelInstanceInitialize(&instances[i]) == NULL);
    }
}

/* Outputs that must fit each other: chance would hardly find them. */
typedef struct form {
    const char *config, *name;
    uint32_t rank; /* without the items */
    int64_t dims[4];
} form;

static const form forms[] = {
    {"mask_rcnn", "RAW", 2, {6, 4}},     {"mask_rcnn", "RAW_1", 1, {6}},       {"mask_rcnn", "RAW_2", 1, {6}},
    {"mask_rcnn", "RAW_3", 4, {6, 1, 3, 5}}, {"efficient_nms", "RAW", 1, {1}}, {"efficient_nms", "RAW_1", 2, {6, 4}},
    {"efficient_nms", "RAW_2", 1, {6}},  {"efficient_nms", "RAW_3", 1, {6}},   {"ssd", "RAW", 2, {3, 4}},
    {"ssd", "RAW_1", 2, {3, 3}},         {"yolox", "RAW", 2, {5, 6}},          {"[[2,3]", "RAW", 3, {6, 2, 2}},
    {"[[2,3]", "RAW_1", 4, {1, 1, 2, 6}},
};

static bool usual_form(const char *config, TRITONBACKEND_Input *input) {
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (strstr(config, forms[i].config) == NULL || strcmp(input->name, forms[i].name) != 0) continue;
        input->rank = 1 + forms[i].rank;
        memcpy(input->shape + 1, forms[i].dims, sizeof forms[i].dims);
        return true;
    }
    return false;
}

/* Mostly what a stage wants, so that the work itself is reached. */
static void choose_shape(fuzz_input *from, const char *config, TRITONBACKEND_Input *input, int64_t items) {
    static const int64_t usual[] = {1, 2, 3, 4, 6, 7, 8, 9, 12, 16};
    uint8_t kind = fuzz_u8(from);
    input->rank = 2 + kind % 3;
    input->shape[0] = kind < 240 ? items : (int32_t)fuzz_u32(from);
    for (uint32_t i = 1; i < input->rank; i++) input->shape[i] = usual[fuzz_u8(from) % 10];
    if (kind < 225 && usual_form(config, input)) return;
    if (strcmp(input->name, "FRAME") == 0 && kind < 230) {
        input->rank = 2;
        input->shape[1] = fuzz_between(from, 0, 300);
    } else if (strcmp(input->name, "FRAME_INFO") == 0 && kind < 230) {
        input->rank = 2;
        input->shape[1] = 4;
    } else if (strcmp(input->name, "GEOMETRY") == 0 && kind < 230) {
        input->rank = 2;
        input->shape[1] = 7;
    } else if (strcmp(input->name, "ERROR") == 0 && kind < 230) {
        input->rank = 2;
        input->shape[1] = 1;
    } else if (kind >= 250) {
        input->rank = fuzz_u8(from) % FAKE_RANK;
        for (uint32_t i = 0; i < input->rank; i++) input->shape[i] = (int64_t)((uint64_t)fuzz_u32(from) << fuzz_u8(from) % 40);
    }
}

static uint64_t honest_bytes(const TRITONBACKEND_Input *input) {
    uint64_t bytes = input->type == TRITONSERVER_TYPE_UINT8 ? 1 : input->type == TRITONSERVER_TYPE_BYTES ? 9 : 4;
    for (uint32_t i = 0; i < input->rank; i++) {
        if (input->shape[i] < 0 || input->shape[i] > LARGEST) return LARGEST;
        bytes *= (uint64_t)input->shape[i];
        if (bytes > LARGEST) return LARGEST;
    }
    return bytes;
}

/* Strings of five bytes each; now and then one that is longer than what is left. */
static void fill_texts(fuzz_input *from, unsigned char *data, uint64_t bytes) {
    for (uint64_t i = 0; i + 9 <= bytes; i += 9) {
        uint32_t length = fuzz_u8(from) == 255 ? fuzz_u32(from) : 5;
        memcpy(data + i, &length, sizeof length);
        fuzz_bytes(from, data + i + sizeof length, 5);
    }
}

/* A picture that fits into a network of 8x8; now and then a long strip, or one with more pixels than are taken. */
static void fill_geometry(fuzz_input *from, unsigned char *data) {
    uint8_t kind = fuzz_u8(from);
    int32_t width = fuzz_between(from, 1, 24), height = width;
    if (kind >= 240) {
        width = fuzz_between(from, kind & 1 ? LEAST_REFUSED : 1, SL_MAX_SIDE);
        height = fuzz_between(from, kind & 1 ? LEAST_REFUSED : 1, kind & 1 ? SL_MAX_SIDE : STRIP / width);
    }
    if (kind & 2) {
        int32_t turned = width;
        width = height;
        height = turned;
    }
    float scale = 8.0F / (float)(width > height ? width : height);
    float fit[7] = {(float)(kind % 8 != 0), (float)width, (float)height, scale, scale, 0.0F, 0.0F};
    memcpy(data, fit, sizeof fit);
}

static void fill_values(fuzz_input *from, const TRITONBACKEND_Input *input, unsigned char *data, uint64_t bytes) {
    bool numbers = input->type == TRITONSERVER_TYPE_FP32 && fuzz_u8(from) < 200;
    if (!numbers) fuzz_bytes(from, data, bytes);
    for (uint64_t i = 0; numbers && i + 4 <= bytes; i += 4) {
        float value = (float)fuzz_u8(from) / (i % 8 == 0 ? 255.0F : 16.0F);
        memcpy(data + i, &value, 4);
    }
    if (input->type == TRITONSERVER_TYPE_BYTES) fill_texts(from, data, bytes);
    if (strcmp(input->name, "FRAME_INFO") == 0 && fuzz_u8(from) < 200) {
        for (uint64_t i = 0; i + 4 <= bytes; i += 4) {
            int32_t value = i % 16 < 8 ? fuzz_between(from, -1, 20) : fuzz_between(from, -1, 4);
            memcpy(data + i, &value, 4);
        }
    }
    if (strcmp(input->name, "GEOMETRY") != 0 || fuzz_u8(from) >= 200) return;
    for (uint64_t i = 0; i + 28 <= bytes; i += 28) fill_geometry(from, data + i);
}

/* Cut the bytes into buffers, each in a heap block of its own, at times at an odd address. */
static void fill_buffers(fuzz_input *from, TRITONBACKEND_Input *input, void **blocks) {
    uint64_t bytes = honest_bytes(input);
    unsigned char *all = fuzz_block(bytes);
    uint8_t kind = fuzz_u8(from);
    memset(all, 0, bytes);
    fill_values(from, input, all, bytes);
    input->buffer_count = kind < 200 ? 1 : kind % (FAKE_BUFFERS + 1);
    input->byte_size = kind % 16 == 15 ? fuzz_u32(from) : bytes;
    input->shared = fuzz_u8(from) % 4 == 3;
    input->memory = kind % 32 == 31 ? TRITONSERVER_MEMORY_GPU : TRITONSERVER_MEMORY_CPU;
    uint64_t used = 0;
    for (uint32_t i = 0; i < input->buffer_count; i++) {
        uint64_t left = bytes - used, take = i + 1 == input->buffer_count ? left : fuzz_u32(from) % (left + 1);
        uint64_t odd = kind & 1;
        if (kind % 64 == 63 && take > 0) take -= 1;
        unsigned char *block = fuzz_block(take + odd);
        memcpy(block + odd, all + used, take);
        blocks[i] = block;
        input->buffer[i] = take == 0 && kind % 8 == 7 ? NULL : block + odd;
        input->buffer_bytes[i] = take;
        used += take;
    }
    free(all);
}

static void fill_request(fuzz_input *from, TRITONBACKEND_Request *request, int stage, void **blocks) {
    static const char *const names[][FAKE_INPUTS] = {
        {"FRAME", "FRAME_INFO"}, {"RAW", "GEOMETRY", "RAW_1", "RAW_2", "RAW_3", "ERROR"}, {"TENSOR"}};
    static const char *const outputs[] = {"TENSOR", "GEOMETRY", "ERROR",  "COUNT",     "BOXES",
                                          "SCORES", "CLASSES",  "ANGLES", "KEYPOINTS", "MASKS", "CLASS_MAP", "EMBEDDING"};
    static const TRITONSERVER_DataType types[] = {TRITONSERVER_TYPE_UINT8, TRITONSERVER_TYPE_INT32,
                                                  TRITONSERVER_TYPE_FP32, TRITONSERVER_TYPE_BYTES};
    const char *const *wanted = names[strstr(configs[stage], "letterbox") != NULL ? 0 : stage < CONFIGS - 1 ? 1 : 2];
    int64_t items = fuzz_between(from, 1, 3);
    uint8_t faults = fuzz_u8(from);
    uint32_t outputs_asked = fuzz_u32(from);
    request->scribble = fuzz_u32(from);
    request->faults = faults < 200 ? 0 : 1U << faults % 7;
    for (uint32_t i = 0; i < FAKE_INPUTS && wanted[i] != NULL; i++) {
        TRITONBACKEND_Input *input = &request->inputs[request->input_count];
        uint8_t kind = fuzz_u8(from);
        bool text = strcmp(wanted[i], "ERROR") == 0;
        if (kind >= 250 || (text && kind < 100)) continue; /* it is missing */
        input->request = request;
        input->name = wanted[i];
        input->type = kind >= 245                             ? types[kind % 4]
                      : text                                   ? TRITONSERVER_TYPE_BYTES
                      : strcmp(input->name, "FRAME") == 0      ? TRITONSERVER_TYPE_UINT8
                      : strcmp(input->name, "FRAME_INFO") == 0 ? TRITONSERVER_TYPE_INT32
                                                               : TRITONSERVER_TYPE_FP32;
        choose_shape(from, configs[stage], input, items);
        fill_buffers(from, input, blocks + request->input_count * FAKE_BUFFERS);
        request->input_count++;
    }
    for (uint32_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++)
        if (outputs_asked % 4 != 3 || (outputs_asked >> (4 + i) & 1)) request->wanted[request->wanted_count++] = outputs[i];
    while (outputs_asked >> 24 == 255 && request->wanted_count < FAKE_OUTPUTS + 4)
        request->wanted[request->wanted_count++] = "OTHER";
}

static void check_request(const TRITONBACKEND_Request *request) {
    const TRITONBACKEND_Output *count = fake_output(request, "COUNT"), *boxes = fake_output(request, "BOXES");
    FUZZ_CHECK(request->released == 1 && request->reported == 1);
    FUZZ_CHECK(request->sent == request->responses && request->responses == (request->faults & FAKE_NO_RESPONSE ? 0 : 1));
    if (request->failed > 0) FUZZ_CHECK(request->error[0] != '\0');
    if (request->failed > 0 || count == NULL) return;
    for (uint64_t i = 0; i < count->bytes / 4; i++) {
        int32_t value;
        memcpy(&value, (const char *)count->buffer + 4 * i, 4);
        FUZZ_CHECK(value >= -1 && value <= DETECTIONS);
        if (boxes != NULL) FUZZ_CHECK(value <= boxes->shape[1]);
    }
    if (boxes != NULL) FUZZ_CHECK(boxes->bytes == (uint64_t)(boxes->shape[0] * boxes->shape[1] * 16));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static bool started;
    static TRITONBACKEND_Request requests[MAX_REQUESTS];
    TRITONBACKEND_Request *list[MAX_REQUESTS];
    void *blocks[MAX_REQUESTS][FAKE_INPUTS * FAKE_BUFFERS] = {{NULL}};
    fuzz_input from = {data, size};
    if (!started) start();
    started = true;
    int stage = fuzz_u8(&from) % CONFIGS;
    uint32_t count = 1 + fuzz_u8(&from) % MAX_REQUESTS;
    for (uint32_t i = 0; i < count; i++) {
        requests[i] = (TRITONBACKEND_Request){.input_count = 0};
        fill_request(&from, &requests[i], stage, blocks[i]);
        list[i] = &requests[i];
    }
    TRITONSERVER_Error *error = TRITONBACKEND_ModelInstanceExecute(&instances[stage], list, count);
    FUZZ_CHECK(error == NULL && fake_errors == 0);
    for (uint32_t i = 0; i < count; i++) {
        check_request(&requests[i]);
        fake_free_outputs(&requests[i]);
        for (size_t k = 0; k < FAKE_INPUTS * FAKE_BUFFERS; k++) free(blocks[i][k]);
    }
    return 0;
}
