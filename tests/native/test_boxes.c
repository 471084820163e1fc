/* SPDX-License-Identifier: Apache-2.0 */
/* Suppression of boxes: the rules, plain references, hostile values and the worst cases. */
#include <stdbool.h>

#include "check.h"

enum { CLASSES = 3 };

typedef struct boxes {
    float *box, *score;
    int32_t *class_id;
    size_t count;
} boxes;

static boxes some_boxes(size_t count, size_t width) {
    return (boxes){exact(count * width * sizeof(float)), exact(count * sizeof(float)), exact(count * sizeof(int32_t)),
                   count};
}

static void free_boxes(boxes b) {
    free(b.box);
    free(b.score);
    free(b.class_id);
}

/* Boxes on a grid of `step` in a square of `side`, some inside out; scores in `levels` steps, or any where 0. */
static boxes random_boxes(size_t count, float side, float size, float step, int levels) {
    boxes b = some_boxes(count, 4);
    for (size_t i = 0; i < count; i++) {
        float *box = b.box + 4 * i;
        for (int k = 0; k < 2; k++) {
            const float from = unit() * side, to = from + (unit() - 0.02F) * size;
            box[k] = step > 0.0F ? step * floorf(from / step) : from;
            box[k + 2] = step > 0.0F ? step * floorf(to / step) : to;
        }
        b.score[i] = levels > 0 ? (float)between(0, levels) / (float)levels : unit();
        b.class_id[i] = between(-1, CLASSES - 2);
    }
    return b;
}

static const float strange[] = {NAN, INFINITY, -INFINITY, 3.4e38F, -3.4e38F, 0.0F, -0.0F, 1e-40F, 1e-22F, 1e19F, 1e20F};

static void make_strange(boxes b, size_t width, uint32_t one_in) {
    for (size_t i = 0; i < width * b.count; i++)
        if (next_random() % one_in == 0) b.box[i] = strange[next_random() % 11];
    for (size_t i = 0; i < b.count; i++)
        if (next_random() % one_in == 0) b.score[i] = strange[next_random() % 11];
}

/* ---- references: the definition, without any shortcut ---- */

static int *ranks_of(boxes b, size_t width, size_t *count) {
    int *rank = exact(b.count * sizeof(int));
    *count = 0;
    for (size_t i = 0; i < b.count; i++) {
        bool finite = isfinite(b.score[i]);
        for (size_t k = 0; k < width; k++) finite &= isfinite(b.box[width * i + k]) != 0;
        if (!finite) continue;
        size_t at = (*count)++;
        for (; at > 0 && b.score[rank[at - 1]] < b.score[i]; at--) rank[at] = rank[at - 1];
        rank[at] = (int)i;
    }
    return rank;
}

static float iou_of(const float *a, const float *b) {
    const float left = a[0] > b[0] ? a[0] : b[0], top = a[1] > b[1] ? a[1] : b[1];
    const float right = a[2] < b[2] ? a[2] : b[2], bottom = a[3] < b[3] ? a[3] : b[3];
    const float width = right - left > 0.0F ? right - left : 0.0F, height = bottom - top > 0.0F ? bottom - top : 0.0F;
    const float inter = width * height;
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter);
}

static float diou_of(const float *a, const float *b) {
    const float dx = a[0] + a[2] - (b[0] + b[2]), dy = a[1] + a[3] - (b[1] + b[3]);
    const float across = (a[2] > b[2] ? a[2] : b[2]) - (a[0] < b[0] ? a[0] : b[0]);
    const float down = (a[3] > b[3] ? a[3] : b[3]) - (a[1] < b[1] ? a[1] : b[1]);
    return iou_of(a, b) - (dx * dx + dy * dy) * 0.25F / (across * across + down * down);
}

