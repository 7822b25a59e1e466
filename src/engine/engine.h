/* SPDX-License-Identifier: Apache-2.0 */
/* The engine object. */
#ifndef LT_ENGINE_ENGINE_H
#define LT_ENGINE_ENGINE_H

#include "backend.h"
#include "metrics/metrics.h"
#include <lathe/engine.h>

struct lt_async;
struct lt_planner;

/* Nothing in it changes once it is made: the planner makes copies that differ in the device. */
struct lathe_engine {
    lathe_pool *pool;
    lt_backend *cpu;
    lt_backend *device; /* NULL: conversions run on the CPU */
    bool require_device;
    lathe_notice_fn *notice; /* NULL: nobody listens */
    void *notice_ctx;
    struct lt_async *async; /* runs asynchronous conversions */
    lt_metrics *metrics;
    struct lt_planner *planner;       /* chooses where to convert */
    lathe_streaming_config streaming; /* as configured: zero fields are defaults */
    lathe_batch_config batch;
    uint64_t pipeline_cache_bytes;
    bool pageable_staging; /* a device's transfers take no pinned memory */
};

/* Gives the listener, if there is one, a line of text. */
void lt_engine_notice(const lathe_engine *engine, lathe_notice_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* True if what failed with that status may be done by the CPU instead. */
bool lt_engine_may_fall_back(const lathe_engine *engine, lathe_status status);

/* Opens the device that the config asks for, if any: engine->device. OK without one where the
 * config leaves it open. Errors: as lathe_engine_create. */
lathe_status lt_engine_open_device(lathe_engine *engine, const lathe_config *config);

/* Opens any GPU or accelerator, or a processor's OpenCL with cpus_too: engine->device. Errors:
 * NOT_FOUND, NOT_SUPPORTED, DEVICE, INSUFFICIENT_MEMORY. */
lathe_status lt_engine_open_any(lathe_engine *engine, const char *program_cache_dir, bool cpus_too);

#endif
