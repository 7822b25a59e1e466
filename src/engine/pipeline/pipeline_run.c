/* SPDX-License-Identifier: Apache-2.0 */
/* Running a pipeline: its stages are cut into segments, each of which is one conversion or a chain
 * of several whose intermediate values are not stored. */
#include "engine/pipeline/pipeline.h"

#include "core/dtype.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "engine/check_result.h"
#include "engine/convert.h"
#include "engine/device/device_tensor.h"
#include "engine/pipeline/chain_run.h"
#include "pool/pool.h"

/* One run. */
typedef struct pipeline_run {
    lathe_engine *engine;
    lathe_pipeline *pipeline;
    const lathe_tensor *source;
    uint64_t source_version;
    uint64_t cache_bytes;
    lathe_tensor_desc descs[LATHE_PIPELINE_MAX_STAGES];
    lt_layout layouts[LATHE_PIPELINE_MAX_STAGES];
    lathe_tensor *current; /* a reference to the newest result, or the source */
    uint32_t n_done;       /* stages that led to it */
    bool on_device;        /* the device did all of it */
    bool fell_back;
    lathe_pipeline_run_stats stats;
} pipeline_run;

/* The stages of a segment that do anything: those whose layout is that of the values before are
 * copies. */
typedef struct segment {
    uint32_t n_steps;
    uint32_t stages[LATHE_PIPELINE_MAX_STAGES];
    lt_layout layouts[LATHE_PIPELINE_MAX_STAGES];
    lathe_target targets[LATHE_PIPELINE_MAX_STAGES];
} segment;

static uint64_t size_of(const lt_layout *layout) {
    return layout->n_bytes + layout->n_scales * sizeof(float);
}

/* Adds to the last error which stage has failed. */
static lathe_status fail_stage(const pipeline_run *run, uint32_t stage) {
    lathe_error *error = lt_error();
    error->stage = lt_pipeline_stage_name(stage);
    error->from = stage == 0 ? run->source->layout.dtype : run->layouts[stage - 1].dtype;
    error->to = run->pipeline->stages[stage].target.dtype;
    return lt_fail_prefix("stage %u", (unsigned)(stage + 1));
}

static bool is_kept(const pipeline_run *run, uint32_t stage) {
    return run->pipeline->stages[stage].cache != 0 && run->cache_bytes > 0;
}

/* PRECISE has its own way of finding scales. */
static bool is_alone(const pipeline_run *run, uint32_t stage) {
    const lathe_target *target = &run->pipeline->stages[stage].target;
    return (lathe_dtype_is_quantized(target->dtype) && target->quality == LATHE_PRECISE) ||
           run->source->layout.n_elems == 0;
}

/* The end of the segment that begins with a stage. */
static uint32_t segment_end(const pipeline_run *run, uint32_t first) {
    uint32_t i = first;
    while (i < run->pipeline->n_stages && !is_alone(run, i)) {
        bool is_stored = run->pipeline->stages[i].strategy == LATHE_STRATEGY_DIRECT;
        i++;
        if (is_stored || is_kept(run, i - 1)) {
            return i;
        }
    }
    return i == first ? first + 1 : i;
}

static segment segment_of(const pipeline_run *run, uint32_t first, uint32_t end) {
    segment made = {0};
    const lt_layout *before = &run->current->layout;
    for (uint32_t i = first; i < end; i++) {
        if (!lt_layout_equal(before, &run->layouts[i])) {
            made.stages[made.n_steps] = i;
            made.layouts[made.n_steps] = run->layouts[i];
            made.targets[made.n_steps] = run->pipeline->stages[i].target;
            made.n_steps++;
            before = &run->layouts[i];
        }
    }
    return made;
}

/* ---- conversions */

static bool is_on(const lathe_tensor *tensor, const lt_backend *backend) {
    return tensor->memory == LATHE_MEMORY_DEVICE && tensor->on_device->backend == backend;
}

/* A tensor that the backend reaches in another's place: the same one if it does. */
static lathe_status twin_of(lathe_engine *engine, const lt_backend *backend, lathe_tensor *tensor,
                            lathe_tensor **twin) {
    bool is_remote = backend->is_remote;
    if (is_remote ? is_on(tensor, backend) : tensor->memory != LATHE_MEMORY_DEVICE) {
        *twin = lathe_tensor_retain(tensor);
        return LATHE_OK;
    }
    const lathe_tensor_desc desc = lt_tensor_desc_of(tensor);
    lathe_memory memory = is_remote ? LATHE_MEMORY_DEVICE : LATHE_MEMORY_HOST;
    return lathe_engine_tensor_create(engine, memory, &desc, twin);
}

