/* SPDX-License-Identifier: Apache-2.0 */
#include "detect.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "parsers.h"

namespace sightline {

namespace {

constexpr double kIou = 0.45;
constexpr double kDetections = 300;

struct Options {
    double iou;
    std::size_t detections;
};

/* nvinfer hands its parsers no settings but thresholds. */
double number_from_environment(const char *name, double otherwise, double low, double high) {
    const char *text = std::getenv(name);
    if (text == nullptr || *text == '\0') return otherwise;
    char *end = nullptr;
    double value = std::strtod(text, &end);
    if (*end == '\0' && value >= low && value <= high) return value;
    std::fprintf(stderr, "%s is %s, not a number in %g..%g; %g is used\n", name, text, low, high, otherwise);
    return otherwise;
}

const Options &options() {
    static const Options read = {
        number_from_environment("SIGHTLINE_DEEPSTREAM_IOU", kIou, 0.0, 1.0),
        static_cast<std::size_t>(
            number_from_environment("SIGHTLINE_DEEPSTREAM_DETECTIONS", kDetections, 1.0, SL_MAX_CANDIDATES)),
    };
    return read;
}

/* Room for one frame's results, kept by the thread. */
struct Room {
    std::vector<float> boxes, scores, extras, network_boxes;
    std::vector<std::int32_t> classes, indices;
    std::vector<unsigned char> scratch;

    sl_detections rows(std::size_t capacity, std::size_t extra_values) {
        boxes.resize(capacity * 4);
        scores.resize(capacity);
        classes.resize(capacity);
        extras.resize(capacity * extra_values);
        network_boxes.resize(capacity * 4);
        indices.resize(capacity);
        return {boxes.data(),         scores.data(), classes.data(), capacity, extra_values ? extras.data() : nullptr,
                network_boxes.data(), indices.data()};
    }
};

thread_local Room room;

void check_parameters(const Network &network, const DetectionParameters &parameters) {
    if (parameters.classes < 1 || parameters.classes > SL_MAX_CLASSES)
        throw Refusal("num-detected-classes is " + std::to_string(parameters.classes) + "; it must lie in 1..65536");
    if (parameters.thresholds.size() < parameters.classes) throw Refusal("there are fewer thresholds than classes");
    if (network.width < 1 || network.width > SL_MAX_SIDE || network.height < 1 || network.height > SL_MAX_SIDE)
        throw Refusal("the network's input is " + std::to_string(network.width) + " x " +
                      std::to_string(network.height) + "; sides must lie in 1..65535");
}

void move_row(std::size_t from, std::size_t to, std::size_t extra_values) {
    if (from == to) return;
    auto copy = [=](auto &rows, std::size_t width) {
        std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(from * width), width,
                    rows.begin() + static_cast<std::ptrdiff_t>(to * width));
    };
    copy(room.boxes, 4);
    copy(room.network_boxes, 4);
    copy(room.extras, extra_values);
    copy(room.scores, 1);
    copy(room.classes, 1);
    copy(room.indices, 1);
}

/* nvinfer looks at neither: a box must not be inside out, nor its width too large for a float. */
bool drawable(const float *box) {
    float width = box[2] - box[0], height = box[3] - box[1];
    return width >= 0.0F && height >= 0.0F && std::isfinite(width) && std::isfinite(height);
}

/* Suppression looks from better to worse, so what a class's own threshold drops afterwards changes nothing else. */
std::size_t above_own_threshold(std::size_t count, const std::vector<float> &thresholds, std::size_t extra_values) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count && kept < options().detections; i++) {
        auto own = static_cast<std::size_t>(room.classes[i]);
        if (room.scores[i] >= thresholds[own] && drawable(&room.boxes[4 * i])) move_row(i, kept++, extra_values);
    }
    return kept;
}

std::string shapes(const Tensors &tensors) {
    std::string text;
    for (std::size_t t = 0; t < tensors.size(); t++) {
        text += t ? ", (" : "(";
        const sl_tensor &tensor = tensors.data()[t];
        for (std::size_t i = 0; i < tensor.rank; i++) text += (i ? ", " : "") + std::to_string(tensor.dims[i]);
        text += ")";
    }
    return text;
}

} /* namespace */

