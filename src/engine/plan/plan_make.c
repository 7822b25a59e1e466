/* SPDX-License-Identifier: Apache-2.0 */
/* lathe_plan_make: which strategy suits a conversion, and what it would cost. */
#include "core/checked.h"
#include "core/error.h"
#include "core/precise.h"
#include "engine/in_place/waves.h"
#include "engine/plan/amount.h"
#include "engine/plan/planner.h"
#include "engine/stream/stream_job.h"
#include "engine/stream/tensor_stream.h"
#include "pool/size_class.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Of all slots, unless the config says otherwise: lathe_streaming_config. */
#define DEFAULT_BUFFER_BYTES (UINT64_C(64) << 20)

/* What a plan is made from. */
typedef struct draft {
    lathe_engine *engine;
    const lathe_tensor_desc *source;
    const lathe_target *target;
    lathe_tensor_desc to;
    lathe_memory memory;
    bool may_consume;
    lt_layout src;
    lt_layout dst;
    lt_case c;
    uint64_t limit; /* of memory beside the source */
    lt_way way;     /* the fastest */
    lt_estimate estimate;
    lathe_plan plan;
} draft;

/* ---- the parts of a plan */

static uint64_t bytes_of(const lt_layout *layout) {
    return layout->n_bytes + layout->n_scales * sizeof(float);
}

static void set_place(draft *d, const lathe_engine *engine, lt_place place) {
    lathe_device_info info = {.struct_size = sizeof info};
    bool is_on_cpu = place == LT_ON_CALLER || place == LT_ON_THREADS;
    const lt_backend *backend = is_on_cpu ? engine->cpu : engine->device;
    backend->ops->describe(backend, &info);
    memcpy(d->plan.device, info.selector, sizeof d->plan.device);
    d->plan.n_threads = !is_on_cpu ? 0 : place == LT_ON_CALLER ? 1 : engine->cpu->n_threads;
}

/* What the pool takes for a block. */
static uint64_t block_bytes(size_t n_bytes) {
    uint32_t size_class;
    size_t capacity = 0;
    return lt_size_class_of(n_bytes, &size_class, &capacity) ? capacity : n_bytes;
}

/* Names the passes, and returns the bytes that finding scales takes meanwhile. In place they are
 * found before anything else. */
static uint64_t set_passes(draft *d, const lathe_engine *engine, lt_place place) {
    const bool in_place = d->plan.strategy == LATHE_STRATEGY_IN_PLACE;
    bool is_on_cpu = place == LT_ON_CALLER || place == LT_ON_THREADS;
    lt_backend *backend = is_on_cpu ? engine->cpu : engine->device;
    const bool searches =
        !is_on_cpu && lt_precise_applies(d->dst.dtype, (lathe_quality)d->target->quality);
    const lt_plan passes = lt_plan_make(backend, &d->src, &d->dst, d->target,
                                        searches || in_place ? 0 : backend->max_own_scope_elems);
    const bool is_short = searches && passes.pass.tiling.scope_elems <= LT_PRECISE_ELEMS;
    const bool reads_once = passes.stats_first && !in_place && place == LT_ON_DEVICE &&
                            backend->ops->takes_rows != NULL &&
                            backend->ops->takes_rows(backend, &passes.pass);
    const bool stats_first = passes.stats_first && !reads_once;
    d->plan.n_passes = 0;
    if (stats_first) {
        d->plan.passes[d->plan.n_passes++] = is_short ? "search" : "stats";
    }
    if (stats_first && passes.pass.quality == LATHE_PRECISE && !is_short) {
        d->plan.passes[d->plan.n_passes++] = "histogram";
        d->plan.passes[d->plan.n_passes++] = "errors";
    }
    d->plan.passes[d->plan.n_passes++] = passes.is_copy ? "copy" : "convert";
    uint64_t window = lt_min(passes.pass.tiling.n_tiles, backend->stats_window);
    if (!passes.stats_first) {
        return 0;
    }
    const bool has_bins = passes.pass.quality == LATHE_PRECISE && !searches;
    return window * sizeof(double) +
           (has_bins ? block_bytes(sizeof(lt_scan)) + LT_PRECISE_BINS * sizeof(uint64_t) : 0);
}

static void set_estimate(draft *d, double ns) {
    d->plan.estimated_ns = ns < 1 ? 1 : (uint64_t)ns;
}

