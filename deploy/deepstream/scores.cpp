/* SPDX-License-Identifier: Apache-2.0 */
/* Classes of a whole picture, and of each of its pixels. */
#include <algorithm>

#include "detect.h"
#include "parsers.h"

namespace sightline {

namespace {

constexpr std::size_t kTop = 5; /* most attributes of an output layer */

/* Each output layer is a question of its own; nvinfer takes the labels from its line of labelfile-path. */
void classify(sl_activation activation, const Layers &layers, float threshold, std::vector<Attribute> &attributes) {
    if (layers.empty() || layers.size() > SL_MAX_TENSORS)
        throw Refusal("there are " + std::to_string(layers.size()) + " output layers; 1 to 16 can be read");
    std::vector<Attribute> found;
    Tensors tensors;
    for (std::size_t l = 0; l < layers.size(); l++) {
        const sl_tensor &tensor = tensors.add(layers[l]);
        std::size_t count = layers[l].dims.elements, written = 0;
        float scores[kTop];
        std::int32_t classes[kTop];
        sl_status status = sl_classify(tensor.data, count, activation, std::min(count, kTop), scores, classes, &written);
        if (status == SL_ERROR_VALUE) continue; /* a picture that gives no number has no class */
        if (status != SL_OK) throw Refusal("layer " + described(layers[l]) + ": " + sl_status_text(status));
        for (std::size_t i = 0; i < written && scores[i] >= threshold; i++)
            found.push_back({static_cast<unsigned>(l), static_cast<unsigned>(classes[i]), scores[i], nullptr});
    }
    attributes.insert(attributes.end(), found.begin(), found.end());
}

sl_semantic semantic_of(const Layer &layer, const Network &network, unsigned classes) {
    const unsigned *sides = layer.dims.sides;
    bool first = sides[0] == classes, last = !first && sides[2] == classes;
    if (classes < 1 || classes > SL_MAX_CLASSES || (!first && !last))
        throw Refusal("layer " + described(layer) + " with num-detected-classes=" + std::to_string(classes) +
                      ": it must be (classes, rows, columns) or (rows, columns, classes)");
    sl_semantic semantic = {};
    semantic.classes = static_cast<std::int32_t>(classes);
    semantic.rows = static_cast<std::int32_t>(std::min(sides[first ? 1 : 0], unsigned{SL_MAX_SIDE} + 1));
    semantic.columns = static_cast<std::int32_t>(std::min(sides[first ? 2 : 1], unsigned{SL_MAX_SIDE} + 1));
    semantic.channels_last = last;
    semantic.network_width = static_cast<std::int32_t>(network.width);
    semantic.network_height = static_cast<std::int32_t>(network.height);
    return semantic;
}

bool fits(const Network &network) {
    return network.width >= 1 && network.width <= SL_MAX_SIDE && network.height >= 1 && network.height <= SL_MAX_SIDE;
}

thread_local std::vector<unsigned char> scratch;

void map_classes(const Layers &layers, const Network &network, unsigned classes, int *class_map) {
    if (class_map == nullptr || !fits(network)) throw Refusal("there is no class map, or its sides are out of range");
    const Layer &layer = layer_of_rank(layers, 3, "output0");
    Tensors tensors;
    const sl_tensor &logits = tensors.add(layer);
    sl_semantic semantic = semantic_of(layer, network, classes);
    float geometry[SL_GEOMETRY_FLOATS];
    whole_input(network, geometry);
    std::size_t bytes = sl_semantic_scratch_bytes(&semantic, geometry);
    if (bytes > scratch.size()) scratch.resize(bytes);
    sl_status status = bytes == 0 ? SL_ERROR_SIZE
                                  : sl_semantic_map(&semantic, logits.data, geometry, nullptr, class_map,
                                                    std::size_t{network.width} * network.height, scratch.data(),
                                                    scratch.size());
    if (status != SL_OK) throw Refusal("layer " + described(layer) + ": " + sl_status_text(status));
}

} /* namespace */

} /* namespace sightline */

using namespace sightline;

#define SL_CLASSIFIER_WITH(NAME, ACTIVATION)                                                      \
    SL_CLASSIFIER(NAME) {                                                                         \
        (void)network;                                                                            \
        (void)description;                                                                        \
        return guarded(#NAME, [&] { classify(ACTIVATION, layers, threshold, attributes); });      \
    }

SL_CLASSIFIER_WITH(NvDsInferParseSightlineSoftmax, SL_ACTIVATION_SOFTMAX)
SL_CLASSIFIER_WITH(NvDsInferParseSightlineSigmoid, SL_ACTIVATION_SIGMOID)
SL_CLASSIFIER_WITH(NvDsInferParseSightlineProbabilities, SL_ACTIVATION_NONE)

/* nvinfer shows its map even after a refusal, so it must not stay what the memory held before. */
SL_SEMANTIC(NvDsInferParseSightlineSemantic) {
    (void)threshold; /* the best class of a pixel is its class */
    probabilities = nullptr;
    bool mapped = false;
    bool answer = guarded("NvDsInferParseSightlineSemantic", [&] {
        map_classes(layers, network, classes, class_map);
        mapped = true;
    });
    if (!mapped && class_map != nullptr && fits(network))
        std::fill_n(class_map, std::size_t{network.width} * network.height, -1);
    return answer;
}