static size_t plain_nms(boxes b, double limit, bool distance, bool per_class, int64_t *keep) {
    size_t count, kept = 0;
    int *rank = ranks_of(b, 4, &count);
    for (size_t i = 0; i < count; i++) {
        bool free_of_others = true;
        for (size_t k = 0; k < kept && free_of_others; k++) {
            const float *better = b.box + 4 * keep[k], *box = b.box + 4 * rank[i];
            if (per_class && b.class_id[keep[k]] != b.class_id[rank[i]]) continue;
            /* what does not overlap is not suppressed, however numbers may overflow */
            const float overlap = iou_of(better, box);
            free_of_others = !(overlap > 0.0F && (double)(distance ? diou_of(better, box) : overlap) > limit);
        }
        if (free_of_others) keep[kept++] = rank[i];
    }
    free(rank);
    return kept;
}

/* ---- hard ---- */

static void nms_once(boxes b, double limit, bool distance, bool per_class, size_t capacity) {
    size_t bytes = sl_nms_scratch_bytes(b.count, capacity), kept = 99, wanted;
    int64_t *keep = exact(capacity * sizeof(int64_t)), *want = exact(b.count * sizeof(int64_t));
    void *scratch = exact(bytes);
    const int32_t *classes = per_class ? b.class_id : NULL;
    wanted = plain_nms(b, limit, distance, per_class, want);
    sl_status status = (distance ? sl_nms_diou : sl_nms)(b.box, b.score, classes, b.count, limit, keep, capacity, &kept,
                                                         scratch, bytes);
    CHECK(status == SL_OK);
    CHECK(kept == (wanted < capacity ? wanted : capacity) && memcmp(keep, want, kept * sizeof *keep) == 0);
    add_to_checksum(keep, kept * sizeof *keep);
    free(keep);
    free(want);
    free(scratch);
}

static void test_hard(void) {
    const double limits[] = {0.0, 1e-7, 0.05, 1.0 / 3.0, 0.45, 0.5, 0.7, 0.9, 1.0};
    for (int i = 0; i < 90; i++) {
        const size_t count = (size_t)(i % 3 == 0 ? between(1200, 2500) : between(0, 400));
        const float reach = 20.0F + unit() * 600.0F, side = 5.0F + unit() * 100.0F;
        boxes b = random_boxes(count, reach, side, i % 2 ? 4.0F : 0.0F, i % 5);
        if (i % 4 == 3) make_strange(b, 4, 1U + next_random() % 200);
        const double limit = limits[next_random() % 9];
        nms_once(b, limit, i % 7 == 0, i & 1, i % 11 == 0 ? (size_t)between(0, 20) : count);
        free_boxes(b);
    }
}

/* Sizes of very different scale, far from the origin: where bounds are rounded. */
static void test_scales(void) {
    for (int i = 0; i < 15; i++) {
        boxes b = random_boxes(1500, 100.0F, 60.0F, 0.0F, 0);
        const float far_away = i % 2 ? 1e6F * unit() : 0.0F;
        for (size_t k = 0; k < b.count; k++) {
            const float scale = i % 3 == 0 ? exp2f((float)between(-60, 50)) : i % 3 == 1 ? exp2f((float)between(-3, 3)) : 1.0F;
            for (int j = 0; j < 4; j++) b.box[4 * k + (size_t)j] = b.box[4 * k + (size_t)j] * scale + far_away;
        }
        nms_once(b, (double)unit(), i % 5 == 0, i & 1, b.count);
        free_boxes(b);
    }
}

