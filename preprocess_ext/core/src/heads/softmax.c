/* SPDX-License-Identifier: Apache-2.0 */
/* Candidates whose scores are a softmax over classes, with or without a background. */
#include <math.h>

#include "heads/activate.h"
#include "heads/heads.h"

typedef struct columns {
    size_t first, count, all; /* of the classes; of the softmax */
    size_t background;        /* only when all > count */
} columns;

static columns columns_of(const sl_view *view) {
    sl_background background = view->head->background;
    bool ahead = background == SL_BACKGROUND_FIRST;
    size_t first = ahead ? 1 : 0, more = background == SL_BACKGROUND_NONE ? 0 : 1;
    return (columns){first, view->classes, view->classes + more, ahead ? 0 : view->classes};
}

/* Sums the exponentials in the order of the columns. */
static float sum_of(const sl_lanes *scores, size_t anchor, size_t all, float most) {
    float sum = 0.0F;
    for (size_t c = 0; c < all; c++) sum += sl_exp(sl_lane(scores, c, anchor) - most);
    return sum;
}

static void add_anchor(const sl_view *view, const sl_group *group, const columns *cols, size_t i,
                       sl_candidates *candidates) {
    float best = -INFINITY, box[4];
    size_t best_class = 0;
    for (size_t c = 0; c < cols->count; c++) {
        float value = sl_lane(&group->scores, cols->first + c, i);
        if (value > best) {
            best = value;
            best_class = c;
        }
    }
    float rest = cols->all > cols->count ? sl_lane(&group->scores, cols->background, i) : -INFINITY;
    /* With the background alone the share would be a sigmoid of the difference: most anchors end here. */
    if (!isfinite(best) || best - rest < view->limit_below) return;
    float most = rest > best ? rest : best, sum = sum_of(&group->scores, i, cols->all, most);
    float score = sl_exp(best - most) / sum;
    if (!(score >= view->limit) || !view->box(view, group, i, box)) return;
    size_t anchor = group->first + i;
    if (!view->multi_label) {
        sl_candidates_add(candidates, score, (int32_t)best_class, anchor, box);
        return;
    }
    for (size_t c = 0; c < cols->count; c++) {
        score = sl_exp(sl_lane(&group->scores, cols->first + c, i) - most) / sum;
        if (score >= view->limit) sl_candidates_add(candidates, score, (int32_t)c, anchor, box);
    }
}

void sl_collect_softmax(const sl_view *view, const sl_group *group, sl_candidates *candidates) {
    columns cols = columns_of(view);
    for (size_t i = 0; i < group->count; i++) add_anchor(view, group, &cols, i, candidates);
}
