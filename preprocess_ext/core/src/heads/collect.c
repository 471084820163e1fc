/* SPDX-License-Identifier: Apache-2.0 */
/* Scores into candidates: the head is read once, block by block. */
#include <math.h>
#include <string.h>

#include "heads/activate.h"
#include "heads/heads.h"

enum { GATED_BLOCK = 64 };

static void move_slot(sl_candidates *candidates, size_t from, size_t to) {
    memcpy(candidates->boxes + 4 * to, candidates->boxes + 4 * from, 4 * sizeof(float));
    candidates->scores[to] = candidates->scores[from];
    candidates->classes[to] = candidates->classes[from];
    candidates->anchors[to] = candidates->anchors[from];
    candidates->keys[to] = sl_order_key(candidates->scores[to], (uint32_t)to);
}

/* Closes up the slots of the best; their order stays, so that among equal scores the first ones stay. */
static void drop_surplus(sl_candidates *candidates) {
    const uint64_t *sorted = sl_order_sort(candidates->keys, candidates->spare, candidates->found);
    uint64_t last = sorted[SL_MAX_CANDIDATES - 1];
    size_t kept = 0;
    for (size_t slot = 0; slot < candidates->found; slot++)
        if (sl_order_key(candidates->scores[slot], (uint32_t)slot) <= last) move_slot(candidates, slot, kept++);
    candidates->found = kept;
    candidates->worst = last >> 32 << 32;
}

void sl_candidates_add(sl_candidates *candidates, float score, int32_t class_id, size_t anchor, const float *box) {
    if (sl_order_key(score, 0) >= candidates->worst) return;
    if (candidates->found == candidates->room) {
        drop_surplus(candidates);
        if (sl_order_key(score, 0) >= candidates->worst) return;
    }
    size_t slot = candidates->found++;
    memcpy(candidates->boxes + 4 * slot, box, 4 * sizeof(float));
    candidates->keys[slot] = sl_order_key(score, (uint32_t)slot);
    candidates->scores[slot] = score;
    candidates->classes[slot] = class_id;
    candidates->anchors[slot] = (uint32_t)anchor;
}

float sl_logit_below(double score) {
    double within = score < 1e-30 ? 1e-30 : score > 0.999999 ? 0.999999 : score;
    return (float)(log(within / (1.0 - within)) - 0.01);
}

static bool counts(const sl_view *view, float score) { return score >= view->limit && isfinite(score); }

static float class_score(const sl_view *view, float value) {
    return view->activation == SL_ACTIVATION_SIGMOID ? sl_sigmoid(value) : value;
}

static void add_classes(const sl_view *view, const sl_group *group, size_t i, float objectness, const float *box,
                        sl_candidates *candidates) {
    for (size_t c = 0; c < view->classes; c++) {
        float score = objectness * class_score(view, sl_lane(&group->scores, c, i));
        if (counts(view, score)) sl_candidates_add(candidates, score, (int32_t)c, group->first + i, box);
    }
}

/* objectness: of each anchor of the block, or NULL */
static void collect_block(const sl_view *view, const sl_group *group, size_t start, size_t count,
                          const float *objectness, sl_candidates *candidates) {
    float best[SL_SCAN_BLOCK], box[4];
    int32_t best_class[SL_SCAN_BLOCK];
    const sl_lanes *scores = &group->scores;
    float floor = objectness == NULL ? view->limit_below : -INFINITY;
    const float *first = scores->data + start * scores->anchor_step;
    bool any = scores->anchor_step == 1
                   ? sl_scan_columns(first, scores->value_step, view->classes, count, floor, best, best_class)
                   : sl_scan_rows(first, scores->anchor_step, view->classes, count, floor, best, best_class);
    if (!any) return;
    for (size_t i = 0; i < count; i++) {
        if (!(best[i] >= floor)) continue;
        float gate = objectness == NULL ? 1.0F : objectness[i];
        float score = gate * class_score(view, best[i]);
        if (!(gate >= view->limit) || !counts(view, score) || !view->box(view, group, start + i, box)) continue;
        if (view->multi_label)
            add_classes(view, group, start + i, gate, box, candidates);
        else
            sl_candidates_add(candidates, score, best_class[i], group->first + start + i, box);
    }
}

/* Classes are only looked at where an objectness nearby reaches the limit: no product of the two is higher than it. */
static void collect_gated(const sl_view *view, const sl_group *group, size_t start, size_t count,
                          sl_candidates *candidates) {
    float objectness[GATED_BLOCK];
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        objectness[i] = sl_lane(&group->objectness, 0, start + i);
        any |= objectness[i] >= view->limit_below;
    }
    if (!any) return;
    if (view->activation == SL_ACTIVATION_SIGMOID)
        for (size_t i = 0; i < count; i++) objectness[i] = sl_sigmoid(objectness[i]);
    if (group->scores.anchor_step == 1) {
        collect_block(view, group, start, count, objectness, candidates);
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (objectness[i] >= view->limit) collect_block(view, group, start + i, 1, objectness + i, candidates);
}

static void collect_list(const sl_view *view, const sl_group *group, sl_candidates *candidates) {
    float box[4];
    for (size_t i = 0; i < group->count; i++) {
        float score = sl_lane(&group->scores, 0, i);
        float label = sl_lane(&view->labels, 0, i) - (float)view->first_label;
        if (!counts(view, score) || !(label >= 0.0F && label < (float)view->classes)) continue;
        if (view->box(view, group, i, box)) sl_candidates_add(candidates, score, (int32_t)label, i, box);
    }
}

void sl_collect(const sl_view *view, sl_candidates *candidates) {
    for (size_t g = 0; g < view->group_count; g++) {
        const sl_group *group = &view->groups[g];
        size_t block = group->objectness.data == NULL ? SL_SCAN_BLOCK : GATED_BLOCK;
        if (view->labels.data != NULL)
            collect_list(view, group, candidates);
        else if (view->activation == SL_ACTIVATION_SOFTMAX)
            sl_collect_softmax(view, group, candidates);
        else
            for (size_t start = 0; start < group->count; start += block) {
                size_t count = group->count - start < block ? group->count - start : block;
                if (group->objectness.data == NULL)
                    collect_block(view, group, start, count, NULL, candidates);
                else
                    collect_gated(view, group, start, count, candidates);
            }
    }
}
