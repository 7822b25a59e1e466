/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=plan: what AUTO makes of conversions of all sizes, once it has tried
 * what it can, beside every other way by itself. */
#include "engine/plan/planner.h"
#include "strategies.h"
#include <string.h>

enum { MOST_WAYS = BENCH_MOST_ACTS, ROW_ELEMS = 1024 };

/* AUTO knows what it does after so many conversions, as far as they are alike. */
enum { N_LEARNING = 8 };

/* A way to convert: AUTO is the first. */
typedef struct way {
    const struct plan_bench *bench;
    char name[24];
    lathe_engine *engine;
} way;

typedef struct plan_bench {
    way ways[MOST_WAYS];
    size_t n_ways;
    size_t n_cpu_ways; /* the first ones, AUTO included */
    lathe_target target;
    lathe_tensor *source;
    lathe_tensor *result;
} plan_bench;

static const lathe_dtype pairs[][2] = {
    {LATHE_F32, LATHE_F16},       {LATHE_F16, LATHE_F32},       {LATHE_F32, LATHE_I8},
    {LATHE_F32, LATHE_BITNET158}, {LATHE_BITNET158, LATHE_F32},
};

/* Bytes in F32. Smaller tensors than LEAST_DEVICE_BYTES are all latency on a device: they are not
 * measured there. */
#define LEAST_DEVICE_BYTES (UINT64_C(1) << 20)
#define LEAST_BYTES (UINT64_C(4) << 10)
#define MOST_BYTES (UINT64_C(64) << 20)

/* A bench_fn, whose ctx is the way. */
static lathe_status run_way(void *ctx, uint64_t rounds) {
    const way *w = ctx;
    const plan_bench *p = w->bench;
    lathe_status status = LATHE_OK;
    for (uint64_t n = 0; n < rounds && status == LATHE_OK; n++) {
        status = lathe_convert_into(w->engine, p->source, &p->target, p->result, NULL);
    }
    return status;
}

static lathe_status add_way(bench *b, plan_bench *p, const char *name, const char *device) {
    cli_engine_options options = b->options->engine;
    way *added = &p->ways[p->n_ways];
    added->bench = p;
    options.config.device = device;
    options.config.require_device = 0;
    options.config.n_threads = b->n_threads;
    options.config.pool = b->pool;
    lathe_status status = cli_engine_create(&options, &added->engine);
    if (status == LATHE_OK) {
        snprintf(added->name, sizeof(added->name), "%s", name);
        p->n_ways++;
    }
    return status;
}

static lathe_status add_cpu_way(bench *b, plan_bench *p, const char *name, lt_place place) {
    lathe_status status = add_way(b, p, name, "cpu");
    if (status == LATHE_OK) {
        lt_planner *planner = p->ways[p->n_ways - 1].engine->planner;
        planner->is_fixed = true;
        planner->fixed = place;
    }
    return status;
}

/* Every GPU and accelerator; a processor's OpenCL if --device names it. */
static lathe_status add_devices(bench *b, plan_bench *p) {
    lathe_status status = LATHE_OK;
    size_t n_devices = lathe_device_count();
    for (size_t i = 1; i < n_devices && p->n_ways < MOST_WAYS && status == LATHE_OK; i++) {
        lathe_device_info info = {.struct_size = sizeof(info)};
        status = lathe_device_at(i, &info);
        bool is_wanted =
            strcmp(info.kind, "cpu") != 0 || strcmp(info.selector, b->device.selector) == 0;
        if (status == LATHE_OK && is_wanted) {
            status = add_way(b, p, info.selector, info.selector);
        }
    }
    return status;
}

static lathe_status add_ways(bench *b, plan_bench *p) {
    lathe_status status = add_way(b, p, "auto", "auto");
    if (status == LATHE_OK) {
        status = add_cpu_way(b, p, "one thread", LT_ON_CALLER);
    }
    if (status == LATHE_OK && b->n_threads > 1) {
        status = add_cpu_way(b, p, "all threads", LT_ON_THREADS);
    }
    p->n_cpu_ways = p->n_ways;
    return status == LATHE_OK ? add_devices(b, p) : status;
}

/* The tensor in F32, then in the type to start from, and the result. */
static lathe_status make_tensors(bench *b, plan_bench *p, lathe_dtype from, uint64_t n_bytes) {
    const uint64_t shape[] = {n_bytes / sizeof(float) / ROW_ELEMS, ROW_ELEMS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    const lathe_target source = {.struct_size = sizeof(source), .dtype = from};
    lathe_tensor *base = NULL;
    lathe_status status = lathe_tensor_create(b->pool, &desc, &base);
    if (status == LATHE_OK) {
        cli_weights(0, 0, (size_t)(n_bytes / sizeof(float)), lathe_tensor_mutable_data(base));
        status = lathe_convert(b->setup, base, &source, &p->source, NULL);
    }
    if (status == LATHE_OK) {
        status = lathe_convert(b->setup, p->source, &p->target, &p->result, NULL);
    }
    lathe_tensor_release(base);
    return status;
}

static void report(bench *b, const plan_bench *p, size_t n_ways, lathe_dtype from, uint64_t n_bytes,
                   const bench_times *times) {
    char what[64];
    char size[CLI_BYTES_TEXT];
    size_t best = 1;
    for (size_t i = 2; i < n_ways; i++) {
        best = times->seconds[i] < times->seconds[best] ? i : best;
    }
    bench_times shown = *times;
    shown.seconds[1] = times->seconds[best];
    shown.ratio[1] = times->ratio[best];
    snprintf(what, sizeof(what), "%s->%s, %s of f32", lathe_dtype_name(from),
             lathe_dtype_name(p->target.dtype), cli_bytes_text(n_bytes, size));
    bench_strategy_row(b, what, p->ways[best].name, &shown);
}

static lathe_status measure(bench *b, plan_bench *p, lathe_dtype from, uint64_t n_bytes) {
    bench_acts acts = {.n = n_bytes < LEAST_DEVICE_BYTES ? p->n_cpu_ways : p->n_ways};
    bench_times times;
    for (size_t i = 0; i < acts.n; i++) {
        acts.run[i] = run_way;
        acts.each[i] = &p->ways[i];
    }
    lathe_status status = make_tensors(b, p, from, n_bytes);
    if (status == LATHE_OK) {
        status = run_way(&p->ways[0], N_LEARNING);
    }
    if (status == LATHE_OK) {
        status = bench_measure(&acts, b->options->repeat, &times);
    }
    if (status == LATHE_OK) {
        report(b, p, acts.n, from, n_bytes, &times);
    }
    lathe_tensor_release(p->source);
    lathe_tensor_release(p->result);
    p->source = p->result = NULL;
    return status;
}

lathe_status bench_plan(bench *b) {
    plan_bench p = {.target = {.struct_size = sizeof(p.target)}};
    uint64_t most = b->options->quick ? MOST_BYTES / 16 : MOST_BYTES;
    lathe_status status = add_ways(b, &p);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        p.target.dtype = pairs[i][1];
        for (uint64_t n_bytes = LEAST_BYTES; n_bytes <= most && status == LATHE_OK; n_bytes *= 4) {
            status = measure(b, &p, pairs[i][0], n_bytes);
        }
    }
    for (size_t i = 0; i < p.n_ways; i++) {
        lathe_engine_free(p.ways[i].engine);
    }
    return status;
}
