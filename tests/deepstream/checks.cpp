/* SPDX-License-Identifier: Apache-2.0 */
/* The library against the C core called directly, bit by bit; and layers that nvinfer should never hand over. */
#include <cmath>
#include <functional>
#include <limits>
#include <thread>

#include "host.h"

namespace host {

namespace {

int failures = 0;
int checked = 0;

#define CHECK(condition)                                                                  \
    do {                                                                                  \
        checked++;                                                                        \
        if (!(condition)) {                                                               \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);          \
            failures++;                                                                   \
        }                                                                                 \
    } while (0)

constexpr Network kNetwork = {320, 256, 3};
constexpr unsigned kClasses = 4, kAnchors = 500;
constexpr std::size_t kCapacity = 300; /* SIGHTLINE_DEEPSTREAM_DETECTIONS where it is not set */

std::uint64_t state = 88172645463325252U;

float unit() {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return static_cast<float>(state >> 40) / 16777216.0F;
}

/* The head of YOLOv8: boxes around, some of them strange, and scores of which most are low. */
std::vector<float> yolov8_head(unsigned classes, unsigned anchors, unsigned extra) {
    const float strange[] = {NAN, INFINITY, -INFINITY, 3.4e38F, -3.4e38F, -0.0F, 1e-40F, -5.0F};
    std::vector<float> head((4 + classes + extra) * anchors);
    for (std::size_t i = 0; i < head.size(); i++) {
        std::size_t row = i / anchors;
        float value = unit(), odd = unit();
        head[i] = row < 2 ? value * 300.0F : row < 4 ? 5.0F + value * 80.0F : value * value * value;
        if (row >= 4 + classes) head[i] = value * 2.0F - 1.0F;
        if (odd < 0.02F) head[i] = strange[static_cast<std::size_t>(odd * 399.0F)];
    }
    return head;
}

struct Direct {
    std::vector<float> boxes, scores;
    std::vector<std::int32_t> classes;
    std::size_t count = 0;
};

/* What the core says when it is called without a shell; room for every anchor. */
Direct direct(const std::vector<float> &values, double score, std::size_t capacity) {
    Direct found;
    found.boxes.resize(capacity * 4);
    found.scores.resize(capacity);
    found.classes.resize(capacity);
    sl_tensor tensor = {values.data(), 2, {4 + kClasses, kAnchors}};
    sl_head head = {};
    head.kind = SL_HEAD_YOLOV8;
    head.classes = kClasses;
    head.network_width = static_cast<std::int32_t>(kNetwork.width);
    head.network_height = static_cast<std::int32_t>(kNetwork.height);
    const float geometry[SL_GEOMETRY_FLOATS] = {1, kNetwork.width, kNetwork.height, 1, 1, 0, 0};
    sl_detect_limits limits = {score, 0.45, 0};
    sl_detections rows = {};
    rows.boxes = found.boxes.data();
    rows.scores = found.scores.data();
    rows.classes = found.classes.data();
    rows.capacity = capacity;
    std::vector<unsigned char> scratch(sl_head_scratch_bytes(&head, &tensor, 1, capacity));
    CHECK(sl_head_decode(&head, &tensor, 1, geometry, &limits, &rows, &found.count, scratch.data(), scratch.size()) ==
          SL_OK);
    return found;
}

bool same_bits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

bool same_object(const Object &object, const Direct &found, std::size_t i) {
    const float *box = &found.boxes[4 * i];
#if SL_DEEPSTREAM_ABI >= 9
    if (!same_bits(object.rotation, 0.0F)) return false;
#endif
    return object.class_id == static_cast<unsigned>(found.classes[i]) && same_bits(object.left, box[0]) &&
           same_bits(object.top, box[1]) && same_bits(object.width, box[2] - box[0]) &&
           same_bits(object.height, box[3] - box[1]) && same_bits(object.confidence, found.scores[i]);
}

/* The core's results above each class's own threshold, without boxes that are inside out. */
Direct filtered(const Direct &all, const std::vector<float> &thresholds) {
    Direct kept;
    for (std::size_t i = 0; i < all.count && kept.count < kCapacity; i++) {
        if (!(all.scores[i] >= thresholds[static_cast<std::size_t>(all.classes[i])])) continue;
        if (all.boxes[4 * i] > all.boxes[4 * i + 2] || all.boxes[4 * i + 1] > all.boxes[4 * i + 3]) continue;
        kept.boxes.insert(kept.boxes.end(), &all.boxes[4 * i], &all.boxes[4 * i] + 4);
        kept.scores.push_back(all.scores[i]);
        kept.classes.push_back(all.classes[i]);
        kept.count++;
    }
    return kept;
}

bool same(const std::vector<Object> &objects, const Direct &found) {
    bool equal = objects.size() == found.count;
    for (std::size_t i = 0; equal && i < found.count; i++) equal = same_object(objects[i], found, i);
    return equal;
}

void check_detector(Detector parse) {
    for (int round = 0; round < 30; round++) {
        std::vector<float> head = yolov8_head(kClasses, kAnchors, 0);
        Outputs outputs;
        outputs.add("output0", {4 + kClasses, kAnchors}, head);
        std::vector<std::vector<float>> many = {{0.3F, 0.3F, 0.3F, 0.3F}, {0.0F, 0.0F, 0.0F, 0.0F},
                                                {0.1F, 0.9F, 0.5F, NAN},  {2.0F, 0.2F, -1.0F, 0.4F}};
        for (const std::vector<float> &thresholds : many) {
            bool equal = thresholds[0] == thresholds[1];
            float least = equal ? thresholds[0] : std::max(0.0F, std::min(thresholds[0], thresholds[2]));
            Direct found = filtered(direct(head, static_cast<double>(least), equal ? kCapacity : kAnchors), thresholds);
            Parameters parameters(thresholds);
            std::vector<Object> objects;
            CHECK(parse(outputs.layers, kNetwork, parameters.value, objects));
            CHECK(same(objects, found));
        }
    }
}

float from_half(unsigned half) { /* by the book: sign, exponent, fraction */
    unsigned exponent = half >> 10 & 31U, fraction = half & 1023U;
    float value = exponent == 31 ? (fraction ? NAN : INFINITY)
                  : exponent ? std::ldexp(static_cast<float>(1024 + fraction), static_cast<int>(exponent) - 25)
                             : std::ldexp(static_cast<float>(fraction), -24);
    return half & 0x8000U ? -value : value;
}

void check_half(Detector parse) {
    std::vector<std::uint16_t> halves((4 + kClasses) * kAnchors);
    std::vector<float> floats(halves.size());
    for (int round = 0; round < 10; round++) {
        for (std::size_t i = 0; i < halves.size(); i++) {
            float value = unit();
            bool score = i >= 4 * kAnchors;
            halves[i] = static_cast<std::uint16_t>(score ? value * 15360.0F : 0x4000 + value * 7000.0F);
            if (unit() < 0.02F) halves[i] = static_cast<std::uint16_t>(unit() * 65535.0F);
            floats[i] = from_half(halves[i]);
        }
        Outputs outputs;
        outputs.add("output0", sightline::kHalf, {4 + kClasses, kAnchors}, halves.data(), halves.size() * 2);
        Parameters parameters({0.5F, 0.5F, 0.5F, 0.5F});
        std::vector<Object> objects;
        CHECK(parse(outputs.layers, kNetwork, parameters.value, objects));
        CHECK(!objects.empty() && same(objects, filtered(direct(floats, 0.5, kCapacity), parameters.value.thresholds)));
    }
}

/* Every thread has its own room: all see what one alone sees. */
void check_threads(Detector parse) {
    std::vector<float> head = yolov8_head(kClasses, kAnchors, 0);
    Direct found = filtered(direct(head, static_cast<double>(0.3F), kCapacity), std::vector<float>(kClasses, 0.3F));
    bool equal[4] = {};
    std::vector<std::thread> threads;
    for (bool &mine : equal)
        threads.emplace_back([&head, &found, &mine, parse] {
            Outputs outputs;
            outputs.add("output0", {4 + kClasses, kAnchors}, head);
            Parameters parameters({0.3F, 0.3F, 0.3F, 0.3F});
            mine = true;
            for (int i = 0; i < 20; i++) {
                std::vector<Object> objects;
                mine = parse(outputs.layers, kNetwork, parameters.value, objects) && same(objects, found) && mine;
            }
        });
    for (std::thread &thread : threads) thread.join();
    for (bool mine : equal) CHECK(mine);
}

using Spoil = std::function<void(Layers &, Network &, DetectionParameters &)>;

/* Each is refused, and the list stays as it was. */
const std::vector<Spoil> &spoilers() {
    static const std::vector<Spoil> all = {
        [](Layers &layers, Network &, DetectionParameters &) { layers.clear(); },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.buffer = nullptr; },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.type = sightline::kInt8; },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.type = 77; },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.type = -1; },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.dims.count = 0; },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.dims.count = 5; },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.dims.count = 4000000000U; },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.dims.sides[0] = 0; },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.dims.sides[0]++; },
        [](Layers &layers, Network &, DetectionParameters &) { for (Layer &l : layers) l.dims.elements--; },
        [](Layers &layers, Network &, DetectionParameters &) {
            for (Layer &l : layers) l.dims.sides[0] = l.dims.sides[1] = 0x80000000U;
        },
        [](Layers &layers, Network &, DetectionParameters &) {
            for (Layer &l : layers) l.dims.sides[0] = l.dims.sides[1] = 0xFFFFFFFFU;
        },
        [](Layers &, Network &network, DetectionParameters &) { network.width = 0; },
        [](Layers &, Network &network, DetectionParameters &) { network.height = 4000000000U; },
        [](Layers &, Network &, DetectionParameters &parameters) { parameters.classes = 0; },
        [](Layers &, Network &, DetectionParameters &parameters) { parameters.classes = 4000000000U; },
        [](Layers &, Network &, DetectionParameters &parameters) { parameters.thresholds.pop_back(); },
        [](Layers &, Network &, DetectionParameters &parameters) { parameters.thresholds.clear(); },
    };
    return all;
}

