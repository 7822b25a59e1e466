/* SPDX-License-Identifier: Apache-2.0 */
/* The statistics pass of a conversion by itself, for the bench: it has no public function. */
#include "stats.h"
#include "cli.h"
#include "core/tensor.h"
#include "engine/direct/direct.h"
#include <stdlib.h>

struct bench_stats {
    lathe_engine *engine;
    lt_backend *backend;
    const lathe_tensor *source;
    lathe_tensor *copy; /* the source, on the device; NULL: it is the caller's */
    lathe_target target;
};

lathe_status bench_stats_open(lathe_engine *engine, const lathe_tensor *source, lathe_memory memory,
                              lathe_dtype to, bench_stats **stats) {
    bench_stats *made = cli_allocate(1, sizeof(*made));
    *made = (bench_stats){
        .engine = engine,
        .backend = memory == LATHE_MEMORY_DEVICE ? engine->device : engine->cpu,
        .source = source,
        .target = {.struct_size = sizeof(lathe_target), .dtype = to},
    };
    lathe_status status = LATHE_OK;
    if (memory == LATHE_MEMORY_DEVICE) {
        const lathe_tensor_desc desc = lt_tensor_desc_of(source);
        status = lathe_engine_tensor_create(engine, memory, &desc, &made->copy);
        made->source = made->copy;
    }
    if (status == LATHE_OK && made->copy != NULL) {
        status = lathe_tensor_copy(engine, source, made->copy);
    }
    if (status != LATHE_OK) {
        bench_stats_close(made);
        return status;
    }
    *stats = made;
    return LATHE_OK;
}

lathe_status bench_stats_run(bench_stats *stats) {
    float scale = 0;
    return lt_direct_scales(stats->engine, stats->backend, stats->source, &stats->target, &scale);
}

void bench_stats_close(bench_stats *stats) {
    if (stats != NULL) {
        lathe_tensor_release(stats->copy);
        free(stats);
    }
}
