/* SPDX-License-Identifier: Apache-2.0 */
/* The threads that the CPU backend spreads its work over: a pool of its own, or the caller's
 * executor. */
#ifndef LT_CPU_THREADS_H
#define LT_CPU_THREADS_H

#include <lathe/engine.h>
#include <stdbool.h>

typedef struct lt_threads {
    uint32_t n_threads;
    bool is_own;
    struct pthreadpool *own; /* NULL with one thread or an executor */
    lathe_executor executor;
} lt_threads;

/* n_threads 0: as many as the process may use. executor NULL: threads of our own.
 * Errors: INSUFFICIENT_MEMORY. */
lathe_status lt_threads_init(lt_threads *threads, uint32_t n_threads,
                             const lathe_executor *executor);

void lt_threads_destroy(lt_threads *threads);

/* Calls task(ctx, i) once for each i in [0, n_tasks), in the default floating-point environment.
 * Thread- safe: concurrent calls take turns on our own threads, and a call from inside a task runs
 * there, as do single tasks and those of a single thread. */
void lt_threads_run(const lt_threads *threads, size_t n_tasks, void (*task)(void *ctx, size_t i),
                    void *ctx);

#endif
