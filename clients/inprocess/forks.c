/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "forks.h"

#include <pthread.h>

static pthread_mutex_t turn = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static void begin(void) { pthread_mutex_lock(&turn); }

static void end(void) { pthread_mutex_unlock(&turn); }

/* The child has another thread id and could not unlock. */
static void renew(void) {
  static const pthread_mutex_t fresh = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
  turn = fresh;
}

/* Handlers before a fork run from the last registered to the first, those after it the other way round: so the newest
 * pair of ours encloses all that are there. Older pairs lock once more, which the mutex allows. */
void sl_forks_in_turn(void) { pthread_atfork(begin, end, renew); }
