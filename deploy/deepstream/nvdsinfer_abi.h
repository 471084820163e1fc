/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of nvinfer's binary interface that output parsers see, in our own words: layouts only, checked below.
 * SL_DEEPSTREAM_ABI is 8 (DeepStream 6 to 8) or 9 (from 9.0): the detector's object grew by a float at its end, and a
 * parser that was built for the other layout corrupts nvinfer's vector without an error.
 * Vectors and strings cross the border, so both sides use the system's libstdc++ (never a static one) and the string
 * of C++11.
 */
#ifndef SL_NVDSINFER_ABI_H
#define SL_NVDSINFER_ABI_H

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#if !defined(SL_DEEPSTREAM_ABI) || (SL_DEEPSTREAM_ABI != 8 && SL_DEEPSTREAM_ABI != 9)
#error "SL_DEEPSTREAM_ABI must be 8 or 9"
#endif

namespace sightline {

constexpr unsigned kMostDims = 8;

enum DataType : std::int32_t { kFloat = 0, kHalf = 1, kInt8 = 2, kInt32 = 3, kInt64 = 4, kUint8 = 5 };

struct Dims {
    unsigned count;
    unsigned sides[kMostDims]; /* without the batch */
    unsigned elements;
};

struct Layer {
    std::int32_t type; /* a DataType; older releases know 0..3 */
    Dims dims;
    std::int32_t binding;
    const char *name;
    void *buffer; /* elements of this frame, on the host */
    std::int32_t is_input;
};

struct Network {
    unsigned width;
    unsigned height;
    unsigned channels;
};

struct Object {
    unsigned class_id;
    float left; /* network pixels */
    float top;
    float width;
    float height;
    float confidence;
#if SL_DEEPSTREAM_ABI >= 9
    float rotation; /* radians, about the box's centre */
#endif
};

struct MaskedObject {
    unsigned class_id;
    float left;
    float top;
    float width;
    float height;
    float confidence;
    float *mask; /* from new float[]; nvinfer deletes it */
    unsigned mask_width;
    unsigned mask_height;
    unsigned mask_bytes;
};

struct Attribute {
    unsigned layer;
    unsigned value;
    float confidence;
    char *label; /* from strdup, or null: nvinfer then takes it from labelfile-path */
};

struct DetectionParameters {
    unsigned classes;
    std::vector<float> thresholds; /* pre-cluster-threshold of each class */
    std::vector<float> later_thresholds;
    std::vector<float> &deprecated_thresholds;
};

using Layers = std::vector<Layer>;

static_assert(sizeof(void *) == 8, "DeepStream runs on 64-bit Linux only");
static_assert(_GLIBCXX_USE_CXX11_ABI == 1, "nvinfer is built with the C++11 string");
static_assert(sizeof(Dims) == 40 && offsetof(Dims, sides) == 4 && offsetof(Dims, elements) == 36);
static_assert(sizeof(Layer) == 72 && offsetof(Layer, dims) == 4 && offsetof(Layer, binding) == 44);
static_assert(offsetof(Layer, name) == 48 && offsetof(Layer, buffer) == 56 && offsetof(Layer, is_input) == 64);
static_assert(sizeof(Network) == 12 && offsetof(Network, height) == 4);
static_assert(sizeof(Object) == (SL_DEEPSTREAM_ABI >= 9 ? 28 : 24) && offsetof(Object, confidence) == 20);
static_assert(sizeof(MaskedObject) == 48 && offsetof(MaskedObject, mask) == 24);
static_assert(offsetof(MaskedObject, mask_width) == 32 && offsetof(MaskedObject, mask_bytes) == 40);
static_assert(sizeof(Attribute) == 24 && offsetof(Attribute, label) == 16);
static_assert(sizeof(std::vector<float>) == 24 && sizeof(DetectionParameters) == 64);

} /* namespace sightline */

#endif
