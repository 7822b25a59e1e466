/* SPDX-License-Identifier: Apache-2.0 */
/* Converting tensors: checks the arguments, chooses where to convert, and falls back to the CPU. */
#include "core/error.h"
#include "core/fpenv.h"
#include "core/tensor.h"
#include "engine/check_result.h"
#include "engine/device_tensor.h"
#include "engine/direct.h"
#include "engine/engine.h"
#include "engine/tensor_stream.h"

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

/* Converts on the CPU; device tensors through copies on the host. */
static lathe_status convert_on_cpu(lathe_engine *engine, const lathe_tensor *source,
                                   const lathe_target *target, lathe_tensor *result,
                                   uint64_t *n_saturated) {
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
        status = lt_direct_convert(engine, engine->cpu, from, target, to, false, n_saturated);
    }
    if (status == LATHE_OK && to != result) {
        status = lt_tensor_copy_contents(to, result);
    }
    lathe_tensor_release(from);
    lathe_tensor_release(to);
    return status;
}

/* On the engine's device: at once where it reaches both tensors, else in chunks; what it fails at,
 * the CPU does. */
static lathe_status convert_on_device(lathe_engine *engine, const lathe_tensor *source,
                                      const lathe_target *target, lathe_tensor *result,
                                      uint64_t *n_saturated) {
    lathe_status status =
        lt_direct_convert(engine, engine->device, source, target, result, false, n_saturated);
    if (status == LATHE_OK) {
        lt_engine_count(engine, engine->device, false);
        return LATHE_OK;
    }
    if (status == LATHE_NOT_SUPPORTED) {
        status = lt_tensor_stream(engine, source, target, result, n_saturated);
        if (status == LATHE_OK) {
            return LATHE_OK;
        }
    }
    if (!lt_engine_may_fall_back(engine, status)) {
        return status;
    }
    status = convert_on_cpu(engine, source, target, result, n_saturated);
    if (status == LATHE_OK) {
        lt_engine_count(engine, engine->cpu, true);
    }
    return status;
}

static lathe_status convert_elements(lathe_engine *engine, const lathe_tensor *source,
                                     const lathe_target *target, lathe_tensor *result,
                                     uint64_t *n_saturated) {
    if (engine->device != NULL) {
        return convert_on_device(engine, source, target, result, n_saturated);
    }
    lathe_status status = convert_on_cpu(engine, source, target, result, n_saturated);
    if (status == LATHE_OK) {
        lt_engine_count(engine, engine->cpu, false);
    }
    return status;
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

static lathe_status convert_checked(lathe_engine *engine, const lathe_tensor *source,
                                    const lathe_target *target, lathe_tensor *result,
                                    uint64_t *n_saturated) {
    *n_saturated = 0;
    if (lt_layout_equal(&source->layout, &result->layout)) {
        return lt_tensor_copy_contents(source, result);
    }
    /* A device tensor's scales are the device's: it converts with what it finds. */
    lathe_status status = is_on_device(source)
                              ? LATHE_OK
                              : lt_scales_check(source->scales, source->layout.n_scales, 0);
    if (status != LATHE_OK) {
        return status;
    }
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    status = result->layout.n_elems == 0
                 ? fill_empty(result)
                 : convert_elements(engine, source, target, result, n_saturated);
    lt_fpenv_leave(&saved);
    return status;
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
    return LATHE_OK;
}

/* Adds to the last error what every failed conversion knows. */
static lathe_status fail_conversion(const lathe_tensor *source, const lathe_target *target) {
    lathe_error *error = lt_error();
    error->from = source->layout.dtype;
    error->to = target != NULL ? target->dtype : (lathe_dtype)0;
    error->stage = error->stage != NULL ? error->stage : "convert";
    return error->status;
}

/* A device tensor gives one; anything else gives an ordinary tensor. */
static lathe_memory result_memory(const lathe_tensor *source) {
    return is_on_device(source) ? LATHE_MEMORY_DEVICE : LATHE_MEMORY_HOST;
}

lathe_status lathe_convert(lathe_engine *engine, const lathe_tensor *source,
                           const lathe_target *target, lathe_tensor **result,
                           lathe_convert_stats *stats) {
    lathe_tensor_desc desc;
    lt_layout layout;
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
    uint64_t n_saturated = 0;
    lathe_tensor *made = NULL;
    if (lt_tensor_is(source, &desc, &layout)) {
        /* The reference count is not part of what const promises to leave alone. */
        made = lathe_tensor_retain((lathe_tensor *)(uintptr_t)source);
    } else {
        status = lathe_engine_tensor_create(engine, result_memory(source), &desc, &made);
        if (status == LATHE_OK) {
            status = convert_checked(engine, source, target, made, &n_saturated);
        }
    }
    if (status != LATHE_OK) {
        lathe_tensor_release(made);
        return fail_conversion(source, target);
    }
    if (stats != NULL) {
        stats->n_saturated = n_saturated;
    }
    *result = made;
    return LATHE_OK;
}

lathe_status lathe_convert_into(lathe_engine *engine, const lathe_tensor *source,
                                const lathe_target *target, lathe_tensor *result,
                                lathe_convert_stats *stats) {
    lathe_status status = check_arguments(engine, source, result, stats);
    if (status != LATHE_OK) {
        return status;
    }
    status = lt_check_result(source, target, result);
    uint64_t n_saturated = 0;
    if (status == LATHE_OK) {
        status = convert_checked(engine, source, target, result, &n_saturated);
    }
    if (status != LATHE_OK) {
        return fail_conversion(source, target);
    }
    if (stats != NULL) {
        stats->n_saturated = n_saturated;
    }
    return LATHE_OK;
}
