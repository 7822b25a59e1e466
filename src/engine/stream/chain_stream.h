/* SPDX-License-Identifier: Apache-2.0 */
/* Chains between tensors that the device does not reach: their passes over the slots of a streamer.
 */
#ifndef LT_ENGINE_CHAIN_STREAM_H
#define LT_ENGINE_CHAIN_STREAM_H

#include "chain.h"
#include "core/tensor.h"
#include "engine/stream/streaming.h"

typedef struct lt_chain_stream {
    const lathe_tensor *source;
    const lathe_target *target; /* of the chain's last step */
    lathe_tensor *result;
    lt_streamer *streamer;
} lt_chain_stream;

/* Opens slots on the engine's device for chains between two tensors of the host's: for works with
 * own_scales (IN_CHUNK), for statistics and works with scales (BEFORE), or for roundings (FOUND).
 * What was open before is closed. Errors: DEVICE, INSUFFICIENT_MEMORY. */
lathe_status lt_chain_stream_open(lathe_engine *engine, lt_stream_scales scales,
                                  lt_chain_stream *stream);

/* One that is not open is legal. */
void lt_chain_stream_close(lt_chain_stream *stream);

/* Fills work->stats with the statistics of the source's tiles, at most LT_STATS_WINDOW of them.
 * What is met goes to work->outcome. Errors: DEVICE, INSUFFICIENT_MEMORY. */
lathe_status lt_chain_stream_stats(const lt_chain_stream *stream, const lt_chain_work *work);

/* Has all elements go through the chain, of which `work` says all but where they are. `scales` are
 * the target's, or NULL: there are none, or own_scales. What is met goes to work->outcome; the
 * result is written in part then. Errors: DEVICE, INSUFFICIENT_MEMORY, NOT_SUPPORTED. */
lathe_status lt_chain_stream_convert(const lt_chain_stream *stream, const lt_chain_work *work,
                                     const float *scales);

/* Converts a source that is rounded first (lt_pass) to the target. Likewise. */
lathe_status lt_chain_stream_rounded(const lt_chain_stream *stream, const lathe_dtype *rounds,
                                     lt_outcome *outcome);

#endif