static lathe_status chain_between(const pipeline_run *run, lt_backend *backend, const segment *s,
                                  const lathe_tensor *from, lathe_tensor *to,
                                  lt_chain_report *report) {
    return lt_chain_convert(run->engine, backend, from, s->n_steps, s->layouts, s->targets, to,
                            false, report);
}

/* Through copies of what the backend does not reach. */
static lathe_status chain_of_twins(const pipeline_run *run, lt_backend *backend, const segment *s,
                                   lathe_tensor *to, lt_chain_report *report) {
    lathe_tensor *from_twin = NULL;
    lathe_tensor *to_twin = NULL;
    lathe_status status = twin_of(run->engine, backend, run->current, &from_twin);
    if (status == LATHE_OK) {
        status = twin_of(run->engine, backend, to, &to_twin);
    }
    if (status == LATHE_OK && from_twin != run->current) {
        status = lt_tensor_copy_contents(run->current, from_twin);
    }
    if (status == LATHE_OK) {
        status = chain_between(run, backend, s, from_twin, to_twin, report);
    }
    if (status == LATHE_OK && to_twin != to) {
        status = lt_tensor_copy_contents(to_twin, to);
    }
    lathe_tensor_release(from_twin);
    lathe_tensor_release(to_twin);
    return status;
}

/* Between tensors of the host's a device streams, unless it would have to fetch the source twice
 * and has memory for all of it. */
static lathe_status chain_on(const pipeline_run *run, lt_backend *backend, const segment *s,
                             lathe_tensor *to, lt_chain_report *report) {
    bool reads_once = false;
    bool is_apart = backend->is_remote && run->current->memory != LATHE_MEMORY_DEVICE &&
                    to->memory != LATHE_MEMORY_DEVICE;
    lathe_status status = lt_chain_check_kernels(run->engine, backend, &run->current->layout,
                                                 s->n_steps, s->layouts, s->targets, &reads_once);
    if (status != LATHE_OK) {
        return status;
    }
    if (!is_apart || !reads_once) {
        status = chain_of_twins(run, backend, s, to, report);
    }
    return is_apart && (reads_once || status == LATHE_INSUFFICIENT_MEMORY)
               ? chain_between(run, backend, s, run->current, to, report)
               : status;
}

static bool is_of_data(lathe_status status) {
    return status == LATHE_NON_FINITE || status == LATHE_DATA_LOSS || status == LATHE_CORRUPT_DATA;
}

/* One conversion by itself. */
static lathe_status convert_step(pipeline_run *run, const lathe_tensor *from,
                                 const lathe_target *target, lathe_tensor *to,
                                 lt_chain_report *report) {
    lt_done done;
    lathe_status status = lt_convert_contents(run->engine, from, target, to, &done);
    run->on_device = run->on_device && done.on_device;
    run->fell_back = run->fell_back || done.fell_back;
    report->n_saturated += done.n_saturated;
    report->n_passes++;
    return status;
}

/* A chain's steps one by one, through tensors of their own. */
static lathe_status convert_steps(pipeline_run *run, const segment *s, lathe_tensor *to,
                                  lt_chain_report *report) {
    lathe_tensor *from = lathe_tensor_retain(run->current);
    lathe_status status = LATHE_OK;
    for (uint32_t i = 0; status == LATHE_OK && i < s->n_steps; i++) {
        lathe_tensor *made = NULL;
        if (i + 1 == s->n_steps) {
            made = lathe_tensor_retain(to);
        } else {
            status = lathe_engine_tensor_create(run->engine, run->source->memory,
                                                &run->descs[s->stages[i]], &made);
        }
        if (status == LATHE_OK) {
            report->failed_step = i;
            status = convert_step(run, from, &s->targets[i], made, report);
        }
        lathe_tensor_release(from);
        from = made;
    }
    lathe_tensor_release(from);
    return status;
}

static void count_saved(pipeline_run *run, const segment *s) {
    for (uint32_t i = 0; i + 1 < s->n_steps; i++) {
        run->stats.saved_bytes += size_of(&s->layouts[i]);
    }
}

/* On the engine's device; what that fails at, the CPU does. */
static lathe_status run_chain(pipeline_run *run, const segment *s, lathe_tensor *to,
                              lt_chain_report *report) {
    lathe_engine *engine = run->engine;
    if (engine->device != NULL) {
        lathe_status status = chain_on(run, engine->device, s, to, report);
        if (status == LATHE_OK) {
            count_saved(run, s);
            return LATHE_OK;
        }
        if (status == LATHE_NOT_SUPPORTED) {
            *report = (lt_chain_report){0};
            status = convert_steps(run, s, to, report);
        }
        if (!lt_engine_may_fall_back(engine, status)) {
            return status;
        }
        run->fell_back = true;
    }
    run->on_device = false;
    lathe_status status = chain_on(run, engine->cpu, s, to, report);
    if (status == LATHE_OK) {
        count_saved(run, s);
    }
    return status;
}

