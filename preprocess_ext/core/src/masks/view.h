/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SL_VIEW_H
#define SL_VIEW_H

#include "masks/masks.h"

/* Whether a view, which the caller may have written himself, can be used without leaving its map. */
bool sl_mask_view_ok(const sl_mask_view *view);

#endif
