/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration: measures what a kernel family costs at a place, by converting made-up tensors. A
 * line takes some milliseconds, and is measured when it is first needed. */
#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "engine/device/device_tensor.h"
#include "engine/direct/direct.h"
#include "engine/plan/planner.h"
#include "engine/stream/tensor_stream.h"
#include <string.h>

/* Elements of the two tensors that a line goes through. */
enum {
    ROW_ELEMS = 4096,
    GROUP_ELEMS = 128,
    SMALL_ELEMS = 4096,
    LARGE_ELEMS = 64 * 1024,
    SMALL_SPREAD_ELEMS = 64 * 1024, /* what several threads share */
    LARGE_SPREAD_ELEMS = 1024 * 1024,
    MOST_DEVICE_ELEMS = 8 * 1024 * 1024,
};

/* A tensor is converted until this much time is over, at least three times and at most so often. */
enum { ENOUGH_NS = 1500000, LEAST_RUNS = 3, MOST_RUNS = 40 };

typedef struct measurement {
    lathe_engine *engine;
    lt_place place;
    const lt_case *c;
    lathe_target target;
    lathe_tensor *source;
    lathe_tensor *result;
} measurement;

static lathe_target target_of(const lt_case *c) {
    static const lathe_target targets[LT_WORK_KINDS] = {
        [LT_WORK_ROWS] = {.granularity = LATHE_PER_ROW},
        [LT_WORK_GROUPS] = {.granularity = LATHE_PER_GROUP, .group_size = GROUP_ELEMS},
        [LT_WORK_SAMPLED] = {.quality = LATHE_FAST},
        [LT_WORK_SAMPLED_OWN] = {.quality = LATHE_FAST, .granularity = LATHE_PER_ROW},
        [LT_WORK_PRECISE] = {.quality = LATHE_PRECISE},
        [LT_WORK_PRECISE_ROWS] = {.quality = LATHE_PRECISE, .granularity = LATHE_PER_ROW},
        [LT_WORK_PRECISE_GROUPS] = {.quality = LATHE_PRECISE,
                                    .granularity = LATHE_PER_GROUP,
                                    .group_size = GROUP_ELEMS},
        [LT_WORK_STRICT] = {.strict = 1},
    };
    lathe_target target = targets[c->kind];
    target.struct_size = sizeof target;
    target.dtype = c->to;
    return target;
}

/* Values from -1 to 1; zeros, which survive every conversion, where they have to. */
static void fill(const lt_case *c, float *values, uint64_t n) {
    uint32_t state = 1;
    for (uint64_t i = 0; i < n; i++) {
        state = state * 1664525U + 1013904223U;
        values[i] = c->kind == LT_WORK_STRICT ? 0 : (float)(int32_t)state * 0x1p-31F;
    }
}

static lathe_status make_host_source(const measurement *m, const lathe_tensor_desc *desc,
                                     lathe_tensor **source) {
    lathe_tensor_desc base_desc = *desc;
    lathe_tensor *base = NULL;
    uint64_t n_saturated = 0;
    base_desc.dtype = LATHE_F32;
    lathe_status status = lathe_tensor_create(m->engine->pool, &base_desc, &base);
    if (status != LATHE_OK) {
        return status;
    }
    fill(m->c, lathe_tensor_mutable_data(base), base->layout.n_elems);
    if (desc->dtype == LATHE_F32) {
        *source = base;
        return LATHE_OK;
    }
    const lathe_target target = {.struct_size = sizeof target, .dtype = desc->dtype};
    status = lathe_tensor_create(m->engine->pool, desc, source);
    if (status == LATHE_OK) {
        status = lt_direct_convert(m->engine, m->engine->cpu, base, &target, *source, false,
                                   &n_saturated);
    }
    lathe_tensor_release(base);
    return status;
}