/* IoU of 0.5 exactly is not above 0.5; the lower index wins a tie; zero-area boxes suppress nothing. */
static void test_rules(void) {
    const float box[] = {0, 0, 2, 1, 0, 0, 1, 1, 5, 5, 6, 6, 5, 5, 6, 6, 9, 9, 9, 9, 9, 9, 9, 9};
    const float scores[] = {0.9F, 0.8F, 0.5F, 0.5F, 0.1F, 0.1F};
    const int32_t classes[6] = {0};
    int64_t keep[6];
    size_t kept, bytes = sl_nms_scratch_bytes(6, 6);
    void *scratch = exact(bytes);
    const int64_t expected[] = {0, 1, 2, 4, 5};
    CHECK(sl_nms(box, scores, classes, 6, 0.5, keep, 6, &kept, scratch, bytes) == SL_OK);
    CHECK(kept == 5 && memcmp(keep, expected, sizeof expected) == 0);
    CHECK(sl_nms(box, scores, classes, 6, 0.5, keep, 2, &kept, scratch, bytes) == SL_OK && kept == 2);
    CHECK(sl_nms(box, scores, classes, 6, 1.5, keep, 6, &kept, scratch, bytes) == SL_ERROR_VALUE);
    CHECK(sl_nms(box, scores, classes, 6, (double)NAN, keep, 6, &kept, scratch, bytes) == SL_ERROR_VALUE);
    CHECK(sl_nms(box, scores, classes, 6, 0.5, keep, 6, &kept, scratch, 16) == SL_ERROR_SCRATCH);
    CHECK(sl_nms(NULL, scores, classes, 6, 0.5, keep, 6, &kept, scratch, bytes) == SL_ERROR_NULL);
    CHECK(sl_nms(box, scores, classes, SIZE_MAX, 0.5, keep, 6, &kept, scratch, bytes) == SL_ERROR_SIZE);
    CHECK(sl_nms(NULL, NULL, NULL, 0, 0.5, NULL, 0, &kept, scratch, bytes) == SL_OK && kept == 0);
    CHECK(sl_nms_scratch_bytes(SIZE_MAX, 1) == 0 && sl_soft_nms_scratch_bytes(SIZE_MAX) == 0);
    CHECK(sl_nms_oriented_scratch_bytes(SIZE_MAX, 1) == 0);
    free(scratch);
}

/* 30,000 in one place: all alike, then each a little beside the others so that all are kept. */
static void test_crowds(void) {
    enum { COUNT = SL_MAX_CANDIDATES };
    boxes b = some_boxes(COUNT, 4);
    size_t bytes = sl_nms_scratch_bytes(COUNT, COUNT), kept;
    int64_t *keep = exact(COUNT * sizeof(int64_t));
    void *scratch = exact(bytes);
    for (int apart = 0; apart < 2; apart++) {
        for (size_t i = 0; i < COUNT; i++) {
            const float x = apart ? (float)(i % 173) * 3.0F : 0.0F, y = apart ? (float)(i / 173) * 3.0F : 0.0F;
            memcpy(b.box + 4 * i, (float[4]){x, y, x + 20.0F, y + 20.0F}, 4 * sizeof(float));
            b.score[i] = unit();
        }
        CHECK(sl_nms(b.box, b.score, NULL, COUNT, 0.9, keep, COUNT, &kept, scratch, bytes) == SL_OK);
        CHECK(kept == (apart ? COUNT : 1));
        add_to_checksum(keep, kept * sizeof *keep);
    }
    free_boxes(b);
    free(keep);
    free(scratch);
}

/* ---- soft ---- */

static size_t plain_soft(boxes b, const sl_soft_options *o, int64_t *keep, float *lowered) {
    size_t kept = 0;
    bool *left = exact(b.count * sizeof(bool));
    for (size_t i = 0; i < b.count; i++) {
        const float *box = b.box + 4 * i;
        lowered[i] = b.score[i];
        left[i] = isfinite(box[0]) && isfinite(box[1]) && isfinite(box[2]) && isfinite(box[3]) && isfinite(b.score[i]);
    }
    for (;;) {
        size_t best = b.count;
        for (size_t i = 0; i < b.count; i++)
            if (left[i] && lowered[i] >= (float)o->score && (best == b.count || lowered[i] > lowered[best])) best = i;
        if (best == b.count) break;
        keep[kept++] = (int64_t)best;
        left[best] = false;
        for (size_t i = 0; i < b.count; i++) {
            const float iou = left[i] ? iou_of(b.box + 4 * best, b.box + 4 * i) : 0.0F;
            if (!(iou > 0.0F) || b.class_id[best] != b.class_id[i]) continue;
            if (o->kind == SL_SOFT_GAUSSIAN) lowered[i] *= (float)exp(-(double)(iou * iou) / o->sigma);
            if (o->kind == SL_SOFT_LINEAR && (double)iou > o->iou) lowered[i] *= 1.0F - iou;
        }
    }
    free(left);
    return kept;
}

