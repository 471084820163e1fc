/* SPDX-License-Identifier: Apache-2.0 */
/* What all source files of the core share; not installed. */
#ifndef SL_INTERNAL_H
#define SL_INTERNAL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sightline_core.h"

/* ---- scratch.c: cut typed pieces off the caller's scratch ---- */

typedef struct sl_arena {
    unsigned char *next; /* NULL while only the size is counted */
    size_t used;
    size_t limit;
    bool overflow;
} sl_arena;

sl_arena sl_arena_over(void *scratch, size_t bytes);
/* `count` items of `item_bytes`, aligned to 64 bytes; NULL when only counting or when it does not fit. */
void *sl_arena_take(sl_arena *arena, size_t count, size_t item_bytes);
/* Bytes to ask the caller for so that the pieces taken fit at any alignment; 0 on overflow. */
size_t sl_arena_bytes(const sl_arena *arena);

#endif
