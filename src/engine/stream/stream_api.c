/* SPDX-License-Identifier: Apache-2.0 */
/* lathe_stream_convert: from a source to a sink. */
#include "engine/stream/stream_api.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/tensor.h"
#include "engine/check_result.h"
#include "engine/plan/planner.h"
#include <inttypes.h>

#define LEAST_CHUNK_BYTES (UINT64_C(64) << 10)
#define LEAST_BUFFER_BYTES (UINT64_C(1) << 20)

static lathe_status check_options(const lathe_stream_options *options, const lathe_target *target) {
    const lathe_streaming_config *config = &options->streaming;
    if (options->struct_size != sizeof *options) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "options struct_size is not sizeof(lathe_stream_options)");
    }
    if (config->chunk_bytes != 0 && config->chunk_bytes < LEAST_CHUNK_BYTES) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "options chunk_bytes: %" PRIu64 " is under %" PRIu64,
                       config->chunk_bytes, LEAST_CHUNK_BYTES);
    }
    if (config->buffer_bytes != 0 && config->buffer_bytes < LEAST_BUFFER_BYTES) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "options buffer_bytes: %" PRIu64 " is under %" PRIu64, config->buffer_bytes,
                       LEAST_BUFFER_BYTES);
    }
    if (options->target_scales != NULL && !lathe_dtype_is_quantized(target->dtype)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "options target_scales: %s has none",
                       lathe_dtype_name(target->dtype));
    }
    return LATHE_OK;
}

lathe_status lt_stream_call_init(lt_stream_call *call, const lathe_tensor_desc *from,
                                 const lathe_target *target, const lathe_stream_options *options) {
    *call = (lt_stream_call){.options = {.struct_size = sizeof call->options}};
    lathe_status status = lt_layout_of(from, &call->src);
    if (status == LATHE_OK) {
        call->from = *from;
        status = lathe_target_desc(target, from->n_dims, from->shape, &call->to);
    }
    if (status == LATHE_OK) {
        call->target = *target;
        status = lt_layout_of(&call->to, &call->dst);
    }
    if (status == LATHE_OK && options != NULL) {
        status = check_options(options, target);
        call->options = *options;
    }
    return status;
}

lt_streamer_options lt_stream_call_slots(const lt_stream_call *call, const lathe_source *source,
                                         const lathe_sink *sink) {
    return (lt_streamer_options){
        .from = &call->from,
        .target = &call->target,
        .scales =
            call->options.target_scales != NULL ? LT_STREAM_SCALES_GIVEN : LT_STREAM_SCALES_FOUND,
        .in_memory = lt_ends_in_memory(source, sink),
        .config = call->options.streaming,
    };
}

static int advance(void *ctx, uint64_t n_bytes) {
    lt_stream_call *call = ctx;
    call->done_bytes = lt_min(call->done_bytes + n_bytes, call->total_bytes);
    return call->options.progress(call->options.progress_ctx, call->done_bytes, call->total_bytes);
}

const lt_progress *lt_stream_call_progress(lt_stream_call *call, uint64_t total_bytes) {
    call->total_bytes = total_bytes;
    call->progress = (lt_progress){.ctx = call, .advance = advance};
    return call->options.progress != NULL ? &call->progress : NULL;
}

lathe_status lt_stream_check_stats(const lathe_convert_stats *stats) {
    if (stats != NULL && stats->struct_size != sizeof *stats) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "stats struct_size is not sizeof(lathe_convert_stats)");
    }
    return stats != NULL && stats->quality != NULL &&
                   stats->quality->struct_size != sizeof *stats->quality
               ? lt_fail(LATHE_INVALID_ARGUMENT,
                         "stats quality's struct_size is not sizeof(lathe_quality_report)")
               : LATHE_OK;
}

lathe_status lt_stream_call_fail(const lt_stream_call *call) {
    lathe_error *error = lt_error();
    error->from = call->src.dtype;
    error->to = call->dst.dtype;
    error->stage = error->stage != NULL ? error->stage : "convert";
    return error->status;
}

/* One conversion from a source to a sink. */
typedef struct conversion {
    lt_stream_call call;
    lt_source_end source;
    lt_sink_end sink;
    lt_streamer *streamer;
} conversion;

