/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=batch: many small tensors in one call, beside one tensor of the same
 * bytes, and beside a conversion for each. */
#include "strategies.h"
#include <stdlib.h>
#include <string.h>

enum { SIDE = 64, N_TENSORS = 10000, N_QUICK = 1000, LARGE_SIDE = 256, N_LARGE = 1000 };

typedef struct batch_bench {
    lathe_engine *engine;
    size_t n;
    uint64_t side; /* rows and columns of each */
    lathe_tensor **sources;
    lathe_tensor **results;
    lathe_tensor *one; /* all of them in one; NULL: not compared with */
    lathe_target target;
} batch_bench;

static lathe_status convert_batch(void *ctx, uint64_t rounds) {
    const batch_bench *s = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_convert_batch(s->engine, s->n, s->sources, &s->target, 1, NULL, s->results,
                                     NULL, NULL);
        for (size_t k = 0; k < s->n && status == LATHE_OK; k++) {
            lathe_tensor_release(s->results[k]);
        }
    }
    return status;
}

static lathe_status convert_each(void *ctx, uint64_t rounds) {
    const batch_bench *s = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        size_t n_made = 0;
        while (n_made < s->n && status == LATHE_OK) {
            status =
                lathe_convert(s->engine, s->sources[n_made], &s->target, &s->results[n_made], NULL);
            n_made += status == LATHE_OK;
        }
        while (n_made > 0) {
            lathe_tensor_release(s->results[--n_made]);
        }
    }
    return status;
}

static lathe_status convert_one(void *ctx, uint64_t rounds) {
    const batch_bench *s = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        lathe_tensor *made = NULL;
        status = lathe_convert(s->engine, s->one, &s->target, &made, NULL);
        lathe_tensor_release(made);
    }
    return status;
}

static lathe_status fill(const batch_bench *s, lathe_tensor *tensor, lathe_tensor *host,
                         uint64_t first, uint64_t n_elems) {
    cli_weights(0, first, n_elems, lathe_tensor_mutable_data(host));
    return lathe_tensor_copy(s->engine, host, tensor);
}

/* Makes the sources: in few blocks, or each in its own. */
static lathe_status open_sources(bench *b, batch_bench *s, lathe_memory memory, bool in_few) {
    const uint64_t shape[] = {s->side, s->side};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    lathe_tensor *host = NULL;
    lathe_status status = lathe_tensor_create(b->pool, &desc, &host);
    if (in_few && status == LATHE_OK) {
        lathe_tensor_desc *descs = cli_allocate(s->n, sizeof(*descs));
        for (size_t i = 0; i < s->n; i++) {
            descs[i] = desc;
        }
        status = lathe_engine_tensors_create(s->engine, memory, s->n, descs, s->sources);
        free(descs);
    }
    for (size_t i = 0; i < s->n && status == LATHE_OK; i++) {
        if (!in_few) {
            status = lathe_engine_tensor_create(s->engine, memory, &desc, &s->sources[i]);
        }
        if (status == LATHE_OK) {
            status = fill(s, s->sources[i], host, i * s->side * s->side, s->side * s->side);
        }
    }
    lathe_tensor_release(host);
    return status;
}

static lathe_status open_one(bench *b, batch_bench *s) {
    const uint64_t shape[] = {s->side * s->n, s->side};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    lathe_status status = lathe_tensor_create(b->pool, &desc, &s->one);
    if (status == LATHE_OK) {
        cli_weights(0, 0, s->n * s->side * s->side, lathe_tensor_mutable_data(s->one));
    }
    return status;
}

static void close_tensors(batch_bench *s) {
    for (size_t i = 0; i < s->n; i++) {
        lathe_tensor_release(s->sources[i]);
        s->sources[i] = NULL;
    }
    lathe_tensor_release(s->one);
    s->one = NULL;
}

/* Prints a row for each act that the first is compared with. */
static lathe_status compare(bench *b, batch_bench *s, const char *where) {
    const bench_acts acts = {
        .ctx = s, .n = s->one != NULL ? 3 : 2, .run = {convert_batch, convert_each, convert_one}};
    static const char *const against[] = {"", "a conversion each", "one tensor of the same bytes"};
    bench_times times;
    char what[96];
    snprintf(what, sizeof(what), "%zu of %ux%u f32->%s, %s", s->n, (unsigned)s->side,
             (unsigned)s->side, lathe_dtype_name(s->target.dtype), where);
    lathe_status status = bench_measure(&acts, b->options->repeat, &times);
    for (size_t act = 1; act < acts.n && status == LATHE_OK; act++) {
        bench_times row = times;
        row.seconds[1] = times.seconds[act];
        row.ratio[1] = times.ratio[act];
        bench_strategy_row(b, what, against[act], &row);
    }
    return status;
}

static lathe_status run(bench *b, batch_bench *s, lathe_memory memory, bool in_few,
                        const char *where) {
    static const lathe_dtype dtypes[] = {LATHE_F16, LATHE_I8};
    const bool on_cpu = strcmp(b->device.selector, "cpu") == 0;
    lathe_status status = open_sources(b, s, memory, in_few);
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]) && status == LATHE_OK; i++) {
        s->target = (lathe_target){.struct_size = sizeof(s->target), .dtype = dtypes[i]};
        if (on_cpu && i == 0) {
            status = open_one(b, s);
        }
        if (status == LATHE_OK) {
            status = compare(b, s, where);
        }
        lathe_tensor_release(s->one);
        s->one = NULL;
    }
    close_tensors(s);
    return status;
}

lathe_status bench_batch(bench *b) {
    batch_bench s = {.n = b->options->quick ? N_QUICK : N_TENSORS, .side = SIDE};
    const bool on_cpu = strcmp(b->device.selector, "cpu") == 0;
    s.sources = cli_allocate(s.n, sizeof(lathe_tensor *));
    s.results = cli_allocate(s.n, sizeof(lathe_tensor *));
    memset(s.sources, 0, s.n * sizeof(lathe_tensor *));
    lathe_status status = bench_strategy_engine(b, &s.engine);
    if (status == LATHE_OK) {
        status = run(b, &s, LATHE_MEMORY_HOST, true, "in few blocks");
    }
    if (status == LATHE_OK && on_cpu) {
        status = run(b, &s, LATHE_MEMORY_HOST, false, "a block each");
    }
    if (status == LATHE_OK && !on_cpu) {
        status = run(b, &s, LATHE_MEMORY_DEVICE, true, "on the device");
        if (status == LATHE_OK) {
            status = run(b, &s, LATHE_MEMORY_DEVICE, false, "on the device, made one by one");
        }
        s.side = LARGE_SIDE;
        s.n = b->options->quick ? N_LARGE / 10 : N_LARGE;
        if (status == LATHE_OK) {
            status = run(b, &s, LATHE_MEMORY_DEVICE, true, "on the device");
        }
        if (status == LATHE_OK) {
            status = run(b, &s, LATHE_MEMORY_DEVICE, false, "on the device, made one by one");
        }
    }
    lathe_engine_free(s.engine);
    free(s.sources);
    free(s.results);
    return status;
}
