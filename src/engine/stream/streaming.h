/* SPDX-License-Identifier: Apache-2.0 */
/* The streaming strategy: converts a tensor that lies anywhere, in chunks through a fixed set of
 * slots. */
#ifndef LT_ENGINE_STREAMING_H
#define LT_ENGINE_STREAMING_H

#include "backend.h"
#include <lathe/engine.h>
#include <lathe/plan.h>

/* Where bytes come from. Called from several threads at once, for any range inside the tensor,
 * twice for the same range where statistics are needed first. A failure is recorded with lt_fail.
 */
typedef struct lt_source {
    void *ctx;
    lathe_status (*read)(void *ctx, uint64_t offset, void *buffer, size_t n_bytes);
    lathe_status (*read_scales)(void *ctx, uint64_t first, float *scales, size_t n_scales);
    const uint8_t *data; /* all of it, where the host sees it; else NULL */
    bool is_pinned;      /* data is where a device transfers from it by itself */
    bool in_order; /* bytes are read once, one after another, by one thread at a time; scales as
                      ever */
} lt_source;

/* Where bytes go. Called from several threads at once, once for every byte and scale, in any order.
 */
typedef struct lt_sink {
    void *ctx;
    lathe_status (*write)(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes);
    lathe_status (*write_scales)(void *ctx, uint64_t first, const float *scales, size_t n_scales);
    uint8_t *data; /* likewise */
    bool is_pinned;
    bool in_order; /* bytes, and scales, are written by ascending offset, by one thread at a time;
                        a chunk's bytes before its scales */
} lt_sink;

/* Called from one thread at a time with the bytes that were read since the last call. Returns 0 to
 * go on; anything else cancels. NULL: no calls. */
typedef struct lt_progress {
    void *ctx;
    int (*advance)(void *ctx, uint64_t n_bytes);
} lt_progress;

/* The slots: a fixed number of chunk buffers, reused from tensor to tensor. */
typedef struct lt_streamer lt_streamer;

/* Takes at most memory_bytes (at least 1 MiB) from the engine's pool for all slots together, pinned
 * and device memory included. The slots are the device's, if the engine has one that can serve
 * them, else the CPU's. Errors: INVALID_ARGUMENT, INSUFFICIENT_MEMORY, DEVICE (require_device). */
lathe_status lt_streamer_create(lathe_engine *engine, uint64_t memory_bytes,
                                lt_streamer **streamer);

/* Which sides' data is the host's memory (lt_source.data, lt_sink.data). Where the CPU streams, it
 * converts from and to it where it lies, and slots hold none of it; scales go through slots. */
typedef struct lt_stream_sides {
    bool has_source;
    bool has_sink;
} lt_stream_sides;

/* Where the scales of a conversion's target come from. */
typedef enum lt_stream_scales {
    LT_STREAM_SCALES_FOUND,    /* from statistics, in chunks or before, as it is planned */
    LT_STREAM_SCALES_GIVEN,    /* by the caller */
    LT_STREAM_SCALES_BEFORE,   /* chains: found by passes before, which the caller asks for */
    LT_STREAM_SCALES_IN_CHUNK, /* chains: in chunks, which no scope of it is cut by */
} lt_stream_scales;

/* What a streamer for one conversion is made for. */
typedef struct lt_streamer_options {
    const lathe_tensor_desc *from;
    const lathe_target *target;
    lt_stream_scales scales;
    bool device_only;              /* DEVICE or INSUFFICIENT_MEMORY rather than the CPU's slots */
    lt_stream_sides in_memory;     /* of the source and the sink that it will be called with */
    lathe_streaming_config config; /* of the call; the engine's and the defaults in its zeros */
    uint64_t good_bytes; /* of a chunk whose size nobody has chosen; 0: what suits the backend */
} lt_streamer_options;

/* Likewise, with slots no larger than the chunks of that conversion need. Where the pool has less
 * left than that, it makes do with it. Errors: those of lathe_convert about the description and the
 * target, and INSUFFICIENT_MEMORY, DEVICE. */
lathe_status lt_streamer_open(lathe_engine *engine, const lt_streamer_options *options,
                              lt_streamer **streamer);

/* NULL is legal. */
void lt_streamer_free(lt_streamer *streamer);

/* How many bytes of source the given conversion reads in all: once, or twice where statistics come
 * first. For progress totals. */
uint64_t lt_streamer_read_bytes(const lt_streamer *streamer, const lathe_tensor_desc *from,
                                const lathe_target *target);

/* Converts one tensor, and counts it. The bytes and scales are those of lathe_convert, whatever the
 * chunks; chunks that the device fails at are converted by the CPU, unless the engine requires the
 * device. On an error the sink has received some bytes or none. One call at a time on one streamer.
 * Errors: those of lathe_convert, of the source and the sink; CANCELLED; NOT_SUPPORTED (a source in
 * order that would have to be read twice). */
lathe_status lt_streamer_convert(lt_streamer *streamer, const lathe_tensor_desc *from,
                                 const lathe_target *target, const lt_source *source,
                                 const lt_sink *sink, const lt_progress *progress,
                                 lathe_convert_stats *stats);

/* The same with the target's scales given, all of them, which the sink gets too. NULL: none. */
lathe_status lt_streamer_convert_with(lt_streamer *streamer, const lathe_tensor_desc *from,
                                      const lathe_target *target, const float *scales,
                                      const lt_source *source, const lt_sink *sink,
                                      const lt_progress *progress, lathe_convert_stats *stats);

/* Records the streamer's last conversion, which took ns. */
void lt_streamer_record(const lt_streamer *streamer, const lathe_tensor_desc *from,
                        const lathe_target *target, uint64_t n_saturated, uint64_t ns,
                        lathe_status status);

/* Copies n_bytes from source to sink, likewise. */
lathe_status lt_streamer_copy(lt_streamer *streamer, uint64_t n_bytes, const lt_source *source,
                              const lt_sink *sink, const lt_progress *progress);

#endif
