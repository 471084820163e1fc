/* SPDX-License-Identifier: Apache-2.0 */
#include "boxes/boxes.h"

/* A difference with itself is 0, or NaN where the number is not finite: no branch a number. */
static inline size_t collect(const float *boxes, size_t width, const float *scores, size_t count, uint64_t *keys) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++) {
        const float *box = boxes + width * i;
        float none = scores[i] - scores[i];
        for (size_t k = 0; k < width; k++) none += box[k] - box[k];
        keys[found] = sl_order_key(scores[i], (uint32_t)i);
        found += none == 0.0F;
    }
    return found;
}

size_t sl_finite_keys(const float *boxes, const float *scores, size_t count, uint64_t *keys) {
    return collect(boxes, 4, scores, count, keys);
}

size_t sl_finite_oriented_keys(const float *boxes, const float *scores, size_t count, uint64_t *keys) {
    return collect(boxes, 5, scores, count, keys);
}
