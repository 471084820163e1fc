/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIGHTLINE_BLOCKS_H
#define SIGHTLINE_BLOCKS_H

#include <stddef.h>

/* Memory of results, used again: a fresh block of megabytes costs more in page faults than the copy into it.
 * Safe for threads. Aligned to 64 bytes. */

enum { SL_BLOCKS_KEPT = 32, SL_BLOCKS_KEPT_BYTES = 64 << 20 };

/* A block of at least so many bytes, contents undefined; NULL without memory. The caller owns it. */
void *sl_block_take(size_t bytes);

/* Give a block back; NULL is allowed. At most SL_BLOCKS_KEPT of SL_BLOCKS_KEPT_BYTES in all are kept. */
void sl_block_give(void *block);

#endif
