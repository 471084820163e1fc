/* SPDX-License-Identifier: Apache-2.0 */
/* What the builder wrote for one stage: the JSON text in the model configuration's parameter "sightline". */
#ifndef SIGHTLINE_BACKEND_SETTINGS_H
#define SIGHTLINE_BACKEND_SETTINGS_H

#include <stddef.h>
#include <stdint.h>

#include "failure.h"
#include "sightline_core.h"

enum { MAX_RAW = 8, MAX_DETECTIONS = SL_MAX_CANDIDATES };

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
    /* postprocess */
    task_kind task; /* of post-processing; with masks detect is segment */
    size_t top;     /* classify: how many classes are answered, the best first */
    sl_semantic semantic; /* rows and columns follow from the tensor */
    sl_head head; /* classes 0: they follow from the tensor (yolov8) */
    float *anchors; /* what head.anchors points to */
    sl_detect_limits limits;
    size_t detections;
} settings;

/* Read the model configuration that Triton hands over as JSON. settings_free() in any case. */
bool settings_read(settings *out, const char *model_config, size_t length, failure *why);
void settings_free(settings *self);

/* The text at cmdline.NAME of the backend's configuration (--backend-config=sightline,NAME=TEXT); "" where not given. */
bool settings_backend_option(const char *backend_config, size_t length, const char *name, char *out, size_t room,
                             failure *why);

#endif