/* Two scores may differ in their last bits, so boxes that come close may change places. */
static void soft_once(boxes b, const sl_soft_options *options) {
    size_t bytes = sl_soft_nms_scratch_bytes(b.count), kept = 0;
    int64_t *keep = exact(b.count * sizeof(int64_t)), *want = exact(b.count * sizeof(int64_t));
    float *have = exact(b.count * sizeof(float)), *lowered = exact(b.count * sizeof(float));
    void *scratch = exact(bytes);
    const size_t wanted = plain_soft(b, options, want, lowered);
    CHECK(sl_soft_nms(b.box, b.score, b.class_id, b.count, options, keep, have, b.count, &kept, scratch, bytes) == SL_OK);
    CHECK(kept == wanted);
    for (size_t i = 0; i < kept && kept == wanted; i++) {
        CHECK(keep[i] == want[i]);
        CHECK(fabsf(have[i] - lowered[want[i]]) <= 2e-6F * fabsf(lowered[want[i]]));
    }
    add_to_checksum(keep, kept * sizeof *keep);
    add_to_checksum(have, kept * sizeof *have);
    if (b.count > 0)
        CHECK(sl_soft_nms(b.box, b.score, NULL, b.count, options, keep, have, b.count, &kept, scratch, 8) ==
              SL_ERROR_SCRATCH);
    free(keep);
    free(want);
    free(have);
    free(lowered);
    free(scratch);
}

static void test_soft(void) {
    for (int i = 0; i < 40; i++) {
        const sl_soft_options options = {i & 1 ? SL_SOFT_GAUSSIAN : SL_SOFT_LINEAR, (double)unit(),
                                         0.1 + (double)unit(), i % 3 == 0 ? 0.0 : 0.01};
        const size_t count = (size_t)between(0, 400);
        boxes b = random_boxes(count, 50.0F + unit() * 300.0F, 40.0F, 0.0F, 0);
        if (i % 4 == 3) make_strange(b, 4, 30);
        soft_once(b, &options);
        free_boxes(b);
    }
    const sl_soft_options bad[] = {{(sl_soft_kind)7, 0.5, 0.5, 0.1},
                                   {SL_SOFT_GAUSSIAN, 0.5, 0.0, 0.1},
                                   {SL_SOFT_GAUSSIAN, 0.5, (double)NAN, 0.1},
                                   {SL_SOFT_LINEAR, -0.1, 0.5, 0.1},
                                   {SL_SOFT_LINEAR, 0.5, 0.5, (double)NAN}};
    float box[4] = {0, 0, 1, 1}, score = 0.5F;
    int64_t keep;
    size_t kept;
    char scratch[8192];
    for (int i = 0; i < 5; i++)
        CHECK(sl_soft_nms(box, &score, NULL, 1, bad + i, &keep, &score, 1, &kept, scratch, 8192) == SL_ERROR_VALUE);
    CHECK(sl_soft_nms(box, &score, NULL, 1, NULL, &keep, &score, 1, &kept, scratch, 8192) == SL_ERROR_NULL);
}

/* ---- oriented ---- */

static boxes random_oriented(size_t count, float side) {
    boxes b = some_boxes(count, 5);
    for (size_t i = 0; i < count; i++) {
        float *box = b.box + 5 * i;
        box[0] = unit() * side;
        box[1] = unit() * side;
        box[2] = 1.0F + unit() * 40.0F;
        box[3] = 1.0F + unit() * 40.0F;
        box[4] = (unit() - 0.5F) * 20.0F;
        b.score[i] = unit();
        b.class_id[i] = between(0, 1);
    }
    return b;
}

