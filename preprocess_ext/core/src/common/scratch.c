/* SPDX-License-Identifier: Apache-2.0 */
#include "common/internal.h"

enum { ALIGNMENT = 64 };

sl_arena sl_arena_over(void *scratch, size_t bytes) {
    sl_arena arena = {NULL, 0, 0, false};
    if (scratch == NULL) return arena;
    size_t skip = (ALIGNMENT - (uintptr_t)scratch % ALIGNMENT) % ALIGNMENT;
    arena.next = (unsigned char *)scratch + (skip <= bytes ? skip : bytes);
    arena.limit = skip <= bytes ? bytes - skip : 0;
    return arena;
}

void *sl_arena_take(sl_arena *arena, size_t count, size_t item_bytes) {
    if (arena->overflow || count > (SIZE_MAX / 2 - ALIGNMENT) / item_bytes) {
        arena->overflow = true;
        return NULL;
    }
    size_t bytes = (count * item_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes > SIZE_MAX / 2 - arena->used) {
        arena->overflow = true;
        return NULL;
    }
    size_t start = arena->used;
    arena->used += bytes;
    if (arena->next == NULL) return NULL;
    if (arena->used > arena->limit) {
        arena->overflow = true;
        return NULL;
    }
    return arena->next + start;
}

size_t sl_arena_bytes(const sl_arena *arena) { return arena->overflow ? 0 : arena->used + ALIGNMENT; }
