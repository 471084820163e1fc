/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "blocks.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

enum { ALIGNMENT = 64 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *kept[SL_BLOCKS_KEPT];
static size_t kept_count, kept_bytes;

/* A block's size lies in the 64 bytes before it. */
static size_t capacity(const void *block) { return *(const size_t *)((const char *)block - ALIGNMENT); }

static void *reused(size_t bytes) {
  void *found = NULL;
  pthread_mutex_lock(&lock);
  for (size_t i = 0; i < kept_count; i++) {
    if (capacity(kept[i]) >= bytes && capacity(kept[i]) / 2 <= bytes) {
      found = kept[i];
      kept[i] = kept[--kept_count];
      kept_bytes -= capacity(found);
      break;
    }
  }
  pthread_mutex_unlock(&lock);
  return found;
}

void *sl_block_take(size_t bytes) {
  if (bytes > SIZE_MAX - 2 * ALIGNMENT)
    return NULL;
  size_t wanted = bytes < ALIGNMENT ? ALIGNMENT : (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  void *block = reused(wanted);
  if (block != NULL)
    return block;
  void *memory = NULL;
  if (posix_memalign(&memory, ALIGNMENT, wanted + ALIGNMENT) != 0)
    return NULL;
  *(size_t *)memory = wanted;
  return (char *)memory + ALIGNMENT;
}

void sl_block_give(void *block) {
  if (block == NULL)
    return;
  pthread_mutex_lock(&lock);
  int keep = kept_count < SL_BLOCKS_KEPT && kept_bytes + capacity(block) <= SL_BLOCKS_KEPT_BYTES;
  if (keep) {
    kept[kept_count++] = block;
    kept_bytes += capacity(block);
  }
  pthread_mutex_unlock(&lock);
  if (!keep)
    free((char *)block - ALIGNMENT);
}
