/* SPDX-License-Identifier: Apache-2.0 */
/* Mutexes of the process, which forks wait for. */
#include "core/process_lock.h"

#include <pthread.h>

static pthread_mutex_t mutexes[LT_LOCK_COUNT] = {
    [LT_LOCK_MERGING] = PTHREAD_MUTEX_INITIALIZER,
    [LT_LOCK_PAGE_RUNS] = PTHREAD_MUTEX_INITIALIZER,
    [LT_LOCK_GATES] = PTHREAD_MUTEX_INITIALIZER,
};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void lock_all(void) {
    for (int i = 0; i < LT_LOCK_COUNT; i++) {
        (void)pthread_mutex_lock(&mutexes[i]);
    }
}

static void unlock_all(void) {
    for (int i = 0; i < LT_LOCK_COUNT; i++) {
        (void)pthread_mutex_unlock(&mutexes[i]);
    }
}

static void be_ready_for_forks(void) {
    (void)pthread_atfork(lock_all, unlock_all, unlock_all);
}

void lt_lock_process(lt_process_lock lock) {
    (void)pthread_once(&once, be_ready_for_forks);
    (void)pthread_mutex_lock(&mutexes[lock]);
}

void lt_unlock_process(lt_process_lock lock) {
    (void)pthread_mutex_unlock(&mutexes[lock]);
}
