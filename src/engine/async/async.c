/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's workers, and the conversions that run on them. */
#include "engine/async/async.h"

#include "core/checked.h"
#include "core/condition.h"
#include "core/error.h"
#include "core/layout.h"
#include "engine/async/event.h"
#include "engine/engine.h"
#include "pool/pool.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>

/* The fewest, so that a callback that takes its time does not hold up everything else; and the
 * most, as a conversion spreads over the backend's threads in any case. */
enum { MIN_WORKERS = 2, MAX_WORKERS = 4 };

enum { POLL_NS = 2000000 };

struct lt_async {
    lathe_pool *pool;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t work;   /* there is a job, or the end has come */
    pthread_cond_t rest;   /* n_pending is 0 */
    lt_job *first;
    lt_job **last;
    uint64_t n_pending; /* jobs that wait or run, and holds */
    uint64_t n_held;
    void (*poll)(lt_async *async);
    bool is_polling;
    uint32_t n_queued;
    uint32_t n_idle;
    uint32_t n_workers;
    uint32_t max_workers;
    bool stopped;
    pthread_t workers[MAX_WORKERS];
};

lathe_status lt_async_create(lathe_pool *pool, uint32_t n_threads, lt_async **async) {
    lt_async *made = lt_pool_new(pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->pool = pool;
    made->last = &made->first;
    made->max_workers = (uint32_t)lt_max(lt_min(n_threads, MAX_WORKERS), MIN_WORKERS);
    (void)pthread_mutex_init(&made->mutex, NULL);
    lt_condition_init(&made->work);
    lt_condition_init(&made->rest);
    *async = made;
    return LATHE_OK;
}

/* One thing less to wait for. With the mutex locked. */
static void end_one(lt_async *async) {
    async->n_pending--;
    if (async->n_pending == 0) {
        (void)pthread_cond_broadcast(&async->rest);
    }
}

/* Waits for work, and polls while there is none. With the mutex locked. */
static void idle(lt_async *async) {
    async->n_idle++;
    if (async->n_held == 0 || async->is_polling) {
        (void)pthread_cond_wait(&async->work, &async->mutex);
    } else {
        const struct timespec until = lt_deadline(POLL_NS);
        async->is_polling = true;
        if (pthread_cond_timedwait(&async->work, &async->mutex, &until) == ETIMEDOUT) {
            void (*poll)(lt_async *) = async->poll;
            (void)pthread_mutex_unlock(&async->mutex);
            poll(async);
            (void)pthread_mutex_lock(&async->mutex);
        }
        async->is_polling = false;
        if (async->first != NULL) {
            (void)pthread_cond_signal(&async->work); /* somebody else polls */
        }
    }
    async->n_idle--;
}

/* The oldest job, once there is one; NULL at the end. With the mutex locked. */
static lt_job *next_job(lt_async *async) {
    while (async->first == NULL && !async->stopped) {
        idle(async);
    }
    lt_job *job = async->first;
    if (job != NULL) {
        async->first = job->next;
        async->n_queued--;
        if (async->first == NULL) {
            async->last = &async->first;
        }
    }
    return job;
}

static void *work(void *ctx) {
    lt_async *async = ctx;
    (void)pthread_mutex_lock(&async->mutex);
    for (lt_job *job = next_job(async); job != NULL; job = next_job(async)) {
        (void)pthread_mutex_unlock(&async->mutex);
        job->run(job->ctx);
        (void)pthread_mutex_lock(&async->mutex);
        end_one(async);
    }
    (void)pthread_mutex_unlock(&async->mutex);
    return NULL;
}

/* Starts a worker, which gets no signals: those are for the program's own threads. With the mutex
 * locked. False if the system has no thread to give. */
static bool start_worker(lt_async *async) {
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&async->workers[async->n_workers], NULL, work, async);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    async->n_workers += error == 0;
    return error == 0;
}

/* Sees to it that there is a worker for every job in the queue, as far as that goes. With the mutex
 * locked. False if there is no worker at all. */
static bool staff(lt_async *async, uint32_t n_jobs) {
    if (n_jobs > async->n_idle && async->n_workers < async->max_workers) {
        (void)start_worker(async);
    }
    return async->n_workers > 0;
}

void lt_async_submit(lt_async *async, lt_job *job) {
    (void)pthread_mutex_lock(&async->mutex);
    async->n_pending++;
    bool is_queued = staff(async, async->n_queued + 1);
    if (is_queued) {
        job->next = NULL;
        *async->last = job;
        async->last = &job->next;
        async->n_queued++;
        (void)pthread_cond_signal(&async->work);
    }
    (void)pthread_mutex_unlock(&async->mutex);
    if (!is_queued) {
        const lathe_error before = *lt_error(); /* what goes wrong in the job is not the caller's */
        job->run(job->ctx);
        (void)lt_fail_with(&before);
        (void)pthread_mutex_lock(&async->mutex);
        end_one(async);
        (void)pthread_mutex_unlock(&async->mutex);
    }
}

