/* SPDX-License-Identifier: Apache-2.0 */
/* The best class of a block of anchors. NaN never wins; the lowest class wins a tie. */
#include <math.h>

#include "heads/heads.h"

static void scan_plain(const float *restrict scores, size_t step, size_t classes, size_t count, float *restrict best,
                       int32_t *restrict best_class) {
    for (size_t i = 0; i < count; i++) {
        best[i] = -INFINITY;
        best_class[i] = 0;
    }
    for (size_t c = 0; c < classes; c++) {
        const float *row = scores + c * step;
        for (size_t i = 0; i < count; i++) {
            bool better = row[i] > best[i];
            best[i] = better ? row[i] : best[i];
            best_class[i] = better ? (int32_t)c : best_class[i];
        }
    }
}

/* How many anchors, from the first on, a variant has done. */
static size_t scan_vectors(const float *scores, size_t step, size_t classes, size_t count, float *best,
                           int32_t *best_class) {
#if defined(__x86_64__)
    if (sl_cpu() == SL_CPU_AVX512) return sl_scan_columns_avx512(scores, step, classes, count, best, best_class);
    if (sl_cpu() == SL_CPU_AVX2) return sl_scan_columns_avx2(scores, step, classes, count, best, best_class);
#elif defined(__aarch64__)
    if (sl_cpu() == SL_CPU_NEON) return sl_scan_columns_neon(scores, step, classes, count, best, best_class);
#endif
    (void)scores, (void)step, (void)classes, (void)count, (void)best, (void)best_class;
    return 0;
}

bool sl_scan_columns(const float *scores, size_t step, size_t classes, size_t count, float limit, float *best,
                     int32_t *best_class) {
    size_t done = scan_vectors(scores, step, classes, count, best, best_class);
    scan_plain(scores + done, step, classes, count - done, best + done, best_class + done);
    bool any = false;
    for (size_t i = 0; i < count; i++) any |= best[i] >= limit;
    return any;
}

enum { LANES = 16 };

/* Highest first, in lanes that the compiler can put into vectors; then the first class that has it. */
static float highest(const float *row, size_t classes) {
    float lane[LANES], best = -INFINITY;
    for (size_t i = 0; i < LANES; i++) lane[i] = -INFINITY;
    size_t whole = classes / LANES * LANES;
    for (size_t c = 0; c < whole; c += LANES)
        for (size_t i = 0; i < LANES; i++) lane[i] = row[c + i] > lane[i] ? row[c + i] : lane[i];
    for (size_t c = whole; c < classes; c++) best = row[c] > best ? row[c] : best;
    for (size_t i = 0; i < LANES; i++) best = lane[i] > best ? lane[i] : best;
    return best;
}

bool sl_scan_rows(const float *scores, size_t step, size_t classes, size_t count, float limit, float *best,
                  int32_t *best_class) {
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        const float *row = scores + i * step;
        size_t c = 0;
        best[i] = highest(row, classes);
        if (best[i] >= limit) {
            any = true;
            while (best[i] > -INFINITY && c + 1 < classes && !(row[c] == best[i])) c++; /* scores may change meanwhile */
        }
        best_class[i] = (int32_t)c;
    }
    return any;
}
