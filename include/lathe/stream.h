/* SPDX-License-Identifier: Apache-2.0 */
/* Streaming: conversions of tensors that need not fit in memory, from a tensor, callbacks or a file
 * to any of these, through a fixed number of chunks. */
#ifndef LATHE_STREAM_H
#define LATHE_STREAM_H

#include <lathe/config.h>
#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* What is at an end of a stream. */
typedef enum lathe_end {
    LATHE_END_TENSOR = 1,
    LATHE_END_CALLBACK = 2,
    LATHE_END_FILE = 3,
} lathe_end;

/* Where a tensor's data and scales come from. Begins with struct_size = sizeof(lathe_source).
 *
 * With in_order, bytes are asked for once, one after another without gaps, by one thread at a time:
 * a pipe or a socket will do. Without, for any range, by several threads at once, and twice where
 * the target's scales have to be found first. Scales are few, and asked for in any order either
 * way. */
typedef struct lathe_source {
    size_t struct_size;
    lathe_end kind;             /* required */
    const lathe_tensor *tensor; /* TENSOR: one of the description given, HOST, PINNED or DEVICE; it
                                   must live until the conversion is over */
    /* CALLBACK. A status other than OK ends the conversion with it. They may use the library, but
     * must not wait for other threads that convert with the same engine. read fills `buffer` with
     * n_bytes bytes of data from byte `offset` on; read_scales, which is required where there are
     * scales, `scales` with n_scales of them from scale `first` on. */
    void *ctx;
    lathe_status (*read)(void *ctx, uint64_t offset, void *buffer, size_t n_bytes);
    lathe_status (*read_scales)(void *ctx, uint64_t first, float *scales, size_t n_scales);
    /* FILE. A path, or, where that is NULL, a descriptor, which stays open and, but with in_order,
     * keeps its position. The data lies from byte `offset` on; scales, if the description has any,
     * from byte `scales_offset` on, as little-endian F32. With in_order the file is read with
     * read(2) from where it stands, and there can be no scales. */
    const char *path;
    int fd;
    uint64_t offset;
    uint64_t scales_offset;
    uint32_t in_order; /* CALLBACK, FILE: 1 or 0 */
} lathe_source;

/* Where the result's data and scales go. Begins with struct_size = sizeof(lathe_sink). After an
 * error it has received some of them, or none.
 *
 * Every byte is given once. With in_order, one after another without gaps, by one thread at a time,
 * and scales likewise: those of a tensor whose scales are found first before all bytes, others
 * after the bytes of their chunk. Without, in any order, by several threads at once. */
typedef struct lathe_sink {
    size_t struct_size;
    lathe_end kind;       /* required */
    lathe_tensor *tensor; /* TENSOR: as lathe_convert_into's result */
    /* CALLBACK. As a source's; write_scales is required where the target has scales. */
    void *ctx;
    lathe_status (*write)(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes);
    lathe_status (*write_scales)(void *ctx, uint64_t first, const float *scales, size_t n_scales);
    /* FILE. As a source's. With a path and `create`, a new file that appears under its name when it
     * is complete and synced, and not at all after an error, in the place of an existing one only
     * with `overwrite`; bytes that neither data nor scales cover are 0. Without `create` the file
     * exists, and bytes around the ranges are left alone. With in_order a descriptor is written to
     * with write(2) (the caller sees to SIGPIPE), and there can be no scales. */
    const char *path;
    int fd;
    uint64_t offset;
    uint64_t scales_offset;
    uint32_t create;
    uint32_t overwrite;
    uint32_t in_order; /* CALLBACK, FILE: 1 or 0 */
} lathe_sink;

/* Called from one thread at a time, after every chunk. total_bytes counts the source twice where it
 * is read twice; it is an estimate where a sample is read first. Returns 0 to go on; anything else
 * cancels. */
typedef int lathe_progress_fn(void *ctx, uint64_t done_bytes, uint64_t total_bytes);

/* Begins with struct_size; a zero field means its default. */
typedef struct lathe_stream_options {
    size_t struct_size;
    /* Zero fields are the engine's own, and its zeros these:
     * chunk_bytes: what suits the device (768 KiB on the CPU); a chunk is at least a row, or 20,480
     *   elements of a longer one.
     * parallel_chunks: at most, and by default, the engine's threads, or the device's queues.
     * prefetch_chunks: that many more are read while others are converted, by threads of their own;
     *   default 0, and 1 for a stream that is fed, unless the CPU converts into a host tensor.
     *
     * buffer_bytes: 64 MiB. Where it, or what the pool has left, does not hold that many chunks of
     *   that size, there are fewer and smaller ones.
     *
     * In all, the memory in use is (parallel_chunks + prefetch_chunks) times a chunk with its
     * scales, and no more than buffer_bytes, pinned and device memory included. A tensor on the
     * host is read and written by the CPU where it lies, so that its bytes are no part of a chunk.
     * Beside that: where the target's scales are found first or given, those scales and up to 128
     * KiB of statistics; in a stream that is fed, the source's scales; and a few KiB. */
    lathe_streaming_config streaming;
    /* The target's scales, where the caller knows them: as many as lathe_target_desc and
     * lathe_tensor_desc_sizes say, none of them negative or not finite. The codes are then made
     * with these, whatever target->quality, and n_saturated counts the elements beyond the largest
     * code. The source is read once. Read before the call returns. */
    const float *target_scales;
    lathe_progress_fn *progress;
    void *progress_ctx;
    /* Of a stream that is fed: nonzero if lathe_stream_finish is to give a quality report. Others
     * are asked by their stats. */
    uint32_t quality_report;
} lathe_stream_options;

