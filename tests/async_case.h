/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of asynchronous conversions share: tensors, an executor behind a gate, and
 * callbacks that keep a journal. */
#ifndef LT_TEST_ASYNC_CASE_H
#define LT_TEST_ASYNC_CASE_H

#include "check.h"
#include "support.h"
#include <lathe/async.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS UINT64_C(1000000)

static const uint64_t small[] = {7, 100};
static const uint64_t medium[] = {60, 3001};
static const uint64_t large[] = {200, 4001}; /* enough for several threads */

static inline lathe_tensor_desc desc_of(lathe_dtype dtype, const uint64_t *shape) {
    return (lathe_tensor_desc){
        .struct_size = sizeof(lathe_tensor_desc), .dtype = dtype, .n_dims = 2, .shape = shape};
}

static inline lathe_target target_of(lathe_dtype dtype) {
    lathe_granularity granularity = (lathe_granularity)((int)dtype % 3);
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = dtype,
                          .granularity = granularity,
                          .group_size = granularity == LATHE_PER_GROUP ? 64 : 0};
}

static inline lathe_engine *engine_of(const lathe_config *config) {
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(config, &engine));
    return engine;
}

static inline lathe_tensor *source_of(lathe_engine *engine, lathe_dtype dtype,
                                      const uint64_t *shape, uint64_t seed) {
    lathe_tensor_desc desc = desc_of(dtype, shape);
    lathe_tensor *tensor = NULL;
    test_rng rng = {seed};
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &tensor));
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(tensor),
                     lathe_tensor_mutable_scales(tensor));
    return tensor;
}

static inline uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* An executor behind a gate: conversions of large tensors stand still until it opens. */
typedef struct gate {
    lathe_executor interface;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_open;
    int n_waiting;
} gate;

static inline void gate_parallel_for(void *ctx, size_t n_tasks, void (*task)(void *ctx, size_t i),
                                     void *task_ctx) {
    gate *self = ctx;
    (void)pthread_mutex_lock(&self->mutex);
    self->n_waiting++;
    (void)pthread_cond_broadcast(&self->changed);
    while (!self->is_open) {
        (void)pthread_cond_wait(&self->changed, &self->mutex);
    }
    self->n_waiting--;
    (void)pthread_mutex_unlock(&self->mutex);
    for (size_t i = 0; i < n_tasks; i++) {
        task(task_ctx, i);
    }
}

static inline void gate_init(gate *self) {
    *self = (gate){.interface = {self, gate_parallel_for, 4}};
    (void)pthread_mutex_init(&self->mutex, NULL);
    (void)pthread_cond_init(&self->changed, NULL);
}

static inline void gate_open(gate *self) {
    (void)pthread_mutex_lock(&self->mutex);
    self->is_open = true;
    (void)pthread_cond_broadcast(&self->changed);
    (void)pthread_mutex_unlock(&self->mutex);
}

/* Returns when n conversions have come to the gate. */
static inline void gate_await(gate *self, int n) {
    (void)pthread_mutex_lock(&self->mutex);
    while (self->n_waiting < n) {
        (void)pthread_cond_wait(&self->changed, &self->mutex);
    }
    (void)pthread_mutex_unlock(&self->mutex);
}

static inline lathe_engine *engine_behind(gate *behind) {
    gate_init(behind);
    lathe_config config = {.struct_size = sizeof config, .executor = &behind->interface};
    return engine_of(&config);
}

typedef struct journal {
    pthread_mutex_t mutex;
    int entries[16];
    int n_entries;
    lathe_status statuses[16];
    pthread_t thread;
    lathe_event *follow_up;
    lathe_engine *engine;
    bool was_wrong;
} journal;

typedef struct entry {
    journal *journal;
    int number;
} entry;

static inline void enter(void *ctx, lathe_event *event, lathe_status status) {
    const entry *self = ctx;
    journal *to = self->journal;
    (void)pthread_mutex_lock(&to->mutex);
    to->statuses[to->n_entries] = status;
    to->entries[to->n_entries++] = self->number;
    to->thread = pthread_self();
    to->was_wrong |= !lathe_event_is_done(event) || !lathe_event_wait(event, 0) ||
                     lathe_event_status(event) != status;
    (void)pthread_mutex_unlock(&to->mutex);
}

static inline void *wait_for(void *event) {
    return lathe_event_wait(event, 60000 * MS) && lathe_event_status(event) == LATHE_OK ? event
                                                                                        : NULL;
}

#endif