static lathe_status too_little(const draft *d, uint64_t required) {
    lathe_status status = lt_fail(LATHE_INSUFFICIENT_MEMORY,
                                  "%s would take %s beside the source, of which %s are left",
                                  lathe_strategy_name(d->plan.strategy),
                                  lt_bytes_text(required).text, lt_bytes_text(d->limit).text);
    lt_error()->required_bytes = required;
    lt_error()->available_bytes = d->limit;
    lt_error()->from = d->src.dtype;
    lt_error()->to = d->dst.dtype;
    lt_error()->stage = "plan";
    return status;
}

static lathe_status cannot(const draft *d, lathe_strategy strategy, const char *why) {
    lathe_status status =
        lt_fail(LATHE_INCOMPATIBLE_TYPES, "%s to %s by %s: %s", lathe_dtype_name(d->src.dtype),
                lathe_dtype_name(d->dst.dtype), lathe_strategy_name(strategy), why);
    lt_error()->from = d->src.dtype;
    lt_error()->to = d->dst.dtype;
    lt_error()->stage = "plan";
    return status;
}

/* ---- where, and how long */

/* The fastest way, measured if need be. */
static void choose_way(draft *d) {
    lt_planner *planner = d->engine->planner;
    bool is_on_device = d->memory == LATHE_MEMORY_DEVICE;
    (void)pthread_mutex_lock(&planner->mutex);
    if (d->engine->device != NULL) {
        const lt_place place = lt_device_place(d->engine, is_on_device);
        if (place == LT_ON_DEVICE || !lt_case_is_for_cpu(&d->c, d->engine->device)) {
            lt_calibrate(planner, d->engine, place, &d->c);
        }
    }
    lt_calibrate(planner, d->engine, LT_ON_CALLER, &d->c);
    lt_calibrate(planner, d->engine, LT_ON_THREADS, &d->c);
    lt_calibration_write(planner);
    (void)pthread_mutex_unlock(&planner->mutex);
    d->way = lt_planner_choose(d->engine, &d->c, is_on_device);
    d->estimate = lt_costs_estimate(planner->costs, d->way.place, &d->c);
    bool is_on_cpu = d->way.place == LT_ON_CALLER || d->way.place == LT_ON_THREADS;
    bool is_impossible = d->estimate.ns >= (double)LT_IMPOSSIBLE_NS_PER_BYTE * (double)d->c.n_bytes;
    if (is_on_cpu || is_impossible) {
        bool spread = lt_costs_spread(planner->costs, &d->c, false);
        d->way = (lt_way){d->engine, spread ? LT_ON_THREADS : LT_ON_CALLER};
        d->estimate = lt_costs_estimate(planner->costs, d->way.place, &d->c);
    }
}

/* The CPU's time, the calling thread's and all threads'. */
static void say_threads(draft *d, char *text, size_t n_bytes) {
    const lt_costs *costs = d->engine->planner->costs;
    uint32_t n = d->engine->cpu->n_threads;
    double alone = lt_costs_estimate(costs, LT_ON_CALLER, &d->c).ns;
    double spread = lt_costs_estimate(costs, LT_ON_THREADS, &d->c).ns;
    if (n == 1) {
        (void)snprintf(text, n_bytes, "the engine has one thread");
    } else if (d->way.place == LT_ON_CALLER) {
        (void)snprintf(text, n_bytes, "one thread takes %s, %" PRIu32 " would take %s",
                       lt_time_text(alone).text, n, lt_time_text(spread).text);
    } else {
        (void)snprintf(text, n_bytes, "%" PRIu32 " threads take %s, one would take %s", n,
                       lt_time_text(spread).text, lt_time_text(alone).text);
    }
}

static void say_device(draft *d, char *text, size_t n_bytes) {
    double cpu_ns = lt_costs_estimate(d->engine->planner->costs, LT_ON_THREADS, &d->c).ns;
    if (d->memory == LATHE_MEMORY_DEVICE) {
        (void)snprintf(text, n_bytes, "the tensor is in the device's memory");
    } else if (d->engine->device != NULL) {
        (void)snprintf(text, n_bytes, "the engine converts on its device");
    } else {
        (void)snprintf(text, n_bytes, "the device takes %s, the CPU would take %s",
                       lt_time_text(d->estimate.ns).text, lt_time_text(cpu_ns).text);
    }
}

