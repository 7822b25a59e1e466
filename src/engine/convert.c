/* SPDX-License-Identifier: Apache-2.0 */
/* Converting tensors: checks the arguments, chooses where to convert, and falls back to the CPU. */
#include "engine/convert.h"
#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "core/tensor.h"
#include "engine/check_result.h"
#include "engine/device/device_tensor.h"
#include "engine/direct/direct.h"
#include "engine/direct/host_copy.h"
#include "engine/engine.h"
#include "engine/plan/planner.h"
#include "engine/stream/tensor_stream.h"

static bool is_on_device(const lathe_tensor *tensor) {
    return tensor->memory == LATHE_MEMORY_DEVICE;
}

/* A tensor that the CPU can read or write in another's place: the same one if it can. */
static lathe_status host_twin(lathe_engine *engine, lathe_tensor *tensor, lathe_tensor **twin) {
    if (!is_on_device(tensor)) {
        *twin = lathe_tensor_retain(tensor);
        return LATHE_OK;
    }
    const lathe_tensor_desc desc = lt_tensor_desc_of(tensor);
    return lathe_tensor_create(engine->pool, &desc, twin);
}

/* Converts on the CPU; device tensors through copies on the host. `report` may be NULL. */
static lathe_status convert_on_host(lathe_engine *engine, const lathe_tensor *source,
                                    const lathe_target *target, lathe_tensor *result,
                                    uint64_t *n_saturated, lathe_quality_report *report) {
    lathe_tensor *from = NULL;
    lathe_tensor *to = NULL;
    lathe_status status = host_twin(engine, (lathe_tensor *)(uintptr_t)source, &from);
    if (status == LATHE_OK) {
        status = host_twin(engine, result, &to);
    }
    if (status == LATHE_OK && from != source) {
        status = lt_tensor_copy_contents(source, from);
    }
    if (status == LATHE_OK) {
        status =
            lt_direct_convert_measured(engine, engine->cpu, from, target, to, n_saturated, report);
    }
    if (status == LATHE_OK && to != result) {
        status = lt_tensor_copy_contents(to, result);
    }
    lathe_tensor_release(from);
    lathe_tensor_release(to);
    return status;
}

lathe_status lt_convert_contents_on_cpu(lathe_engine *engine, const lathe_tensor *source,
                                        const lathe_target *target, lathe_tensor *result,
                                        uint64_t *n_saturated) {
    return convert_on_host(engine, source, target, result, n_saturated, NULL);
}

/* On the engine's device: at once where it reaches both tensors, else in chunks; what it fails at,
 * the CPU does, and so it does PRECISE scales of more elements than a chunk has. `report` may be
 * NULL. */
static lathe_status convert_on_device(lathe_engine *engine, const lathe_tensor *source,
                                      const lathe_target *target, lathe_tensor *result,
                                      lathe_quality_report *report, lt_done *done) {
    lathe_status status = lt_direct_convert_measured(engine, engine->device, source, target, result,
                                                     &done->n_saturated, report);
    const bool is_for_cpu =
        lt_plan_precise_elems(&result->layout, target) > engine->device->max_chunk_scope_elems;
    if (status == LATHE_NOT_SUPPORTED && is_for_cpu) {
        return convert_on_host(engine, source, target, result, &done->n_saturated, report);
    }
    if (status == LATHE_NOT_SUPPORTED) {
        done->strategy = LATHE_STRATEGY_STREAMING;
        status = lt_tensor_stream(engine, source, target, result, &done->n_saturated, report,
                                  &done->fell_back);
    }
    done->on_device = status == LATHE_OK && !done->fell_back;
    if (status == LATHE_OK || !lt_engine_may_fall_back(engine, status)) {
        return status;
    }
    *done = (lt_done){.strategy = LATHE_STRATEGY_DIRECT, .fell_back = true};
    return convert_on_host(engine, source, target, result, &done->n_saturated, report);
}

static bool is_device_place(lt_place place) {
    return place == LT_ON_DEVICE || place == LT_THROUGH_DEVICE;
}

