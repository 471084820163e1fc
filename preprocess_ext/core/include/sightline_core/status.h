/* SPDX-License-Identifier: Apache-2.0 */
/* Limits, the reasons of a refusal, and which instructions are used. */
#ifndef SIGHTLINE_CORE_STATUS_H
#define SIGHTLINE_CORE_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    SL_MAX_SIDE = 65535,         /* pixels, of a source image and of a network's input */
    SL_MAX_ANCHORS = 1 << 24,    /* columns of a raw head output */
    SL_MAX_CLASSES = 1 << 16,
    SL_MAX_CANDIDATES = 30000,   /* boxes that enter NMS: the best by score */
    SL_GEOMETRY_FLOATS = 7
};

typedef enum sl_status {
    SL_OK = 0,
    SL_ERROR_NULL,        /* a pointer is missing */
    SL_ERROR_SIZE,        /* a width, height or count is outside its bounds */
    SL_ERROR_FORMAT,      /* unknown pixel format, colour space, resize mode or channel order */
    SL_ERROR_STRIDE,      /* a row is longer than its stride */
    SL_ERROR_BYTES,       /* a plane is shorter than its rows need */
    SL_ERROR_SCRATCH,     /* the scratch is smaller than *_scratch_bytes() */
    SL_ERROR_VALUE,       /* a number is not finite or outside its range */
    SL_ERROR_GEOMETRY     /* the geometry is marked invalid, has a side out of range or cannot be inverted */
} sl_status;

/* One English sentence for a status; static storage, never NULL. */
const char *sl_status_text(sl_status status);

/* Version of the package the core was built for, such as "0.1.0"; static storage. */
const char *sl_version(void);


/* Instruction sets that kernels have variants for; all give the same bits. */
typedef enum sl_cpu_level { SL_CPU_SCALAR = 0, SL_CPU_NEON = 1, SL_CPU_AVX2 = 2, SL_CPU_AVX512 = 3 } sl_cpu_level;

/* The best level of this processor, or the limit below. */
sl_cpu_level sl_cpu(void);

/*
 * Use nothing better than `highest` from now on, in all threads; returns what sl_cpu() then says. For tests and
 * benchmarks: the only state that the core has.
 */
sl_cpu_level sl_cpu_limit(sl_cpu_level highest);

#ifdef __cplusplus
}
#endif
#endif
