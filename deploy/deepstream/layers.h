/* SPDX-License-Identifier: Apache-2.0 */
/* From nvinfer's layers to the core's tensors. */
#ifndef SL_DEEPSTREAM_LAYERS_H
#define SL_DEEPSTREAM_LAYERS_H

#include <stdexcept>

#include "nvdsinfer_abi.h"
#include "sightline_core.h"

namespace sightline {

/* Why a call is refused; caught where nvinfer called. */
struct Refusal : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/* The only layer of `rank` dimensions, or the one of them called `preferred`. */
const Layer &layer_of_rank(const Layers &layers, unsigned rank, const char *preferred);

/* The first layer whose name has one of the two words in it, capitals or not. */
const Layer &layer_called(const Layers &layers, const char *word, const char *other_word);

/* For a refusal: name and sides, such as "output0 (84, 8400)". */
std::string described(const Layer &layer);

/*
 * Tensors over the layers' own memory, or over copies where half-precision numbers had to be converted, which stay
 * valid until the thread's next call. `whole`: whole numbers of 32 or 64 bits are taken too.
 */
class Tensors {
  public:
    Tensors();
    const sl_tensor &add(const Layer &layer, bool whole = false);
    const sl_tensor *data() const { return tensors_; }
    std::size_t size() const { return size_; }

  private:
    sl_tensor tensors_[SL_MAX_TENSORS];
    std::size_t size_ = 0;
};

/*
 * Says on stderr why a call is refused, once as long as the reason stays the same in this thread. Returns what nvinfer
 * is told: false, or true where SIGHTLINE_DEEPSTREAM_REFUSE is "empty".
 */
bool refuse(const char *name, const char *reason) noexcept;

/* Runs `work`; what it throws ends here. */
template <typename Work> bool guarded(const char *name, Work work) noexcept {
    try {
        work();
        return true;
    } catch (const std::exception &problem) {
        return refuse(name, problem.what());
    } catch (...) {
        return refuse(name, "unknown failure");
    }
}

} /* namespace sightline */

#endif
