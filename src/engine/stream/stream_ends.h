/* SPDX-License-Identifier: Apache-2.0 */
/* The ends of a public stream: from a lathe_source or a lathe_sink to what the strategy reads from
 * and writes to. */
#ifndef LT_ENGINE_STREAM_ENDS_H
#define LT_ENGINE_STREAM_ENDS_H

#include "core/layout.h"
#include "engine/stream/streaming.h"
#include "files/atomic_file.h"
#include <lathe/stream.h>

typedef struct lt_source_end {
    lt_source source;
    lathe_source given;
    int fd;
    bool owns_fd;
} lt_source_end;

typedef struct lt_sink_end {
    lt_sink sink;
    lathe_sink given;
    int fd; /* of a file that exists */
    bool owns_fd;
    lt_atomic_file *file; /* a new one; else NULL */
} lt_sink_end;

/* Which of them will have data in the host's memory. NULL: not that one. */
lt_stream_sides lt_ends_in_memory(const lathe_source *source, const lathe_sink *sink);

/* Checks a source's own fields, and that it has what the layout says; opens its file.
 * Errors: INVALID_ARGUMENT, INCOMPATIBLE_TYPES, NOT_FOUND, IO. */
lathe_status lt_source_open(lt_source_end *end, const lathe_source *given, const lt_layout *layout);

/* Closes what has been opened; a zeroed end is legal. */
void lt_source_close(lt_source_end *end);

/* Likewise, of the layout that the description `to` has; begins a new file.
 * Errors: INVALID_ARGUMENT, INCOMPATIBLE_TYPES, READ_ONLY, NOT_FOUND, EXISTS, IO,
 * INSUFFICIENT_MEMORY. */
lathe_status lt_sink_open(lt_sink_end *end, lathe_pool *pool, const lathe_sink *given,
                          const lathe_tensor_desc *to, const lt_layout *layout);

/* Everything has been written: a new file appears. Errors: EXISTS, IO. */
lathe_status lt_sink_finish(lt_sink_end *end);

/* Closes what has been opened, and removes a new file that has not been finished. */
void lt_sink_close(lt_sink_end *end);

#endif
