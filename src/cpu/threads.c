/* SPDX-License-Identifier: Apache-2.0 */
/* Spreading tasks over threads. */
#include "cpu/threads.h"

#include "core/error.h"
#include "core/fpenv.h"
#include "cpu/features.h"
#include <pthread.h>
#include <pthreadpool.h>

/* ThreadSanitizer cannot see the synchronisation inside an uninstrumented thread pool: name it. */
#if defined(__SANITIZE_THREAD__)
#define LT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LT_TSAN 1
#endif
#endif
#if defined(LT_TSAN)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define HAPPENS_BEFORE(address) __tsan_release(address)
#define HAPPENS_AFTER(address) __tsan_acquire(address)
#else
#define HAPPENS_BEFORE(address) ((void)(address))
#define HAPPENS_AFTER(address) ((void)(address))
#endif

/* Idle workers sleep: spinning would take the cores from the caller's own work. */
enum { POOL_FLAGS = PTHREADPOOL_FLAG_YIELD_WORKERS };

/* True on a thread that is running a task. A task that comes back, through a callback of the
 * caller's, must not wait for the threads that are busy with it: what it asks for runs at once. */
static _Thread_local bool in_task;

typedef struct job {
    void (*task)(void *ctx, size_t i);
    void *ctx;
} job;

static void run_task(void *argument, size_t i) {
    job *running = argument;
    HAPPENS_AFTER(running);
    lt_fpenv saved;
    bool was_in_task = in_task;
    in_task = true;
    lt_fpenv_enter(&saved);
    running->task(running->ctx, i);
    lt_fpenv_leave(&saved);
    in_task = was_in_task;
    HAPPENS_BEFORE(running);
}

/* Starts one thread fewer than *missing says, each from the one before so that all are there at
 * once, and counts *missing down for each, the first caller included. */
static void *probe_thread(void *missing) {
    uint32_t *left = missing;
    pthread_t next;
    (*left)--;
    if (*left > 0 && pthread_create(&next, NULL, probe_thread, left) == 0) {
        (void)pthread_join(next, NULL);
    }
    return NULL;
}

static void do_nothing(void *ctx, size_t i) {
    (void)ctx;
    (void)i;
}

/* pthreadpool_create waits for ever for a thread that does not start: try whether they do. Workers
 * that have had no job spin, for a hundredth of a second and more: one sends them to sleep. */
static struct pthreadpool *create_pool(uint32_t n_threads) {
    uint32_t missing = n_threads;
    (void)probe_thread(&missing);
    struct pthreadpool *pool = missing == 0 ? pthreadpool_create(n_threads) : NULL;
    if (pool != NULL) {
        pthreadpool_parallelize_1d(pool, do_nothing, NULL, n_threads, POOL_FLAGS);
    }
    return pool;
}

lathe_status lt_threads_init(lt_threads *threads, uint32_t n_threads,
                             const lathe_executor *executor) {
    *threads = (lt_threads){.n_threads = n_threads};
    if (executor != NULL) {
        threads->executor = *executor;
        threads->n_threads = executor->n_threads;
        return LATHE_OK;
    }
    threads->is_own = true;
    if (n_threads == 0) {
        threads->n_threads = lt_usable_cpus();
    }
    if (threads->n_threads > 1) {
        threads->own = create_pool(threads->n_threads);
        if (threads->own == NULL) {
            return lt_fail(LATHE_INSUFFICIENT_MEMORY, "cannot start %u threads",
                           (unsigned)threads->n_threads);
        }
    }
    return LATHE_OK;
}

void lt_threads_destroy(lt_threads *threads) {
    if (threads->own != NULL) {
        pthreadpool_destroy(threads->own);
    }
}

void lt_threads_run(const lt_threads *threads, size_t n_tasks, void (*task)(void *ctx, size_t i),
                    void *ctx) {
    job running = {.task = task, .ctx = ctx};
    if (n_tasks <= 1 || threads->n_threads == 1 || in_task) {
        for (size_t i = 0; i < n_tasks; i++) {
            run_task(&running, i);
        }
        return;
    }
    HAPPENS_BEFORE(&running);
    if (threads->is_own) {
        pthreadpool_parallelize_1d(threads->own, run_task, &running, n_tasks, POOL_FLAGS);
    } else {
        threads->executor.parallel_for(threads->executor.ctx, n_tasks, run_task, &running);
    }
    HAPPENS_AFTER(&running);
}
