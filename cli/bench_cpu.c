/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench on the CPU: conversions beside memcpy of the same number of bytes. */
#include "bench.h"
#include "copy_team.h"
#include <string.h>

/* One case, and the yardstick, whose buffers grow from case to case. */
typedef struct cpu_bench {
    bench *b;
    lathe_engine *engine;
    copy_team *team;
    lathe_target target;
    lathe_tensor *result;
    uint64_t bytes;
    void *copy_src; /* copy_bytes each */
    void *copy_dst;
    size_t copy_bytes;
} cpu_bench;

/* Makes the buffers of the yardstick large enough, and touches them. */
static lathe_status make_copy_buffers(cpu_bench *c, size_t n_bytes) {
    if (n_bytes <= c->copy_bytes) {
        return LATHE_OK;
    }
    lathe_pool *pool = c->b->pool;
    lathe_pool_free(pool, c->copy_src);
    lathe_pool_free(pool, c->copy_dst);
    c->copy_src = NULL;
    c->copy_dst = NULL;
    c->copy_bytes = 0;
    lathe_status status = lathe_pool_alloc(pool, n_bytes, &c->copy_src);
    if (status == LATHE_OK) {
        status = lathe_pool_alloc(pool, n_bytes, &c->copy_dst);
    }
    if (status == LATHE_OK) {
        c->copy_bytes = n_bytes;
        memset(c->copy_src, 1, n_bytes);
        memset(c->copy_dst, 2, n_bytes);
    }
    return status;
}

static lathe_status convert(void *ctx, uint64_t rounds) {
    const cpu_bench *c = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_convert_into(c->engine, c->b->source, &c->target, c->result, NULL);
    }
    return status;
}

static lathe_status copy(void *ctx, uint64_t rounds) {
    const cpu_bench *c = ctx;
    copy_team_run(c->team, c->copy_dst, c->copy_src, (size_t)(c->bytes / 2), rounds);
    return LATHE_OK;
}

static lathe_status measure(cpu_bench *c, const bench_case *which) {
    bench *b = c->b;
    const bench_acts acts = {.ctx = c, .n = 2, .run = {convert, copy}};
    bench_row row = {.bench_case = which, .yardstick = "memcpy"};
    c->target = bench_target(which, which->to);
    c->result = NULL;
    lathe_status status = bench_make_source(b, which);
    if (status == LATHE_OK) {
        status = lathe_convert(c->engine, b->source, &c->target, &c->result, NULL);
    }
    if (status == LATHE_OK) {
        c->bytes = lathe_tensor_n_bytes(b->source) + lathe_tensor_n_bytes(c->result);
        row.bytes = c->bytes;
        status = make_copy_buffers(c, (size_t)(c->bytes / 2));
    }
    if (status == LATHE_OK) {
        status = bench_measure(&acts, b->options->repeat, &row.times);
    }
    if (status == LATHE_OK) {
        bench_report_row(b, &row);
    }
    lathe_tensor_release(c->result);
    return status;
}

int bench_run_cpu(bench *b) {
    int status = CLI_OK;
    cpu_bench c = {.b = b};
    cli_engine_options options = b->options->engine;
    options.config.device = "cpu";
    options.config.n_threads = b->n_threads;
    options.config.pool = b->pool;
    if (cli_engine_create(&options, &c.engine) != LATHE_OK ||
        lathe_engine_device(c.engine, &b->device) != LATHE_OK) {
        status = cli_fail_last();
        goto out;
    }
    c.team = copy_team_start(b->n_threads);
    if (c.team == NULL) {
        status = cli_fail("cannot start %u threads", (unsigned)b->n_threads);
        goto out;
    }
    for (size_t i = 0; i < b->n_cases && status == CLI_OK; i++) {
        if (measure(&c, &b->cases[i]) != LATHE_OK) {
            status = cli_fail("%s: %s", b->cases[i].name, lathe_last_error()->message);
        }
    }
out:
    lathe_pool_free(b->pool, c.copy_src);
    lathe_pool_free(b->pool, c.copy_dst);
    copy_team_end(c.team);
    lathe_engine_free(c.engine);
    return status;
}