/* Puts the source into the device's own memory. */
static lathe_status upload(measurement *m, const lathe_tensor_desc *desc) {
    lathe_tensor *copy = NULL;
    lathe_status status = lathe_engine_tensor_create(m->engine, LATHE_MEMORY_DEVICE, desc, &copy);
    if (status == LATHE_OK) {
        status = lt_tensor_copy_contents(m->source, copy);
    }
    if (status == LATHE_OK) {
        lathe_tensor_release(m->source);
        m->source = copy;
        return LATHE_OK;
    }
    lathe_tensor_release(copy);
    return status;
}

static void drop_tensors(measurement *m) {
    lathe_tensor_release(m->source);
    lathe_tensor_release(m->result);
    m->source = m->result = NULL;
}

static lathe_status make_tensors(measurement *m, uint64_t n_elems) {
    const uint64_t shape[] = {n_elems / ROW_ELEMS, ROW_ELEMS};
    const lathe_tensor_desc from = {
        .struct_size = sizeof from, .dtype = m->c->from, .n_dims = 2, .shape = shape};
    bool is_in_device =
        m->place == LT_ON_DEVICE && lt_device_place(m->engine, false) != LT_ON_DEVICE;
    lathe_tensor_desc to;
    lathe_status status = lathe_target_desc(&m->target, 2, shape, &to);
    if (status == LATHE_OK) {
        status = make_host_source(m, &from, &m->source);
    }
    if (status == LATHE_OK && is_in_device) {
        status = upload(m, &from);
    }
    if (status == LATHE_OK) {
        lathe_memory memory = is_in_device ? LATHE_MEMORY_DEVICE : LATHE_MEMORY_HOST;
        status = lathe_engine_tensor_create(m->engine, memory, &to, &m->result);
    }
    return status;
}

static lathe_status convert_once(const measurement *m) {
    uint64_t n_saturated = 0;
    bool fell_back = false;
    if (lt_layout_equal(&m->source->layout, &m->result->layout)) {
        return lt_tensor_copy_contents(m->source, m->result);
    }
    switch (m->place) {
    case LT_ON_CALLER:
        return lt_direct_convert_here(m->engine, m->source, &m->target, m->result, &n_saturated,
                                      NULL);
    case LT_ON_THREADS:
        return lt_direct_convert(m->engine, m->engine->cpu, m->source, &m->target, m->result, false,
                                 &n_saturated);
    case LT_ON_DEVICE:
        return lt_direct_convert(m->engine, m->engine->device, m->source, &m->target, m->result,
                                 false, &n_saturated);
    case LT_THROUGH_DEVICE:
        break;
    }
    return lt_tensor_stream(m->engine, m->source, &m->target, m->result, &n_saturated, NULL,
                            &fell_back);
}

/* The least time of several runs, after one that brings in pages and programs. */
static lathe_status time_tensors(const measurement *m, double *ns) {
    uint64_t least = UINT64_MAX;
    uint64_t total = 0;
    lathe_status status = convert_once(m);
    for (int i = 0; status == LATHE_OK && (i < LEAST_RUNS || total < ENOUGH_NS) && i < MOST_RUNS;
         i++) {
        uint64_t start = lt_now_ns();
        status = convert_once(m);
        uint64_t taken = lt_now_ns() - start;
        least = lt_min(least, taken);
        total += taken;
    }
    *ns = (double)lt_max(least, 1);
    return status;
}

/* A conversion of that many elements: how long, and how many bytes. */
typedef struct point {
    double ns;
    double n_bytes;
} point;

static lathe_status measure(measurement *m, uint64_t n_elems, point *out) {
    lathe_status status = make_tensors(m, n_elems);
    if (status == LATHE_OK) {
        out->n_bytes = (double)(m->source->layout.n_bytes + m->result->layout.n_bytes);
        status = time_tensors(m, &out->ns);
    }
    drop_tensors(m);
    return status;
}

