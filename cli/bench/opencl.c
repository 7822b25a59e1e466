/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench on an OpenCL device: conversions in its memory, statistics, streaming, and the start
 * of a program. */
#include "cl.h"
#include "report.h"
#include "stats.h"
#include "tensors.h"
#include <string.h>

/* One case, and the yardsticks. */
typedef struct cl_bench {
    bench *b;
    cli_engine_options options;
    lathe_engine *engine;
    bench_cl cl;
    lathe_target target;
    lathe_tensor *uploaded; /* what source is a copy of; NULL: there is none */
    lathe_tensor *source;
    lathe_tensor *result;
    bench_stats *stats;
    void *pageable; /* host memory for the transfers of the streaming cases */
    uint64_t bytes; /* that a yardstick moves */
} cl_bench;

static lathe_status convert(void *ctx, uint64_t rounds) {
    const cl_bench *c = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_convert_into(c->engine, c->source, &c->target, c->result, NULL);
    }
    return status;
}

static lathe_status find_stats(void *ctx, uint64_t rounds) {
    cl_bench *c = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = bench_stats_run(c->stats);
    }
    return status;
}

static lathe_status copy(void *ctx, uint64_t rounds) {
    cl_bench *c = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = bench_cl_copy(&c->cl, c->bytes);
    }
    return status;
}

static lathe_status read_device(void *ctx, uint64_t rounds) {
    cl_bench *c = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = bench_cl_read(&c->cl, c->bytes);
    }
    return status;
}

static lathe_status sum_device(void *ctx, uint64_t rounds) {
    cl_bench *c = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = bench_cl_sum(&c->cl, c->bytes);
    }
    return status;
}

static lathe_status fill_device(void *ctx, uint64_t rounds) {
    cl_bench *c = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = bench_cl_fill(&c->cl, c->bytes);
    }
    return status;
}

/* Transfers of c->bytes, in the direction of the larger side, or of each side in its own. */
static lathe_status transfer(const cl_bench *c, bool is_pinned, bool is_both, uint64_t rounds) {
    const uint64_t n_up = lathe_tensor_n_bytes(c->source);
    const uint64_t n_down = lathe_tensor_n_bytes(c->result);
    bench_cl_part up = {.n_bytes = is_both || n_up >= n_down ? n_up : 0};
    bench_cl_part down = {.n_bytes = is_both || n_up < n_down ? n_down : 0};
    lathe_status status = LATHE_OK;
    if (!is_pinned) {
        up.host = c->pageable;
        down.host = c->pageable;
    }
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = bench_cl_transfer((bench_cl *)(uintptr_t)&c->cl, up, down);
    }
    return status;
}

static lathe_status transfer_pinned(void *ctx, uint64_t rounds) {
    return transfer(ctx, true, false, rounds);
}

static lathe_status transfer_pageable(void *ctx, uint64_t rounds) {
    return transfer(ctx, false, false, rounds);
}

static lathe_status transfer_both(void *ctx, uint64_t rounds) {
    return transfer(ctx, true, true, rounds);
}

static void drop_source(cl_bench *c) {
    lathe_tensor_release(c->source);
    lathe_tensor_release(c->uploaded);
    c->source = NULL;
    c->uploaded = NULL;
}

/* Makes c->source, a copy of the case's source in that memory, unless the last case's is one. */
static lathe_status make_source(cl_bench *c, const bench_case *which, lathe_memory memory) {
    const bench *b = c->b;
    const lathe_target from = bench_target(which, which->from);
    lathe_tensor_desc desc = {.struct_size = sizeof(desc)};
    if (c->uploaded == b->source && lathe_tensor_memory(c->source) == memory) {
        return LATHE_OK;
    }
    drop_source(c);
    lathe_status status = lathe_target_desc(&from, 2, b->shape, &desc);
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(c->engine, memory, &desc, &c->source);
    }
    if (status == LATHE_OK) {
        status = lathe_tensor_copy(c->engine, b->source, c->source);
    }
    if (status == LATHE_OK) {
        c->uploaded = lathe_tensor_retain(b->source);
    }
    return status;
}

/* The same, and c->result. */
static lathe_status make_tensors(cl_bench *c, const bench_case *which, lathe_memory memory) {
    lathe_tensor_desc desc = {.struct_size = sizeof(desc)};
    c->target = bench_target(which, which->to);
    lathe_status status = make_source(c, which, memory);
    if (status == LATHE_OK) {
        status = lathe_target_desc(&c->target, 2, c->b->shape, &desc);
    }
    return status == LATHE_OK ? lathe_engine_tensor_create(c->engine, memory, &desc, &c->result)
                              : status;
}