lathe_status lt_async_hold(lt_async *async, void (*poll)(lt_async *async)) {
    (void)pthread_mutex_lock(&async->mutex);
    bool is_staffed = async->n_workers > 0 || start_worker(async);
    if (is_staffed) {
        async->poll = poll;
        async->n_held++;
        async->n_pending++;
        (void)pthread_cond_signal(&async->work);
    }
    (void)pthread_mutex_unlock(&async->mutex);
    return is_staffed
               ? LATHE_OK
               : lt_fail(LATHE_INSUFFICIENT_MEMORY, "the system has no thread for a conversion");
}

void lt_async_drop(lt_async *async) {
    (void)pthread_mutex_lock(&async->mutex);
    async->n_held--;
    end_one(async);
    (void)pthread_mutex_unlock(&async->mutex);
}

void lt_async_destroy(lt_async *async) {
    if (async == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&async->mutex);
    while (async->n_pending > 0) {
        (void)pthread_cond_wait(&async->rest, &async->mutex);
    }
    async->stopped = true;
    (void)pthread_cond_broadcast(&async->work);
    (void)pthread_mutex_unlock(&async->mutex);
    for (uint32_t i = 0; i < async->n_workers; i++) {
        (void)pthread_join(async->workers[i], NULL);
    }
    (void)pthread_cond_destroy(&async->rest);
    (void)pthread_cond_destroy(&async->work);
    (void)pthread_mutex_destroy(&async->mutex);
    lt_pool_delete(async->pool, async);
}

/* ---- conversions */

typedef struct conversion {
    lt_job job;
    lathe_engine *engine;
    lathe_tensor *source;
    lathe_tensor *result; /* NULL: a new one */
    lathe_target target;
    lathe_event *event;
    bool is_measured;
} conversion;

static void run_conversion(void *ctx) {
    conversion *c = ctx;
    lathe_pool *pool = c->engine->pool;
    lathe_event *event = c->event;
    lathe_quality_report report = {.struct_size = sizeof report};
    lathe_convert_stats stats = {.struct_size = sizeof stats,
                                 .quality = c->is_measured ? &report : NULL};
    lathe_tensor *result = c->result;
    lathe_status status =
        result == NULL ? lathe_convert(c->engine, c->source, &c->target, &result, &stats)
                       : lathe_convert_into(c->engine, c->source, &c->target, result, &stats);
    lathe_tensor_release(c->source);
    lt_pool_delete(pool, c);
    if (status != LATHE_OK) {
        const lathe_error error = *lt_error();
        lathe_tensor_release(result);
        lt_event_complete(event, &error, NULL, NULL);
    } else {
        lt_event_complete(event, NULL, result, &stats);
    }
    lathe_event_release(event);
}

static lathe_status start(lathe_engine *engine, lathe_tensor *source, const lathe_target *target,
                          lathe_tensor *result, bool is_measured, lathe_event **event) {
    if (engine == NULL || source == NULL || event == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, source or event is NULL");
    }
    lathe_status status = lt_target_check(target);
    if (status != LATHE_OK) {
        return status;
    }
    conversion *c = lt_pool_new(engine->pool, sizeof *c);
    lathe_event *made = c != NULL ? lt_event_new(engine->pool) : NULL;
    if (made == NULL) {
        status = lt_error()->status;
        lt_pool_delete(engine->pool, c);
        return status;
    }
    *c = (conversion){
        .job = {.run = run_conversion, .ctx = c},
        .engine = engine,
        .source = lathe_tensor_retain(source),
        .result = lathe_tensor_retain(result),
        .target = *target,
        .event = lathe_event_retain(made),
        .is_measured = is_measured,
    };
    *event = made; /* first: callbacks of others may look at it as soon as the job runs */
    lt_async_submit(engine->async, &c->job);
    return LATHE_OK;
}

lathe_status lathe_convert_async(lathe_engine *engine, lathe_tensor *source,
                                 const lathe_target *target, lathe_event **event) {
    return start(engine, source, target, NULL, false, event);
}

lathe_status lathe_convert_into_async(lathe_engine *engine, lathe_tensor *source,
                                      const lathe_target *target, lathe_tensor *result,
                                      lathe_event **event) {
    if (result == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "result is NULL");
    }
    return start(engine, source, target, result, false, event);
}

lathe_status lathe_convert_measured_async(lathe_engine *engine, lathe_tensor *source,
                                          const lathe_target *target, lathe_tensor *result,
                                          lathe_event **event) {
    return start(engine, source, target, result, true, event);
}
