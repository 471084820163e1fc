/* SPDX-License-Identifier: Apache-2.0 */
#include "pool.h"

struct waiter {
    pthread_cond_t woken;
    instance *worker; /* what it was handed */
    waiter *next;
};

bool pool_open(pool *self, failure *why) {
    *self = (pool){.idle_count = 0};
    return pthread_mutex_init(&self->guard, NULL) == 0 ||
           fail(why, FAILURE_UNAVAILABLE, "no lock for the model's workers");
}

void pool_close(pool *self) { (void)pthread_mutex_destroy(&self->guard); }

static instance *wait_for_one(pool *self) {
    waiter me = {PTHREAD_COND_INITIALIZER, NULL, NULL};
    if (self->last != NULL) self->last->next = &me;
    else self->first = &me;
    self->last = &me;
    while (me.worker == NULL) (void)pthread_cond_wait(&me.woken, &self->guard);
    (void)pthread_cond_destroy(&me.woken);
    return me.worker;
}

instance *pool_take(pool *self) {
    (void)pthread_mutex_lock(&self->guard);
    instance *worker = self->idle_count > 0 ? self->idle[--self->idle_count] : wait_for_one(self);
    (void)pthread_mutex_unlock(&self->guard);
    return worker;
}

void pool_give(pool *self, instance *worker) {
    (void)pthread_mutex_lock(&self->guard);
    waiter *next = self->first;
    if (next == NULL) {
        self->idle[self->idle_count++] = worker;
    } else {
        self->first = next->next;
        if (self->first == NULL) self->last = NULL;
        next->worker = worker;
        (void)pthread_cond_signal(&next->woken);
    }
    (void)pthread_mutex_unlock(&self->guard);
}