/* Opens what the conversion needs; a new file last. */
static lathe_status open_all(conversion *c, lathe_engine *engine, const lathe_source *source,
                             const lathe_sink *sink) {
    const lt_stream_call *call = &c->call;
    const lt_streamer_options slots = lt_stream_call_slots(call, source, sink);
    const lt_case planned = lt_case_of(&call->src, &call->dst, &call->target);
    lathe_status status = lt_source_open(&c->source, source, &call->src);
    if (status == LATHE_OK && source->kind == LATHE_END_TENSOR && sink->kind == LATHE_END_TENSOR &&
        sink->tensor != NULL) {
        status = lt_check_result(source->tensor, &call->target, sink->tensor);
    }
    if (status == LATHE_OK) {
        status =
            lt_streamer_open(lt_planner_engine_for_stream(engine, &planned), &slots, &c->streamer);
    }
    return status == LATHE_OK ? lt_sink_open(&c->sink, engine->pool, sink, &call->to, &call->dst)
                              : status;
}

static lathe_status convert(conversion *c, uint64_t *n_saturated, lathe_quality_report *quality) {
    lt_stream_call *call = &c->call;
    const uint64_t total = call->options.target_scales != NULL
                               ? call->src.n_bytes
                               : lt_streamer_read_bytes(c->streamer, &call->from, &call->target);
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = quality};
    lathe_status status = lt_streamer_convert_with(
        c->streamer, &call->from, &call->target, call->options.target_scales, &c->source.source,
        &c->sink.sink, lt_stream_call_progress(call, total), &stats);
    *n_saturated = stats.n_saturated;
    return status == LATHE_OK ? lt_sink_finish(&c->sink) : status;
}

static lathe_status check_arguments(const lathe_engine *engine, const lathe_tensor_desc *from,
                                    const lathe_source *source, const lathe_sink *sink,
                                    const lathe_convert_stats *stats) {
    if (engine == NULL || source == NULL || sink == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, source or sink is NULL");
    }
    if (source->struct_size != sizeof *source || sink->struct_size != sizeof *sink) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "%s struct_size is not sizeof(lathe_%s)",
                       source->struct_size != sizeof *source ? "source" : "sink",
                       source->struct_size != sizeof *source ? "source" : "sink");
    }
    if (from == NULL && (source->kind != LATHE_END_TENSOR || source->tensor == NULL)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "from is NULL, and the source is no tensor");
    }
    return lt_stream_check_stats(stats);
}

lathe_status lathe_stream_convert(lathe_engine *engine, const lathe_tensor_desc *from,
                                  const lathe_target *target, const lathe_source *source,
                                  const lathe_sink *sink, const lathe_stream_options *options,
                                  lathe_convert_stats *stats) {
    const uint64_t begin = lt_now_ns();
    uint64_t n_saturated = 0;
    conversion c = {.streamer = NULL};
    lathe_tensor_desc of_tensor;
    lathe_status status = check_arguments(engine, from, source, sink, stats);
    if (status != LATHE_OK) {
        return status;
    }
    if (from == NULL) {
        of_tensor = lt_tensor_desc_of(source->tensor);
        from = &of_tensor;
    }
    status = lt_stream_call_init(&c.call, from, target, options);
    if (status == LATHE_OK) {
        status = open_all(&c, engine, source, sink);
    }
    if (status == LATHE_OK) {
        status = convert(&c, &n_saturated, stats != NULL ? stats->quality : NULL);
    }
    if (c.streamer != NULL) {
        lt_streamer_record(c.streamer, from, target, n_saturated, lt_now_ns() - begin, status);
    }
    if (status == LATHE_OK && stats != NULL) {
        stats->n_saturated = n_saturated;
    }
    const lathe_error error = *lt_error();
    lt_sink_close(&c.sink);
    lt_source_close(&c.source);
    lt_streamer_free(c.streamer);
    if (status == LATHE_OK) {
        return LATHE_OK;
    }
    (void)lt_fail_with(&error);
    return lt_stream_call_fail(&c.call);
}
