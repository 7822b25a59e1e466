/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=pipeline: chains of conversions beside their stages, alone and one after
 * another. */
#include "strategies.h"
#include <lathe/pipeline.h>
#include <string.h>

enum { MOST_STAGES = 3, GROUP = 128 };

typedef struct chain_case {
    lathe_dtype from;
    uint32_t n_stages;
    lathe_dtype to[MOST_STAGES];
} chain_case;

static const chain_case cases[] = {
    {LATHE_F32, 3, {LATHE_F16, LATHE_I8, LATHE_I4}},
    {LATHE_F32, 2, {LATHE_BF16, LATHE_I8}},
    {LATHE_F16, 2, {LATHE_I8, LATHE_I4}},
    {LATHE_F32, 2, {LATHE_I8, LATHE_BITNET158}},
    {LATHE_F32, 2, {LATHE_F16, LATHE_BITNET158}},
};
enum { N_CASES = sizeof(cases) / sizeof(cases[0]) };

typedef struct pipeline_bench {
    const chain_case *chain;
    lathe_memory memory; /* of the tensors */
    lathe_engine *engine;
    lathe_pipeline *pipeline;
    lathe_target targets[MOST_STAGES];
    lathe_tensor *tensors[MOST_STAGES + 1]; /* the source, and what each stage makes: recycled */
} pipeline_bench;

/* A stage that is run alone. */
typedef struct stage_act {
    const pipeline_bench *bench;
    uint32_t stage;
} stage_act;

static lathe_status run_pipeline(void *ctx, uint64_t rounds) {
    const pipeline_bench *p = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_pipeline_run_into(p->engine, p->pipeline, p->tensors[0],
                                         p->tensors[p->chain->n_stages], NULL);
    }
    return status;
}

static lathe_status run_stage(const pipeline_bench *p, uint32_t stage) {
    return lathe_convert_into(p->engine, p->tensors[stage], &p->targets[stage],
                              p->tensors[stage + 1], NULL);
}

static lathe_status run_alone(void *ctx, uint64_t rounds) {
    const stage_act *act = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = run_stage(act->bench, act->stage);
    }
    return status;
}

static lathe_status run_all(void *ctx, uint64_t rounds) {
    const pipeline_bench *p = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        for (uint32_t stage = 0; stage < p->chain->n_stages && status == LATHE_OK; stage++) {
            status = run_stage(p, stage);
        }
    }
    return status;
}

/* "f32>f16" for stage `first` of one; the whole chain for all of them. */
static void name_of(const chain_case *chain, uint32_t first, uint32_t end, char text[64]) {
    const lathe_dtype from = first == 0 ? chain->from : chain->to[first - 1];
    int at = snprintf(text, 64, "%s", lathe_dtype_name(from));
    for (uint32_t i = first; i < end; i++) {
        at += snprintf(text + at, 64 - (size_t)at, ">%s", lathe_dtype_name(chain->to[i]));
    }
}

/* A row for an act beside act 0. */
static void add_row(bench *b, const char *what, const char *against, const bench_times *times,
                    size_t act) {
    bench_times both = *times;
    both.seconds[1] = times->seconds[act];
    both.ratio[1] = times->ratio[act];
    memcpy(both.quartiles[1], times->quartiles[act], sizeof(both.quartiles[1]));
    bench_strategy_row(b, what, against, &both);
}

static lathe_status measure(bench *b, pipeline_bench *p, const char *granularity) {
    static const char *const where[] = {[LATHE_MEMORY_HOST] = "",
                                        [LATHE_MEMORY_PINNED] = ", pinned",
                                        [LATHE_MEMORY_DEVICE] = ", on the device"};
    const chain_case *chain = p->chain;
    stage_act stages[MOST_STAGES];
    bench_acts acts = {.ctx = p, .n = chain->n_stages + 2, .run = {run_pipeline}};
    bench_times times;
    char what[96];
    char name[64];
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        stages[i] = (stage_act){p, i};
        acts.run[i + 1] = run_alone;
        acts.each[i + 1] = &stages[i];
    }
    acts.run[chain->n_stages + 1] = run_all;
    const lathe_status status = bench_measure(&acts, b->options->repeat, &times);
    if (status != LATHE_OK) {
        return status;
    }
    name_of(chain, 0, chain->n_stages, name);
    snprintf(what, sizeof(what), "%s%s%s", name, granularity, where[p->memory]);
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        char against[80];
        name_of(chain, i, i + 1, name);
        snprintf(against, sizeof(against), "%s alone", name);
        add_row(b, what, against, &times, i + 1);
    }
    add_row(b, what, "all stages, one by one", &times, chain->n_stages + 1);
    return LATHE_OK;
}

