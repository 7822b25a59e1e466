/* SPDX-License-Identifier: Apache-2.0 */
/* Running a chain from one tensor to another. */
#include "engine/pipeline/chain_run.h"

#include "core/checked.h"
#include "core/error.h"
#include "engine/device/device_tensor.h"
#include "engine/direct/direct.h"
#include "engine/plan/plan.h"
#include "engine/stream/chain_stream.h"
#include "pool/pool.h"

/* Elements for which another thread of the CPU, and its tile, are worth having. */
enum { ELEMS_PER_TASK = 256 * 1024 };

/* A tensor as its backend sees it. */
typedef struct operand {
    lt_span span;
    lt_buffer data; /* of host memory */
    lt_buffer scales;
} operand;

static void open_operand(const lathe_tensor *tensor, operand *out) {
    if (tensor->memory == LATHE_MEMORY_DEVICE) {
        out->span = lt_device_tensor_span(tensor);
        return;
    }
    out->data = (lt_buffer){.host = tensor->data, .n_bytes = tensor->layout.n_bytes};
    out->scales = (lt_buffer){.host = tensor->scales};
    out->span =
        (lt_span){.data = &out->data, .scales = tensor->layout.n_scales > 0 ? &out->scales : NULL};
}

/* ---- memory */

/* Makes room for all scales that are found beforehand; those of the result are in place already
 * where the host reaches it. */
static lathe_status make_scales(lt_chain_run *run, float **made) {
    lt_chain *chain = run->chain;
    uint64_t total = 0;
    uint64_t most = 0;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_chain_step *step = &chain->steps[i];
        if (lt_chain_step_needs_scales(step)) {
            total += step->pass.dst.n_scales;
            most = lt_max(most, step->pass.dst.n_scales);
        }
    }
    if (most == 0) {
        return LATHE_OK;
    }
    *made = lt_pool_new_array(run->engine->pool, (size_t)(total + most), sizeof(float));
    if (*made == NULL) {
        return lt_error()->status;
    }
    float *next = *made + most;
    run->absmax = *made;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        lt_chain_step *step = &chain->steps[i];
        if (lt_chain_step_needs_scales(step)) {
            step->scales = next;
            next += step->pass.dst.n_scales;
        }
    }
    return LATHE_OK;
}

static lathe_status make_tiles(lt_chain_run *run) {
    struct lt_chain_work *work = &run->work;
    const lt_chain *chain = run->chain;
    uint64_t tasks = lt_ceil_div(chain->src.n_elems, ELEMS_PER_TASK);
    void *tiles = NULL;
    work->n_tasks = (uint32_t)lt_min(tasks, run->backend->n_threads);
    if (run->backend->is_remote || chain->tile_bytes == 0) {
        return LATHE_OK;
    }
    lathe_status status =
        lathe_pool_alloc(run->engine->pool, (size_t)(work->n_tasks * chain->tile_bytes), &tiles);
    work->tiles = tiles;
    return status;
}

/* ---- scales that were found on the host */

/* The result's, to where the result is. */
static lathe_status store_scales(lt_chain_run *run) {
    const lt_chain *chain = run->chain;
    const lt_chain_step *last = &chain->steps[chain->n_steps - 1];
    const lt_span *dst = &run->work.dst;
    if (!lt_chain_step_needs_scales(last) || run->stream != NULL) {
        return LATHE_OK; /* or the stream does */
    }
    return run->backend->ops->upload(run->backend, run->queue, dst->scales,
                                     dst->scale_offset * sizeof(float), last->scales,
                                     last->pass.dst.n_scales * sizeof(float));
}