template <typename Parser, typename Item>
void check_refusals(Parser parse, const Outputs &outputs, std::size_t classes, const Item &before) {
    for (const Spoil &spoil : spoilers()) {
        Layers layers = outputs.layers;
        Network network = kNetwork;
        Parameters parameters(std::vector<float>(classes, 0.3F));
        spoil(layers, network, parameters.value);
        std::vector<Item> items(1, before);
        CHECK(!parse(layers, network, parameters.value, items));
        CHECK(items.size() == 1 && std::memcmp(&items[0], &before, sizeof before) == 0);
    }
}

void check_names(void *library, const Outputs &outputs) {
    const char *names[] = {"Yolov8Obb", "Yolov5", "Yolox", "EndToEnd", "EndToEndObb", "Detr", "RtDetr", "EfficientNms"};
    for (const char *name : names) {
        Detector parse = find<Detector>(library, (std::string("NvDsInferParseSightline") + name).c_str());
        check_refusals(parse, outputs, kClasses, Object{});
    }
}

constexpr unsigned kPrototypes = 8, kMapWidth = 80, kMapHeight = 64;

/* Masks: the same objects as from a detector, and the core's own bits for each. */
void check_masks(Instances parse) {
    for (int round = 0; round < 8; round++) {
        std::vector<float> head = yolov8_head(kClasses, kAnchors, kPrototypes), map(kPrototypes * kMapHeight * kMapWidth);
        for (float &value : map) value = unit() * 2.0F - 1.0F;
        Outputs outputs;
        outputs.add("output1", {kPrototypes, kMapHeight, kMapWidth}, map);
        outputs.add("output0", {4 + kClasses + kPrototypes, kAnchors}, head);
        Parameters parameters({0.6F, 0.6F, 0.6F, 0.6F});
        std::vector<MaskedObject> objects;
        CHECK(parse(outputs.layers, kNetwork, parameters.value, objects));
        std::vector<float> plain(head.begin(), head.begin() + (4 + kClasses) * kAnchors);
        Direct found = filtered(direct(plain, static_cast<double>(0.6F), kCapacity), parameters.value.thresholds);
        CHECK(objects.size() == found.count && found.count > 5);
        for (std::size_t i = 0; i < objects.size() && i < found.count; i++) {
            const MaskedObject &object = objects[i];
            CHECK(same_bits(object.left, found.boxes[4 * i]) && same_bits(object.confidence, found.scores[i]));
            CHECK(object.mask_bytes == object.mask_width * object.mask_height * sizeof(float));
            CHECK(static_cast<float>(object.mask_width) <= object.width + 1.0F);
            for (unsigned c = 0; c < object.mask_width * object.mask_height; c++)
                if (object.mask[c] != 0.0F && object.mask[c] != 1.0F) CHECK(!"a cell is neither 0 nor 1");
        }
        release(objects);
    }
}

