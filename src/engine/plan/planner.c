/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing where a conversion runs. The calling thread or all threads of the CPU: by what was
 * faster. A device of AUTO's: opened when conversions have kept the CPU busy for longer than
 * looking for one takes, and used where it is estimated to be faster. */
#include "engine/plan/planner.h"

#include "core/error.h"
#include "pool/pool.h"
#include <string.h>

/* Loading a driver, opening a device and compiling the first kernels take a second or two. */
#define LOOK_NS UINT64_C(1000000000)

/* Of less than this a device would see nothing but latency. */
#define LEAST_DEVICE_BYTES (UINT64_C(1) << 20)

static lathe_status copy_text(lathe_pool *pool, const char *text, char **copy) {
    if (text == NULL) {
        return LATHE_OK;
    }
    size_t n_bytes = strlen(text) + 1;
    *copy = lt_pool_new(pool, n_bytes);
    if (*copy == NULL) {
        return lt_error()->status;
    }
    memcpy(*copy, text, n_bytes);
    return LATHE_OK;
}

lathe_status lt_planner_create(lathe_engine *engine, const lathe_config *config) {
    lathe_pool *pool = engine->pool;
    lt_planner *made = lt_pool_new(pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->engine = engine;
    made->look_ns = LOOK_NS;
    made->is_auto = config->opencl_device == NULL &&
                    (config->device == NULL || strcmp(config->device, "auto") == 0);
    atomic_init(&made->cpu_ns, 0);
    atomic_init(&made->has_looked, !made->is_auto);
    atomic_init(&made->used_device, false);
    (void)pthread_mutex_init(&made->mutex, NULL);
    engine->planner = made;
    lathe_status status = copy_text(pool, config->calibration_file, &made->calibration_file);
    if (status == LATHE_OK) {
        status = copy_text(pool, config->program_cache_dir, &made->program_cache_dir);
    }
    if (status == LATHE_OK) {
        made->costs = lt_costs_create(pool, engine->cpu->cache_bytes, engine->cpu->n_threads);
        status = made->costs == NULL ? lt_error()->status : LATHE_OK;
    }
    return status;
}

void lt_planner_destroy(lt_planner *planner) {
    if (planner == NULL) {
        return;
    }
    lathe_pool *pool = planner->engine->pool;
    if (planner->on_device != NULL) {
        lt_backend_release(planner->on_device->device);
        lt_pool_delete(pool, planner->on_device);
    }
    lt_costs_destroy(planner->costs);
    lt_pool_delete(pool, planner->calibration_file);
    lt_pool_delete(pool, planner->program_cache_dir);
    (void)pthread_mutex_destroy(&planner->mutex);
    lt_pool_delete(pool, planner);
}

/* ---- AUTO's device */

/* An engine that shares all with the given one, but has a device. NULL: there is none. */
static lathe_engine *open_device(lt_planner *planner) {
    lathe_engine *made = lt_pool_new(planner->engine->pool, sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    *made = *planner->engine;
    lathe_status status =
        lt_engine_open_any(made, planner->program_cache_dir, planner->takes_any_device);
    if (status != LATHE_OK) {
        lt_engine_notice(planner->engine, LATHE_NOTICE_INFO, "converting on the CPU: %s",
                         lt_error()->message);
        lt_pool_delete(planner->engine->pool, made);
        return NULL;
    }
    return made;
}

/* The engine on AUTO's device, once there is one. Looks for it when the CPU has spent, or is about
 * to spend, enough time. */
static lathe_engine *device_for(lt_planner *planner, double cpu_ns) {
    if (atomic_load_explicit(&planner->has_looked, memory_order_acquire)) {
        return planner->on_device;
    }
    double spent = (double)atomic_load_explicit(&planner->cpu_ns, memory_order_relaxed);
    /* Who comes while another looks is served by the CPU. */
    if (spent + cpu_ns < (double)planner->look_ns || pthread_mutex_trylock(&planner->mutex) != 0) {
        return NULL;
    }
    if (!atomic_load(&planner->has_looked)) {
        const lathe_error before = *lt_error();
        planner->on_device = open_device(planner);
        *lt_error() = before;
        atomic_store_explicit(&planner->has_looked, true, memory_order_release);
    }
    (void)pthread_mutex_unlock(&planner->mutex);
    return planner->on_device;
}

/* True if that engine's device converts the case sooner than cpu_ns. What cannot be so by its
 * transfers alone is not measured. */
static bool is_worth_device(lt_planner *planner, lathe_engine *engine, const lt_case *c,
                            double cpu_ns) {
    lt_place place = lt_device_place(engine, false);
    if (place == LT_THROUGH_DEVICE && lt_case_is_for_cpu(c, engine->device)) {
        return false;
    }
    lt_estimate estimate = lt_costs_estimate(planner->costs, place, c);
    if (!estimate.is_known) {
        if (pthread_mutex_trylock(&planner->mutex) != 0) {
            return false;
        }
        double least =
            place == LT_THROUGH_DEVICE ? lt_calibrate_transfers(planner, engine, c->n_bytes) : 0;
        if (least < cpu_ns) {
            lt_calibrate(planner, engine, place, c);
        }
        (void)pthread_mutex_unlock(&planner->mutex);
        estimate = lt_costs_estimate(planner->costs, place, c);
    }
    return estimate.is_known && estimate.ns < cpu_ns;
}

static lathe_engine *choose_device(lt_planner *planner, const lt_case *c, double cpu_ns) {
    if (c->n_bytes < LEAST_DEVICE_BYTES) {
        return NULL;
    }
    lathe_engine *engine = device_for(planner, cpu_ns);
    bool is_worth = engine != NULL && is_worth_device(planner, engine, c, cpu_ns);
    if (is_worth) {
        atomic_store_explicit(&planner->used_device, true, memory_order_release);
    }
    return is_worth ? engine : NULL;
}

lt_way lt_planner_choose(lathe_engine *engine, const lt_case *c, bool is_on_device) {
    lt_planner *planner = engine->planner;
    if (engine->device != NULL) {
        lt_place place = lt_device_place(engine, is_on_device);
        if (place == LT_ON_DEVICE || !lt_case_is_for_cpu(c, engine->device)) {
            return (lt_way){engine, place};
        }
    }
    if (planner->is_fixed) {
        return (lt_way){engine, planner->fixed};
    }
    lt_place place = lt_costs_spread(planner->costs, c, true) ? LT_ON_THREADS : LT_ON_CALLER;
    if (planner->is_auto && c->n_bytes >= LEAST_DEVICE_BYTES) {
        double cpu_ns = lt_costs_estimate(planner->costs, place, c).ns;
        lathe_engine *on_device = choose_device(planner, c, cpu_ns);
        if (on_device != NULL) {
            return (lt_way){on_device, lt_device_place(on_device, false)};
        }
    }
    return (lt_way){engine, place};
}

lathe_engine *lt_planner_engine_for_stream(lathe_engine *engine, const lt_case *c) {
    lt_planner *planner = engine->planner;
    if (engine->device != NULL || !planner->is_auto) {
        return engine;
    }
    double cpu_ns = lt_costs_estimate(planner->costs, LT_ON_THREADS, c).ns;
    lathe_engine *on_device = choose_device(planner, c, cpu_ns);
    return on_device != NULL ? on_device : engine;
}

lathe_engine *lt_planner_used_engine(lathe_engine *engine) {
    lt_planner *planner = engine->planner;
    bool is_used = atomic_load_explicit(&planner->used_device, memory_order_acquire);
    return is_used ? planner->on_device : engine;
}

void lt_planner_observe(lathe_engine *engine, lt_place place, const lt_case *c, uint64_t ns) {
    lt_planner *planner = engine->planner;
    lt_costs_observe(planner->costs, place, c, ns);
    bool is_on_cpu = place == LT_ON_CALLER || place == LT_ON_THREADS;
    if (is_on_cpu && c->n_bytes >= LEAST_DEVICE_BYTES &&
        !atomic_load_explicit(&planner->has_looked, memory_order_relaxed)) {
        (void)atomic_fetch_add_explicit(&planner->cpu_ns, ns, memory_order_relaxed);
    }
}
