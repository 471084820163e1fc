/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the builder wrote for one stage: the JSON text in the model configuration's parameter "sightline". An object with
 * these members; those in brackets may be left out or null. Members of other names are not looked at.
 *
 *   stage          letterbox, network, postprocess, fused (the three in one, tasks detect and segment), or identity
 *   [workers]      see below
 * letterbox, fused:
 *   size           [width, height] of the network's input, pixels
 *   letterbox      the card's input section: mean, std, resize (letterbox, stretch, corner, crop), colour (rgb, bgr),
 *                  [filter] (bilinear, triangle, box), [pad] (level 0..255; 114), [short_side] (crop only)
 * network, fused:
 *   outputs        how many of the network's outputs the head reads, from the first
 *   [streams]      see below
 *   [precision]    f32, or bf16 where the processor has it; the weights' own precision is the engine file's
 * postprocess (has an output ERROR, which says why an item has no answer, and takes the first stage's as an input), fused:
 *   outputs        the same number
 *   [task]         detect, segment, classify, semantic, embed
 *   [size]         of the network's input: for masks, class maps, boxes of 0..1 and heads with grids
 * detect and segment, as sightline.preprocess_ext.Head and decode_head name them:
 *   head, classes (yolov8: [classes]), score, iou, detections, [class_agnostic], [activation], [background],
 *   [multi_label], [normalised], [centre_form], [anchors], [strides], [box_weights]
 *   [anchors_file] name of a file beside the model's version files that holds the anchors as float32, little-endian, row
 *                  by row: for heads with more of them than a configuration should hold
 *   [extra]        none; masks: coefficients of prototypes, which are the last output; keypoints; angle; pasted: masks of
 *                  Mask R-CNN, probabilities (A, 1, rows, columns), which are the last output. Left out it is pasted for
 *                  the head mask_rcnn and the task segment, else none
 *   [extra_values], [keypoint_values]
 * classify: top, [activation]. semantic: classes (1..256), [upsample], [channels_last].
 */
#ifndef SIGHTLINE_BACKEND_SETTINGS_H
#define SIGHTLINE_BACKEND_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "failure.h"
#include "sightline_core.h"

enum { MAX_RAW = ENGINE_MAX_OUTPUTS, MAX_DETECTIONS = SL_MAX_CANDIDATES, SETTINGS_NAME_BYTES = 64 };

typedef enum stage_kind { STAGE_LETTERBOX, STAGE_NETWORK, STAGE_POSTPROCESS, STAGE_IDENTITY, STAGE_FUSED } stage_kind;

typedef enum task_kind { TASK_DETECT, TASK_CLASSIFY, TASK_SEMANTIC, TASK_EMBED } task_kind;

typedef struct settings {
    stage_kind stage;
    size_t workers; /* at most so many requests are worked on at the same time; 0: as many as there are instances */
    /* letterbox */
    int32_t width; /* of the network's input, pixels */
    int32_t height;
    sl_letterbox_options letterbox;
    /* network and postprocess */
    size_t outputs; /* how many of the network's outputs the head reads, from the first */
    bool shared;    /* one compiled network for all instances */
    int32_t streams; /* of a shared network: requests that may run at the same time */
    engine_precision precision;
    /* postprocess */
    task_kind task; /* of post-processing; with masks detect is segment */
    size_t top;     /* classify: how many classes are answered, the best first */
    sl_semantic semantic; /* rows and columns follow from the tensor */
    sl_head head; /* classes 0: they follow from the tensor (yolov8) */
    float *anchors; /* what head.anchors points to */
    char anchors_file[SETTINGS_NAME_BYTES]; /* "" where the anchors are in the settings, or there are none */
    bool pasted;    /* masks come from the last output, not from prototypes */
    sl_detect_limits limits;
    size_t detections;
} settings;

/* Read the model configuration that Triton hands over as JSON. settings_free() in any case. */
bool settings_read(settings *out, const char *model_config, size_t length, failure *why);
/* Read the file that "anchors_file" names out of `folder`; nothing to do where there is no such name. */
bool settings_read_anchors(settings *self, const char *folder, failure *why);
void settings_free(settings *self);

/* The text at cmdline.NAME of the backend's configuration (--backend-config=sightline,NAME=TEXT); "" where not given. */
bool settings_backend_option(const char *backend_config, size_t length, const char *name, char *out, size_t room,
                             failure *why);

#endif
