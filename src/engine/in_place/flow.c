/* SPDX-License-Identifier: Apache-2.0 */
/* Drawing ranges of waves. Going forward, a range may be written when all those drawn before it, as
 * far as they are not done, read only behind its end: so each thread shows where the range begins
 * that it has drawn. Going backward it is the other way round. Whoever waits does so for threads
 * that have drawn before, of which the first never waits. */
#include "engine/in_place/flow.h"

#include "core/checked.h"
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>

/* So many threads share a tensor at most; pieces that are bounced are small, and drawn together. */
enum { MOST_TASKS = 64, PIECES_PER_DRAW = 32, LINE_BYTES = 64 };

/* Where a task reads: its first byte going forward, its end going backward. */
typedef struct front {
    alignas(LINE_BYTES) atomic_uint_fast64_t at;
} front;

typedef struct flow {
    lt_flow_fn *convert;
    void *ctx;
    bool is_backward;
    bool are_independent;
    size_t n_tasks;
    pthread_mutex_t mutex; /* guards what follows */
    lt_waves *waves;
    lt_wave wave;
    uint64_t next; /* range of it */
    front fronts[MOST_TASKS];
} flow;

/* What a task has drawn. */
typedef struct draw {
    lt_wave wave;
    uint64_t first; /* ranges [first, end) of it */
    uint64_t end;
    uint64_t limit; /* where it writes: the end going forward, the first byte going backward */
} draw;

/* No range: nobody has to wait for it. */
static uint64_t nowhere(const flow *f) {
    return f->is_backward ? 0 : UINT64_MAX;
}

/* Draws what comes next, and shows where it reads. False if there is no more. */
static bool locked_draw(flow *f, size_t task, draw *d) {
    uint64_t first;
    uint64_t end;
    uint64_t other;
    while (f->next == f->wave.ranges.n_ranges) {
        if (!lt_waves_next(f->waves, &f->wave)) {
            return false;
        }
        f->next = 0;
    }
    uint64_t most = f->wave.is_bounced ? PIECES_PER_DRAW : 1;
    *d = (draw){.wave = f->wave, .first = f->next};
    d->end = d->first + lt_min(most, f->wave.ranges.n_ranges - d->first);
    f->next = d->end;
    const lt_range head = lt_ranges_at(&d->wave.ranges, d->first);
    const lt_range tail = lt_ranges_at(&d->wave.ranges, d->end - 1);
    lt_waves_bytes_read(f->waves, &head, &first, &other);
    lt_waves_bytes_read(f->waves, &tail, &other, &end);
    atomic_store_explicit(&f->fronts[task].at, f->is_backward ? end : first, memory_order_relaxed);
    lt_waves_bytes_written(f->waves, &head, &first, &other);
    lt_waves_bytes_written(f->waves, &tail, &other, &end);
    d->limit = f->is_backward ? first : end;
    return true;
}

/* Waits until nobody else reads where the draw writes. */
static void await(const flow *f, size_t task, const draw *d) {
    enum { SPINS = 1000 };
    for (size_t i = 0; i < f->n_tasks; i++) {
        for (unsigned n = 0; i != task; n++) {
            uint64_t at = atomic_load_explicit(&f->fronts[i].at, memory_order_acquire);
            if (f->is_backward ? at <= d->limit : at >= d->limit) {
                break;
            }
            if (n >= SPINS) {
                (void)sched_yield();
            }
        }
    }
}

static void run_task(void *ctx, size_t task) {
    flow *f = ctx;
    draw d;
    for (;;) {
        (void)pthread_mutex_lock(&f->mutex);
        bool is_drawn = locked_draw(f, task, &d);
        (void)pthread_mutex_unlock(&f->mutex);
        if (!is_drawn) {
            return;
        }
        if (!f->are_independent) {
            await(f, task, &d);
        }
        f->convert(f->ctx, &d.wave, d.first, d.end);
        atomic_store_explicit(&f->fronts[task].at, nowhere(f), memory_order_release);
    }
}

void lt_flow_run(lt_backend *cpu, lt_waves *waves, lt_flow_fn *convert, void *ctx) {
    flow f = {
        .convert = convert,
        .ctx = ctx,
        .is_backward = waves->is_backward,
        .are_independent = waves->are_independent,
        .n_tasks = (size_t)lt_min(cpu->n_threads, MOST_TASKS),
        .waves = waves,
    };
    for (size_t i = 0; i < f.n_tasks; i++) {
        atomic_init(&f.fronts[i].at, nowhere(&f));
    }
    (void)pthread_mutex_init(&f.mutex, NULL);
    cpu->ops->parallel_for(cpu, f.n_tasks, run_task, &f);
    (void)pthread_mutex_destroy(&f.mutex);
}
