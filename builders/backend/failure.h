/* SPDX-License-Identifier: Apache-2.0 */
/* Why something could not be done, in words for a person. */
#ifndef SIGHTLINE_BACKEND_FAILURE_H
#define SIGHTLINE_BACKEND_FAILURE_H

#include <stdbool.h>

typedef enum failure_kind {
    FAILURE_BAD_INPUT,   /* the request is to blame */
    FAILURE_UNSUPPORTED, /* understood, but not done here */
    FAILURE_UNAVAILABLE, /* memory, or a library that is missing */
    FAILURE_INTERNAL     /* a fault of ours or of what we call */
} failure_kind;

typedef struct failure {
    failure_kind kind;
    char text[512];
} failure;

/* Fill `why` (cut to its room) and return false, so that a check can end with `return fail(...)`. */
bool fail(failure *why, failure_kind kind, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
