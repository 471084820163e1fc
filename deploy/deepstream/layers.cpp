/* SPDX-License-Identifier: Apache-2.0 */
#include "layers.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <strings.h>

namespace sightline {

namespace {

constexpr std::size_t kMostReason = 512;

/* What the thread keeps from frame to frame, so that a frame allocates nothing. */
thread_local std::vector<float> converted[SL_MAX_TENSORS];
thread_local char reported[kMostReason];

const char *type_name(std::int32_t type) {
    static const char *const names[] = {"FLOAT", "HALF", "INT8", "INT32", "INT64", "UINT8"};
    return type >= 0 && type <= kUint8 ? names[type] : "an unknown type";
}

bool contains(const char *text, const char *word) {
    std::size_t length = std::strlen(word);
    for (; *text != '\0'; text++)
        if (strncasecmp(text, word, length) == 0) return true;
    return false;
}

std::string all_described(const Layers &layers) {
    std::string text;
    for (const Layer &layer : layers) text += (text.empty() ? "" : ", ") + described(layer);
    return text.empty() ? "none" : text;
}

float from_half(std::uint16_t half) {
    std::uint32_t magnitude = (half & 0x7FFFU) << 13;
    float value;
    std::memcpy(&value, &magnitude, sizeof value);
    value *= 0x1p112F; /* the exponent's bias goes from 15 to 127; right for subnormal numbers too */
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((half & 0x7FFFU) >= 0x7C00U) bits |= 0x7F800000U;
    bits |= (half & 0x8000U) << 16;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename Number> void convert(const void *from, std::size_t count, float *to) {
    for (std::size_t i = 0; i < count; i++) {
        Number number;
        std::memcpy(&number, static_cast<const char *>(from) + i * sizeof number, sizeof number);
        if constexpr (sizeof number == 2)
            to[i] = from_half(number);
        else
            to[i] = static_cast<float>(number);
    }
}

/* nvinfer allocates `elements` of them, so the sides must agree. */
std::size_t elements_of(const Layer &layer) {
    std::uint64_t product = 1;
    if (layer.dims.count < 1 || layer.dims.count > SL_TENSOR_RANK)
        throw Refusal("layer " + described(layer) + ": 1 to 4 dimensions can be read");
    for (unsigned i = 0; i < layer.dims.count; i++) {
        product *= layer.dims.sides[i];
        if (product == 0 || product > layer.dims.elements) break;
    }
    if (product == 0 || product != layer.dims.elements)
        throw Refusal("layer " + described(layer) + " has " + std::to_string(layer.dims.elements) + " elements");
    return static_cast<std::size_t>(product);
}

} /* namespace */

std::string described(const Layer &layer) {
    std::string text = std::string(layer.name ? layer.name : "without a name") + " (";
    for (unsigned i = 0; i < layer.dims.count && i < kMostDims; i++)
        text += (i ? ", " : "") + std::to_string(layer.dims.sides[i]);
    return text + ")";
}

const Layer &layer_of_rank(const Layers &layers, unsigned rank, const char *preferred) {
    const Layer *found = nullptr;
    unsigned fitting = 0;
    for (const Layer &layer : layers) {
        if (layer.dims.count != rank) continue;
        if (layer.name && std::strcmp(layer.name, preferred) == 0) return layer;
        found = &layer;
        fitting++;
    }
    if (fitting != 1)
        throw Refusal("one output layer of " + std::to_string(rank) + " dimensions is needed (or one called " +
                      preferred + "); the layers are: " + all_described(layers));
    return *found;
}

const Layer &layer_called(const Layers &layers, const char *word, const char *other_word) {
    for (const Layer &layer : layers)
        if (layer.name && (contains(layer.name, word) || contains(layer.name, other_word))) return layer;
    throw Refusal(std::string("no output layer is called ") + word + " or " + other_word + "; the layers are: " +
                  all_described(layers));
}

Tensors::Tensors() : tensors_{} {}

const sl_tensor &Tensors::add(const Layer &layer, bool whole) {
    if (size_ == SL_MAX_TENSORS) throw Refusal("too many output layers");
    if (layer.buffer == nullptr) throw Refusal("layer " + described(layer) + " has no buffer");
    std::size_t count = elements_of(layer);
    bool floats = layer.type == kFloat && reinterpret_cast<std::uintptr_t>(layer.buffer) % alignof(float) == 0;
    bool known = layer.type == kFloat || layer.type == kHalf || (whole && (layer.type == kInt32 || layer.type == kInt64));
    if (!known) throw Refusal("layer " + described(layer) + " holds " + type_name(layer.type) + ", not FLOAT or HALF");
    sl_tensor &tensor = tensors_[size_];
    if (!floats) {
        std::vector<float> &copy = converted[size_];
        copy.resize(count);
        if (layer.type == kFloat) std::memcpy(copy.data(), layer.buffer, count * sizeof(float));
        if (layer.type == kHalf) convert<std::uint16_t>(layer.buffer, count, copy.data());
        if (layer.type == kInt32) convert<std::int32_t>(layer.buffer, count, copy.data());
        if (layer.type == kInt64) convert<std::int64_t>(layer.buffer, count, copy.data());
    }
    tensor.data = floats ? static_cast<const float *>(layer.buffer) : converted[size_].data();
    tensor.rank = layer.dims.count;
    for (unsigned i = 0; i < layer.dims.count; i++) tensor.dims[i] = layer.dims.sides[i];
    size_++;
    return tensor;
}

bool refuse(const char *name, const char *reason) noexcept {
    static const char *const answer = std::getenv("SIGHTLINE_DEEPSTREAM_REFUSE");
    char line[kMostReason];
    std::snprintf(line, sizeof line, "%s refuses the network's output: %s", name, reason);
    if (std::strcmp(line, reported) != 0) {
        std::memcpy(reported, line, sizeof line);
        std::fprintf(stderr, "%s\n", line);
    }
    return answer != nullptr && std::strcmp(answer, "empty") == 0;
}

} /* namespace sightline */