void check_mask_refusals(void *library) {
    Outputs outputs;
    outputs.add("output1", {kPrototypes, kMapHeight, kMapWidth}, std::vector<float>(kPrototypes * kMapHeight * kMapWidth));
    outputs.add("output0", {4 + kClasses + kPrototypes, kAnchors}, yolov8_head(kClasses, kAnchors, kPrototypes));
    for (const char *name : {"Yolov8Segment", "EndToEndSegment", "MaskRcnn"})
        check_refusals(find<Instances>(library, (std::string("NvDsInferParseSightline") + name).c_str()), outputs,
                       kClasses, MaskedObject{});
    Outputs fewer;
    fewer.add("output1", {kPrototypes - 1, 4, 4}, std::vector<float>((kPrototypes - 1) * 16));
    Instances parse = find<Instances>(library, "NvDsInferParseSightlineYolov8Segment");
    Parameters parameters({0.6F, 0.6F, 0.6F, 0.6F});
    std::vector<MaskedObject> objects;
    CHECK(!parse({outputs.layers[1], fewer.layers[0]}, kNetwork, parameters.value, objects) && objects.empty());
}

void check_classifier(void *library) {
    const sl_activation activations[] = {SL_ACTIVATION_NONE, SL_ACTIVATION_SIGMOID, SL_ACTIVATION_SOFTMAX};
    const char *names[] = {"NvDsInferParseSightlineProbabilities", "NvDsInferParseSightlineSigmoid",
                           "NvDsInferParseSightlineSoftmax"};
    for (int round = 0; round < 60; round++) {
        std::vector<float> first(1000), second(3);
        for (float &value : first) value = unit() * 4.0F;
        for (float &value : second) value = round % 5 == 4 ? NAN : unit() * 4.0F;
        Outputs outputs;
        outputs.add("kind", {1000, 1, 1}, first);
        outputs.add("colour", {3}, second);
        Classifier parse = find<Classifier>(library, names[round % 3]);
        std::vector<Attribute> attributes(1, Attribute{});
        std::string description = "kept";
        float threshold = 0.2F;
        CHECK(parse(outputs.layers, kNetwork, threshold, attributes, description) && description == "kept");
        std::size_t at = 1;
        for (unsigned l = 0; l < 2; l++) {
            const std::vector<float> &values = l ? second : first;
            float scores[5];
            std::int32_t classes[5];
            std::size_t written = 0;
            sl_classify(values.data(), values.size(), activations[round % 3], l ? 3 : 5, scores, classes, &written);
            for (std::size_t i = 0; i < written && scores[i] >= threshold; i++, at++) {
                CHECK(at < attributes.size() && attributes[at].layer == l);
                if (at >= attributes.size()) break;
                CHECK(attributes[at].value == static_cast<unsigned>(classes[i]) && attributes[at].label == nullptr);
                CHECK(same_bits(attributes[at].confidence, scores[i]));
            }
        }
        CHECK(at == attributes.size());
    }
}