static lathe_status convert_elements(lathe_engine *engine, const lathe_tensor *source,
                                     const lathe_target *target, lathe_tensor *result,
                                     lt_done *done) {
    const lt_case c = lt_case_of(&source->layout, &result->layout, target);
    const bool needs_device = is_on_device(source) || is_on_device(result);
    const lt_way way = lt_planner_choose(engine, &c, needs_device);
    lathe_status status = LATHE_OK;
    uint64_t start_ns = lt_now_ns();
    if (is_device_place(way.place)) {
        status = convert_on_device(way.engine, source, target, result, NULL, done);
    } else if (way.place == LT_ON_CALLER && !needs_device) {
        status = lt_direct_convert_here(engine, source, target, result, &done->n_saturated, NULL);
    } else {
        status = lt_convert_contents_on_cpu(engine, source, target, result, &done->n_saturated);
    }
    if (status == LATHE_OK) {
        lt_planner_observe(way.engine, way.place, &c, lt_now_ns() - start_ns);
    }
    return status;
}

/* With a report, which takes a time that plans know nothing of: on the engine's device, if there is
 * one. */
static lathe_status convert_measured(lathe_engine *engine, const lathe_tensor *source,
                                     const lathe_target *target, lathe_tensor *result,
                                     lathe_quality_report *report, lt_done *done) {
    return engine->device != NULL
               ? convert_on_device(engine, source, target, result, report, done)
               : convert_on_host(engine, source, target, result, &done->n_saturated, report);
}

/* There is nothing to convert, but rows without elements may have scales. */
static lathe_status fill_empty(const lathe_tensor *result) {
    const float scale = lt_scale_from_stat(result->layout.dtype, 0, 0);
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; status == LATHE_OK && i < result->layout.n_scales; i++) {
        status = lt_tensor_write_scales(result, i, &scale, 1);
    }
    return status;
}

/* A tensor without elements, or one that only takes other bytes over. */
static lathe_status take_over(lathe_engine *engine, const lathe_tensor *source,
                              lathe_tensor *result, lathe_quality_report *report) {
    bool is_copy = lt_layout_equal(&source->layout, &result->layout);
    lathe_status status = is_copy ? lt_copy_contents(engine, source, result) : fill_empty(result);
    return status == LATHE_OK && report != NULL
               ? lathe_tensor_compare(engine, source, result, report)
               : status;
}

lathe_status lt_convert_contents_measured(lathe_engine *engine, const lathe_tensor *source,
                                          const lathe_target *target, lathe_tensor *result,
                                          lathe_quality_report *report, lt_done *done) {
    *done = (lt_done){.strategy = LATHE_STRATEGY_DIRECT};
    if (lt_layout_equal(&source->layout, &result->layout)) {
        return take_over(engine, source, result, report);
    }
    /* A device tensor's scales are the device's: it converts with what it finds. */
    lathe_status status = is_on_device(source)
                              ? LATHE_OK
                              : lt_scales_check(source->scales, source->layout.n_scales, 0);
    if (status != LATHE_OK) {
        return status;
    }
    if (result->layout.n_elems == 0) {
        return take_over(engine, source, result, report);
    }
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    status = report != NULL ? convert_measured(engine, source, target, result, report, done)
                            : convert_elements(engine, source, target, result, done);
    lt_fpenv_leave(&saved);
    return status;
}

lathe_status lt_convert_contents(lathe_engine *engine, const lathe_tensor *source,
                                 const lathe_target *target, lathe_tensor *result, lt_done *done) {
    return lt_convert_contents_measured(engine, source, target, result, NULL, done);
}

static lathe_status check_arguments(const lathe_engine *engine, const lathe_tensor *source,
                                    const void *result, const lathe_convert_stats *stats) {
    if (engine == NULL || source == NULL || result == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, source or result is NULL");
    }
    if (stats != NULL && stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "stats struct_size is not sizeof(lathe_convert_stats)");
    }
    if (stats != NULL && stats->quality != NULL &&
        stats->quality->struct_size != sizeof *stats->quality) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "stats quality's struct_size is not sizeof(lathe_quality_report)");
    }
    return LATHE_OK;
}

/* Where the caller wants a quality report, or NULL. */
static lathe_quality_report *report_of(const lathe_convert_stats *stats) {
    return stats != NULL ? stats->quality : NULL;
}

/* Adds to the last error what every failed conversion knows. */
static lathe_status fail_conversion(const lathe_tensor *source, const lathe_target *target) {
    lathe_error *error = lt_error();
    error->from = source->layout.dtype;
    error->to = target != NULL ? target->dtype : (lathe_dtype)0;
    error->stage = error->stage != NULL ? error->stage : "convert";
    return error->status;
}

