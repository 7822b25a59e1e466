/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=quality: what PRECISE scales, and quality reports, cost beside the plain
 * conversion, and comparing two tensors beside reading them. On an OpenCL device with tensors of
 * the device, and of the host's, but for the comparison, which is the CPU's. */
#include "strategies.h"
#include <string.h>

typedef struct quality_bench {
    lathe_engine *engine;
    bool on_cpu;
    lathe_memory memory;
    const lathe_tensor *source;
    lathe_tensor *result;
    lathe_target target;
} quality_bench;

static lathe_status convert(const quality_bench *q, lathe_quality quality,
                            lathe_quality_report *report, uint64_t rounds) {
    lathe_target target = q->target;
    lathe_convert_stats stats = {.struct_size = sizeof(stats), .quality = report};
    lathe_status status = LATHE_OK;
    target.quality = quality;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_convert_into(q->engine, q->source, &target, q->result, &stats);
    }
    return status;
}

static lathe_status plainly(void *ctx, uint64_t rounds) {
    return convert(ctx, LATHE_BALANCED, NULL, rounds);
}

static lathe_status precisely(void *ctx, uint64_t rounds) {
    return convert(ctx, LATHE_PRECISE, NULL, rounds);
}

static lathe_status with_report(void *ctx, uint64_t rounds) {
    lathe_quality_report report = {.struct_size = sizeof(report)};
    return convert(ctx, LATHE_BALANCED, &report, rounds);
}

static lathe_status compare(void *ctx, uint64_t rounds) {
    const quality_bench *q = ctx;
    lathe_quality_report report = {.struct_size = sizeof(report)};
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_tensor_compare(q->engine, q->source, q->result, &report);
    }
    return status;
}

static lathe_status run(bench *b, quality_bench *q, const char *name, const char *what,
                        bench_fn *fn) {
    char text[64];
    bench_times times;
    const bench_acts acts = {.ctx = q, .n = 2, .run = {fn, plainly}};
    lathe_status status = bench_measure(&acts, b->options->repeat, &times);
    if (status == LATHE_OK) {
        const bool is_staged = !q->on_cpu && q->memory == LATHE_MEMORY_HOST;
        (void)snprintf(text, sizeof(text), "%s%s%s", name, what, is_staged ? ", host tensors" : "");
        bench_strategy_row(b, text, "the plain conversion", &times);
    }
    return status;
}

/* One target: PRECISE, where that differs, a report, and a comparison. */
static lathe_status run_target(bench *b, quality_bench *q, lathe_dtype dtype,
                               lathe_granularity granularity) {
    const bool is_quantized = dtype != LATHE_F16;
    const char *how = !is_quantized                     ? ""
                      : granularity == LATHE_PER_TENSOR ? "/tensor"
                      : granularity == LATHE_PER_ROW    ? "/row"
                                                        : "/group:128";
    char name[48];
    lathe_tensor_desc desc;
    (void)snprintf(name, sizeof(name), "f32->%s%s", lathe_dtype_name(dtype), how);
    q->target = (lathe_target){
        .struct_size = sizeof(q->target),
        .dtype = dtype,
        .granularity = granularity,
        .group_size = granularity == LATHE_PER_GROUP ? 128 : 0,
    };
    lathe_status status = lathe_target_desc(&q->target, lathe_tensor_n_dims(q->source),
                                            lathe_tensor_shape(q->source), &desc);
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(q->engine, q->memory, &desc, &q->result);
    }
    if (status == LATHE_OK && is_quantized) {
        status = run(b, q, name, ", precise", precisely);
    }
    if (status == LATHE_OK) {
        status = run(b, q, name, ", with a report", with_report);
    }
    if (status == LATHE_OK && q->on_cpu) {
        status = run(b, q, name, ", compared", compare);
    }
    lathe_tensor_release(q->result);
    q->result = NULL;
    return status;
}

/* The base, where the engine converts from. */
static lathe_status make_source(bench *b, const quality_bench *q, lathe_tensor **source) {
    const uint64_t *shape = lathe_tensor_shape(b->base);
    const lathe_tensor_desc desc = {.struct_size = sizeof(desc),
                                    .dtype = lathe_tensor_dtype(b->base),
                                    .n_dims = lathe_tensor_n_dims(b->base),
                                    .shape = shape};
    lathe_status status = lathe_engine_tensor_create(q->engine, q->memory, &desc, source);
    return status == LATHE_OK ? lathe_tensor_copy(q->engine, b->base, *source) : status;
}

/* Every target, of tensors in that memory. */
static lathe_status run_targets(bench *b, quality_bench *q, lathe_memory memory) {
    static const lathe_dtype dtypes[] = {LATHE_I8, LATHE_I4, LATHE_BITNET158};
    lathe_tensor *copy = NULL;
    lathe_status status = LATHE_OK;
    q->memory = memory;
    if (memory != LATHE_MEMORY_HOST) {
        status = make_source(b, q, &copy);
    }
    q->source = memory != LATHE_MEMORY_HOST ? copy : b->base;
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
        for (int g = LATHE_PER_TENSOR; status == LATHE_OK && g <= LATHE_PER_GROUP; g++) {
            status = run_target(b, q, dtypes[i], (lathe_granularity)g);
        }
    }
    if (status == LATHE_OK) {
        status = run_target(b, q, LATHE_F16, LATHE_PER_TENSOR);
    }
    lathe_tensor_release(copy);
    return status;
}

lathe_status bench_quality(bench *b) {
    quality_bench q = {.on_cpu = strcmp(b->device.selector, "cpu") == 0};
    lathe_status status = bench_strategy_engine(b, &q.engine);
    if (status == LATHE_OK) {
        status = bench_make_base(b);
    }
    if (status == LATHE_OK && !q.on_cpu) {
        status = run_targets(b, &q, LATHE_MEMORY_DEVICE);
    }
    if (status == LATHE_OK) {
        status = run_targets(b, &q, LATHE_MEMORY_HOST);
    }
    lathe_engine_free(q.engine);
    return status;
}
