/* SPDX-License-Identifier: Apache-2.0 */
/* Least and most of many values, sixteen at a time, so that compilers use vectors; not installed. */
#ifndef SL_LANES_H
#define SL_LANES_H

#include <stddef.h>

enum { LANES = 16 };

static inline float smaller(float a, float b) { return a < b ? a : b; }
static inline float larger(float a, float b) { return a > b ? a : b; }

static inline float least_of(const float *values) {
    float least = values[0];
    for (size_t i = 1; i < LANES; i++) least = smaller(values[i], least);
    return least;
}

static inline float most_of(const float *values) {
    float most = values[0];
    for (size_t i = 1; i < LANES; i++) most = larger(values[i], most);
    return most;
}

#endif
