/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies=stream: conversions in chunks, beside the same ones all at once. */
#include "strategies.h"

typedef struct streaming {
    lathe_engine *engine;
    const lathe_tensor *source;
    lathe_tensor_desc desc;
    lathe_target target;
    lathe_tensor *result;
} streaming;

static lathe_sink sink_of(const streaming *s) {
    return (lathe_sink){
        .struct_size = sizeof(lathe_sink), .kind = LATHE_END_TENSOR, .tensor = s->result};
}

static lathe_status stream(void *ctx, uint64_t rounds) {
    const streaming *s = ctx;
    const lathe_sink sink = sink_of(s);
    const lathe_source source = {
        .struct_size = sizeof(source), .kind = LATHE_END_TENSOR, .tensor = s->source};
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_stream_convert(s->engine, NULL, &s->target, &source, &sink, NULL, NULL);
    }
    return status;
}

/* As a producer would: a MiB at a time. */
static lathe_status feed_round(const streaming *s, lathe_stream *fed) {
    const size_t piece = (size_t)1 << 20;
    const char *bytes = lathe_tensor_data(s->source);
    const size_t n_bytes = (size_t)lathe_tensor_n_bytes(s->source);
    lathe_status status = LATHE_OK;
    for (size_t at = 0; at < n_bytes && status == LATHE_OK; at += piece) {
        status = lathe_stream_feed(fed, bytes + at, n_bytes - at < piece ? n_bytes - at : piece);
    }
    return status;
}

static lathe_status feed_once(const streaming *s) {
    const lathe_sink sink = sink_of(s);
    lathe_stream *fed = NULL;
    lathe_status status = lathe_stream_begin(s->engine, &s->desc, &s->target, &sink, NULL, &fed);
    for (uint32_t round = 0; status == LATHE_OK && round < lathe_stream_n_rounds(fed); round++) {
        status = round == 0 ? LATHE_OK : lathe_stream_rewind(fed);
        status = status == LATHE_OK ? feed_round(s, fed) : status;
    }
    if (status == LATHE_OK) {
        status = lathe_stream_finish(fed, NULL);
    }
    lathe_stream_free(fed);
    return status;
}

static lathe_status feed(void *ctx, uint64_t rounds) {
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = feed_once(ctx);
    }
    return status;
}

static lathe_status convert(void *ctx, uint64_t rounds) {
    const streaming *s = ctx;
    lathe_status status = LATHE_OK;
    for (uint64_t i = 0; i < rounds && status == LATHE_OK; i++) {
        status = lathe_convert_into(s->engine, s->source, &s->target, s->result, NULL);
    }
    return status;
}

static lathe_status compare(bench *b, streaming *s, const char *what, bench_fn *run) {
    const bench_acts acts = {.ctx = s, .n = 2, .run = {run, convert}};
    bench_times times;
    lathe_status status = bench_measure(&acts, b->options->repeat, &times);
    if (status == LATHE_OK) {
        bench_strategy_row(b, what, "lathe_convert_into, recycled", &times);
    }
    return status;
}

/* A target in both forms. */
static lathe_status compare_target(bench *b, streaming *s, lathe_dtype dtype,
                                   lathe_granularity granularity) {
    lathe_tensor_desc to;
    char what[64];
    s->target = (lathe_target){
        .struct_size = sizeof(s->target), .dtype = dtype, .granularity = granularity};
    const char *per = granularity == LATHE_PER_ROW ? " per row" : "";
    lathe_status status = lathe_target_desc(&s->target, s->desc.n_dims, s->desc.shape, &to);
    if (status == LATHE_OK) {
        status = lathe_tensor_create(b->pool, &to, &s->result);
    }
    if (status == LATHE_OK) {
        snprintf(what, sizeof(what), "f32 to %s%s, streamed", lathe_dtype_name(dtype), per);
        status = compare(b, s, what, stream);
    }
    if (status == LATHE_OK) {
        snprintf(what, sizeof(what), "f32 to %s%s, fed by the MiB", lathe_dtype_name(dtype), per);
        status = compare(b, s, what, feed);
    }
    lathe_tensor_release(s->result);
    s->result = NULL;
    return status;
}

lathe_status bench_stream(bench *b) {
    streaming s = {.engine = NULL};
    lathe_status status = bench_make_base(b);
    if (status == LATHE_OK) {
        status = bench_strategy_engine(b, &s.engine);
    }
    if (status == LATHE_OK) {
        s.source = b->base;
        s.desc = (lathe_tensor_desc){.struct_size = sizeof(s.desc),
                                     .dtype = LATHE_F32,
                                     .n_dims = lathe_tensor_n_dims(b->base),
                                     .shape = lathe_tensor_shape(b->base)};
        status = compare_target(b, &s, LATHE_F16, LATHE_PER_TENSOR);
    }
    if (status == LATHE_OK) {
        status = compare_target(b, &s, LATHE_I8, LATHE_PER_ROW);
    }
    if (status == LATHE_OK) {
        status = compare_target(b, &s, LATHE_I8, LATHE_PER_TENSOR);
    }
    lathe_engine_free(s.engine);
    return status;
}