/* On a device the large tensor grows until it takes long enough, or there is no memory for more. */
static lathe_status measure_large(measurement *m, point *large) {
    const double long_ns = 4e6;
    bool is_on_device = m->place == LT_ON_DEVICE || m->place == LT_THROUGH_DEVICE;
    if (!is_on_device) {
        return measure(m, m->place == LT_ON_THREADS ? LARGE_SPREAD_ELEMS : LARGE_ELEMS, large);
    }
    lathe_status status = measure(m, LARGE_ELEMS, large);
    for (uint64_t n = 4 * LARGE_ELEMS;
         status == LATHE_OK && n <= MOST_DEVICE_ELEMS && large->ns < long_ns; n *= 4) {
        if (measure(m, n, large) != LATHE_OK) {
            break;
        }
    }
    return status;
}

static lathe_status measure_line(measurement *m, lt_line *line) {
    point small = {0};
    point large = {0};
    lathe_status status =
        measure(m, m->place == LT_ON_THREADS ? SMALL_SPREAD_ELEMS : SMALL_ELEMS, &small);
    if (status == LATHE_OK) {
        status = measure_large(m, &large);
    }
    if (status != LATHE_OK) {
        return status;
    }
    /* Noise may make the small tensor the slower one. */
    double slope = (large.ns - small.ns) / (large.n_bytes - small.n_bytes);
    double least = large.ns / large.n_bytes / 16;
    slope = slope > least ? slope : least;
    double start = small.ns - slope * small.n_bytes;
    line->ns_per_byte = (float)slope;
    line->start_ns = start > 0 ? (float)start : 0;
    return LATHE_OK;
}

/* Data that is half as large again as the caches; no more than the case itself has. */
static void measure_beyond(measurement *m, uint64_t cache_bytes, lt_line *line) {
    point beyond = {0};
    uint64_t from = lathe_dtype_is_quantized(m->c->from) ? 1 : m->c->from == LATHE_F32 ? 4 : 2;
    uint64_t to = lathe_dtype_is_quantized(m->c->to) ? 1 : m->c->to == LATHE_F32 ? 4 : 2;
    uint64_t n_bytes = lt_min(cache_bytes + cache_bytes / 2, m->c->n_bytes);
    uint64_t n_elems = lt_max(n_bytes / (from + to) / ROW_ELEMS, 1) * ROW_ELEMS;
    if (measure(m, n_elems, &beyond) == LATHE_OK) {
        line->ns_per_byte_beyond = (float)(beyond.ns / beyond.n_bytes);
    }
}

static void calibrate(lt_planner *planner, lathe_engine *engine, lt_place place, const lt_case *c) {
    const bool is_on_cpu = place == LT_ON_CALLER || place == LT_ON_THREADS;
    const uint64_t cache_bytes = engine->cpu->cache_bytes;
    measurement m = {.engine = engine, .place = place, .c = c, .target = target_of(c)};
    lt_line line = {0};
    bool has_line = lt_costs_line(planner->costs, place, c, &line);
    bool is_beyond = is_on_cpu && c->n_bytes > cache_bytes && line.ns_per_byte_beyond <= 0;
    if (has_line && !is_beyond) {
        return;
    }
    if (!has_line) {
        lathe_status status = measure_line(&m, &line);
        if (status == LATHE_DEVICE || status == LATHE_NOT_SUPPORTED) {
            line = (lt_line){.ns_per_byte = LT_IMPOSSIBLE_NS_PER_BYTE};
        } else if (status != LATHE_OK) {
            return; /* short of memory: another time */
        }
    }
    if (is_beyond) {
        measure_beyond(&m, cache_bytes, &line);
    }
    planner->is_dirty |= lt_costs_set_line(planner->costs, place, c, &line);
}

/* What the file says, of the CPU or of the device, the first time that either is asked for. */
static void read_file(lt_planner *planner, const lathe_engine *engine, lt_place place) {
    const bool is_on_cpu = place == LT_ON_CALLER || place == LT_ON_THREADS;
    bool *has_read = is_on_cpu ? &planner->has_read_cpu : &planner->has_read_device;
    if (!*has_read) {
        const lathe_engine plain = {.pool = engine->pool, .cpu = engine->cpu};
        lt_calibration_read(planner, is_on_cpu ? &plain : engine);
        *has_read = true;
    }
}

