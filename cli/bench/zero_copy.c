/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=zero_copy: what sharing memory costs. */
#include "strategies.h"

enum { N_ROWS = 64, ROW_ELEMS = 64 };

typedef struct sharing {
    lathe_engine *engine;
    lathe_tensor *source;
} sharing;

static lathe_status zero_copy(void *ctx, uint64_t rounds) {
    const sharing *s = ctx;
    const lathe_target target = {.struct_size = sizeof(target), .dtype = LATHE_F32};
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        lathe_tensor *made = NULL;
        status = lathe_zero_copy_convert(s->engine, s->source, &target, &made);
        lathe_tensor_release(made);
    }
    return status;
}

static lathe_status view_rows(void *ctx, uint64_t rounds) {
    const sharing *s = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        lathe_tensor *made = NULL;
        status = lathe_tensor_view_rows(s->source, i % N_ROWS, 1, &made);
        lathe_tensor_release(made);
    }
    return status;
}

static lathe_status view_reshape(void *ctx, uint64_t rounds) {
    const sharing *s = ctx;
    const uint64_t shape[] = {(uint64_t)N_ROWS * ROW_ELEMS};
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        lathe_tensor *made = NULL;
        status = lathe_tensor_view_reshape(s->source, 1, shape, 0, &made);
        lathe_tensor_release(made);
    }
    return status;
}

static lathe_status take_reference(void *ctx, uint64_t rounds) {
    const sharing *s = ctx;
    for (uint64_t i = 0; i < rounds; i++) {
        lathe_tensor_release(lathe_tensor_retain(s->source));
    }
    return LATHE_OK;
}

static lathe_status compare(bench *b, sharing *s, const char *what, bench_fn *run) {
    const bench_acts acts = {.ctx = s, .n = 2, .run = {run, take_reference}};
    bench_times times;
    lathe_status status = bench_measure(&acts, b->options->repeat, &times);
    if (status == LATHE_OK) {
        bench_strategy_row(b, what, "a reference, taken and dropped", &times);
    }
    return status;
}

lathe_status bench_zero_copy(bench *b) {
    const uint64_t shape[] = {N_ROWS, ROW_ELEMS};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    sharing s = {.engine = NULL};
    lathe_status status = bench_strategy_engine(b, &s.engine);
    if (status == LATHE_OK) {
        status = lathe_tensor_create(b->pool, &desc, &s.source);
    }
    if (status == LATHE_OK) {
        status = compare(b, &s, "zero-copy conversion, made and dropped", zero_copy);
    }
    if (status == LATHE_OK) {
        status = compare(b, &s, "view of a row, made and dropped", view_rows);
    }
    if (status == LATHE_OK) {
        status = compare(b, &s, "view of another shape, made and dropped", view_reshape);
    }
    lathe_tensor_release(s.source);
    lathe_engine_free(s.engine);
    return status;
}
