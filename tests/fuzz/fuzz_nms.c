/* Invariant: whatever the boxes, kept sets equal the plain definition and are in order, at each level. */
/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdbool.h>

#include "input.h"

enum { MOST = 40 };

typedef struct problem {
    float *box, *score;
    int32_t *class_id;
    size_t count, capacity;
    double limit;
    bool per_class, distance;
} problem;

static float number(fuzz_input *input, bool coarse) {
    if (coarse) return (float)(fuzz_u8(input) % 32);
    const uint32_t bits = fuzz_u32(input);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static problem problem_of(fuzz_input *input) {
    const uint8_t flags = fuzz_u8(input);
    problem p = {.limit = (double)fuzz_u8(input) / 255.0,
                 .per_class = flags & 1,
                 .distance = flags & 2,
                 .count = (size_t)fuzz_between(input, 0, MOST)};
    p.capacity = flags & 4 ? fuzz_u8(input) : p.count;
    p.box = fuzz_block(p.count * 16);
    p.score = fuzz_block(p.count * 4);
    p.class_id = fuzz_block(p.count * 4);
    for (size_t i = 0; i < p.count; i++) {
        for (size_t k = 0; k < 4; k++) p.box[4 * i + k] = number(input, (flags & 8) != 0);
        p.score[i] = flags & 16 ? number(input, false) : (float)fuzz_u8(input) / 255.0F;
        p.class_id[i] = fuzz_u8(input) % 3;
    }
    return p;
}

static float larger(float a, float b) { return a > b ? a : b; }
static float smaller(float a, float b) { return a < b ? a : b; }

static bool suppresses(const problem *p, const float *a, const float *b) {
    const float width = larger(smaller(a[2], b[2]) - larger(a[0], b[0]), 0.0F);
    const float height = larger(smaller(a[3], b[3]) - larger(a[1], b[1]), 0.0F), inter = width * height;
    float overlap = inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter);
    if (!(overlap > 0.0F)) return false;
    if (p->distance) {
        const float dx = a[0] + a[2] - (b[0] + b[2]), dy = a[1] + a[3] - (b[1] + b[3]);
        const float across = larger(a[2], b[2]) - smaller(a[0], b[0]), down = larger(a[3], b[3]) - smaller(a[1], b[1]);
        overlap -= (dx * dx + dy * dy) * 0.25F / (across * across + down * down);
    }
    return (double)overlap > p->limit;
}

static bool usable(const problem *p, size_t i) {
    const float *box = p->box + 4 * i;
    return isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]) && isfinite(p->score[i]);
}

static size_t plain(const problem *p, int64_t *keep) {
    bool left[MOST];
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++) left[i] = usable(p, i);
    for (;;) {
        size_t best = p->count;
        for (size_t i = 0; i < p->count; i++)
            if (left[i] && (best == p->count || p->score[i] > p->score[best])) best = i;
        if (best == p->count) return kept;
        keep[kept++] = (int64_t)best;
        left[best] = false;
        for (size_t i = 0; i < p->count; i++)
            if (left[i] && (!p->per_class || p->class_id[i] == p->class_id[best]) &&
                suppresses(p, p->box + 4 * best, p->box + 4 * i))
                left[i] = false;
    }
}

static void check_soft(const problem *p) {
    const sl_soft_options options = {p->distance ? SL_SOFT_LINEAR : SL_SOFT_GAUSSIAN, p->limit, 0.5, p->limit * 0.1};
    const size_t bytes = sl_soft_nms_scratch_bytes(p->count);
    int64_t *keep = fuzz_block(p->capacity * sizeof *keep);
    float *scores = fuzz_block(p->capacity * sizeof *scores);
    void *scratch = fuzz_block(bytes);
    size_t kept;
    FUZZ_CHECK(sl_soft_nms(p->box, p->score, p->per_class ? p->class_id : NULL, p->count, &options, keep, scores,
                           p->capacity, &kept, scratch, bytes) == SL_OK);
    FUZZ_CHECK(kept <= p->capacity);
    for (size_t i = 0; i < kept; i++) {
        FUZZ_CHECK(keep[i] >= 0 && (size_t)keep[i] < p->count && usable(p, (size_t)keep[i]));
        FUZZ_CHECK(scores[i] >= (float)options.score && scores[i] <= p->score[keep[i]]);
        FUZZ_CHECK(i == 0 || scores[i] <= scores[i - 1]);
    }
    free(keep);
    free(scores);
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    problem p = problem_of(&input);
    int64_t want[MOST];
    const size_t wanted = plain(&p, want), bytes = sl_nms_scratch_bytes(p.count, p.capacity);
    int64_t *keep = fuzz_block(p.capacity * sizeof *keep);
    void *scratch = fuzz_block(bytes);
    for (int level = SL_CPU_SCALAR; level <= SL_CPU_AVX512; level++) {
        size_t kept;
        sl_cpu_limit((sl_cpu_level)level);
        FUZZ_CHECK((p.distance ? sl_nms_diou : sl_nms)(p.box, p.score, p.per_class ? p.class_id : NULL, p.count, p.limit,
                                                       keep, p.capacity, &kept, scratch, bytes) == SL_OK);
        FUZZ_CHECK(kept == (wanted < p.capacity ? wanted : p.capacity));
        FUZZ_CHECK(memcmp(keep, want, kept * sizeof *keep) == 0);
    }
    check_soft(&p);
    free(keep);
    free(scratch);
    free(p.box);
    free(p.score);
    free(p.class_id);
    return 0;
}
