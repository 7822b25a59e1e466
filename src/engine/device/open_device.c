/* SPDX-License-Identifier: Apache-2.0 */
/* From an engine's config to the device that it converts on. */
#include "core/error.h"
#include "engine/device/self_check.h"
#include "engine/engine.h"
#include <string.h>

#if LT_HAVE_OPENCL
#include "opencl/opencl.h"
#include <lathe/opencl.h>

static lathe_status open_found(lathe_engine *engine, const char *program_cache_dir,
                               const lt_cl_found *found, cl_context context) {
    const lt_cl_options_in options = {
        .found = found,
        .context = context,
        .cache_dir = program_cache_dir,
        .pageable_staging = engine->pageable_staging,
        .pool = engine->pool,
        .counters = engine->cpu->counters,
        .host = engine->cpu,
        .check =
            {
                [LT_CL_FAMILY_PAIRS] = lt_self_check_pair,
                [LT_CL_FAMILY_MANY] = lt_self_check_many,
                [LT_CL_FAMILY_IN_PLACE] = lt_self_check_in_place,
                [LT_CL_FAMILY_EXTRA_CODES] = lt_self_check_precise,
                [LT_CL_FAMILY_SEARCH] = lt_self_check_scales,
                [LT_CL_FAMILY_MEASURE] = lt_self_check_measure,
            },
        .check_chain = lt_self_check_chain,
        .check_rounded = lt_self_check_rounded,
        .check_ctx = engine,
    };
    return lt_cl_backend_create(&options, &engine->device);
}

static lathe_status open_selected(lathe_engine *engine, const char *program_cache_dir,
                                  const char *selector) {
    lt_cl_found found;
    lathe_status status = lt_cl_device_select(selector, &found);
    return status == LATHE_OK ? open_found(engine, program_cache_dir, &found, NULL) : status;
}

static lathe_status open_callers(lathe_engine *engine, const lathe_config *config) {
    const struct lathe_opencl_device *own = config->opencl_device;
    lt_cl_found found;
    if (own->context == NULL || own->device == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config opencl_device: context or device is NULL");
    }
    lathe_status status = lt_cl_device_of(own->device, &found);
    return status == LATHE_OK ? open_found(engine, config->program_cache_dir, &found, own->context)
                              : status;
}
#else
struct lathe_opencl_device {
    int unused;
};

static lathe_status open_selected(lathe_engine *engine, const char *program_cache_dir,
                                  const char *selector) {
    (void)engine;
    (void)program_cache_dir;
    (void)selector;
    return lt_fail(LATHE_NOT_SUPPORTED, "this build has no OpenCL");
}

static lathe_status open_callers(lathe_engine *engine, const lathe_config *config) {
    return open_selected(engine, config->program_cache_dir, "");
}
#endif

static const char prefix[] = "opencl";

lathe_status lt_engine_open_device(lathe_engine *engine, const lathe_config *config) {
    const char *device = config->device;
    if (config->opencl_device != NULL) {
        return open_callers(engine, config);
    }
    if (device == NULL || strncmp(device, prefix, sizeof prefix - 1) != 0) {
        return LATHE_OK; /* the CPU */
    }
    const char *selector = device + sizeof prefix - 1;
    lathe_status status = open_selected(engine, config->program_cache_dir, selector);
    if (status == LATHE_OK || selector[0] != '\0' || engine->require_device) {
        return status;
    }
    lt_engine_notice(engine, LATHE_NOTICE_INFO, "converting on the CPU: %s", lt_error()->message);
    return LATHE_OK;
}

lathe_status lt_engine_open_any(lathe_engine *engine, const char *program_cache_dir,
                                bool cpus_too) {
    static const char *const selectors[] = {":gpu", ":accelerator", ":cpu"};
    size_t n = sizeof selectors / sizeof selectors[0] - (cpus_too ? 0 : 1);
    lathe_status status = LATHE_NOT_FOUND;
    for (size_t i = 0; i < n && status != LATHE_OK; i++) {
        status = open_selected(engine, program_cache_dir, selectors[i]);
    }
    return status;
}