void check_classifier_refusals(void *library) {
    Outputs outputs;
    outputs.add("kind", {10}, std::vector<float>(10, 0.5F));
    Classifier parse = find<Classifier>(library, "NvDsInferParseSightlineSoftmax");
    for (std::size_t i = 0; i < 11; i++) { /* the spoilers of layers */
        Layers layers = outputs.layers;
        Network network = kNetwork;
        Parameters parameters(std::vector<float>{});
        spoilers()[i](layers, network, parameters.value);
        std::vector<Attribute> attributes;
        std::string description;
        CHECK(!parse(layers, network, 0.0F, attributes, description) && attributes.empty());
    }
}

void check_semantic(void *library) {
    Semantic parse = find<Semantic>(library, "NvDsInferParseSightlineSemantic");
    const Network network = {48, 40, 3};
    std::vector<float> logits(3 * 10 * 12);
    for (float &value : logits) value = unit();
    sl_semantic semantic = {};
    semantic.classes = 3;
    semantic.rows = 10;
    semantic.columns = 12;
    semantic.network_width = 48;
    semantic.network_height = 40;
    for (int last = 0; last < 2; last++) {
        semantic.channels_last = last;
        const float geometry[SL_GEOMETRY_FLOATS] = {1, 48, 40, 1, 1, 0, 0};
        std::vector<std::int32_t> expected(48 * 40), map(48 * 40, 77);
        std::vector<unsigned char> scratch(sl_semantic_scratch_bytes(&semantic, geometry));
        CHECK(sl_semantic_map(&semantic, logits.data(), geometry, nullptr, expected.data(), expected.size(),
                              scratch.data(), scratch.size()) == SL_OK);
        Outputs outputs;
        outputs.add("logits", last ? std::vector<unsigned>{10, 12, 3} : std::vector<unsigned>{3, 10, 12}, logits);
        float nothing = 0.0F, *probabilities = &nothing;
        CHECK(parse(outputs.layers, network, 0.5F, 3, map.data(), probabilities));
        CHECK(map == expected && probabilities == nullptr);
        CHECK(!parse(outputs.layers, network, 0.5F, 4, map.data(), probabilities));
        CHECK(map == std::vector<std::int32_t>(48 * 40, -1));
        CHECK(!parse(outputs.layers, network, 0.5F, 3, nullptr, probabilities));
        CHECK(!parse(outputs.layers, Network{0, 40, 3}, 0.5F, 3, map.data(), probabilities));
        CHECK(!parse(Layers{}, network, 0.5F, 3, map.data(), probabilities));
    }
}