static size_t oriented(boxes b, sl_oriented_options options, bool per_class, int64_t *keep) {
    size_t bytes = sl_nms_oriented_scratch_bytes(b.count, b.count), kept = 0;
    void *scratch = exact(bytes);
    CHECK(sl_nms_oriented(b.box, b.score, per_class ? b.class_id : NULL, b.count, &options, keep, b.count, &kept, scratch,
                          bytes) == SL_OK);
    add_to_checksum(keep, kept * sizeof *keep);
    free(scratch);
    return kept;
}

/* Whether the first suppresses the second, asked with the two alone. */
static bool alone_suppresses(boxes b, int64_t first, int64_t second, sl_oriented_options options) {
    float pair[10], scores[2] = {2.0F, 1.0F};
    int64_t keep[2];
    memcpy(pair, b.box + 5 * first, 20);
    memcpy(pair + 5, b.box + 5 * second, 20);
    return oriented((boxes){pair, scores, NULL, 2}, options, false, keep) == 1;
}

/* Greedy by pairs: what is found through upright boxes equals what is found without them. */
static void test_oriented(void) {
    for (int i = 0; i < 12; i++) {
        const size_t most = (size_t)between(1, 90);
        boxes b = random_oriented(most, 20.0F + unit() * 200.0F);
        const sl_oriented_options options = {i & 1 ? SL_ORIENTED_PROBIOU : SL_ORIENTED_POLYGON, 0, (double)unit() * 0.7};
        int64_t *keep = exact(b.count * sizeof(int64_t));
        const size_t kept = oriented(b, options, false, keep);
        size_t count, expected = 0;
        int *rank = ranks_of(b, 5, &count);
        for (size_t r = 0; r < count; r++) {
            bool free_of_others = true;
            for (size_t k = 0; k < expected; k++) free_of_others &= !alone_suppresses(b, keep[k], rank[r], options);
            if (!free_of_others) continue;
            CHECK(expected < kept && keep[expected] == rank[r]);
            if (expected++ >= kept) break;
        }
        CHECK(expected == kept);
        make_strange(b, 5, 20);
        (void)oriented(b, options, true, keep);
        (void)oriented(b, (sl_oriented_options){options.overlap, 1, options.limit}, true, keep);
        free(rank);
        free(keep);
        free_boxes(b);
    }
}

/* Two squares of side 2, one turned by 45 degrees: the intersection is a regular octagon of area 8 (sqrt 2 - 1). */
static void test_octagon(void) {
    float box[10] = {5, 5, 2, 2, 0, 5, 5, 2, 2, 0.78539816F}, scores[2] = {2, 1};
    const double area = 8.0 * (sqrt(2.0) - 1.0), iou = area / (8.0 - area);
    int64_t keep[2];
    boxes b = {box, scores, NULL, 2};
    CHECK(oriented(b, (sl_oriented_options){SL_ORIENTED_POLYGON, 0, iou - 1e-6}, false, keep) == 1);
    CHECK(oriented(b, (sl_oriented_options){SL_ORIENTED_POLYGON, 0, iou + 1e-6}, false, keep) == 2);
    box[2] = 0.0F;
    CHECK(oriented(b, (sl_oriented_options){SL_ORIENTED_POLYGON, 0, 0.0}, false, keep) == 2);
    size_t kept;
    char scratch[64];
    sl_oriented_options bad = {(sl_oriented_overlap)5, 0, 0.5};
    CHECK(sl_nms_oriented(box, scores, NULL, 2, &bad, keep, 2, &kept, scratch, 64) == SL_ERROR_VALUE);
    bad = (sl_oriented_options){SL_ORIENTED_POLYGON, 0, (double)NAN};
    CHECK(sl_nms_oriented(box, scores, NULL, 2, &bad, keep, 2, &kept, scratch, 64) == SL_ERROR_VALUE);
    bad.limit = 0.5;
    CHECK(sl_nms_oriented(box, scores, NULL, 2, &bad, keep, 2, &kept, scratch, 64) == SL_ERROR_SCRATCH);
}

int main(int argc, char **argv) {
    start_checks(argc, argv);
    test_rules();
    test_hard();
    test_scales();
    test_crowds();
    test_soft();
    test_oriented();
    test_octagon();
    return finish_checks();
}
