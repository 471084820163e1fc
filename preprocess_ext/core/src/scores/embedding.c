/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings of length one. */
#include <math.h>

#include "common/internal.h"

enum { LANES = 8 };

sl_status sl_embedding(const float *values, size_t count, float *out) {
    if (values == NULL || out == NULL) return SL_ERROR_NULL;
    if (count < 1 || count > SL_MAX_ANCHORS) return SL_ERROR_SIZE;
    double lane[LANES] = {0}, sum = 0.0;
    size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t k = 0; k < LANES; k++) lane[k] += (double)values[i + k] * (double)values[i + k];
    for (size_t i = whole; i < count; i++) sum += (double)values[i] * (double)values[i];
    for (size_t k = 0; k < LANES; k++) sum += lane[k];
    if (!isfinite(sum)) return SL_ERROR_VALUE;
    double norm = sqrt(sum), divisor = norm < 1e-12 ? 1e-12 : norm;
    for (size_t i = 0; i < count; i++) out[i] = (float)((double)values[i] / divisor);
    return SL_OK;
}