/* Converts what `source` gives, a tensor as described, to `target`, and gives the result to `sink`.
 * `from` may be NULL if the source is a tensor; `options` and `stats` may be NULL. Bytes and scales
 * are exactly those of lathe_convert, whatever the chunks, the threads and the device.
 *
 * The source is read once, but twice where the target needs scales of more elements than fit in a
 * chunk: one scale for the tensor, or for rows that are too long; with quality PRECISE four times.
 * Longer chunks may help. `stats` may ask for a quality report, but where bytes are only copied.
 *
 * Errors: those of lathe_convert and, for a tensor sink, of lathe_convert_into; of the callbacks;
 * IO, NOT_FOUND, EXISTS; CANCELLED; INVALID_ARGUMENT (naming the field); INCOMPATIBLE_TYPES (the
 * source's tensor is not as described); NOT_SUPPORTED (a source in order that would have to be read
 * twice; a report on a copy). Thread-safe. */
LATHE_API lathe_status lathe_stream_convert(lathe_engine *engine, const lathe_tensor_desc *from,
                                            const lathe_target *target, const lathe_source *source,
                                            const lathe_sink *sink,
                                            const lathe_stream_options *options,
                                            lathe_convert_stats *stats);

/* The other way round: a conversion that is fed by its producer. Used by one thread at a time. */
typedef struct lathe_stream lathe_stream;

/* Begins a conversion, which the caller ends with lathe_stream_free. What `from`, `target` and
 * `options` point to is copied; what `sink` points to must live until then. Chunks are converted by
 * up to parallel_chunks threads: where the CPU converts into a tensor on the host and no
 * prefetch_chunks are asked for, by the engine's, while lathe_stream_feed waits for them; otherwise
 * by threads of the stream's own, or, where the system has none to give, by the engine's.
 * Errors: as lathe_stream_convert; NOT_SUPPORTED (PRECISE scales of more elements than fit in a
 * chunk, for which the data would have to be fed more than twice; a report on a copy); *stream is
 * then left alone. */
LATHE_API lathe_status lathe_stream_begin(lathe_engine *engine, const lathe_tensor_desc *from,
                                          const lathe_target *target, const lathe_sink *sink,
                                          const lathe_stream_options *options,
                                          lathe_stream **stream);

/* How often all of the data must be fed: 1, or 2 where the target's scales have to be found first:
 * where lathe_stream_convert would read the source twice. */
LATHE_API uint32_t lathe_stream_n_rounds(const lathe_stream *stream);

/* Bytes that are still to be fed in this round. */
LATHE_API uint64_t lathe_stream_missing_bytes(const lathe_stream *stream);

/* Gives the source's scales, from the first one on, in as many calls as suit; all of them before
 * the data, and once whatever the rounds. Errors: INVALID_ARGUMENT (more than there are),
 * CORRUPT_DATA. */
LATHE_API lathe_status lathe_stream_feed_scales(lathe_stream *stream, const float *scales,
                                                size_t n_scales);

/* Gives the next n_bytes bytes of data, cut wherever it suits, inside an element too. They are
 * converted, where the engine's threads do that, or copied by the time it returns; it waits while
 * all chunks are full. A mebibyte or more at a time is converted without being copied. An error of
 * the conversion, that of an earlier call's bytes too, is returned once it is known, and by every
 * call from then on. Errors: those of lathe_stream_convert; INVALID_ARGUMENT (more bytes than the
 * description says, or scales are missing), which changes nothing. */
LATHE_API lathe_status lathe_stream_feed(lathe_stream *stream, const void *bytes, size_t n_bytes);

/* Ends the first of two rounds: the same data is fed once more. It must be the same: other data
 * gives a result of no use, though no harm beyond that. Errors: those of the conversion;
 * INVALID_ARGUMENT (bytes are missing, or this is not the first of two rounds), which changes
 * nothing. */
LATHE_API lathe_status lathe_stream_rewind(lathe_stream *stream);

/* Waits until everything is converted and the sink has it; a new file then appears. `stats` may be
 * NULL. Errors: those of the conversion; INVALID_ARGUMENT (bytes, scales or a round are missing, or
 * it has been called before) and NOT_SUPPORTED (a quality report that lathe_stream_options did not
 * ask for), which change nothing. */
LATHE_API lathe_status lathe_stream_finish(lathe_stream *stream, lathe_convert_stats *stats);

/* Frees the stream, once what is under way has ended; one that is not finished is given up. NULL is
 * legal. */
LATHE_API void lathe_stream_free(lathe_stream *stream);

LATHE_END_DECLS

#endif