/* ---- the strategies: each fills in the plan, or fails */

static lathe_status plan_zero_copy(draft *d) {
    lathe_plan *plan = &d->plan;
    plan->strategy = LATHE_STRATEGY_ZERO_COPY;
    if (!lt_layout_equal(&d->src, &d->dst)) {
        return cannot(d, plan->strategy, "bytes and scales would differ");
    }
    lt_planner *planner = d->engine->planner;
    (void)pthread_mutex_lock(&planner->mutex);
    set_estimate(d, lt_calibrate_zero_copy(planner));
    (void)pthread_mutex_unlock(&planner->mutex);
    set_place(d, d->engine, d->engine->device != NULL ? LT_ON_DEVICE : LT_ON_CALLER);
    plan->n_threads = 0;
    (void)snprintf(plan->reason, sizeof plan->reason,
                   "the source already is what the target asks for, and is shared");
    return LATHE_OK;
}

/* True if the result fits where the source is, and some order of conversion is safe. */
static bool fits_in_place(const draft *d) {
    if (d->dst.n_bytes > d->src.n_bytes || d->src.n_elems == 0) {
        return false;
    }
    return lt_waves_can_finish(
        lt_waves_make(&d->src, &d->dst, LT_WAVE_QUANTUM, LT_WAVE_QUANTUM, 1, false));
}

static lathe_status plan_in_place(draft *d) {
    lathe_plan *plan = &d->plan;
    plan->strategy = LATHE_STRATEGY_IN_PLACE;
    if (!fits_in_place(d)) {
        return cannot(d, plan->strategy, "the source's memory does not hold the result");
    }
    /* Memory that the device does not reach is the CPU's to convert. */
    lt_way way = d->way;
    if (way.place == LT_THROUGH_DEVICE) {
        way = (lt_way){d->engine, LT_ON_THREADS};
    }
    set_place(d, way.engine, way.place);
    /* A device's scales are made on the host, too. */
    const uint64_t n_copies = way.place == LT_ON_DEVICE ? 2 : 1;
    plan->extra_bytes = set_passes(d, way.engine, way.place);
    plan->extra_bytes += d->dst.n_scales * sizeof(float) * n_copies;
    set_estimate(d, lt_costs_estimate(d->engine->planner->costs, way.place, &d->c).ns);
    if (plan->extra_bytes > d->limit) {
        return too_little(d, plan->extra_bytes);
    }
    (void)snprintf(plan->reason, sizeof plan->reason,
                   "the source may be consumed, and its %s hold the result",
                   lt_bytes_text(d->src.n_bytes).text);
    return LATHE_OK;
}

/* On the way's place, or on the CPU where that goes through a device. */
static lathe_status plan_direct(draft *d) {
    lathe_plan *plan = &d->plan;
    plan->strategy = LATHE_STRATEGY_DIRECT;
    if (d->way.place == LT_THROUGH_DEVICE) {
        bool spread = lt_costs_spread(d->engine->planner->costs, &d->c, false);
        d->way = (lt_way){d->engine, spread ? LT_ON_THREADS : LT_ON_CALLER};
        d->estimate = lt_costs_estimate(d->engine->planner->costs, d->way.place, &d->c);
    }
    set_place(d, d->way.engine, d->way.place);
    plan->extra_bytes = bytes_of(&d->dst) + set_passes(d, d->way.engine, d->way.place);
    set_estimate(d, d->estimate.ns);
    if (plan->extra_bytes > d->limit) {
        return too_little(d, plan->extra_bytes);
    }
    if (d->way.place == LT_ON_DEVICE) {
        say_device(d, plan->reason, sizeof plan->reason);
    } else {
        say_threads(d, plan->reason, sizeof plan->reason);
    }
    return LATHE_OK;
}

/* A whole result, by chunks through a device's memory. */
static lathe_status plan_through_device(draft *d) {
    lathe_plan *plan = &d->plan;
    plan->strategy = LATHE_STRATEGY_STREAMING;
    set_place(d, d->way.engine, d->way.place);
    uint64_t stats_bytes = set_passes(d, d->way.engine, d->way.place);
    plan->extra_bytes =
        bytes_of(&d->dst) + stats_bytes + lt_tensor_stream_bytes(d->way.engine, d->c.n_bytes);
    set_estimate(d, d->estimate.ns);
    if (plan->extra_bytes > d->limit) {
        return too_little(d, plan->extra_bytes);
    }
    say_device(d, plan->reason, sizeof plan->reason);
    return LATHE_OK;
}

