/* SPDX-License-Identifier: Apache-2.0 */
#include "tracks/overlap.h"

SL_COST_ROW(sl_cost_row_avx2)
