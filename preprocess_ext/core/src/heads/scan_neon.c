/* SPDX-License-Identifier: Apache-2.0 */
/* sl_scan_columns with 32 anchors at once, best score and class in registers. */
#include <arm_neon.h>
#include <math.h>

#include "heads/heads.h"

enum { LANES = 4, VECTORS = 8, TILE = LANES * VECTORS };

size_t sl_scan_columns_neon(const float *scores, size_t step, size_t classes, size_t count, float *best,
                            int32_t *best_class) {
    size_t start = 0;
    for (; count - start >= TILE; start += TILE) {
        float32x4_t most[VECTORS];
        int32x4_t at[VECTORS];
        for (int v = 0; v < VECTORS; v++) {
            most[v] = vdupq_n_f32(-INFINITY);
            at[v] = vdupq_n_s32(0);
        }
        for (size_t c = 0; c < classes; c++) {
            const float *row = scores + start + c * step;
            int32x4_t class_id = vdupq_n_s32((int32_t)c);
            for (int v = 0; v < VECTORS; v++) {
                float32x4_t score = vld1q_f32(row + v * LANES);
                uint32x4_t better = vcgtq_f32(score, most[v]);
                most[v] = vbslq_f32(better, score, most[v]);
                at[v] = vbslq_s32(better, class_id, at[v]);
            }
        }
        for (int v = 0; v < VECTORS; v++) {
            vst1q_f32(best + start + v * LANES, most[v]);
            vst1q_s32(best_class + start + v * LANES, at[v]);
        }
    }
    return start;
}
