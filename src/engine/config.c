/* SPDX-License-Identifier: Apache-2.0 */
/* Validation of an engine's config. */
#include "core/error.h"
#include "engine/engine.h"
#include <string.h>

enum { MAX_THREADS = 4096 };

static lathe_status check_threads(const lathe_config *config) {
    if (config->n_threads > MAX_THREADS) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config n_threads: %u is over %d",
                       (unsigned)config->n_threads, MAX_THREADS);
    }
    const lathe_executor *executor = config->executor;
    if (executor == NULL) {
        return LATHE_OK;
    }
    if (config->n_threads != 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config n_threads: an executor brings its own");
    }
    if (executor->parallel_for == NULL || executor->n_threads == 0 ||
        executor->n_threads > MAX_THREADS) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "config executor: parallel_for is NULL, or n_threads is not 1 to %d",
                       MAX_THREADS);
    }
    return LATHE_OK;
}

static bool is_device(const char *text) {
    return text == NULL || strcmp(text, "auto") == 0 || strcmp(text, "cpu") == 0 ||
           strcmp(text, "opencl") == 0 || strncmp(text, "opencl:", 7) == 0;
}

static lathe_status check_device(const lathe_config *config) {
    if (!is_device(config->device)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "config device: '%.100s' is none of auto, cpu, opencl, opencl:DEVICE",
                       config->device);
    }
    if (config->device != NULL && config->opencl_device != NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config opencl_device: device names one already");
    }
    if (config->require_device > 1) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config require_device: %u is neither 0 nor 1",
                       (unsigned)config->require_device);
    }
    return LATHE_OK;
}

lathe_status lt_config_check(const lathe_config *config) {
    if (config->struct_size != sizeof *config) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config struct_size is not sizeof(lathe_config)");
    }
    if ((int)config->isa < LATHE_ISA_AUTO || (int)config->isa > LATHE_ISA_AVX512) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config isa: %d is none", (int)config->isa);
    }
    if (config->pool != NULL && (config->memory_budget_bytes != 0 || config->allocator != NULL)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config %s: the given pool has its own",
                       config->allocator != NULL ? "allocator" : "memory_budget_bytes");
    }
    lathe_status status = check_threads(config);
    return status == LATHE_OK ? check_device(config) : status;
}