void lt_calibrate(lt_planner *planner, lathe_engine *engine, lt_place place, const lt_case *c) {
    const lathe_error before = *lt_error();
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    read_file(planner, engine, place);
    calibrate(planner, engine, place, c);
    lt_fpenv_leave(&saved);
    *lt_error() = before;
}

/* ---- transfers */

#define TRANSFER_BYTES (UINT64_C(4) << 20)

/* One way and back; the faster of the two. */
static lathe_status transfer(lt_backend *backend, lt_queue *queue, const lt_buffer *buffer,
                             uint64_t *ns) {
    static const lt_access ways[] = {LT_ACCESS_WRITE, LT_ACCESS_READ};
    const lt_backend_ops *ops = backend->ops;
    lathe_status status = LATHE_OK;
    for (int i = 0; status == LATHE_OK && i < 2; i++) {
        uint64_t start = lt_now_ns();
        status = ops->map(backend, queue, buffer, 0, buffer->n_bytes, ways[i]);
        if (status == LATHE_OK) {
            status = ops->unmap(backend, queue, buffer, 0, buffer->n_bytes, ways[i]);
        }
        if (status == LATHE_OK) {
            status = ops->finish(backend, queue);
        }
        *ns = lt_min(*ns, lt_now_ns() - start);
    }
    return status;
}

static lathe_status measure_transfers(lt_backend *backend, lt_line *line) {
    lt_queue *queue = NULL;
    lt_buffer buffer = {0};
    uint64_t least = UINT64_MAX;
    lathe_status status = backend->ops->queue_open(backend, &queue);
    if (status == LATHE_OK) {
        status = backend->ops->buffer_create(backend, LT_MEMORY_STAGED, TRANSFER_BYTES, &buffer);
    }
    for (int i = 0; status == LATHE_OK && i < LEAST_RUNS; i++) {
        status = transfer(backend, queue, &buffer, &least);
    }
    backend->ops->queue_close(backend, queue);
    backend->ops->buffer_destroy(backend, &buffer);
    line->ns_per_byte = (float)lt_max(least, 1) / (float)TRANSFER_BYTES;
    return status;
}

double lt_calibrate_transfers(lt_planner *planner, lathe_engine *engine, uint64_t n_bytes) {
    const lt_case none = {0}; /* no dtype: the family of the transfers alone */
    lt_line line = {0};
    read_file(planner, engine, LT_THROUGH_DEVICE);
    if (!lt_costs_line(planner->costs, LT_THROUGH_DEVICE, &none, &line)) {
        const lathe_error before = *lt_error();
        bool is_measured = measure_transfers(engine->device, &line) == LATHE_OK;
        *lt_error() = before;
        if (!is_measured || !lt_costs_set_line(planner->costs, LT_THROUGH_DEVICE, &none, &line)) {
            return 0;
        }
    }
    const uint64_t larger_side = n_bytes / 2;
    return (double)line.ns_per_byte * (double)larger_side;
}

/* ---- no conversion at all */

double lt_calibrate_zero_copy(lt_planner *planner) {
    enum { N_TIMES = 256 };
    const lt_case none = {0};
    lt_line line = {0};
    read_file(planner, planner->engine, LT_ON_CALLER);
    if (!lt_costs_line(planner->costs, LT_ON_CALLER, &none, &line)) {
        const uint64_t shape[] = {ROW_ELEMS};
        const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F32};
        lathe_tensor_desc desc;
        lt_layout layout;
        lathe_status status = LATHE_OK;
        uint64_t start = lt_now_ns();
        for (int i = 0; status == LATHE_OK && i < N_TIMES; i++) {
            status = lathe_target_desc(&target, 1, shape, &desc);
            status = status == LATHE_OK ? lt_layout_of(&desc, &layout) : status;
        }
        line.start_ns = (float)(lt_now_ns() - start) / (float)N_TIMES;
        line.ns_per_byte = line.start_ns; /* of a byte, which there is none of */
        planner->is_dirty |= lt_costs_set_line(planner->costs, LT_ON_CALLER, &none, &line);
    }
    return (double)line.start_ns;
}
