/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A few workers for many instances. Triton gives an instance that has finished nothing new until another request comes
 * (dynamic batcher with queue limits, 2.51), so a model wants more instances than cores; running more of them at once
 * than there are cores only makes them fight. So instances wait here, first come first served, for one of few workers.
 */
#ifndef SIGHTLINE_BACKEND_POOL_H
#define SIGHTLINE_BACKEND_POOL_H

#include <pthread.h>

#include "stage.h"

enum { MAX_WORKERS = 64 };

typedef struct waiter waiter;

typedef struct pool {
    pthread_mutex_t guard;
    instance *idle[MAX_WORKERS];
    size_t idle_count;
    waiter *first; /* of those who wait */
    waiter *last;
} pool;

bool pool_open(pool *self, failure *why);
/* All workers must have been given back. */
void pool_close(pool *self);
/* A worker that nobody else uses until pool_give(). Blocks until there is one. */
instance *pool_take(pool *self);
void pool_give(pool *self, instance *worker);

#endif
