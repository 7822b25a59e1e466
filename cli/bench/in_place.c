/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=in_place: conversions in a tensor's own memory beside direct ones into a
 * recycled result. Each repetition converts fresh data, and only the conversion is timed. */
#include "strategies.h"
#include <string.h>

typedef struct in_place_bench {
    lathe_engine *engine;
    lathe_memory memory;
    lathe_tensor *source; /* in that memory */
    lathe_tensor *result; /* of the direct conversion, used again */
    void *wrapped;        /* host memory for tensors that give nothing back; NULL: the pool's */
    lathe_target target;
} in_place_bench;

static lathe_tensor_desc desc_of(const lathe_tensor *tensor) {
    return (lathe_tensor_desc){
        .struct_size = sizeof(lathe_tensor_desc),
        .dtype = lathe_tensor_dtype(tensor),
        .n_dims = lathe_tensor_n_dims(tensor),
        .shape = lathe_tensor_shape(tensor),
    };
}

static lathe_status copy_source(const in_place_bench *p, lathe_tensor **copy) {
    const lathe_tensor_desc desc = desc_of(p->source);
    lathe_pool *pool = lathe_engine_pool(p->engine);
    lathe_status status =
        p->wrapped != NULL ? lathe_tensor_wrap(pool, &desc, p->wrapped, NULL, 0, NULL, NULL, copy)
                           : lathe_engine_tensor_create(p->engine, p->memory, &desc, copy);
    return status == LATHE_OK ? lathe_tensor_copy(p->engine, p->source, *copy) : status;
}

static lathe_status time_in_place(const in_place_bench *p, double *seconds) {
    lathe_tensor *tensor = NULL;
    lathe_status status = copy_source(p, &tensor);
    const uint64_t start_ns = cli_now_ns();
    if (status == LATHE_OK) {
        status = lathe_convert_in_place(p->engine, tensor, &p->target, NULL);
    }
    *seconds = bench_seconds_since(start_ns);
    lathe_tensor_release(tensor);
    return status;
}

/* From a fresh copy, too: what the caches still have to write back is the same. */
static lathe_status time_direct(const in_place_bench *p, double *seconds) {
    lathe_tensor *tensor = NULL;
    lathe_status status = copy_source(p, &tensor);
    const uint64_t start_ns = cli_now_ns();
    if (status == LATHE_OK) {
        status = lathe_convert_into(p->engine, tensor, &p->target, p->result, NULL);
    }
    *seconds = bench_seconds_since(start_ns);
    lathe_tensor_release(tensor);
    return status;
}

/* The two in turns, after one of each to warm up. */
static lathe_status measure(const in_place_bench *p, size_t n_repeats, bench_times *times) {
    double in_place[BENCH_MOST_REPEATS];
    double direct[BENCH_MOST_REPEATS];
    double ratios[BENCH_MOST_REPEATS];
    lathe_status status = time_in_place(p, &in_place[0]);
    if (status == LATHE_OK) {
        status = time_direct(p, &direct[0]);
    }
    for (size_t i = 0; status == LATHE_OK && i < n_repeats; i++) {
        for (size_t turn = 0; status == LATHE_OK && turn < 2; turn++) {
            status =
                (i + turn) % 2 == 0 ? time_in_place(p, &in_place[i]) : time_direct(p, &direct[i]);
        }
        ratios[i] = direct[i] / in_place[i];
    }
    if (status == LATHE_OK) {
        *times = (bench_times){.ratio = {1, bench_median(ratios, n_repeats)}};
        times->seconds[0] = bench_quartiles(in_place, n_repeats, times->quartiles[0]);
        times->seconds[1] = bench_quartiles(direct, n_repeats, times->quartiles[1]);
    }
    return status;
}

static lathe_status run_target(bench *b, in_place_bench *p, lathe_dtype dtype, const char *how) {
    char what[64];
    bench_times times;
    lathe_tensor_desc desc;
    p->target = (lathe_target){.struct_size = sizeof(p->target), .dtype = dtype};
    lathe_status status = lathe_target_desc(&p->target, lathe_tensor_n_dims(p->source),
                                            lathe_tensor_shape(p->source), &desc);
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(p->engine, p->memory, &desc, &p->result);
    }
    if (status == LATHE_OK) {
        status = measure(p, (size_t)b->options->repeat, &times);
    }
    if (status == LATHE_OK) {
        snprintf(what, sizeof(what), "f32->%s%s", lathe_dtype_name(dtype), how);
        bench_strategy_row(b, what, "direct, into a recycled result", &times);
    }
    lathe_tensor_release(p->result);
    p->result = NULL;
    return status;
}

/* On a device its own tensors are converted, on the CPU those of the host. */
static lathe_status open(bench *b, in_place_bench *p) {
    lathe_status status = bench_strategy_engine(b, &p->engine);
    if (status == LATHE_OK) {
        status = bench_make_base(b);
    }
    if (status != LATHE_OK) {
        return status;
    }
    const lathe_tensor_desc desc = desc_of(b->base);
    lathe_device_info info = {.struct_size = sizeof(info)};
    status = lathe_engine_device(p->engine, &info);
    const bool is_cpu = strcmp(info.selector, "cpu") == 0;
    p->memory = is_cpu ? LATHE_MEMORY_HOST : LATHE_MEMORY_DEVICE;
    if (status == LATHE_OK && is_cpu) {
        p->source = lathe_tensor_retain(b->base);
        return lathe_pool_alloc(b->pool, (size_t)lathe_tensor_n_bytes(b->base), &p->wrapped);
    }
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(p->engine, p->memory, &desc, &p->source);
    }
    return status == LATHE_OK ? lathe_tensor_copy(p->engine, b->base, p->source) : status;
}

lathe_status bench_in_place(bench *b) {
    in_place_bench p = {.engine = NULL};
    lathe_status status = open(b, &p);
    if (status == LATHE_OK) {
        status = run_target(b, &p, LATHE_F16, "");
    }
    if (status == LATHE_OK) {
        status = run_target(b, &p, LATHE_I8, "");
    }
    (void)lathe_pool_free(b->pool, p.wrapped);
    if (status == LATHE_OK && p.wrapped != NULL) {
        p.wrapped = NULL;
        status = run_target(b, &p, LATHE_F16, ", the end given back to the pool");
    }
    lathe_tensor_release(p.source);
    lathe_engine_free(p.engine);
    return status;
}
