/* SPDX-License-Identifier: Apache-2.0 */
/* Events: how callers learn that a conversion is over, and what came of it. */
#include "engine/async/event.h"

#include "core/condition.h"
#include "core/error.h"
#include "pool/pool.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

typedef struct callback {
    struct callback *next;
    lathe_event_fn *fn;
    void *ctx;
} callback;

/* An event only ever goes from one state to the next. */
typedef enum event_state {
    RUNNING,
    CALLING, /* done; the callbacks are being called, and more may join them */
    OVER,    /* done, and all callbacks have returned */
} event_state;

struct lathe_event {
    atomic_size_t n_references;
    lathe_pool *pool; /* that this struct is a block of */
    pthread_mutex_t mutex;
    pthread_cond_t done;
    _Atomic event_state state; /* changes with the mutex locked; the rest is fixed after RUNNING */
    callback *callbacks;       /* guarded by the mutex */
    callback **last;
    lathe_error error; /* status OK: success */
    lathe_tensor *result;
    lathe_convert_stats stats;
    lathe_quality_report report; /* struct_size 0: there is none */
};

lathe_event *lt_event_new(lathe_pool *pool) {
    lathe_event *event = lt_pool_new(pool, sizeof *event);
    if (event == NULL) {
        return NULL;
    }
    atomic_init(&event->n_references, 1);
    atomic_init(&event->state, RUNNING);
    event->pool = pool; /* which this block keeps alive */
    event->last = &event->callbacks;
    event->error.element = LATHE_NO_ELEMENT;
    (void)pthread_mutex_init(&event->mutex, NULL);
    lt_condition_init(&event->done);
    return event;
}

/* Calls the callbacks in the order of their addition, those included that come meanwhile. */
static void call_callbacks(lathe_event *event) {
    (void)pthread_mutex_lock(&event->mutex);
    while (event->callbacks != NULL) {
        callback *first = event->callbacks;
        event->callbacks = first->next;
        if (event->callbacks == NULL) {
            event->last = &event->callbacks;
        }
        (void)pthread_mutex_unlock(&event->mutex);
        first->fn(first->ctx, event, event->error.status);
        lt_pool_delete(event->pool, first);
        (void)pthread_mutex_lock(&event->mutex);
    }
    atomic_store(&event->state, OVER);
    (void)pthread_mutex_unlock(&event->mutex);
}

void lt_event_complete(lathe_event *event, const lathe_error *error, lathe_tensor *result,
                       const lathe_convert_stats *stats) {
    (void)pthread_mutex_lock(&event->mutex);
    if (error != NULL) {
        event->error = *error;
    } else {
        event->result = result;
        event->stats = *stats;
        if (stats->quality != NULL) {
            event->report = *stats->quality;
        }
    }
    atomic_store(&event->state, CALLING);
    (void)pthread_cond_broadcast(&event->done);
    (void)pthread_mutex_unlock(&event->mutex);
    call_callbacks(event);
}

bool lathe_event_is_done(const lathe_event *event) {
    return event != NULL && atomic_load(&event->state) != RUNNING;
}

bool lathe_event_wait(lathe_event *event, uint64_t timeout_ns) {
    if (event == NULL || lathe_event_is_done(event)) {
        return event != NULL;
    }
    const struct timespec until = lt_deadline(timeout_ns);
    int error = 0;
    (void)pthread_mutex_lock(&event->mutex);
    while (!lathe_event_is_done(event) && error != ETIMEDOUT) {
        error = timeout_ns == LATHE_FOREVER
                    ? pthread_cond_wait(&event->done, &event->mutex)
                    : pthread_cond_timedwait(&event->done, &event->mutex, &until);
    }
    (void)pthread_mutex_unlock(&event->mutex);
    return lathe_event_is_done(event);
}

lathe_status lathe_event_status(lathe_event *event) {
    if (event == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "event is NULL");
    }
    (void)lathe_event_wait(event, LATHE_FOREVER);
    return event->error.status == LATHE_OK ? LATHE_OK : lt_fail_with(&event->error);
}

lathe_tensor *lathe_event_result(lathe_event *event) {
    return lathe_event_is_done(event) ? lathe_tensor_retain(event->result) : NULL;
}

lathe_status lathe_event_stats(const lathe_event *event, lathe_convert_stats *stats) {
    if (event == NULL || stats == NULL || stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "event or stats is NULL, or struct_size is not sizeof(lathe_convert_stats)");
    }
    if (!lathe_event_is_done(event) || event->error.status != LATHE_OK) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the conversion %s",
                       lathe_event_is_done(event) ? "has failed" : "is not over");
    }
    lathe_quality_report *report = stats->quality;
    if (report != NULL &&
        (event->report.struct_size == 0 || report->struct_size != sizeof *report)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       event->report.struct_size == 0
                           ? "stats quality: the conversion was not to be measured"
                           : "stats quality's struct_size is not sizeof(lathe_quality_report)");
    }
    *stats = event->stats;
    stats->quality = report;
    if (report != NULL) {
        *report = event->report;
    }
    return LATHE_OK;
}

/* Leaves the callback to who completes the event. False if the event is over: nobody would call. */
static bool add_callback(lathe_event *event, callback *added) {
    (void)pthread_mutex_lock(&event->mutex);
    bool is_over = atomic_load(&event->state) == OVER;
    if (!is_over) {
        *event->last = added;
        event->last = &added->next;
    }
    (void)pthread_mutex_unlock(&event->mutex);
    return !is_over;
}

lathe_status lathe_event_on_done(lathe_event *event, lathe_event_fn *fn, void *ctx) {
    if (event == NULL || fn == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "event or fn is NULL");
    }
    if (atomic_load(&event->state) != OVER) {
        callback *added = lt_pool_new(event->pool, sizeof *added);
        if (added == NULL) {
            return lt_error()->status;
        }
        *added = (callback){.fn = fn, .ctx = ctx};
        if (add_callback(event, added)) {
            return LATHE_OK;
        }
        lt_pool_delete(event->pool, added);
    }
    (void)lathe_event_retain(event);
    fn(ctx, event, event->error.status);
    lathe_event_release(event);
    return LATHE_OK;
}

lathe_event *lathe_event_retain(lathe_event *event) {
    if (event != NULL) {
        (void)atomic_fetch_add_explicit(&event->n_references, 1, memory_order_relaxed);
    }
    return event;
}

void lathe_event_release(lathe_event *event) {
    if (event == NULL ||
        atomic_fetch_sub_explicit(&event->n_references, 1, memory_order_acq_rel) > 1) {
        return;
    }
    lathe_tensor_release(event->result);
    (void)pthread_cond_destroy(&event->done);
    (void)pthread_mutex_destroy(&event->mutex);
    lt_pool_delete(event->pool, event);
}