/* Those of the steps in between, one after another, to the device. */
static lathe_status upload_step_scales(lt_chain_run *run, lt_buffer *scales) {
    const lt_backend_ops *ops = run->backend->ops;
    const lt_chain *chain = run->chain;
    uint64_t n_scales = 0;
    for (uint32_t i = 0; i + 1 < chain->n_steps; i++) {
        n_scales += chain->steps[i].pass.dst.n_scales;
    }
    lathe_status status = ops->buffer_create(run->backend, LT_MEMORY_DEVICE,
                                             lt_max(n_scales, 1) * sizeof(float), scales);
    uint64_t at = 0;
    for (uint32_t i = 0; status == LATHE_OK && i + 1 < chain->n_steps; i++) {
        const uint64_t n_bytes = chain->steps[i].pass.dst.n_scales * sizeof(float);
        if (n_bytes > 0) {
            status =
                ops->upload(run->backend, run->queue, scales, at, chain->steps[i].scales, n_bytes);
        }
        at += n_bytes;
    }
    run->work.step_scales = scales;
    /* A stream's chunks have queues of their own. */
    return status == LATHE_OK && run->stream != NULL ? ops->finish(run->backend, run->queue)
                                                     : status;
}

/* ---- the run */

static lathe_status open_stream(lt_chain_run *run, lt_stream_scales scales) {
    return run->stream == NULL ? LATHE_OK : lt_chain_stream_open(run->engine, scales, run->stream);
}

/* The pass through all steps. What it meets is in the steps' outcomes or, on a device, in the
 * run's. */
static lathe_status convert(lt_chain_run *run) {
    const lt_backend_ops *ops = run->backend->ops;
    const lt_chain *chain = run->chain;
    struct lt_chain_work *work = &run->work;
    lt_outcome_init(&run->outcome);
    work->outcome = &run->outcome;
    work->n_elems = chain->src.n_elems;
    if (run->stream != NULL) {
        const lt_chain_step *last = &chain->steps[chain->n_steps - 1];
        return lt_chain_stream_convert(run->stream, work, work->own_scales ? NULL : last->scales);
    }
    lathe_status status = ops->submit_chain(run->backend, run->queue, work);
    return status == LATHE_OK ? ops->finish(run->backend, run->queue) : status;
}

static uint32_t n_scaled_steps(const lt_chain *chain) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        n += lt_chain_step_needs_scales(&chain->steps[i]) ? 1 : 0;
    }
    return n;
}

/* True if a step has one scale for all elements. */
static bool has_one_scale(const lt_chain *chain) {
    bool has_one = false;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_layout *dst = &chain->steps[i].pass.dst;
        has_one = has_one || (dst->n_scales > 0 && dst->scale_elems == 0);
    }
    return has_one;
}

/* True if the backend has a kernel that finds scales which would be found beforehand else. */
static bool finds_own_scales(const lt_backend *backend, lt_chain *chain) {
    const lt_chain_work work = {.chain = chain, .n_steps = chain->n_steps, .own_scales = true};
    return backend->ops->takes_chain != NULL && n_scaled_steps(chain) > 0 &&
           backend->ops->takes_chain(backend, &work);
}

/* All at once, for which no scales are needed. NOT_SUPPORTED: there is no such way, or not with
 * this data. */
static lathe_status run_at_once(lt_chain_run *run) {
    const uint32_t n_scaled = n_scaled_steps(run->chain);
    const bool has_one = has_one_scale(run->chain);
    if (!finds_own_scales(run->backend, run->chain) || (has_one && run->stream != NULL)) {
        return LATHE_NOT_SUPPORTED;
    }
    run->work.own_scales = true;
    run->work.top = &run->top;
    lathe_status status = open_stream(run, LT_STREAM_SCALES_IN_CHUNK);
    if (status == LATHE_OK) {
        status = convert(run);
    }
    run->work.own_scales = false;
    if (status == LATHE_OK && lt_outcome_element(&run->outcome) != LATHE_NO_ELEMENT) {
        status = lt_fail(LATHE_NOT_SUPPORTED, "a value on the way of the chain is not finite");
    }
    if (status == LATHE_OK) {
        run->report->n_passes = has_one ? 2 : 1;
        run->report->n_derived = n_scaled;
    }
    return status;
}