static lathe_status measure_convert(cl_bench *c, const bench_case *which) {
    bench_row row = {.bench_case = which};
    lathe_status status = make_tensors(c, which, LATHE_MEMORY_DEVICE);
    if (status == LATHE_OK) {
        bench_row_count_bytes(&row, c->source, c->result);
        c->bytes = row.bytes;
        status = bench_cl_prepare(&c->cl, c->bytes);
    }
    bench_row_add(&row, convert, c, BENCH_ROLE_SELF, NULL);
    bench_row_add(&row, copy, c, BENCH_ROLE_YARDSTICK, "device copy");
    bench_row_add(&row, read_device, c, BENCH_ROLE_READ, "device read");
    bench_row_add(&row, fill_device, c, BENCH_ROLE_WRITE, "device write");
    return status == LATHE_OK ? bench_row_measure(c->b, &row) : status;
}

static lathe_status measure_stats(cl_bench *c, const bench_case *which) {
    bench_row row = {.bench_case = which};
    row.bytes = row.read_bytes = lathe_tensor_n_bytes(c->b->source);
    c->bytes = row.bytes;
    lathe_status status =
        bench_stats_open(c->engine, c->b->source, LATHE_MEMORY_DEVICE, which->to, &c->stats);
    if (status == LATHE_OK) {
        status = bench_cl_prepare(&c->cl, c->bytes);
    }
    if (status == LATHE_OK) {
        status = bench_cl_prepare_transfer(&c->cl);
    }
    bench_row_add(&row, find_stats, c, BENCH_ROLE_SELF, NULL);
    bench_row_add(&row, sum_device, c, BENCH_ROLE_YARDSTICK, "device sum");
    return status == LATHE_OK ? bench_row_measure(c->b, &row) : status;
}

/* The yardsticks move the larger side alone, one way, and both sides at once, each its way, which
 * is the limit. Bytes are those of the larger side. */
static lathe_status measure_stream(cl_bench *c, const bench_case *which) {
    bench_row row = {.bench_case = which};
    lathe_tensor *pageable = NULL;
    lathe_status status = make_tensors(c, which, which->memory);
    const bool is_up =
        status == LATHE_OK && lathe_tensor_n_bytes(c->source) >= lathe_tensor_n_bytes(c->result);
    if (status == LATHE_OK) {
        const lathe_tensor *larger = is_up ? c->source : c->result;
        const lathe_tensor_desc desc = {.struct_size = sizeof(desc),
                                        .dtype = lathe_tensor_dtype(larger),
                                        .n_dims = 2,
                                        .shape = c->b->shape};
        row.bytes = lathe_tensor_n_bytes(larger);
        status = lathe_tensor_create(c->b->pool, &desc, &pageable);
    }
    if (status == LATHE_OK) {
        c->pageable = lathe_tensor_mutable_data(pageable);
        memset(c->pageable, 1, (size_t)row.bytes);
        status = bench_cl_prepare_transfer(&c->cl);
    }
    bench_row_add(&row, convert, c, BENCH_ROLE_SELF, NULL);
    bench_row_add(&row, transfer_pinned, c, BENCH_ROLE_YARDSTICK,
                  is_up ? "pinned write" : "pinned read");
    bench_row_add(&row, transfer_pageable, c, BENCH_ROLE_OTHER,
                  is_up ? "pageable write" : "pageable read");
    bench_row_add(&row, transfer_both, c, BENCH_ROLE_COPY, "pinned, both ways at once");
    row.acts.limit_share[row.acts.n - 1] = 1;
    status = status == LATHE_OK ? bench_row_measure(c->b, &row) : status;
    lathe_tensor_release(pageable);
    return status;
}

/* The medians of many starts. */
typedef struct start_times {
    double engine;
    double conversion;
    lathe_engine_stats stats; /* of the last one */
} start_times;

/* Makes an engine, and converts a row with it. */
static lathe_status start(cl_bench *c, lathe_tensor *row, double *engine_s, double *conversion_s,
                          lathe_engine_stats *stats) {
    lathe_engine *engine = NULL;
    lathe_tensor *result = NULL;
    uint64_t start_ns = cli_now_ns();
    lathe_status status = cli_engine_create(&c->options, &engine);
    *engine_s = bench_seconds_since(start_ns);
    if (status == LATHE_OK) {
        start_ns = cli_now_ns();
        status = lathe_convert(engine, row, &c->target, &result, NULL);
        *conversion_s = bench_seconds_since(start_ns);
    }
    if (status == LATHE_OK) {
        status = lathe_engine_get_stats(engine, stats);
    }
    lathe_tensor_release(result);
    lathe_engine_free(engine);
    return status;
}

