/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a direct conversion share. */
#ifndef LT_ENGINE_DIRECT_RUN_H
#define LT_ENGINE_DIRECT_RUN_H

#include "backend.h"
#include "core/scale.h"
#include "engine/plan/plan.h"

/* A tensor as its backend sees it. */
typedef struct lt_direct_operand {
    lt_span span;
    lt_buffer wrapped_data; /* zero: the buffers are the tensor's own */
    lt_buffer wrapped_scales;
    float *copied_scales; /* the tensor's, where the backend has a copy of them; else NULL */
} lt_direct_operand;

/* A stats window in flight: two of them, so that the host folds one while the device does the next.
 */
typedef struct lt_direct_window {
    lt_queue *queue;
    lt_work work;
    double *stats; /* NULL, if the device folds them, until it turns out that they are needed */
    lt_tile_sum sum;
    bool is_open;
} lt_direct_window;

enum { LT_DIRECT_WINDOWS = 2 };

typedef struct lt_direct {
    lt_backend *backend;
    lathe_pool *pool;
    lt_plan plan;
    bool is_trial;
    bool on_this_thread;
    bool measure_only;
    const lathe_dtype *rounds; /* of the passes, LT_MOST_ROUNDS; NULL: none */
    bool has_standard;         /* PRECISE on a device: `scales` holds the standard ones */
    lt_direct_operand src;
    lt_direct_operand dst;
    lt_queue *queue;
    lt_direct_window windows[LT_DIRECT_WINDOWS];
    float *scales; /* what the statistics lead to, on the host */
    lt_outcome outcome;
} lt_direct;

/* ---- direct_scales.c */

/* Finds all scales of the target, a window of tiles at a time: on a device the standard ones. */
lathe_status lt_direct_find_scales(lt_direct *d);

/* Finds PRECISE scales on a device, and leaves them in a span of its memory. The device finds the
 * standard ones of short scopes by itself; d->scales is room for the others. `work` lives until the
 * queue is finished. */
lathe_status lt_direct_search_scales(lt_direct *d, const lt_span *span, lt_work *work);

/* Finds the scales and puts them where the convert pass reads them. `search` lives until the queue
 * is finished. */
lathe_status lt_direct_run_stats(lt_direct *d, lt_work *search);

#endif
