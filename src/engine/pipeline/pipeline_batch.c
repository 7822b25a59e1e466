/* SPDX-License-Identifier: Apache-2.0 */
/* A pipeline for many tensors. */
#include "core/error.h"
#include "engine/pipeline/pipeline.h"

/* Tensors of fewer elements share the threads; larger ones take all of them in turn. */
enum { SMALL_ELEMS = 512 * 1024 };

typedef struct batch {
    lathe_engine *engine;
    lathe_pipeline *pipeline;
    size_t n;
    const lathe_tensor *const *sources;
    lathe_tensor **results;
    lathe_status *statuses; /* NULL: nobody asks */
    pthread_mutex_t mutex;
    size_t first_failed; /* n: none */
    lathe_error error;   /* of that */
} batch;

static void run_one(batch *b, size_t i) {
    lathe_status status =
        b->sources[i] == NULL
            ? lt_fail(LATHE_INVALID_ARGUMENT, "source is NULL")
            : lt_pipeline_run(b->engine, b->pipeline, b->sources[i], NULL, &b->results[i], NULL);
    if (b->statuses != NULL) {
        b->statuses[i] = status;
    }
    if (status != LATHE_OK) {
        (void)pthread_mutex_lock(&b->mutex);
        if (i < b->first_failed) {
            b->first_failed = i;
            b->error = *lt_error();
        }
        (void)pthread_mutex_unlock(&b->mutex);
    }
}

static bool is_small(const lathe_tensor *source) {
    return source == NULL || source->layout.n_elems < SMALL_ELEMS;
}

static void run_small(void *ctx, size_t i) {
    batch *b = ctx;
    if (is_small(b->sources[i])) {
        run_one(b, i);
    }
}

lathe_status lathe_pipeline_run_batch(lathe_engine *engine, lathe_pipeline *pipeline, size_t n,
                                      const lathe_tensor *const *sources, lathe_tensor **results,
                                      lathe_status *statuses) {
    if (engine == NULL || pipeline == NULL || (n > 0 && (sources == NULL || results == NULL))) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, pipeline, sources or results is NULL");
    }
    batch b = {.engine = engine,
               .pipeline = pipeline,
               .n = n,
               .sources = sources,
               .results = results,
               .statuses = statuses,
               .first_failed = n};
    if (pthread_mutex_init(&b.mutex, NULL) != 0) {
        return lt_fail(LATHE_INSUFFICIENT_MEMORY, "cannot make a mutex");
    }
    for (size_t i = 0; i < n; i++) {
        results[i] = NULL;
    }
    const lt_backend *backend = engine->device != NULL ? engine->device : engine->cpu;
    backend->ops->parallel_for((lt_backend *)(uintptr_t)backend, n, run_small, &b);
    for (size_t i = 0; i < n; i++) {
        if (!is_small(sources[i])) {
            run_one(&b, i);
        }
    }
    (void)pthread_mutex_destroy(&b.mutex);
    if (b.first_failed == n) {
        return LATHE_OK;
    }
    (void)lt_fail_with(&b.error);
    return lt_fail_prefix("tensor %zu", b.first_failed);
}