static void report_start(const cl_bench *c, const start_times *times, uint64_t first_engine_ns) {
    bench *b = c->b;
    const lathe_engine_stats *stats = &times->stats;
    json_decref(b->start);
    b->start =
        json_pack("{s:f, s:f, s:f, s:o}", "first_engine_seconds", (double)first_engine_ns * 1e-9,
                  "engine_seconds", times->engine, "conversion_seconds", times->conversion,
                  "engine", cli_engine_stats_json(stats));
    if (!bench_has_table(b)) {
        return;
    }
    cli_progress_hide();
    printf("start: the process's first engine %.2f ms, another %.2f ms, its first conversion "
           "%.2f ms;\n       programs: %llu loaded in %.2f ms, %llu built in %.2f ms\n",
           (double)first_engine_ns * 1e-6, times->engine * 1e3, times->conversion * 1e3,
           (unsigned long long)stats->n_programs_loaded, (double)stats->program_load_ns * 1e-6,
           (unsigned long long)stats->n_programs_built, (double)stats->program_build_ns * 1e-6);
}

/* The first start, which may fill the program cache, does not count. */
static lathe_status measure_start(cl_bench *c, const bench_case *which, uint64_t first_engine_ns) {
    bench *b = c->b;
    const uint64_t shape[] = {1, b->shape[1]};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    double engine[BENCH_MOST_REPEATS];
    double conversion[BENCH_MOST_REPEATS];
    start_times times = {.stats = {.struct_size = sizeof(times.stats)}};
    lathe_tensor *row = NULL;
    c->target = bench_target(which, which->to);
    lathe_status status = lathe_tensor_wrap(b->pool, &desc, lathe_tensor_mutable_data(b->base),
                                            NULL, LATHE_WRAP_READ_ONLY, NULL, NULL, &row);
    if (status == LATHE_OK) {
        status = start(c, row, engine, conversion, &times.stats);
    }
    size_t n = (size_t)b->options->repeat;
    for (size_t i = 0; i < n && status == LATHE_OK; i++) {
        status = start(c, row, &engine[i], &conversion[i], &times.stats);
    }
    if (status == LATHE_OK) {
        times.engine = bench_median(engine, n);
        times.conversion = bench_median(conversion, n);
        report_start(c, &times, first_engine_ns);
    }
    lathe_tensor_release(row);
    return status;
}

static lathe_status measure(cl_bench *c, const bench_case *which, uint64_t first_engine_ns) {
    lathe_status status = bench_make_source(c->b, which);
    if (which->kind != BENCH_CONVERT) {
        drop_source(c); /* there may be no room for another */
    }
    if (status == LATHE_OK) {
        switch (which->kind) {
        case BENCH_CONVERT:
            status = measure_convert(c, which);
            break;
        case BENCH_STATS:
            status = measure_stats(c, which);
            break;
        case BENCH_STREAM:
            status = measure_stream(c, which);
            break;
        case BENCH_ENCODE:
            break;
        case BENCH_START:
            status = measure_start(c, which, first_engine_ns);
            break;
        }
    }
    bench_stats_close(c->stats);
    c->stats = NULL;
    lathe_tensor_release(c->result);
    c->result = NULL;
    return status;
}

int bench_run_opencl(bench *b, uint64_t first_engine_ns) {
    int status = CLI_OK;
    cl_bench c = {.b = b, .options = b->options->engine};
    /* A speed is the device's own or an error. */
    c.options.config.device = b->device.selector;
    c.options.config.require_device = 1;
    c.options.config.n_threads = b->n_threads;
    c.options.config.pool = b->pool;
    if (cli_engine_create(&c.options, &c.engine) != LATHE_OK ||
        bench_cl_open(&c.cl, c.engine) != LATHE_OK || bench_make_base(b) != LATHE_OK) {
        status = cli_fail_last();
        goto out;
    }
    /* One case that fails is no reason to lose the others. */
    for (size_t i = 0; i < b->n_cases; i++) {
        bench_report_progress(b, b->cases[i].name);
        if (measure(&c, &b->cases[i], first_engine_ns) != LATHE_OK) {
            status = bench_report_failure(b->cases[i].name);
        }
    }
out:
    drop_source(&c);
    bench_cl_close(&c.cl);
    lathe_engine_free(c.engine);
    return status;
}
