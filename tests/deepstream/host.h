/* SPDX-License-Identifier: Apache-2.0 */
/* What the two modes of the host share: the loaded library, and layers in heap blocks of the exact size. */
#ifndef SL_DEEPSTREAM_HOST_H
#define SL_DEEPSTREAM_HOST_H

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "nvdsinfer_abi.h"
#include "sightline_core.h"

namespace host {

using sightline::Attribute;
using sightline::DetectionParameters;
using sightline::Layer;
using sightline::Layers;
using sightline::MaskedObject;
using sightline::Network;
using sightline::Object;

using Detector = bool (*)(const Layers &, const Network &, const DetectionParameters &, std::vector<Object> &);
using Instances = bool (*)(const Layers &, const Network &, const DetectionParameters &, std::vector<MaskedObject> &);
using Classifier = bool (*)(const Layers &, const Network &, float, std::vector<Attribute> &, std::string &);
using Semantic = bool (*)(const Layers &, const Network &, float, unsigned, int *, float *&);

/* nvinfer's structure has a reference to its own vector. */
struct Parameters {
    std::vector<float> unused;
    DetectionParameters value;
    explicit Parameters(std::vector<float> thresholds)
        : unused(thresholds), value{static_cast<unsigned>(thresholds.size()), thresholds, thresholds, unused} {}
};

/* Output layers with memory of their own. */
class Outputs {
  public:
    void add(const char *name, std::int32_t type, std::vector<unsigned> sides, const void *data, std::size_t bytes) {
        names_.push_back(std::make_unique<std::string>(name));
        blocks_.emplace_back(std::malloc(bytes ? bytes : 1), std::free);
        if (bytes) std::memcpy(blocks_.back().get(), data, bytes);
        Layer layer = {};
        layer.type = type;
        layer.dims.count = static_cast<unsigned>(sides.size());
        layer.dims.elements = 1;
        for (std::size_t i = 0; i < sides.size() && i < sightline::kMostDims; i++) {
            layer.dims.sides[i] = sides[i];
            layer.dims.elements *= sides[i];
        }
        layer.binding = static_cast<std::int32_t>(layers.size()) + 1;
        layer.name = names_.back()->c_str();
        layer.buffer = blocks_.back().get();
        layers.push_back(layer);
    }
    void add(const char *name, std::vector<unsigned> sides, const std::vector<float> &values) {
        add(name, sightline::kFloat, std::move(sides), values.data(), values.size() * sizeof(float));
    }

    Layers layers;

  private:
    std::vector<std::unique_ptr<std::string>> names_;
    std::vector<std::unique_ptr<void, void (*)(void *)>> blocks_;
};

template <typename Function> Function find(void *library, const char *name) {
    Function function = nullptr;
    void *symbol = dlsym(library, name);
    if (symbol == nullptr) {
        std::fprintf(stderr, "%s is not in the library\n", name);
        std::exit(3);
    }
    std::memcpy(&function, &symbol, sizeof function);
    return function;
}

inline void release(std::vector<MaskedObject> &objects) {
    for (MaskedObject &object : objects) delete[] object.mask;
    objects.clear();
}

int run_checks(void *library); /* checks.cpp; the number of failures */

} /* namespace host */

#endif