static lathe_status make_source(bench *b, pipeline_bench *p) {
    const lathe_target target = {.struct_size = sizeof(target), .dtype = p->chain->from};
    lathe_tensor *base = NULL;
    lathe_status status = bench_make_base(b);
    if (status == LATHE_OK && p->memory != LATHE_MEMORY_HOST) {
        const lathe_tensor_desc desc = {.struct_size = sizeof(desc),
                                        .dtype = LATHE_F32,
                                        .n_dims = lathe_tensor_n_dims(b->base),
                                        .shape = lathe_tensor_shape(b->base)};
        status = lathe_engine_tensor_create(p->engine, p->memory, &desc, &base);
        if (status == LATHE_OK) {
            status = lathe_tensor_copy(p->engine, b->base, base);
        }
    } else if (status == LATHE_OK) {
        base = lathe_tensor_retain(b->base);
    }
    if (status == LATHE_OK && p->chain->from != LATHE_F32) {
        status = lathe_convert(p->engine, base, &target, &p->tensors[0], NULL);
        lathe_tensor_release(base);
    } else {
        p->tensors[0] = base;
    }
    return status;
}

/* What a stage makes, in the memory of the others. */
static lathe_status make_result(pipeline_bench *p, uint32_t stage) {
    const lathe_tensor *source = p->tensors[stage];
    lathe_tensor_desc desc;
    lathe_status status = lathe_target_desc(&p->targets[stage], lathe_tensor_n_dims(source),
                                            lathe_tensor_shape(source), &desc);
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(p->engine, p->memory, &desc, &p->tensors[stage + 1]);
    }
    return status == LATHE_OK ? run_stage(p, stage) : status;
}

static lathe_status open(bench *b, pipeline_bench *p, lathe_granularity granularity) {
    const chain_case *chain = p->chain;
    lathe_pipeline_stage stages[MOST_STAGES];
    lathe_status status = bench_strategy_engine(b, &p->engine);
    if (status == LATHE_OK) {
        status = make_source(b, p);
    }
    for (uint32_t i = 0; i < chain->n_stages; i++) {
        const bool quantized = lathe_dtype_is_quantized(chain->to[i]);
        p->targets[i] = (lathe_target){
            .struct_size = sizeof(p->targets[i]),
            .dtype = chain->to[i],
            .granularity = quantized ? granularity : LATHE_PER_TENSOR,
            .group_size = quantized && granularity == LATHE_PER_GROUP ? GROUP : 0,
        };
        stages[i] =
            (lathe_pipeline_stage){.struct_size = sizeof(stages[i]), .target = p->targets[i]};
        if (status == LATHE_OK) {
            status = make_result(p, i);
        }
    }
    return status == LATHE_OK
               ? lathe_pipeline_create(b->pool, chain->n_stages, stages, NULL, &p->pipeline)
               : status;
}

static void close_bench(pipeline_bench *p) {
    for (uint32_t i = 0; i <= p->chain->n_stages; i++) {
        lathe_tensor_release(p->tensors[i]);
    }
    lathe_pipeline_free(p->pipeline);
    lathe_engine_free(p->engine);
}

lathe_status bench_pipeline(bench *b) {
    static const char *const granularities[] = {"", " by rows", " by groups of 128"};
    static const lathe_memory memories[] = {LATHE_MEMORY_HOST, LATHE_MEMORY_PINNED,
                                            LATHE_MEMORY_DEVICE};
    const size_t n_memories = strcmp(b->device.selector, "cpu") == 0 ? 1 : 3;
    lathe_status status = LATHE_OK;
    for (size_t k = 0; k < N_CASES * 3 * n_memories && status == LATHE_OK; k++) {
        const size_t i = k % (N_CASES * 3);
        pipeline_bench p = {.chain = &cases[i / 3], .memory = memories[k / (N_CASES * 3)]};
        if (p.memory == LATHE_MEMORY_PINNED && p.chain != &cases[0]) {
            continue; /* one shows what staging costs */
        }
        status = open(b, &p, (lathe_granularity)(i % 3));
        if (status == LATHE_OK) {
            status = measure(b, &p, granularities[i % 3]);
        }
        close_bench(&p);
    }
    return status;
}
