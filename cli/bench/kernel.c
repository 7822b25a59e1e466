/* SPDX-License-Identifier: Apache-2.0 */
/* A conversion on the calling thread without what a call of the library costs. */
#include "kernel.h"
#include "cli.h"
#include "core/dtype.h"
#include "core/scale.h"
#include "core/tensor.h"
#include "cpu/cpu.h"
#include "engine/direct/direct.h"
#include "engine/engine.h"
#include "engine/plan/plan.h"
#include <stdlib.h>

struct bench_kernel {
    lathe_engine *engine;
    const lathe_tensor *source;
    lathe_target target;
    lathe_tensor *result;
    lt_plan plan;
    lt_buffer buffers[4]; /* the data and scales of both sides */
    lt_ranges ranges;
    lt_work work;
    lt_outcome outcome;
    lt_convert_fn *plain; /* all that the conversion takes; NULL: it takes more */
    lt_kernel_params params;
};

static lt_span span_of(const lathe_tensor *tensor, lt_buffer buffers[2]) {
    const uint64_t n_scales = tensor->layout.n_scales;
    buffers[0] = (lt_buffer){.host = tensor->data, .n_bytes = tensor->layout.n_bytes};
    buffers[1] = (lt_buffer){.host = tensor->scales, .n_bytes = n_scales * sizeof(float)};
    return (lt_span){.data = &buffers[0], .scales = n_scales > 0 ? &buffers[1] : NULL};
}

/* With the scale given, making the codes is one call, too. */
static lt_convert_fn *plain_kernel(const bench_kernel *k, bench_kind kind) {
    const lt_cpu_backend *cpu = (const lt_cpu_backend *)k->engine->cpu;
    const lt_pass *pass = &k->plan.pass;
    const lt_heat heat = pass->beyond_cache ? LT_COLD : LT_HOT;
    if (kind == BENCH_ENCODE) {
        return cpu->kernels.convert[heat][pass->src.dtype][pass->dst.dtype];
    }
    return k->plan.is_copy || k->plan.stats_first ? NULL : lt_cpu_plain_kernel(cpu, &k->work);
}

bench_kernel *bench_kernel_open(lathe_engine *engine, const bench_case *c,
                                const lathe_tensor *source, const lathe_target *target,
                                lathe_tensor *result, float scale) {
    const lt_backend *cpu = engine->cpu;
    bench_kernel *made = cli_allocate(1, sizeof(*made));
    *made = (bench_kernel){.engine = engine,
                           .source = source,
                           .target = *target,
                           .result = result,
                           .plan = lt_plan_make(cpu, &source->layout, &result->layout, target,
                                                cpu->max_own_scope_elems)};
    made->params = (lt_kernel_params){
        .scale = scale,
        .inv_scale = lt_inverse_scale(scale),
        .max_code = lt_dtype_traits_of(target->dtype)->max_code,
    };
    const lt_layout *dst = &made->plan.pass.dst;
    made->ranges =
        lt_ranges_cut(dst, cpu->elems_per_range, made->plan.pass.own_scales ? dst->scale_elems : 0);
    made->work = (lt_work){.pass = &made->plan.pass,
                           .src = span_of(source, &made->buffers[0]),
                           .dst = span_of(result, &made->buffers[2]),
                           .ranges = &made->ranges,
                           .n_ranges = made->ranges.n_ranges,
                           .outcome = &made->outcome,
                           .on_this_thread = true};
    lt_outcome_init(&made->outcome);
    made->plain = plain_kernel(made, c->kind);
    return made;
}

static void run_plain(const bench_kernel *k) {
    const lt_cpu_backend *cpu = (const lt_cpu_backend *)k->engine->cpu;
    k->plain(k->buffers[0].host, k->buffers[2].host, (size_t)k->plan.pass.src.n_elems, &k->params);
    if (k->plan.pass.beyond_cache && cpu->kernels.publish != NULL) {
        cpu->kernels.publish();
    }
}

static lathe_status convert_ranges(bench_kernel *k) {
    const lt_cpu_backend *cpu = (const lt_cpu_backend *)k->engine->cpu;
    lt_outcome_init(&k->outcome);
    for (uint64_t i = 0; i < k->ranges.n_ranges; i++) {
        const lt_range range = lt_ranges_at(&k->ranges, i);
        lt_cpu_convert_range(cpu, &k->work, &range);
    }
    return lt_outcome_status(&k->outcome, k->plan.pass.src.dtype, k->plan.pass.dst.dtype);
}

static lathe_status run_once(bench_kernel *k) {
    uint64_t n_saturated = 0;
    if (k->plain != NULL) {
        run_plain(k);
        return LATHE_OK;
    }
    if (k->plan.is_copy) {
        return lathe_convert_into(k->engine, k->source, &k->target, k->result, NULL);
    }
    if (k->plan.stats_first) {
        return lt_direct_convert_here(k->engine, k->source, &k->target, k->result, &n_saturated,
                                      NULL);
    }
    return convert_ranges(k);
}

lathe_status bench_kernel_run(void *ctx, uint64_t rounds) {
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = run_once(ctx);
    }
    return status;
}

void bench_kernel_close(bench_kernel *kernel) {
    free(kernel);
}