/* Where a stream with slots of so many bytes converts, and what its blocks take of the pool,
 * whichever of its ends the caller has in memory. */
static lathe_status try_slots(const draft *d, uint64_t buffer_bytes, lt_place *place,
                              uint64_t *n_bytes) {
    lt_streamer_options options = {.from = d->source, .target = d->target};
    lathe_status status = LATHE_OK;
    options.config.buffer_bytes = lt_max(buffer_bytes, 1); /* 0: the default */
    *n_bytes = 0;
    for (int ends = 0; status == LATHE_OK && ends < 4; ends++) {
        lt_streamer *streamer = NULL;
        options.in_memory = (lt_stream_sides){.has_source = ends % 2 != 0, .has_sink = ends > 1};
        status = lt_streamer_open(d->way.engine, &options, &streamer);
        if (status == LATHE_OK) {
            const lt_backend *backend = streamer->backend;
            *n_bytes = lt_max(*n_bytes, streamer->n_slots * block_bytes(streamer->slot_bytes) *
                                            backend->staged_cost);
            *place = backend == d->way.engine->device ? d->way.place : LT_ON_THREADS;
            lt_streamer_free(streamer);
        }
    }
    return status;
}

/* To where no memory of ours is: the slots are all that it takes. */
static lathe_status plan_streaming(draft *d) {
    lathe_plan *plan = &d->plan;
    const uint64_t configured = d->engine->streaming.buffer_bytes;
    lt_place place = LT_ON_THREADS;
    uint64_t slot_bytes = 0;
    plan->strategy = LATHE_STRATEGY_STREAMING;
    /* Beside the slots: on the device, or on the CPU, which takes over where no slot fits there. */
    const uint64_t stats_bytes = lt_max(set_passes(d, d->way.engine, d->way.place),
                                        set_passes(d, d->way.engine, LT_ON_THREADS));
    const uint64_t left = d->limit - lt_min(stats_bytes, d->limit);
    const uint64_t buffer_bytes = lt_min(left, configured != 0 ? configured : DEFAULT_BUFFER_BYTES);
    lathe_status status = try_slots(d, buffer_bytes, &place, &slot_bytes);
    if (status == LATHE_OK && slot_bytes > left) { /* blocks may be larger by an eighth */
        status = try_slots(d, left / 9 * 8, &place, &slot_bytes);
    }
    if (status != LATHE_OK) {
        return status == LATHE_INSUFFICIENT_MEMORY
                   ? too_little(d, lt_max(lt_error()->required_bytes + stats_bytes, d->limit + 1))
                   : status;
    }
    set_place(d, d->way.engine, place);
    plan->extra_bytes = slot_bytes + set_passes(d, d->way.engine, place);
    if (plan->extra_bytes > d->limit) { /* chunks are at least so large */
        return too_little(d, plan->extra_bytes);
    }
    set_estimate(d, lt_costs_estimate(d->engine->planner->costs, place, &d->c).ns);
    if (bytes_of(&d->dst) > d->limit) {
        (void)snprintf(plan->reason, sizeof plan->reason,
                       "the result takes %s, of which %s are left, so it is made in chunks",
                       lt_bytes_text(bytes_of(&d->dst)).text, lt_bytes_text(d->limit).text);
    } else {
        (void)snprintf(plan->reason, sizeof plan->reason,
                       "streaming was asked for: the result is not kept");
    }
    return LATHE_OK;
}

/* ---- choosing */

static bool is_what_target_asks_for(const draft *d) {
    const lathe_tensor_desc *from = d->source;
    bool is_quantized = lathe_dtype_is_quantized(d->dst.dtype);
    bool same_scales = !is_quantized || (from->granularity == d->to.granularity &&
                                         from->group_size == d->to.group_size);
    return lt_layout_equal(&d->src, &d->dst) && same_scales &&
           lt_max(from->row_dims, 1) == lt_max(d->to.row_dims, 1);
}

