/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sightline's C core: pixels into a network's input, a network's output into boxes, masks and tracks.
 *
 * Rules that hold for every function
 *   ownership   the caller owns all memory; nothing is allocated, kept or freed here
 *   scratch     working memory comes from the caller: ask *_scratch_bytes() for the size (0 = sizes refused);
 *               any alignment will do; its content before and after is of no meaning
 *   overlap     input, output and scratch must not overlap
 *   bounds      sizes are checked before memory is touched; nothing is read or written outside what is stated
 *   threads     no global state but sl_cpu_limit(): calls with different scratch and output may run at the same time
 *   status      SL_OK, or the reason; after an error outputs may be partly written
 *   results     the same bits on every CPU (no contraction to FMA); the scalar variant is the reference
 */
#ifndef SIGHTLINE_CORE_H
#define SIGHTLINE_CORE_H

#include "sightline_core/geometry.h"
#include "sightline_core/heads.h"
#include "sightline_core/images.h"
#include "sightline_core/letterbox.h"
#include "sightline_core/masks.h"
#include "sightline_core/nms.h"
#include "sightline_core/scores.h"
#include "sightline_core/rle.h"
#include "sightline_core/status.h"
#include "sightline_core/tracks.h"

#endif
