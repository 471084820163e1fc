/* Invariant: whatever layers nvinfer hands over, a DeepStream parser returns; true with objects inside the limits asked for, or false and the lists as they were. */
/* SPDX-License-Identifier: Apache-2.0 */
#include <cmath>

#include "input.h"
#include "parsers.h"

using namespace sightline;

namespace {

using Detector = bool (*)(const Layers &, const Network &, const DetectionParameters &, std::vector<Object> &);
using Instances = bool (*)(const Layers &, const Network &, const DetectionParameters &, std::vector<MaskedObject> &);

const Detector detectors[] = {NvDsInferParseSightlineYolov8,   NvDsInferParseSightlineYolov8Obb,
                              NvDsInferParseSightlineYolov5,   NvDsInferParseSightlineYolox,
                              NvDsInferParseSightlineEndToEnd, NvDsInferParseSightlineEndToEndObb,
                              NvDsInferParseSightlineDetr,     NvDsInferParseSightlineRtDetr,
                              NvDsInferParseSightlineEfficientNms};
const Instances instances[] = {NvDsInferParseSightlineYolov8Segment, NvDsInferParseSightlineEndToEndSegment,
                               NvDsInferParseSightlineMaskRcnn};
using Classifier = bool (*)(const Layers &, const Network &, float, std::vector<Attribute> &, std::string &);
const Classifier classifiers[] = {NvDsInferParseSightlineSoftmax, NvDsInferParseSightlineSigmoid,
                                  NvDsInferParseSightlineProbabilities};
constexpr std::size_t kClassifiers = sizeof classifiers / sizeof *classifiers;
constexpr std::size_t kDetectors = sizeof detectors / sizeof *detectors;
constexpr std::size_t kInstances = sizeof instances / sizeof *instances;
constexpr unsigned kMostElements = 2048;

const char *const names[] = {"output0", "output1", "num_dets", "boxes", "scores", "classes", "labels", "masks", nullptr};

/* One frame as nvinfer would hand it over, mostly of the right kind. */
struct Frame {
    Layers layers;
    Network network;
    std::vector<void *> blocks;
    std::vector<float> unused;
    DetectionParameters parameters;

    explicit Frame(fuzz_input *input);
    ~Frame() {
        for (void *block : blocks) std::free(block);
    }
    Frame(const Frame &) = delete;
    Frame &operator=(const Frame &) = delete;

