/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=small: what a conversion costs beside its kernel. */
#include "cpu/kernels.h"
#include "strategies.h"

enum { N_ELEMS = 1024 }; /* 4 KiB of F32 */

typedef struct small_bench {
    lathe_engine *engine;
    lathe_tensor *source;
    lathe_tensor *result;
    lathe_target target;
    lt_convert_fn *kernel;
} small_bench;

static lathe_status convert(void *ctx, uint64_t rounds) {
    const small_bench *s = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        lathe_tensor *made = NULL;
        status = lathe_convert(s->engine, s->source, &s->target, &made, NULL);
        lathe_tensor_release(made);
    }
    return status;
}

static lathe_status convert_into(void *ctx, uint64_t rounds) {
    const small_bench *s = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_convert_into(s->engine, s->source, &s->target, s->result, NULL);
    }
    return status;
}

static lathe_status run_kernel(void *ctx, uint64_t rounds) {
    const small_bench *s = ctx;
    const lt_kernel_params params = {0};
    for (uint64_t i = 0; i < rounds; i++) {
        s->kernel(lathe_tensor_data(s->source), lathe_tensor_mutable_data(s->result), N_ELEMS,
                  &params);
    }
    return LATHE_OK;
}

static lathe_status take_reference(void *ctx, uint64_t rounds) {
    const small_bench *s = ctx;
    for (uint64_t i = 0; i < rounds; i++) {
        lathe_tensor_release(lathe_tensor_retain(s->source));
    }
    return LATHE_OK;
}

static lathe_status compare(bench *b, small_bench *s, const char *what, bench_fn *run,
                            const char *against, bench_fn *other) {
    const bench_acts acts = {.ctx = s, .n = 2, .run = {run, other}};
    bench_times times;
    lathe_status status = bench_measure(&acts, b->options->repeat, &times);
    if (status == LATHE_OK) {
        bench_strategy_row(b, what, against, &times);
    }
    return status;
}

static lathe_status open(bench *b, small_bench *s) {
    const uint64_t shape[] = {N_ELEMS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 1, .shape = shape};
    lt_cpu_features features;
    lt_kernels kernels;
    lt_cpu_features_detect(&features);
    lt_kernels_init(&kernels, b->options->engine.config.isa, &features);
    s->kernel = kernels.convert[LT_HOT][LATHE_F32][LATHE_F16];
    lathe_status status = bench_strategy_engine(b, &s->engine);
    if (status == LATHE_OK) {
        status = lathe_tensor_create(b->pool, &desc, &s->source);
    }
    if (status == LATHE_OK) {
        cli_weights(0, 0, N_ELEMS, lathe_tensor_mutable_data(s->source));
        status = lathe_convert(s->engine, s->source, &s->target, &s->result, NULL);
    }
    return status;
}

lathe_status bench_small(bench *b) {
    small_bench s = {.target = {.struct_size = sizeof(s.target), .dtype = LATHE_F16}};
    lathe_status status = open(b, &s);
    if (status == LATHE_OK) {
        status = compare(b, &s, "convert f32->f16, 4 KiB", convert, "its kernel", run_kernel);
    }
    if (status == LATHE_OK) {
        status =
            compare(b, &s, "convert_into f32->f16, 4 KiB", convert_into, "its kernel", run_kernel);
    }
    s.target.dtype = LATHE_F32;
    if (status == LATHE_OK) {
        status = compare(b, &s, "convert f32->f32", convert, "a reference, taken and dropped",
                         take_reference);
    }
    lathe_tensor_release(s.source);
    lathe_tensor_release(s.result);
    lathe_engine_free(s.engine);
    return status;
}
