/* SPDX-License-Identifier: Apache-2.0 */
/* Heads into objects, for the detectors and the instance parsers. */
#ifndef SL_DEEPSTREAM_DETECT_H
#define SL_DEEPSTREAM_DETECT_H

#include "layers.h"

namespace sightline {

/* What the thread's last decode() found, best first, network pixels; valid until its next call. */
struct Found {
    std::size_t count;
    std::size_t extra_values;
    const float *boxes;         /* (count, 4) xyxy, inside the network's input; with an angle not clipped */
    const float *scores;        /* (count,) */
    const std::int32_t *classes; /* (count,), below the configured number */
    const float *extras;        /* (count, extra_values) */
    const float *network_boxes; /* (count, 4), not clipped */
    const std::int32_t *indices; /* (count,) row of the output */
};

/*
 * The core's head decoding with nvinfer's thresholds: head.classes and the network's size are filled in here. Of the
 * objects above their class's threshold the best SIGHTLINE_DEEPSTREAM_DETECTIONS (300) are kept, after suppression
 * with SIGHTLINE_DEEPSTREAM_IOU (0.45).
 */
Found decode(sl_head head, const Tensors &tensors, const Network &network, const DetectionParameters &parameters);

/* The whole network's input as a picture in itself: nvinfer maps to the frame. */
void whole_input(const Network &network, float *geometry);

} /* namespace sightline */

#endif