static lathe_status convert_segment(pipeline_run *run, const segment *s, lathe_tensor *to) {
    lt_chain_report report = {0};
    lathe_status status = LATHE_OK;
    lt_fpenv saved;
    if (s->n_steps == 0) {
        return lt_tensor_copy_contents(run->current, to);
    }
    if (s->n_steps == 1) {
        status = convert_step(run, run->current, &s->targets[0], to, &report);
        if (status != LATHE_OK) {
            return fail_stage(run, s->stages[0]);
        }
    } else {
        bool on_host = run->current->memory != LATHE_MEMORY_DEVICE;
        if (on_host) {
            status = lt_scales_check(run->current->scales, run->current->layout.n_scales, 0);
        }
        lt_fpenv_enter(&saved);
        if (status == LATHE_OK) {
            status = run_chain(run, s, to, &report);
        }
        lt_fpenv_leave(&saved);
        if (is_of_data(status)) {
            return fail_stage(run, s->stages[report.failed_step]);
        }
    }
    run->stats.n_saturated += report.n_saturated;
    run->stats.n_passes += report.n_passes;
    run->stats.n_derived += report.n_derived;
    return status;
}

/* ---- segments */

/* Takes the stages from n_done to `end` in one go. */
static lathe_status run_segment(pipeline_run *run, uint32_t end, lathe_tensor *into) {
    const segment s = segment_of(run, run->n_done, end);
    const lathe_tensor_desc *desc = &run->descs[end - 1];
    bool is_last = end == run->pipeline->n_stages;
    bool is_shared = s.n_steps == 0 && lt_tensor_is(run->current, desc, &run->layouts[end - 1]);
    lathe_tensor *made = NULL;
    lathe_status status = LATHE_OK;
    if (is_last && into != NULL) {
        made = lathe_tensor_retain(into);
    } else if (is_shared) {
        made = lathe_tensor_retain(run->current);
    } else {
        lathe_memory memory =
            run->source->memory == LATHE_MEMORY_DEVICE ? LATHE_MEMORY_DEVICE : LATHE_MEMORY_HOST;
        status = lathe_engine_tensor_create(run->engine, memory, desc, &made);
    }
    if (status == LATHE_OK && made != run->current) {
        status = convert_segment(run, &s, made);
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(made);
        return status;
    }
    lathe_tensor_release(run->current);
    run->current = made;
    run->stats.n_stages += end - run->n_done;
    run->n_done = end;
    if (is_kept(run, end - 1) && made != into && made != run->source) {
        lt_result_cache_put(&run->pipeline->cache, run->source, run->source_version, end - 1, made,
                            run->cache_bytes);
    }
    return LATHE_OK;
}

/* Begins with the latest result that the cache has. */
static void start(pipeline_run *run, const lathe_tensor *into) {
    uint32_t n_usable = run->pipeline->n_stages - (into != NULL ? 1 : 0);
    run->current = lathe_tensor_retain((lathe_tensor *)(uintptr_t)run->source);
    for (uint32_t i = n_usable; i-- > 0;) {
        if (!is_kept(run, i)) {
            continue;
        }
        lathe_tensor *kept = lt_result_cache_get(&run->pipeline->cache, run->source, i);
        if (kept != NULL) {
            lathe_tensor_release(run->current);
            run->current = kept;
            run->n_done = i + 1;
            run->stats.n_cache_hits = 1;
            return;
        }
        run->stats.n_cache_misses++;
    }
}

static lathe_status check_source(const lathe_pipeline *pipeline, const lathe_tensor *source) {
    const lathe_tensor_desc *kind = &pipeline->source;
    uint32_t row_dims = kind->row_dims == 0 ? 1 : kind->row_dims;
    if (pipeline->is_optimized &&
        (source->layout.dtype != kind->dtype || source->granularity != kind->granularity ||
         source->group_size != kind->group_size || source->row_dims != row_dims)) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES,
                       "the pipeline was optimized for sources of another kind");
    }
    return LATHE_OK;
}

/* Works out what every stage gives, before anything is done. */
static lathe_status resolve(pipeline_run *run, const lathe_tensor *into) {
    const lathe_pipeline *pipeline = run->pipeline;
    lathe_status status = check_source(pipeline, run->source);
    if (status != LATHE_OK) {
        return status;
    }
    for (uint32_t i = 0; i < pipeline->n_stages; i++) {
        status = lathe_target_desc(&pipeline->stages[i].target, run->source->n_dims,
                                   run->source->shape, &run->descs[i]);
        if (status == LATHE_OK) {
            status = lt_layout_of(&run->descs[i], &run->layouts[i]);
        }
        if (status != LATHE_OK) {
            return fail_stage(run, i);
        }
    }
    return into == NULL ? LATHE_OK
                        : lt_check_result(run->source,
                                          &pipeline->stages[pipeline->n_stages - 1].target, into);
}

