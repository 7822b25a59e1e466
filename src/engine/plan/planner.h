/* SPDX-License-Identifier: Apache-2.0 */
/* The planner: chooses where a conversion runs, by what was measured on this machine. */
#ifndef LT_ENGINE_PLANNER_H
#define LT_ENGINE_PLANNER_H

#include "engine/engine.h"
#include "engine/plan/cost.h"
#include <pthread.h>

/* One for each engine: engine->planner. */
typedef struct lt_planner {
    lathe_engine *engine;
    lt_costs *costs;
    bool is_auto;            /* may open a device of its own accord */
    bool takes_any_device;   /* CPU devices as well: for tests */
    char *calibration_file;  /* NULL: none */
    char *program_cache_dir; /* for the device, when it is opened */
    bool is_fixed;           /* every conversion runs at `fixed`: for measurements */
    lt_place fixed;
    atomic_uint_fast64_t cpu_ns; /* spent in conversions on the CPU that a device might have done */
    uint64_t look_ns;            /* so much of it that looking for a device is worth its time */
    atomic_bool has_looked;      /* for a device; on_device does not change any more */
    lathe_engine
        *on_device; /* AUTO: the same engine, but converting on the device found; or NULL */
    atomic_bool used_device;
    pthread_mutex_t mutex; /* guards what follows, and is held while something is measured */
    bool has_read_cpu;     /* the file's lines of the CPU */
    bool has_read_device;  /* and of the device */
    bool is_dirty;         /* the file lacks something */
} lt_planner;

/* Makes engine->planner; opens and measures nothing. Errors: INSUFFICIENT_MEMORY. */
lathe_status lt_planner_create(lathe_engine *engine, const lathe_config *config);

/* NULL is legal. */
void lt_planner_destroy(lt_planner *planner);

/* A conversion that is to be done, and where. */
typedef struct lt_way {
    lathe_engine *engine; /* the given one, or the one that converts on AUTO's device */
    lt_place place;
} lt_way;

/* Where to convert host tensors, or tensors of the engine's own device. Cheap, except for an AUTO
 * engine at the moment when it first pays to look for a device. */
lt_way lt_planner_choose(lathe_engine *engine, const lt_case *c, bool is_on_device);

/* How that engine's device reaches host tensors, or its own. */
static inline lt_place lt_device_place(const lathe_engine *engine, bool is_on_device) {
    /* Staging costs nothing beside the buffer where the device uses the host's memory. */
    const bool shares_memory = engine->device->staged_cost == 1;
    return is_on_device || shares_memory ? LT_ON_DEVICE : LT_THROUGH_DEVICE;
}

/* What a conversion took there: the estimates follow. */
void lt_planner_observe(lathe_engine *engine, lt_place place, const lt_case *c, uint64_t ns);

/* The engine to stream a checkpoint with, of which n_bytes, sources and results, are converted from
 * and to these types: the given one, or the one that converts on AUTO's device. */
lathe_engine *lt_planner_engine_for_stream(lathe_engine *engine, const lt_case *c);

/* A line of what a device cannot do. */
#define LT_IMPOSSIBLE_NS_PER_BYTE 1e6F

/* The given engine, or the one on AUTO's device if that has been chosen for anything. */
lathe_engine *lt_planner_used_engine(lathe_engine *engine);

/* calibration.c: sees to it that the case can be estimated at the place: reads the file, if that
 * has not been done, or measures. Where there is no memory for that, a rule of thumb stays. Keeps
 * the last error. With the mutex held. */
void lt_calibrate(lt_planner *planner, lathe_engine *engine, lt_place place, const lt_case *c);

/* How long the larger side's transfer alone would take, at least: half of n_bytes. No conversion
 * through that device is faster. Measures at first. Where that fails, 0. With the mutex held. */
double lt_calibrate_transfers(lt_planner *planner, lathe_engine *engine, uint64_t n_bytes);

/* How long it takes to find out that a tensor need not be converted. With the mutex held. */
double lt_calibrate_zero_copy(lt_planner *planner);

/* calibration_file.c: lines of this machine, or of the device of `engine`, if it has one, from the
 * file; and all lines to it, if it lacks any. Whatever is wrong with it, it says nothing, and is
 * written anew. With the mutex held. */
void lt_calibration_read(lt_planner *planner, const lathe_engine *engine);
void lt_calibration_write(lt_planner *planner);

#endif