/* True if a conversion that rounds first takes one pass, in chunks or else. */
static bool rounds_at_once(const lt_backend *backend, const lt_chain *chain,
                           const lathe_target *target, bool in_chunks) {
    const lt_layout *dst = &chain->steps[chain->n_steps - 1].pass.dst;
    const lt_plan plan =
        lt_plan_make(backend, &chain->src, dst, target,
                     in_chunks ? backend->max_chunk_scope_elems : backend->max_own_scope_elems);
    return plan.pass.own_scales || (!in_chunks && backend->ops->takes_rows != NULL &&
                                    backend->ops->takes_rows(backend, &plan.pass));
}

/* What the conversion has met is the last step's: that one's dtypes, not the source's. */
static lathe_status blame_last_step(const lt_chain_run *run, lathe_status status) {
    const lt_chain_step *last = &run->chain->steps[run->chain->n_steps - 1];
    lt_outcome fault;
    lt_outcome_init(&fault);
    lt_outcome_fault(&fault, status, lt_error()->element);
    run->report->failed_step = run->chain->n_steps - 1;
    return lt_outcome_status(&fault, last[-1].pass.dst.dtype, last->pass.dst.dtype);
}

/* As one conversion. NOT_SUPPORTED: the chain is none. */
static lathe_status run_rounded(lt_chain_run *run, const lathe_tensor *source,
                                const lathe_target *target, lathe_tensor *result) {
    lathe_dtype rounds[LT_MOST_ROUNDS] = {(lathe_dtype)0};
    lt_backend *backend = run->backend;
    uint64_t n_saturated = 0;
    lathe_status status;
    if (!backend->is_remote || !lt_chain_rounds(run->chain, rounds)) {
        return LATHE_NOT_SUPPORTED;
    }
    const bool in_chunks = run->stream != NULL;
    if (in_chunks) {
        lt_outcome outcome;
        lt_outcome_init(&outcome);
        status = open_stream(run, LT_STREAM_SCALES_FOUND);
        if (status == LATHE_OK) {
            status = lt_chain_stream_rounded(run->stream, rounds, &outcome);
        }
        if (status == LATHE_OK) {
            n_saturated = atomic_load(&outcome.n_saturated);
            status = lt_outcome_status(&outcome, source->layout.dtype, result->layout.dtype);
        }
    } else {
        status = lt_direct_convert_rounded(run->engine, backend, source, rounds, target, result,
                                           run->work.is_trial, &n_saturated);
    }
    if (status == LATHE_NON_FINITE || status == LATHE_DATA_LOSS) {
        return blame_last_step(run, status);
    }
    if (status != LATHE_OK) {
        return status; /* another way may follow, which reports what it does */
    }
    run->report->n_saturated = n_saturated;
    run->report->n_passes = rounds_at_once(backend, run->chain, target, in_chunks) ? 1 : 2;
    return LATHE_OK;
}

static lathe_status run_passes(lt_chain_run *run, lt_buffer *step_scales) {
    lathe_status status = lt_chain_find_scales(run);
    if (status == LATHE_OK) {
        status = store_scales(run);
    }
    if (status == LATHE_OK && run->backend->is_remote) {
        status = upload_step_scales(run, step_scales);
    }
    if (status == LATHE_OK) {
        run->chain->is_finite = run->is_known && run->is_of_source;
        run->chain->last_first = run->report->n_passes > 0;
        run->report->n_passes++;
        status = convert(run);
    }
    if (status != LATHE_OK) {
        return status;
    }
    lt_outcome_merge(&run->chain->steps[lt_chain_blamed_step(run->chain)].outcome, &run->outcome);
    run->work.n_steps = 0; /* all is checked */
    status = lt_chain_fault(run);
    for (uint32_t i = 0; status == LATHE_OK && i < run->chain->n_steps; i++) {
        run->report->n_saturated += atomic_load(&run->chain->steps[i].outcome.n_saturated);
    }
    return status;
}

/* With scales that are found beforehand. */
static lathe_status run_in_passes(lt_chain_run *run, float **scales) {
    lt_buffer step_scales = {0};
    lathe_status status = make_scales(run, scales);
    if (status == LATHE_OK) {
        status = make_tiles(run);
    }
    if (status == LATHE_OK) {
        status = open_stream(run, LT_STREAM_SCALES_BEFORE);
    }
    if (status == LATHE_OK) {
        status = run_passes(run, &step_scales);
    }
    if (status != LATHE_OK) { /* while the scales are there */
        const lathe_error error = *lt_error();
        (void)run->backend->ops->finish(run->backend, run->queue);
        (void)lt_fail_with(&error);
    }
    run->backend->ops->buffer_destroy(run->backend, &step_scales);
    return status;
}