/* ---- what is counted */

static void record(const pipeline_run *run, lathe_status status, uint64_t ns) {
    lathe_pipeline *pipeline = run->pipeline;
    const lt_layout *last = &run->layouts[pipeline->n_stages - 1];
    const lt_metric metric = {
        .strategy = LATHE_STRATEGY_PIPELINE,
        .on_device = run->on_device,
        .fell_back = run->fell_back,
        .from = run->source->layout.dtype,
        .to = pipeline->stages[pipeline->n_stages - 1].target.dtype,
        .src_bytes = size_of(&run->source->layout),
        .dst_bytes = size_of(last),
        .n_saturated = run->stats.n_saturated,
        .ns = ns,
        .status = status,
    };
    lt_metrics_record(run->engine->metrics, &metric);
    (void)atomic_fetch_add(&pipeline->n_runs, 1);
    (void)atomic_fetch_add(&pipeline->ns, ns);
    (void)atomic_fetch_add(&pipeline->n_hits, run->stats.n_cache_hits);
    (void)atomic_fetch_add(&pipeline->n_misses, run->stats.n_cache_misses);
    if (status != LATHE_OK) {
        (void)atomic_fetch_add(&pipeline->n_failed, 1);
        return;
    }
    (void)atomic_fetch_add(&pipeline->n_run_stages, run->stats.n_stages);
    (void)atomic_fetch_add(&pipeline->saved_bytes, run->stats.saved_bytes);
}

lathe_status lt_pipeline_run(lathe_engine *engine, lathe_pipeline *pipeline,
                             const lathe_tensor *source, lathe_tensor *into, lathe_tensor **result,
                             lathe_pipeline_run_stats *stats) {
    uint64_t start_ns = lt_now_ns();
    pipeline_run run = {
        .engine = engine,
        .pipeline = pipeline,
        .source = source,
        .source_version = lt_tensor_version(source),
        .cache_bytes =
            pipeline->cache_bytes != 0 ? pipeline->cache_bytes : engine->pipeline_cache_bytes,
        .on_device = engine->device != NULL,
        .stats = {.struct_size = sizeof run.stats},
    };
    lathe_status status = resolve(&run, into);
    if (status == LATHE_OK) {
        start(&run, into);
        while (status == LATHE_OK && run.n_done < pipeline->n_stages) {
            status = run_segment(&run, segment_end(&run, run.n_done), into);
        }
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(run.current);
        lathe_error *error = lt_error();
        error->from = error->from != 0 ? error->from : source->layout.dtype;
        error->to =
            error->to != 0 ? error->to : pipeline->stages[pipeline->n_stages - 1].target.dtype;
        error->stage = error->stage != NULL ? error->stage : "pipeline";
    } else if (into != NULL) {
        lathe_tensor_release(run.current);
    } else {
        *result = run.current;
    }
    if (stats != NULL && status == LATHE_OK) {
        *stats = run.stats;
    }
    record(&run, status, lt_now_ns() - start_ns);
    return status;
}

static lathe_status check_arguments(const lathe_engine *engine, const lathe_pipeline *pipeline,
                                    const lathe_tensor *source, const void *result,
                                    const lathe_pipeline_run_stats *stats) {
    if (engine == NULL || pipeline == NULL || source == NULL || result == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, pipeline, source or result is NULL");
    }
    if (stats != NULL && stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "stats struct_size is not sizeof(lathe_pipeline_run_stats)");
    }
    return LATHE_OK;
}

lathe_status lathe_pipeline_run(lathe_engine *engine, lathe_pipeline *pipeline,
                                const lathe_tensor *source, lathe_tensor **result,
                                lathe_pipeline_run_stats *stats) {
    lathe_status status = check_arguments(engine, pipeline, source, result, stats);
    return status == LATHE_OK ? lt_pipeline_run(engine, pipeline, source, NULL, result, stats)
                              : status;
}

lathe_status lathe_pipeline_run_into(lathe_engine *engine, lathe_pipeline *pipeline,
                                     const lathe_tensor *source, lathe_tensor *result,
                                     lathe_pipeline_run_stats *stats) {
    lathe_status status = check_arguments(engine, pipeline, source, result, stats);
    return status == LATHE_OK ? lt_pipeline_run(engine, pipeline, source, result, NULL, stats)
                              : status;
}