/* The first that fits in the memory; the fastest come first. */
static lathe_status plan_auto(draft *d) {
    if (is_what_target_asks_for(d)) {
        return plan_zero_copy(d);
    }
    if (d->may_consume && fits_in_place(d)) {
        choose_way(d);
        return plan_in_place(d);
    }
    lathe_status status = LATHE_INSUFFICIENT_MEMORY;
    choose_way(d);
    if (d->way.place == LT_THROUGH_DEVICE) {
        status = plan_through_device(d);
    }
    if (status == LATHE_INSUFFICIENT_MEMORY) {
        status = plan_direct(d);
    }
    return status == LATHE_INSUFFICIENT_MEMORY && d->memory != LATHE_MEMORY_DEVICE
               ? plan_streaming(d)
               : status;
}

static lathe_status plan_as(draft *d, lathe_strategy strategy) {
    switch (strategy) {
    case LATHE_STRATEGY_AUTO:
        return plan_auto(d);
    case LATHE_STRATEGY_ZERO_COPY:
        return plan_zero_copy(d);
    case LATHE_STRATEGY_IN_PLACE:
        choose_way(d);
        return plan_in_place(d);
    case LATHE_STRATEGY_DIRECT:
        choose_way(d);
        return plan_direct(d);
    case LATHE_STRATEGY_STREAMING:
        choose_way(d);
        return plan_streaming(d);
    case LATHE_STRATEGY_BATCH:
    case LATHE_STRATEGY_PIPELINE:
        break;
    }
    return lt_fail(LATHE_INVALID_ARGUMENT, "options strategy: %s is not one conversion's",
                   lathe_strategy_name(strategy));
}

static lathe_status check_options(const lathe_plan_options *options) {
    if (options->struct_size != sizeof *options) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "options struct_size is not sizeof(lathe_plan_options)");
    }
    if (options->may_consume > 1) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "options may_consume: %" PRIu32 " is neither 0 nor 1", options->may_consume);
    }
    return LATHE_OK;
}

static lathe_status check(lathe_engine *engine, lathe_memory memory, const lathe_plan *plan) {
    if (engine == NULL || plan == NULL || plan->struct_size != sizeof *plan) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "engine or plan is NULL, or struct_size is not sizeof(lathe_plan)");
    }
    if (memory != LATHE_MEMORY_HOST && memory != LATHE_MEMORY_PINNED &&
        memory != LATHE_MEMORY_DEVICE) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "memory %d is none of the three", (int)memory);
    }
    if (memory == LATHE_MEMORY_DEVICE && engine->device == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "memory: the engine has no device");
    }
    return LATHE_OK;
}

static uint64_t left_in_pool(lathe_pool *pool) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    (void)lathe_pool_get_stats(pool, &stats);
    return stats.budget_bytes == UINT64_MAX ? UINT64_MAX : stats.budget_bytes - stats.in_use_bytes;
}

static double compression_of(const draft *d) {
    uint64_t to = bytes_of(&d->dst);
    return to == 0 ? 1 : (double)bytes_of(&d->src) / (double)to;
}

lathe_status lathe_plan_make(lathe_engine *engine, const lathe_tensor_desc *source,
                             lathe_memory memory, const lathe_target *target,
                             const lathe_plan_options *options, lathe_plan *plan) {
    const lathe_plan_options defaults = {.struct_size = sizeof defaults};
    options = options != NULL ? options : &defaults;
    draft d = {.engine = engine,
               .source = source,
               .target = target,
               .memory = memory,
               .plan = {.struct_size = sizeof *plan}};
    lathe_status status = check(engine, memory, plan);
    if (status == LATHE_OK) {
        status = check_options(options);
    }
    if (status == LATHE_OK) {
        status = lt_layout_of(source, &d.src);
    }
    if (status == LATHE_OK) {
        status = lathe_target_desc(target, source->n_dims, source->shape, &d.to);
    }
    if (status == LATHE_OK) {
        status = lt_layout_of(&d.to, &d.dst);
    }
    if (status != LATHE_OK) {
        return status;
    }
    d.c = lt_case_of(&d.src, &d.dst, target);
    d.limit = options->memory_bytes != 0 ? options->memory_bytes : left_in_pool(engine->pool);
    d.may_consume = options->may_consume == 1;
    d.plan.compression = compression_of(&d);
    status = plan_as(&d, options->strategy);
    if (status == LATHE_OK) {
        *plan = d.plan;
    }
    return status;
}
