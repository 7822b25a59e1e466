/* SPDX-License-Identifier: Apache-2.0 */
/* Condition variables whose timeouts no change of the wall clock can touch. */
#ifndef LT_CORE_CONDITION_H
#define LT_CORE_CONDITION_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* A condition variable that is waited for until a lt_deadline. It cannot fail on Linux. */
static inline void lt_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(condition, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

/* The time that is timeout_ns away, for pthread_cond_timedwait. */
static inline struct timespec lt_deadline(uint64_t timeout_ns) {
    const uint64_t second = 1000000000;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t ns = timeout_ns % second + (uint64_t)now.tv_nsec;
    now.tv_sec += (time_t)(timeout_ns / second + ns / second);
    now.tv_nsec = (long)(ns % second);
    return now;
}

#endif