  private:
    void add(fuzz_input *input, unsigned number);
};

bool rarely(fuzz_input *input) { return fuzz_u8(input) == 0xFF; }

unsigned side(fuzz_input *input) {
    return rarely(input) ? fuzz_u32(input) : static_cast<unsigned>(fuzz_u8(input) % 33);
}

void Frame::add(fuzz_input *input, unsigned number) {
    const std::size_t sizes[] = {4, 2, 1, 4, 8, 1};
    Layer layer = {};
    layer.type = rarely(input) ? static_cast<std::int32_t>(fuzz_u32(input)) : fuzz_u8(input) & 1;
    if (fuzz_u8(input) % 8 == 0) layer.type = fuzz_u8(input) % 6;
    layer.name = names[fuzz_u8(input) & 1 ? number % 9 : fuzz_u8(input) % 9];
    layer.dims.count = rarely(input) ? fuzz_u32(input) : fuzz_u8(input) % 5U;
    std::uint64_t product = 1;
    for (unsigned i = 0; i < layer.dims.count && i < kMostDims; i++) {
        layer.dims.sides[i] = side(input);
        product = product > kMostElements ? product : product * layer.dims.sides[i];
    }
    layer.dims.elements = static_cast<unsigned>(product > kMostElements ? kMostElements : product);
    std::size_t width = layer.type >= 0 && layer.type < 6 ? sizes[layer.type] : 1, bytes = layer.dims.elements * width;
    layer.buffer = rarely(input) ? nullptr : fuzz_block(bytes);
    if (layer.buffer) fuzz_bytes(input, layer.buffer, bytes);
    if (rarely(input)) layer.dims.elements = 0;
    blocks.push_back(layer.buffer);
    layers.push_back(layer);
}

Frame::Frame(fuzz_input *input) : network{}, parameters{0, {}, {}, unused} {
    network.width = rarely(input) ? fuzz_u32(input) : 32 * (1 + fuzz_u8(input) % 4U);
    network.height = rarely(input) ? fuzz_u32(input) : 32 * (1 + fuzz_u8(input) % 4U);
    unsigned thresholds = fuzz_u8(input) % 9U;
    parameters.classes = rarely(input) ? fuzz_u32(input) : thresholds;
    bool own = fuzz_u8(input) & 1;
    for (unsigned i = 0; i < thresholds; i++) {
        float threshold = static_cast<float>(fuzz_u8(input)) / 200.0F;
        if (rarely(input)) fuzz_bytes(input, &threshold, sizeof threshold);
        parameters.thresholds.push_back(own || i == 0 ? threshold : parameters.thresholds[0]);
    }
    unsigned count = fuzz_u8(input) % 5U;
    for (unsigned i = 0; i < count; i++) add(input, i);
}

template <typename Item> void check_object(const Item &item, const Frame &frame) {
    FUZZ_CHECK(item.class_id < frame.parameters.classes);
    FUZZ_CHECK(item.confidence >= frame.parameters.thresholds[item.class_id]);
    FUZZ_CHECK(std::isfinite(item.left) && std::isfinite(item.top) && item.width >= 0.0F && item.height >= 0.0F);
}

void detect(Detector parse, const Frame &frame) {
    std::vector<Object> objects(1, Object{});
    bool fine = parse(frame.layers, frame.network, frame.parameters, objects);
    FUZZ_CHECK(fine ? objects.size() <= 1 + 300 : objects.size() == 1);
    for (std::size_t i = 1; i < objects.size(); i++) check_object(objects[i], frame);
}

void segment(Instances parse, const Frame &frame) {
    std::vector<MaskedObject> objects;
    bool fine = parse(frame.layers, frame.network, frame.parameters, objects);
    FUZZ_CHECK(fine ? objects.size() <= 300 : objects.empty());
    for (const MaskedObject &object : objects) {
        check_object(object, frame);
        std::size_t cells = std::size_t{object.mask_width} * object.mask_height;
        FUZZ_CHECK(object.mask_bytes == cells * sizeof(float) && (object.mask != nullptr) == (cells > 0));
        volatile float last = cells > 0 ? object.mask[cells - 1] : 0.0F;
        (void)last;
        delete[] object.mask;
    }
}

void classify(Classifier parse, const Frame &frame) {
    std::vector<Attribute> attributes;
    std::string description;
    float threshold = frame.parameters.thresholds.empty() ? 0.0F : frame.parameters.thresholds[0];
    bool fine = parse(frame.layers, frame.network, threshold, attributes, description);
    FUZZ_CHECK(fine ? attributes.size() <= 5 * frame.layers.size() : attributes.empty());
    for (const Attribute &attribute : attributes) {
        FUZZ_CHECK(attribute.layer < frame.layers.size() && attribute.label == nullptr);
        FUZZ_CHECK(attribute.value < frame.layers[attribute.layer].dims.elements && attribute.confidence >= threshold);
    }
}

void map_classes(const Frame &frame) {
    if (frame.network.width > 256 || frame.network.height > 256) return; /* nvinfer has the map allocated */
    std::size_t pixels = std::size_t{frame.network.width} * frame.network.height;
    int *map = static_cast<int *>(fuzz_block(pixels * sizeof(int)));
    for (std::size_t i = 0; i < pixels; i++) map[i] = 1 << 30;
    float *probabilities = nullptr;
    unsigned classes = frame.parameters.classes;
    bool fine = NvDsInferParseSightlineSemantic(frame.layers, frame.network, 0.0F, classes, map, probabilities);
    for (std::size_t i = 0; i < pixels; i++)
        FUZZ_CHECK(fine ? map[i] >= 0 && (map[i] == 1 || static_cast<unsigned>(map[i]) < classes) : map[i] == -1);
    FUZZ_CHECK(probabilities == nullptr);
    std::free(map);
}

} /* namespace */

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
    fuzz_input input = {data, size};
    std::size_t which = fuzz_u8(&input) % (kDetectors + kInstances + kClassifiers + 1);
    Frame frame(&input);
    if (which < kDetectors)
        detect(detectors[which], frame);
    else if ((which -= kDetectors) < kInstances)
        segment(instances[which], frame);
    else if ((which -= kInstances) < kClassifiers)
        classify(classifiers[which], frame);
    else
        map_classes(frame);
    return 0;
}
