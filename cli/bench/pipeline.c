/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=pipeline: a chain of conversions beside its stages, alone and one after
 * another. */
#include "strategies.h"
#include <lathe/pipeline.h>

enum { N_STAGES = 3, GROUP = 128 };

static const lathe_dtype dtypes[N_STAGES] = {LATHE_F16, LATHE_I8, LATHE_I4};

typedef struct pipeline_bench {
    lathe_engine *engine;
    lathe_pipeline *pipeline;
    lathe_target targets[N_STAGES];
    lathe_tensor *tensors[N_STAGES + 1]; /* the source, and what each stage makes; all recycled */
    uint32_t stage;                      /* that is run alone */
} pipeline_bench;

static lathe_status run_pipeline(void *ctx, uint64_t rounds) {
    const pipeline_bench *p = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_pipeline_run_into(p->engine, p->pipeline, p->tensors[0],
                                         p->tensors[N_STAGES], NULL);
    }
    return status;
}

static lathe_status run_stage(const pipeline_bench *p, uint32_t stage) {
    return lathe_convert_into(p->engine, p->tensors[stage], &p->targets[stage],
                              p->tensors[stage + 1], NULL);
}

static lathe_status run_alone(void *ctx, uint64_t rounds) {
    const pipeline_bench *p = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = run_stage(p, p->stage);
    }
    return status;
}

static lathe_status run_all(void *ctx, uint64_t rounds) {
    const pipeline_bench *p = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        for (uint32_t stage = 0; stage < N_STAGES && status == LATHE_OK; stage++) {
            status = run_stage(p, stage);
        }
    }
    return status;
}

static lathe_status compare(bench *b, pipeline_bench *p, const char *what, bench_fn *other,
                            const char *against) {
    const bench_acts acts = {.ctx = p, .n = 2, .run = {run_pipeline, other}};
    bench_times times;
    lathe_status status = bench_measure(&acts, b->options->repeat, &times);
    if (status == LATHE_OK) {
        bench_strategy_row(b, what, against, &times);
    }
    return status;
}

static lathe_status open(bench *b, pipeline_bench *p, lathe_granularity granularity) {
    lathe_pipeline_stage stages[N_STAGES];
    lathe_status status = bench_make_base(b);
    p->tensors[0] = lathe_tensor_retain(b->base);
    if (status == LATHE_OK) {
        status = bench_strategy_engine(b, &p->engine);
    }
    for (uint32_t i = 0; i < N_STAGES; i++) {
        const bool quantized = lathe_dtype_is_quantized(dtypes[i]);
        p->targets[i] = (lathe_target){
            .struct_size = sizeof(p->targets[i]),
            .dtype = dtypes[i],
            .granularity = quantized ? granularity : LATHE_PER_TENSOR,
            .group_size = quantized && granularity == LATHE_PER_GROUP ? GROUP : 0,
        };
        stages[i] =
            (lathe_pipeline_stage){.struct_size = sizeof(stages[i]), .target = p->targets[i]};
        if (status == LATHE_OK) {
            status =
                lathe_convert(p->engine, p->tensors[i], &p->targets[i], &p->tensors[i + 1], NULL);
        }
    }
    return status == LATHE_OK ? lathe_pipeline_create(b->pool, N_STAGES, stages, NULL, &p->pipeline)
                              : status;
}

static void close_bench(pipeline_bench *p) {
    for (uint32_t i = 0; i <= N_STAGES; i++) {
        lathe_tensor_release(p->tensors[i]);
    }
    lathe_pipeline_free(p->pipeline);
    lathe_engine_free(p->engine);
}

lathe_status bench_pipeline(bench *b) {
    static const char *const names[] = {"f32>f16>i8>i4", "f32>f16>i8>i4 by rows",
                                        "f32>f16>i8>i4 by groups of 128"};
    static const char *const alone[N_STAGES] = {"f32>f16 alone", "f16>i8 alone", "i8>i4 alone"};
    lathe_status status = LATHE_OK;
    for (int i = 0; i < 3 && status == LATHE_OK; i++) {
        pipeline_bench p = {0};
        status = open(b, &p, (lathe_granularity)i);
        for (p.stage = 0; p.stage < N_STAGES && status == LATHE_OK; p.stage++) {
            status = compare(b, &p, names[i], run_alone, alone[p.stage]);
        }
        if (status == LATHE_OK) {
            status = compare(b, &p, names[i], run_all, "all stages, one by one");
        }
        close_bench(&p);
    }
    return status;
}