void whole_input(const Network &network, float *geometry) {
    const float values[SL_GEOMETRY_FLOATS] = {
        1.0F, static_cast<float>(network.width), static_cast<float>(network.height), 1.0F, 1.0F, 0.0F, 0.0F};
    std::copy_n(values, static_cast<std::size_t>(SL_GEOMETRY_FLOATS), geometry);
}

Found decode(sl_head head, const Tensors &tensors, const Network &network, const DetectionParameters &parameters) {
    check_parameters(network, parameters);
    auto first = parameters.thresholds.begin(), last = first + static_cast<std::ptrdiff_t>(parameters.classes);
    bool equal = std::all_of(first, last, [=](float threshold) { return threshold == *first; });
    float least = 2.0F;
    for (auto at = first; at != last; ++at) least = *at < least ? *at : least; /* NaN keeps nothing of its class */
    if (!(least <= 1.0F)) return {};
    sl_detect_limits limits = {std::max(0.0, static_cast<double>(least)), options().iou, 0};
    float geometry[SL_GEOMETRY_FLOATS];
    whole_input(network, geometry);
    head.classes = static_cast<std::int32_t>(parameters.classes);
    head.network_width = static_cast<std::int32_t>(network.width);
    head.network_height = static_cast<std::int32_t>(network.height);
    std::size_t capacity = equal ? options().detections : std::size_t{SL_MAX_CANDIDATES};
    std::size_t extra_values = static_cast<std::size_t>(head.extra_values), count = 0;
    std::size_t bytes = sl_head_scratch_bytes(&head, tensors.data(), tensors.size(), capacity);
    if (bytes > 0 && room.scratch.size() < bytes) room.scratch.resize(bytes);
    sl_detections rows = room.rows(capacity, extra_values);
    sl_status status = bytes == 0 ? SL_ERROR_SIZE
                                  : sl_head_decode(&head, tensors.data(), tensors.size(), geometry, &limits, &rows,
                                                   &count, room.scratch.data(), room.scratch.size());
    if (status != SL_OK)
        throw Refusal("outputs of " + shapes(tensors) + " with num-detected-classes=" +
                      std::to_string(parameters.classes) + " and a " + std::to_string(network.width) + " x " +
                      std::to_string(network.height) + " input: " + sl_status_text(status));
    count = above_own_threshold(count, parameters.thresholds, extra_values);
    return {count,         extra_values,   rows.boxes,         rows.scores, rows.classes, rows.extras,
            rows.network_boxes, rows.indices};
}