/* Plans a chain that the backend takes. */
static lathe_status make_plan(lathe_engine *engine, lt_backend *backend, const lt_layout *source,
                              uint32_t n_steps, const lt_layout *layouts,
                              const lathe_target *targets, lt_chain **chain) {
    const lt_backend_ops *ops = backend->ops;
    if (ops->submit_chain == NULL) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the device has no kernels for chains");
    }
    lt_chain *made = lt_pool_new(engine->pool, sizeof(lt_chain));
    if (made == NULL) {
        return lt_error()->status;
    }
    lt_chain_plan(made, backend, source, n_steps, layouts, targets);
    const lt_chain_work work = {.chain = made, .n_steps = n_steps};
    lathe_dtype rounds[LT_MOST_ROUNDS];
    if (ops->takes_chain != NULL && !lt_chain_rounds(made, rounds) &&
        !ops->takes_chain(backend, &work)) {
        lt_pool_delete(engine->pool, made);
        return lt_fail(LATHE_NOT_SUPPORTED, "the device has no kernel for this chain");
    }
    *chain = made;
    return LATHE_OK;
}

lathe_status lt_chain_check_kernels(lathe_engine *engine, lt_backend *backend,
                                    const lt_layout *source, uint32_t n_steps,
                                    const lt_layout *layouts, const lathe_target *targets,
                                    bool *reads_once) {
    lt_chain *chain = NULL;
    lathe_status status = make_plan(engine, backend, source, n_steps, layouts, targets, &chain);
    if (status == LATHE_OK) {
        lathe_dtype rounds[LT_MOST_ROUNDS];
        *reads_once = n_scaled_steps(chain) == 0 ||
                      (finds_own_scales(backend, chain) && !has_one_scale(chain)) ||
                      (lt_chain_rounds(chain, rounds) &&
                       rounds_at_once(backend, chain, &targets[n_steps - 1], true));
    }
    lt_pool_delete(engine->pool, chain);
    return status;
}

lathe_status lt_chain_convert(lathe_engine *engine, lt_backend *backend, const lathe_tensor *source,
                              uint32_t n_steps, const lt_layout *layouts,
                              const lathe_target *targets, lathe_tensor *result, bool is_trial,
                              lt_chain_report *report) {
    operand src = {0};
    operand dst = {0};
    float *scales = NULL;
    lt_chain_stream stream = {.source = source, .target = &targets[n_steps - 1], .result = result};
    *report = (lt_chain_report){0};
    lt_chain_run run = {.engine = engine, .backend = backend, .report = report};
    lathe_status status =
        make_plan(engine, backend, &source->layout, n_steps, layouts, targets, &run.chain);
    if (status != LATHE_OK) {
        return status;
    }
    open_operand(source, &src);
    open_operand(result, &dst);
    run.work = (struct lt_chain_work){.chain = run.chain,
                                      .src = src.span,
                                      .dst = dst.span,
                                      .n_steps = n_steps,
                                      .is_trial = is_trial};
    if (backend->is_remote && source->memory != LATHE_MEMORY_DEVICE) {
        run.stream = &stream;
    }
    status = backend->ops->queue_open(backend, &run.queue);
    if (status == LATHE_OK) {
        status = run_at_once(&run);
    }
    if (status == LATHE_NOT_SUPPORTED) {
        status = run_rounded(&run, source, &targets[n_steps - 1], result);
    }
    if (status == LATHE_NOT_SUPPORTED) {
        status = run_in_passes(&run, &scales);
    }
    backend->ops->queue_close(backend, run.queue);
    lt_chain_stream_close(&stream);
    lt_pool_delete(engine->pool, run.work.tiles);
    lt_pool_delete(engine->pool, scales);
    lt_pool_delete(engine->pool, run.chain);
    return status;
}
