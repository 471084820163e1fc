/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls a parser library as nvinfer does.
 *   host LIBRARY checks            the library against the C core, and hostile input
 *   host LIBRARY run CASE RESULT   one call; CASE is text, line by line:
 *     call KIND FUNCTION              KIND: detect, instances, classify, semantic
 *     network WIDTH HEIGHT
 *     thresholds T T …                one a class; classify and semantic read the first
 *     layer NAME TYPE FILE SIDE SIDE …
 *   RESULT gets the objects' bytes as nvinfer sees them; instances: each object's bytes, then its mask; semantic: ints.
 * Status 0: the parser returned true; 1: it returned false; 2 and 3: the host could not be run.
 */
#include "host.h"

#include <fstream>
#include <iterator>
#include <sstream>

namespace host {

namespace {

struct Case {
    std::string kind, function;
    Network network = {0, 0, 3};
    std::vector<float> thresholds;
    Outputs outputs;
};

std::vector<char> bytes_of(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Case read_case(const char *path) {
    Case one;
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string word, name, data;
        words >> word;
        if (word == "call") words >> one.kind >> one.function;
        if (word == "network") words >> one.network.width >> one.network.height;
        for (float threshold; word == "thresholds" && words >> threshold;) one.thresholds.push_back(threshold);
        if (word == "layer") {
            std::int32_t type = 0;
            words >> name >> type >> data;
            std::vector<unsigned> sides{std::istream_iterator<unsigned>(words), {}};
            std::vector<char> bytes = bytes_of(data);
            one.outputs.add(name.c_str(), type, sides, bytes.data(), bytes.size());
        }
    }
    return one;
}

template <typename Item> void write(std::ofstream &file, const Item *items, std::size_t count) {
    file.write(reinterpret_cast<const char *>(items), static_cast<std::streamsize>(count * sizeof *items));
}

bool run(void *library, Case &one, std::ofstream &result) {
    Parameters parameters(one.thresholds);
    const char *name = one.function.c_str();
    bool fine = false;
    if (one.kind == "detect") {
        std::vector<Object> objects;
        fine = find<Detector>(library, name)(one.outputs.layers, one.network, parameters.value, objects);
        write(result, objects.data(), objects.size());
    } else if (one.kind == "instances") {
        std::vector<MaskedObject> objects;
        fine = find<Instances>(library, name)(one.outputs.layers, one.network, parameters.value, objects);
        for (const MaskedObject &object : objects) {
            write(result, &object, 1);
            write(result, object.mask, object.mask_bytes / sizeof(float));
        }
        release(objects);
    } else if (one.kind == "classify") {
        std::vector<Attribute> attributes;
        std::string description;
        fine = find<Classifier>(library, name)(one.outputs.layers, one.network, one.thresholds.at(0), attributes,
                                               description);
        write(result, attributes.data(), attributes.size());
        for (Attribute &attribute : attributes) std::free(attribute.label);
    } else {
        std::size_t pixels = std::size_t{one.network.width} * one.network.height;
        std::unique_ptr<int[]> map(new int[pixels]);
        float *probabilities = nullptr;
        fine = find<Semantic>(library, name)(one.outputs.layers, one.network, one.thresholds.at(0),
                                             static_cast<unsigned>(one.thresholds.size()), map.get(), probabilities);
        if (fine) write(result, map.get(), pixels);
    }
    return fine;
}

} /* namespace */

} /* namespace host */

int main(int argc, char **argv) {
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (library == nullptr) {
        const char *problem = argc > 1 ? dlerror() : nullptr;
        std::fprintf(stderr, "%s\n", problem ? problem : "host LIBRARY checks | run CASE RESULT");
        return 2;
    }
    int status = 2;
    if (argc == 3 && std::strcmp(argv[2], "checks") == 0) status = host::run_checks(library) == 0 ? 0 : 1;
    if (argc == 5 && std::strcmp(argv[2], "run") == 0) {
        host::Case one = host::read_case(argv[3]);
        std::ofstream result(argv[4], std::ios::binary);
        status = host::run(library, one, result) ? 0 : 1;
    }
    dlclose(library);
    return status;
}
