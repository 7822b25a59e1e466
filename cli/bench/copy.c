/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=copy: copies of host tensors, beside the copies of the yardsticks with
 * as many threads. */
#include "strategies.h"
#include "yardsticks.h"

typedef struct copying {
    lathe_engine *engine;
    lathe_tensor *result;
    const lathe_tensor *source;
} copying;

static lathe_status convert_same(void *ctx, uint64_t rounds) {
    const copying *s = ctx;
    const lathe_target target = {.struct_size = sizeof(target), .dtype = LATHE_F32};
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_convert_into(s->engine, s->source, &target, s->result, NULL);
    }
    return status;
}

static lathe_status copy(void *ctx, uint64_t rounds) {
    const copying *s = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_tensor_copy(s->engine, s->source, s->result);
    }
    return status;
}

static lathe_status compare(bench *b, copying *s, bench_yardsticks *y, const char *what,
                            bench_fn *run) {
    const bench_acts acts = {
        .n = 3, .run = {run, bench_run_memcpy, bench_run_copy}, .each = {s, y, y}};
    const char *const against[] = {"", "memcpy", bench_yardstick_name(y->now.copy)};
    bench_times times;
    lathe_status status = bench_measure(&acts, b->options->repeat, &times);
    for (size_t act = 1; act < acts.n && status == LATHE_OK; act++) {
        bench_times row = times;
        row.seconds[1] = times.seconds[act];
        row.ratio[1] = times.ratio[act];
        bench_strategy_row(b, what, against[act], &row);
    }
    return status;
}

static lathe_status open_copying(bench *b, copying *s, bench_yardsticks *y) {
    lathe_status status = bench_make_base(b);
    if (status == LATHE_OK) {
        status = bench_strategy_engine(b, &s->engine);
    }
    if (status == LATHE_OK) {
        const lathe_tensor_desc desc = {.struct_size = sizeof(desc),
                                        .dtype = LATHE_F32,
                                        .n_dims = lathe_tensor_n_dims(b->base),
                                        .shape = lathe_tensor_shape(b->base)};
        s->source = b->base;
        status = lathe_tensor_create(b->pool, &desc, &s->result);
    }
    if (status == LATHE_OK) {
        status = bench_yardsticks_open(y, b->pool, b->n_threads);
    }
    return status == LATHE_OK ? bench_yardsticks_set(y, 2 * lathe_tensor_n_bytes(b->base)) : status;
}

lathe_status bench_copy(bench *b) {
    copying s = {.engine = NULL};
    bench_yardsticks y = {.pool = NULL};
    lathe_status status = open_copying(b, &s, &y);
    if (status == LATHE_OK) {
        status = compare(b, &s, &y, "convert_into f32->f32", convert_same);
    }
    if (status == LATHE_OK) {
        status = compare(b, &s, &y, "lathe_tensor_copy", copy);
    }
    bench_yardsticks_close(&y);
    lathe_tensor_release(s.result);
    lathe_engine_free(s.engine);
    return status;
}