namespace {

#if SL_DEEPSTREAM_ABI >= 9
Object object_of(const Found &found, std::size_t i) {
    const float *box = found.boxes + 4 * i;
    float angle = found.extra_values == 1 ? found.extras[i] : 0.0F;
    return {static_cast<unsigned>(found.classes[i]), box[0], box[1], box[2] - box[0], box[3] - box[1], found.scores[i],
            angle};
}
#else
/* No room for an angle: the upright rectangle around the turned one. */
Object object_of(const Found &found, std::size_t i) {
    const float *box = found.boxes + 4 * i;
    float left = box[0], top = box[1], width = box[2] - left, height = box[3] - top;
    if (found.extra_values == 1) {
        float c = std::fabs(std::cos(found.extras[i])), s = std::fabs(std::sin(found.extras[i]));
        float around_width = width * c + height * s, around_height = width * s + height * c;
        left -= (around_width - width) * 0.5F;
        top -= (around_height - height) * 0.5F;
        width = around_width;
        height = around_height;
    }
    return {static_cast<unsigned>(found.classes[i]), left, top, width, height, found.scores[i]};
}
#endif

void append(const Found &found, std::vector<Object> &objects) {
    objects.reserve(objects.size() + found.count);
    for (std::size_t i = 0; i < found.count; i++) objects.push_back(object_of(found, i));
}

sl_head head_of(sl_head_kind kind, sl_head_extra extra = SL_EXTRA_NONE) {
    sl_head head = {};
    head.kind = kind;
    head.extra = extra;
    head.extra_values = extra == SL_EXTRA_ANGLE ? 1 : 0;
    return head;
}

/* Heads that come as one two-dimensional tensor. */
void detect_in_one(const sl_head &head, const Layers &layers, const Network &network,
                   const DetectionParameters &parameters, std::vector<Object> &objects) {
    Tensors tensors;
    tensors.add(layer_of_rank(layers, 2, "output0"));
    append(decode(head, tensors, network, parameters), objects);
}

/* Boxes and scores in one tensor with scores as they are, or in two, where `apart` makes scores of them. */
void detect_queries(sl_activation apart, sl_background background, const Layers &layers, const Network &network,
                    const DetectionParameters &parameters, std::vector<Object> &objects) {
    Tensors tensors;
    for (const Layer &layer : layers)
        if (layer.dims.count == 2) tensors.add(layer);
    if (tensors.size() < 1 || tensors.size() > 2)
        throw Refusal("one or two output layers of two dimensions are needed, not " + std::to_string(tensors.size()));
    sl_head head = head_of(SL_HEAD_DETR);
    if (tensors.size() == 2) {
        head.activation = apart;
        head.background = background;
    }
    append(decode(head, tensors, network, parameters), objects);
}

void detect_suppressed(const Layers &layers, const Network &network, const DetectionParameters &parameters,
                       std::vector<Object> &objects) {
    Tensors tensors;
    tensors.add(layer_called(layers, "num", "count"), true);
    tensors.add(layer_called(layers, "box", "rois"));
    tensors.add(layer_called(layers, "score", "conf"));
    tensors.add(layer_called(layers, "class", "label"), true);
    append(decode(head_of(SL_HEAD_EFFICIENT_NMS), tensors, network, parameters), objects);
}

} /* namespace */

} /* namespace sightline */

using namespace sightline;

#define SL_DETECTOR_IN_ONE(NAME, KIND, EXTRA)                                                             \
    SL_DETECTOR(NAME) {                                                                                   \
        return guarded(#NAME, [&] {                                                                       \
            detect_in_one(head_of(KIND, EXTRA), layers, network, parameters, objects);                    \
        });                                                                                               \
    }

SL_DETECTOR_IN_ONE(NvDsInferParseSightlineYolov8, SL_HEAD_YOLOV8, SL_EXTRA_NONE)
SL_DETECTOR_IN_ONE(NvDsInferParseSightlineYolov8Obb, SL_HEAD_YOLOV8, SL_EXTRA_ANGLE)
SL_DETECTOR_IN_ONE(NvDsInferParseSightlineYolov5, SL_HEAD_YOLOV5, SL_EXTRA_NONE)
SL_DETECTOR_IN_ONE(NvDsInferParseSightlineYolox, SL_HEAD_YOLOX, SL_EXTRA_NONE)
SL_DETECTOR_IN_ONE(NvDsInferParseSightlineEndToEnd, SL_HEAD_END_TO_END, SL_EXTRA_NONE)
SL_DETECTOR_IN_ONE(NvDsInferParseSightlineEndToEndObb, SL_HEAD_END_TO_END, SL_EXTRA_ANGLE)

SL_DETECTOR(NvDsInferParseSightlineDetr) {
    return guarded("NvDsInferParseSightlineDetr", [&] {
        detect_queries(SL_ACTIVATION_SOFTMAX, SL_BACKGROUND_LAST, layers, network, parameters, objects);
    });
}

SL_DETECTOR(NvDsInferParseSightlineRtDetr) {
    return guarded("NvDsInferParseSightlineRtDetr", [&] {
        detect_queries(SL_ACTIVATION_SIGMOID, SL_BACKGROUND_NONE, layers, network, parameters, objects);
    });
}

SL_DETECTOR(NvDsInferParseSightlineEfficientNms) {
    return guarded("NvDsInferParseSightlineEfficientNms",
                   [&] { detect_suppressed(layers, network, parameters, objects); });
}
