/* Invariant: whatever the boxes, kept indices are usable, different, best first; no kept box suppresses another. */
/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdbool.h>

#include "input.h"

enum { MOST = 24 };

static void put_box(fuzz_input *input, bool plain, float *box) {
    for (int k = 0; k < 5; k++) {
        const uint32_t bits = plain ? fuzz_u8(input) : fuzz_u32(input);
        if (plain)
            box[k] = k == 4 ? (float)bits * 0.1F : (float)bits * 0.25F;
        else
            memcpy(box + k, &bits, sizeof bits);
    }
}

static size_t run(const float *box, const float *score, size_t count, const sl_oriented_options *options, int64_t *keep) {
    const size_t bytes = sl_nms_oriented_scratch_bytes(count, count);
    void *scratch = fuzz_block(bytes);
    size_t kept = 0;
    FUZZ_CHECK(sl_nms_oriented(box, score, NULL, count, options, keep, count, &kept, scratch, bytes) == SL_OK);
    FUZZ_CHECK(kept <= count);
    free(scratch);
    return kept;
}

/* The two with the worse score first in the list; both stay when neither suppresses the other. */
static void check_pair(const float *box, const int64_t *pair, const sl_oriented_options *options) {
    float boxes[10], scores[2] = {1.0F, 0.5F};
    int64_t keep[2];
    memcpy(boxes, box + 5 * pair[0], 20);
    memcpy(boxes + 5, box + 5 * pair[1], 20);
    FUZZ_CHECK(run(boxes, scores, 2, options, keep) == 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    const uint8_t flags = fuzz_u8(&input);
    const sl_oriented_options options = {flags & 1 ? SL_ORIENTED_PROBIOU : SL_ORIENTED_POLYGON, flags >> 1 & 1,
                                         (double)fuzz_u8(&input) / 255.0};
    const size_t count = (size_t)fuzz_between(&input, 0, MOST);
    float *box = fuzz_block(count * 20), *score = fuzz_block(count * 4);
    int64_t *keep = fuzz_block(count * sizeof *keep);
    for (size_t i = 0; i < count; i++) {
        put_box(&input, (flags & 4) != 0, box + 5 * i);
        score[i] = (float)fuzz_u8(&input) / 255.0F;
    }
    const size_t kept = run(box, score, count, &options, keep);
    bool seen[MOST] = {false};
    for (size_t i = 0; i < kept; i++) {
        FUZZ_CHECK(keep[i] >= 0 && (size_t)keep[i] < count && !seen[keep[i]]);
        seen[keep[i]] = true;
        for (size_t k = 0; k < 5; k++) FUZZ_CHECK(fabsf(box[5 * (size_t)keep[i] + k]) <= 1e9F);
        FUZZ_CHECK(i == 0 || score[keep[i - 1]] > score[keep[i]] ||
                   (score[keep[i - 1]] == score[keep[i]] && keep[i - 1] < keep[i]));
        if (i > 0) check_pair(box, keep + i - 1, &options);
    }
    free(box);
    free(score);
    free(keep);
    return 0;
}
