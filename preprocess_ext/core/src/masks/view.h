/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SL_VIEW_H
#define SL_VIEW_H

#include "masks/masks.h"

/* Whether a view, which the caller may have written himself, can be used without leaving its map. */
bool sl_mask_view_ok(const sl_mask_view *view);

/* Does a cut of `count` from `first` on hold all of 0..cells-1 and something beside it? */
static inline bool sl_mask_cut_covers(int32_t first, int32_t count, int32_t cells) {
    return first <= 0 && first + count >= cells && count > cells;
}
/* Does it lie inside of 0..cells-1, or cover that? */
bool sl_mask_cut_fits(int32_t first, int32_t count, int32_t cells);

#endif
