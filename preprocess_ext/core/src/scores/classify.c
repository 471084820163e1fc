/* SPDX-License-Identifier: Apache-2.0 */
/* The best classes of a picture: a heap of the best so far, then sorted in place. */
#include <math.h>

#include "common/internal.h"
#include "heads/activate.h"

enum { LANES = 16 };

typedef struct ranking {
    float *scores;
    int32_t *classes;
    size_t count;
} ranking;

static bool worse(const ranking *r, size_t a, size_t b) {
    return r->scores[a] < r->scores[b] || (r->scores[a] == r->scores[b] && r->classes[a] > r->classes[b]);
}

static void swap(const ranking *r, size_t a, size_t b) {
    float score = r->scores[a];
    int32_t class_id = r->classes[a];
    r->scores[a] = r->scores[b];
    r->classes[a] = r->classes[b];
    r->scores[b] = score;
    r->classes[b] = class_id;
}

/* The worst of the heap is its first. */
static void sink(const ranking *r, size_t at, size_t count) {
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) return;
        if (child + 1 < count && worse(r, child + 1, child)) child++;
        if (!worse(r, child, at)) return;
        swap(r, child, at);
        at = child;
    }
}

static void rise(const ranking *r, size_t at) {
    for (; at > 0 && worse(r, at, (at - 1) / 2); at = (at - 1) / 2) swap(r, at, (at - 1) / 2);
}

static void rank_values(ranking *r, const float *values, size_t count, size_t top) {
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i])) continue;
        if (r->count == top) {
            if (!(values[i] > r->scores[0])) continue;
            r->scores[0] = values[i];
            r->classes[0] = (int32_t)i;
            sink(r, 0, top);
            continue;
        }
        r->scores[r->count] = values[i];
        r->classes[r->count] = (int32_t)i;
        rise(r, r->count++);
    }
    for (size_t left = r->count; left > 1; left--) {
        swap(r, 0, left - 1);
        sink(r, 0, left - 1);
    }
}

/* In lanes that the compiler can put into vectors, added up in a fixed order. */
static float sum_of_exponentials(const float *values, size_t count, float most) {
    float lane[LANES] = {0}, sum = 0.0F;
    size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t k = 0; k < LANES; k++) lane[k] += sl_exp(values[i + k] - most);
    for (size_t i = whole; i < count; i++) sum += sl_exp(values[i] - most);
    for (size_t k = 0; k < LANES; k++) sum += lane[k];
    return sum;
}

static bool softmax_fits(const float *values, size_t count) {
    bool fits = true, any = false;
    for (size_t i = 0; i < count; i++) {
        fits &= values[i] < INFINITY; /* false for NaN */
        any |= values[i] > -INFINITY;
    }
    return fits && any;
}

sl_status sl_classify(const float *values, size_t count, sl_activation activation, size_t top, float *scores,
                      int32_t *classes, size_t *written) {
    if (written == NULL) return SL_ERROR_NULL;
    *written = 0;
    if (values == NULL || scores == NULL || classes == NULL) return SL_ERROR_NULL;
    if (count < 1 || count > SL_MAX_CLASSES || top < 1 || top > count) return SL_ERROR_SIZE;
    if ((unsigned)activation > SL_ACTIVATION_SOFTMAX) return SL_ERROR_FORMAT;
    if (activation == SL_ACTIVATION_SOFTMAX && !softmax_fits(values, count)) return SL_ERROR_VALUE;
    ranking r = {scores, classes, 0};
    rank_values(&r, values, count, top);
    if (activation == SL_ACTIVATION_SOFTMAX) {
        float most = scores[0], sum = sum_of_exponentials(values, count, most);
        for (size_t i = 0; i < r.count; i++) scores[i] = sl_exp(scores[i] - most) / sum;
    }
    if (activation == SL_ACTIVATION_SIGMOID)
        for (size_t i = 0; i < r.count; i++) scores[i] = sl_sigmoid(scores[i]);
    *written = r.count;
    return SL_OK;
}
