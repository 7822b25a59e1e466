/* SPDX-License-Identifier: Apache-2.0 */
/* What the two forms of the public streaming API share: a conversion whose arguments are checked.
 */
#ifndef LT_ENGINE_STREAM_API_H
#define LT_ENGINE_STREAM_API_H

#include "engine/stream/stream_ends.h"

typedef struct lt_stream_call {
    lathe_tensor_desc from; /* its shape is that of the caller's */
    lathe_target target;
    lathe_tensor_desc to;
    lt_layout src;
    lt_layout dst;
    lathe_stream_options options; /* all zero where there are none */
    lt_progress progress;         /* advance is NULL where nobody asks */
    uint64_t done_bytes;
    uint64_t total_bytes;
} lt_stream_call;

/* Errors: those of lathe_stream_convert about the description, the target and the options. */
lathe_status lt_stream_call_init(lt_stream_call *call, const lathe_tensor_desc *from,
                                 const lathe_target *target, const lathe_stream_options *options);

/* What makes a streamer for it. Source: NULL where the data is fed. */
lt_streamer_options lt_stream_call_slots(const lt_stream_call *call, const lathe_source *source,
                                         const lathe_sink *sink);

/* For the strategy; NULL: nobody asks. */
const lt_progress *lt_stream_call_progress(lt_stream_call *call, uint64_t total_bytes);

/* Errors: INVALID_ARGUMENT. */
lathe_status lt_stream_check_stats(const lathe_convert_stats *stats);

/* Adds to the last error what every failed conversion knows. */
lathe_status lt_stream_call_fail(const lt_stream_call *call);

#endif