static uint64_t bytes_of(const lt_layout *layout) {
    return layout->n_bytes + layout->n_scales * sizeof(float);
}

/* Counts a conversion that is over. */
static void record(lathe_engine *engine, const lathe_tensor *source, const lt_layout *result,
                   const lt_done *done, uint64_t start_ns, lathe_status status) {
    lt_metric metric = {
        .strategy = done->strategy,
        .on_device = done->on_device,
        .fell_back = done->fell_back,
        .from = source->layout.dtype,
        .to = result->dtype,
        .src_bytes = bytes_of(&source->layout),
        .dst_bytes = bytes_of(result),
        .n_saturated = done->n_saturated,
        .status = status,
    };
    lt_metrics_record_since(engine->metrics, &metric, start_ns);
}

/* A device tensor gives one; anything else gives an ordinary tensor. */
static lathe_memory result_memory(const lathe_tensor *source) {
    return is_on_device(source) ? LATHE_MEMORY_DEVICE : LATHE_MEMORY_HOST;
}

/* A new tensor of that description, converted. */
static lathe_status convert_to_new(lathe_engine *engine, const lathe_tensor *source,
                                   const lathe_target *target, const lathe_tensor_desc *desc,
                                   const lt_layout *layout, lathe_tensor **result,
                                   lathe_quality_report *report, lt_done *done) {
    lathe_tensor *made = NULL;
    lathe_status status = lathe_engine_tensor_create(engine, result_memory(source), desc, &made);
    if (status == LATHE_INSUFFICIENT_MEMORY) {
        /* Not what the block that failed takes, but what it would take to succeed. */
        lt_error()->required_bytes = lt_max(lt_error()->required_bytes, bytes_of(layout));
    }
    if (status == LATHE_OK) {
        status = lt_convert_contents_measured(engine, source, target, made, report, done);
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(made);
        return status;
    }
    *result = made;
    return LATHE_OK;
}

lathe_status lathe_convert(lathe_engine *engine, const lathe_tensor *source,
                           const lathe_target *target, lathe_tensor **result,
                           lathe_convert_stats *stats) {
    lathe_tensor_desc desc;
    lt_layout layout;
    lt_done done = {.strategy = LATHE_STRATEGY_DIRECT};
    uint64_t start_ns = lt_now_ns();
    lathe_status status = check_arguments(engine, source, result, stats);
    if (status != LATHE_OK) {
        return status;
    }
    status = lathe_target_desc(target, source->n_dims, source->shape, &desc);
    if (status == LATHE_OK) {
        status = lt_layout_of(&desc, &layout);
    }
    if (status != LATHE_OK) {
        return fail_conversion(source, target);
    }
    if (lt_tensor_is(source, &desc, &layout)) {
        /* The reference count is not part of what const promises to leave alone. */
        done.strategy = LATHE_STRATEGY_ZERO_COPY;
        if (report_of(stats) != NULL) {
            status = lathe_tensor_compare(engine, source, source, stats->quality);
        }
        if (status == LATHE_OK) {
            *result = lathe_tensor_retain((lathe_tensor *)(uintptr_t)source);
        }
    } else {
        status =
            convert_to_new(engine, source, target, &desc, &layout, result, report_of(stats), &done);
    }
    record(engine, source, &layout, &done, start_ns, status);
    if (status != LATHE_OK) {
        return fail_conversion(source, target);
    }
    if (stats != NULL) {
        stats->n_saturated = done.n_saturated;
    }
    return LATHE_OK;
}

lathe_status lathe_convert_into(lathe_engine *engine, const lathe_tensor *source,
                                const lathe_target *target, lathe_tensor *result,
                                lathe_convert_stats *stats) {
    lt_done done = {.strategy = LATHE_STRATEGY_DIRECT};
    uint64_t start_ns = lt_now_ns();
    lathe_status status = check_arguments(engine, source, result, stats);
    if (status != LATHE_OK) {
        return status;
    }
    status = lt_check_result(source, target, result);
    if (status != LATHE_OK) {
        return fail_conversion(source, target);
    }
    status = lt_convert_contents_measured(engine, source, target, result, report_of(stats), &done);
    record(engine, source, &result->layout, &done, start_ns, status);
    if (status != LATHE_OK) {
        return fail_conversion(source, target);
    }
    if (stats != NULL) {
        stats->n_saturated = done.n_saturated;
    }
    return LATHE_OK;
}
