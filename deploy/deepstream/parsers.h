/* SPDX-License-Identifier: Apache-2.0 */
/* The functions that nvinfer finds by name; see README.md for the configuration of each. */
#ifndef SL_DEEPSTREAM_PARSERS_H
#define SL_DEEPSTREAM_PARSERS_H

#include "nvdsinfer_abi.h"

#define SL_EXPORT extern "C" __attribute__((visibility("default")))

/*
 * All of them: thread-safe; boxes are network pixels; true, and what was found is appended best first. False, the
 * lists as they were and one line on stderr when layers are missing or have another type or shape than the head asks
 * for, a buffer is null or a parameter is out of range. Nothing is ever thrown.
 */
#define SL_DETECTOR(NAME)                                                                       \
    SL_EXPORT bool NAME(const sightline::Layers &layers, const sightline::Network &network,     \
                        const sightline::DetectionParameters &parameters, std::vector<sightline::Object> &objects)
#define SL_INSTANCES(NAME)                                                                      \
    SL_EXPORT bool NAME(const sightline::Layers &layers, const sightline::Network &network,     \
                        const sightline::DetectionParameters &parameters,                       \
                        std::vector<sightline::MaskedObject> &objects)
#define SL_CLASSIFIER(NAME)                                                                     \
    SL_EXPORT bool NAME(const sightline::Layers &layers, const sightline::Network &network, float threshold, \
                        std::vector<sightline::Attribute> &attributes, std::string &description)
#define SL_SEMANTIC(NAME)                                                                       \
    SL_EXPORT bool NAME(const sightline::Layers &layers, const sightline::Network &network, float threshold, \
                        unsigned classes, int *class_map, float *&probabilities)

SL_DETECTOR(NvDsInferParseSightlineYolov8);
SL_DETECTOR(NvDsInferParseSightlineYolov8Obb);
SL_DETECTOR(NvDsInferParseSightlineYolov5);
SL_DETECTOR(NvDsInferParseSightlineYolox);
SL_DETECTOR(NvDsInferParseSightlineEndToEnd);
SL_DETECTOR(NvDsInferParseSightlineEndToEndObb);
SL_DETECTOR(NvDsInferParseSightlineDetr);
SL_DETECTOR(NvDsInferParseSightlineRtDetr);
SL_DETECTOR(NvDsInferParseSightlineEfficientNms);

SL_INSTANCES(NvDsInferParseSightlineYolov8Segment);
SL_INSTANCES(NvDsInferParseSightlineEndToEndSegment);
SL_INSTANCES(NvDsInferParseSightlineMaskRcnn);

SL_CLASSIFIER(NvDsInferParseSightlineSoftmax);
SL_CLASSIFIER(NvDsInferParseSightlineSigmoid);
SL_CLASSIFIER(NvDsInferParseSightlineProbabilities);

SL_SEMANTIC(NvDsInferParseSightlineSemantic);

#endif
