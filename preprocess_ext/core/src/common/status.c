/* SPDX-License-Identifier: Apache-2.0 */
#include "common/internal.h"

#ifndef SIGHTLINE_VERSION
#define SIGHTLINE_VERSION "0"
#endif

const char *sl_version(void) { return SIGHTLINE_VERSION; }

const char *sl_status_text(sl_status status) {
    switch (status) {
    case SL_OK: return "no error";
    case SL_ERROR_NULL: return "a pointer is missing";
    case SL_ERROR_SIZE: return "a width, height or count is outside its bounds";
    case SL_ERROR_FORMAT: return "the pixel format, colour space, resize mode or channel order is unknown";
    case SL_ERROR_STRIDE: return "a row is longer than its stride";
    case SL_ERROR_BYTES: return "the picture has fewer bytes than its size needs";
    case SL_ERROR_SCRATCH: return "the scratch memory is too small";
    case SL_ERROR_VALUE: return "a number is not finite or outside its range";
    case SL_ERROR_GEOMETRY: return "the geometry is marked invalid, has a side out of range or cannot be inverted";
    }
    return "unknown status";
}
