/* SPDX-License-Identifier: Apache-2.0 */
/* An engine's workers: threads that run jobs while the caller does something else. */
#ifndef LT_ENGINE_ASYNC_H
#define LT_ENGINE_ASYNC_H

#include <lathe/pool.h>
#include <lathe/status.h>
#include <stdint.h>

/* The workers of one engine, which start as jobs come. Every function is thread-safe. */
typedef struct lt_async lt_async;

/* Something to run; the caller's memory, in which the workers keep their queue. */
typedef struct lt_job {
    struct lt_job *next;
    void (*run)(void *ctx); /* called once; may free the job, and submit others */
    void *ctx;
} lt_job;

/* `n_threads` is what the backend runs at once. Errors: INSUFFICIENT_MEMORY. */
lathe_status lt_async_create(lathe_pool *pool, uint32_t n_threads, lt_async **async);

/* Waits until all jobs have run and nothing holds the workers, and ends them. NULL is legal. */
void lt_async_destroy(lt_async *async);

/* Runs a job on a worker. Jobs start in the order of submission. Where the system has no thread to
 * give, the job runs here and now. */
void lt_async_submit(lt_async *async, lt_job *job);

/* For a job that is submitted later, from a place that cannot run it: makes destroy wait for
 * lt_async_drop, and lt_async_submit run no job on its caller's thread. Until it is dropped, a
 * worker with nothing else to do calls poll(async) every few milliseconds; it is the same function
 * in all calls. Errors: INSUFFICIENT_MEMORY (the system has no thread to give). */
lathe_status lt_async_hold(lt_async *async, void (*poll)(lt_async *async));

void lt_async_drop(lt_async *async);

#endif