/* Layers without a name, and objects that are there already. */
void check_appends(Detector parse, Outputs &outputs) {
    for (Layer &layer : outputs.layers) layer.name = nullptr;
    Parameters parameters({0.3F, 0.3F, 0.3F, 0.3F});
    std::vector<Object> objects(2, Object{});
    CHECK(parse(outputs.layers, kNetwork, parameters.value, objects));
    CHECK(objects.size() > 2 && same_bits(objects[1].width, 0.0F) && objects[2].width > 0.0F);
}

} /* namespace */

int run_checks(void *library) {
    Detector parse = find<Detector>(library, "NvDsInferParseSightlineYolov8");
    check_detector(parse);
    check_half(parse);
    check_threads(parse);
    Outputs outputs;
    outputs.add("output0", {4 + kClasses, kAnchors}, yolov8_head(kClasses, kAnchors, 0));
    check_refusals(parse, outputs, kClasses, Object{});
    check_names(library, outputs);
    check_appends(parse, outputs);
    check_masks(find<Instances>(library, "NvDsInferParseSightlineYolov8Segment"));
    check_mask_refusals(library);
    check_classifier(library);
    check_classifier_refusals(library);
    check_semantic(library);
    std::printf("%d checks, %d failed\n", checked, failures);
    return failures;
}

} /* namespace host */
