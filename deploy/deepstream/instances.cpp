/* SPDX-License-Identifier: Apache-2.0 */
/* Objects with masks. */
#include <algorithm>
#include <memory>

#include "detect.h"
#include "parsers.h"

namespace sightline {

namespace {

using Cells = std::unique_ptr<float[]>;

constexpr std::size_t kMostCells = UINT32_MAX / sizeof(float); /* their bytes are counted in 32 bits */

struct Mask {
    Cells cells;
    unsigned width;
    unsigned height;
};

/* From here on nothing can fail, so no mask is lost; nvinfer deletes them. */
void append(const Found &found, std::vector<Mask> &masks, std::vector<MaskedObject> &objects) {
    objects.reserve(objects.size() + found.count);
    for (std::size_t i = 0; i < found.count; i++) {
        const float *box = found.boxes + 4 * i;
        Mask &mask = masks[i];
        auto bytes = static_cast<unsigned>(std::size_t{mask.width} * mask.height * sizeof(float));
        objects.push_back({static_cast<unsigned>(found.classes[i]), box[0], box[1], box[2] - box[0], box[3] - box[1],
                           found.scores[i], mask.cells.release(), mask.width, mask.height, bytes});
    }
}

/* Room for one mask as bits, kept by the thread. */
thread_local std::vector<std::uint64_t> bits;
thread_local std::vector<unsigned char> scratch;

void check(sl_status status, const char *step) {
    if (status != SL_OK) throw Refusal(std::string(step) + ": " + sl_status_text(status));
}

/* 0 and 1 for the network pixels of the object's box. */
Mask mask_from_prototypes(const sl_prototypes &prototypes, const sl_mask_view &view, const float *box,
                          const float *coefficients) {
    sl_region region;
    check(sl_mask_region(&view, box, &region), "the region of a mask");
    std::size_t width = static_cast<std::size_t>(region.width), height = static_cast<std::size_t>(region.height);
    if (width == 0 || height == 0) return {nullptr, 0, 0};
    if (width * height > kMostCells) throw Refusal("a mask of " + std::to_string(width * height) + " pixels");
    bits.resize(sl_region_words(&region));
    check(sl_mask_from_prototypes(&prototypes, &view, coefficients, &region, bits.data(), scratch.data(), scratch.size()),
          "a mask");
    Cells cells(new float[width * height]);
    std::size_t words = sl_region_row_words(region.width);
    for (std::size_t y = 0; y < height; y++)
        for (std::size_t x = 0; x < width; x++)
            cells[y * width + x] = static_cast<float>(bits[y * words + x / 64] >> (x % 64) & 1U);
    return {std::move(cells), static_cast<unsigned>(width), static_cast<unsigned>(height)};
}

/* Heads with mask coefficients, and a second output of prototypes. */
void segment(sl_head_kind kind, const Layers &layers, const Network &network, const DetectionParameters &parameters,
             std::vector<MaskedObject> &objects) {
    Tensors tensors;
    tensors.add(layer_of_rank(layers, 2, "output0"));
    const sl_tensor &map = tensors.add(layer_of_rank(layers, 3, "output1"));
    if (*std::max_element(map.dims, map.dims + 3) > SL_MAX_MASK_CHANNELS)
        throw Refusal("the prototypes have a side above " + std::to_string(SL_MAX_MASK_CHANNELS));
    sl_prototypes prototypes = {map.data, static_cast<std::int32_t>(map.dims[0]), static_cast<std::int32_t>(map.dims[1]),
                                static_cast<std::int32_t>(map.dims[2])};
    sl_head head = {};
    head.kind = kind;
    head.extra = SL_EXTRA_MASKS;
    head.extra_values = prototypes.channels;
    Found found = decode(head, tensors, network, parameters);
    sl_mask_view view;
    check(sl_mask_view_network(static_cast<std::int32_t>(network.width), static_cast<std::int32_t>(network.height),
                               prototypes.width, prototypes.height, &view),
          "prototypes for this network");
    scratch.resize(std::max(scratch.size(), sl_mask_scratch_bytes(&view)));
    std::vector<Mask> masks;
    masks.reserve(found.count);
    for (std::size_t i = 0; i < found.count; i++)
        masks.push_back(mask_from_prototypes(prototypes, view, found.network_boxes + 4 * i,
                                             found.extras + i * found.extra_values));
    append(found, masks, objects);
}

/* Which of a row's masks is the object's: there may be one, one a class, or one a class and one of nothing before. */
std::size_t mask_channel(std::size_t channels, std::size_t classes, std::int32_t own) {
    if (channels == 1) return 0;
    return static_cast<std::size_t>(own) + (channels == classes + 1 ? 1 : 0);
}

/* Mask R-CNN's cells as they are: probabilities on a grid over the box, which is what nvinfer hands on. */
void segment_pasted(const Layers &layers, const Network &network, const DetectionParameters &parameters,
                    std::vector<MaskedObject> &objects) {
    Tensors tensors;
    tensors.add(layer_called(layers, "box", "rois"));
    tensors.add(layer_called(layers, "label", "class"), true);
    tensors.add(layer_called(layers, "score", "conf"));
    sl_head head = {};
    head.kind = SL_HEAD_MASK_RCNN;
    head.background = SL_BACKGROUND_FIRST;
    Found found = decode(head, tensors, network, parameters);
    const Layer &layer = layer_called(layers, "mask", "mask");
    const sl_tensor &map = tensors.add(layer);
    std::size_t classes = parameters.classes, rows = tensors.data()[0].dims[0];
    std::size_t channels = map.rank == 4 ? map.dims[1] : 1;
    if ((map.rank != 3 && map.rank != 4) || map.dims[0] != rows ||
        (channels != 1 && channels != classes && channels != classes + 1))
        throw Refusal("layer " + described(layer) + " must hold masks: rows, then 1 or one a class, height, width");
    std::size_t height = map.dims[map.rank - 2], width = map.dims[map.rank - 1]; /* elements fit in 32 bits */
    if (height * width > kMostCells) throw Refusal("layer " + described(layer) + ": the masks are too large");
    std::vector<Mask> masks;
    masks.reserve(found.count);
    for (std::size_t i = 0; i < found.count; i++) {
        std::size_t row = static_cast<std::size_t>(found.indices[i]);
        const float *from = map.data + (row * channels + mask_channel(channels, classes, found.classes[i])) * height * width;
        Cells cells(new float[height * width]);
        std::copy_n(from, height * width, cells.get());
        masks.push_back({std::move(cells), static_cast<unsigned>(width), static_cast<unsigned>(height)});
    }
    append(found, masks, objects);
}

} /* namespace */

} /* namespace sightline */

using namespace sightline;

SL_INSTANCES(NvDsInferParseSightlineYolov8Segment) {
    return guarded("NvDsInferParseSightlineYolov8Segment",
                   [&] { segment(SL_HEAD_YOLOV8, layers, network, parameters, objects); });
}

SL_INSTANCES(NvDsInferParseSightlineEndToEndSegment) {
    return guarded("NvDsInferParseSightlineEndToEndSegment",
                   [&] { segment(SL_HEAD_END_TO_END, layers, network, parameters, objects); });
}

SL_INSTANCES(NvDsInferParseSightlineMaskRcnn) {
    return guarded("NvDsInferParseSightlineMaskRcnn",
                   [&] { segment_pasted(layers, network, parameters, objects); });
}
