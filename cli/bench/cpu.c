/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench on the CPU: conversions beside copies, reads and writes of as many bytes. */
#include "kernel.h"
#include "peers.h"
#include "report.h"
#include "stats.h"
#include "tensors.h"
#include "yardsticks.h"

/* One case, and what it is set beside. */
typedef struct cpu_bench {
    bench *b;
    lathe_engine *engine;
    bench_yardsticks yardsticks;
    lathe_target target;
    lathe_tensor *result;
    bench_kernel *kernel;
    bench_stats *stats;
    bench_peers peers;
} cpu_bench;

static lathe_status convert(void *ctx, uint64_t rounds) {
    const cpu_bench *c = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_convert_into(c->engine, c->b->source, &c->target, c->result, NULL);
    }
    return status;
}

static lathe_status find_stats(void *ctx, uint64_t rounds) {
    const cpu_bench *c = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = bench_stats_run(c->stats);
    }
    return status;
}

/* memcpy, and what the limit is made of. */
static lathe_status add_yardsticks(cpu_bench *c, bench_row *row) {
    bench_yardsticks *y = &c->yardsticks;
    const lathe_status status = bench_yardsticks_set(y, row->bytes);
    if (status != LATHE_OK) {
        return status;
    }
    if (row->written_bytes != 0) {
        bench_row_add(row, bench_run_memcpy, y, BENCH_ROLE_YARDSTICK, "memcpy");
        if (y->now.copy != BENCH_MEMCPY) {
            bench_row_add(row, bench_run_copy, y, BENCH_ROLE_COPY,
                          bench_yardstick_name(y->now.copy));
        }
        bench_row_add(row, bench_run_read, y, BENCH_ROLE_READ, bench_yardstick_name(y->now.read));
        bench_row_add(row, bench_run_write, y, BENCH_ROLE_WRITE,
                      bench_yardstick_name(y->now.write));
    } else {
        bench_row_add(row, bench_run_read, y, BENCH_ROLE_YARDSTICK,
                      bench_yardstick_name(y->now.read));
    }
    return LATHE_OK;
}

static lathe_status add_peers(cpu_bench *c, const bench_case *which, float scale, bench_row *row) {
    const lathe_tensor *source = c->b->source;
    const bench_peer_data data = {
        .values = lathe_tensor_data(c->b->base),
        .src = lathe_tensor_data(source),
        .dst = lathe_tensor_mutable_data(c->result),
        .dst_bytes = (size_t)lathe_tensor_n_bytes(c->result),
        .n_elems = (size_t)lathe_tensor_n_elems(source),
        .scale = scale,
    };
    if (!c->b->options->peers) {
        return LATHE_OK;
    }
    const lathe_status status = bench_peers_open(&c->peers, c->b->pool, which, &data);
    for (size_t i = 0; i < c->peers.n && status == LATHE_OK; i++) {
        bench_row_add(row, bench_peer_run, c->peers.opened[i], BENCH_ROLE_PEER, c->peers.names[i]);
    }
    return status;
}

static lathe_status measure_convert(cpu_bench *c, const bench_case *which, bench_row *row) {
    bench *b = c->b;
    lathe_tensor_desc desc = {.struct_size = sizeof(desc)};
    c->target = bench_target(which, which->to);
    lathe_status status = lathe_target_desc(&c->target, 2, b->shape, &desc);
    if (status == LATHE_OK) {
        status = lathe_tensor_create(b->pool, &desc, &c->result);
    }
    if (status == LATHE_OK) {
        status = lathe_convert_into(c->engine, b->source, &c->target, c->result, NULL);
    }
    if (status != LATHE_OK) {
        return status;
    }
    const float *scales = lathe_tensor_scales(c->result);
    const float *src_scales = lathe_tensor_scales(b->source);
    const float scale = scales != NULL ? scales[0] : src_scales != NULL ? src_scales[0] : 1;
    bench_row_count_bytes(row, b->source, c->result);
    if (b->options->kernels) {
        c->kernel = bench_kernel_open(c->engine, which, b->source, &c->target, c->result, scale);
        bench_row_add(row, bench_kernel_run, c->kernel, BENCH_ROLE_SELF, NULL);
    } else {
        bench_row_add(row, convert, c, BENCH_ROLE_SELF, NULL);
    }
    status = add_peers(c, which, scale, row);
    if (status != LATHE_OK ||
        (b->options->peers && b->options->filter == NULL && c->peers.n == 0)) {
        return status; /* of all conversions, those that have a peer */
    }
    status = add_yardsticks(c, row);
    return status == LATHE_OK ? bench_row_measure(b, row) : status;
}

static lathe_status measure_stats(cpu_bench *c, const bench_case *which, bench_row *row) {
    row->bytes = row->read_bytes = lathe_tensor_n_bytes(c->b->source);
    lathe_status status =
        bench_stats_open(c->engine, c->b->source, LATHE_MEMORY_HOST, which->to, &c->stats);
    if (status != LATHE_OK) {
        return status;
    }
    bench_row_add(row, find_stats, c, BENCH_ROLE_SELF, NULL);
    status = add_yardsticks(c, row);
    return status == LATHE_OK ? bench_row_measure(c->b, row) : status;
}

static lathe_status measure(cpu_bench *c, const bench_case *which) {
    bench_row row = {.bench_case = which};
    lathe_status status = bench_make_source(c->b, which);
    if (status == LATHE_OK) {
        status = which->kind == BENCH_STATS ? measure_stats(c, which, &row)
                                            : measure_convert(c, which, &row);
    }
    bench_peers_close(&c->peers);
    bench_kernel_close(c->kernel);
    c->kernel = NULL;
    bench_stats_close(c->stats);
    c->stats = NULL;
    lathe_tensor_release(c->result);
    c->result = NULL;
    return status;
}

int bench_run_cpu(bench *b, lathe_isa isa) {
    int status = CLI_OK;
    cpu_bench c = {.b = b};
    cli_engine_options options = b->options->engine;
    options.config.device = "cpu";
    options.config.n_threads = b->n_threads;
    options.config.pool = b->pool;
    options.config.isa = isa;
    if (cli_engine_create(&options, &c.engine) != LATHE_OK ||
        lathe_engine_device(c.engine, &b->device) != LATHE_OK || bench_make_base(b) != LATHE_OK) {
        status = cli_fail_last();
        goto out;
    }
    if (bench_yardsticks_open(&c.yardsticks, b->pool, b->n_threads) != LATHE_OK) {
        status = cli_fail("cannot start %u threads", (unsigned)b->n_threads);
        goto out;
    }
    for (size_t i = 0; i < b->n_cases; i++) {
        const bench_case *which = &b->cases[i];
        bench_report_progress(b, which->name);
        if (measure(&c, which) != LATHE_OK) {
            status = bench_report_failure(which->name);
        }
    }
out:
    bench_yardsticks_close(&c.yardsticks);
    lathe_engine_free(c.engine);
    return status;
}
