/* SPDX-License-Identifier: Apache-2.0 */
/* Many small tensors, one after another in files, through the slots of the streaming strategy: a
 * unit is as many whole tensors as a chunk holds. They are read and written together where they
 * lie together, and each is converted on one thread. */
#ifndef LT_ENGINE_STREAM_LIST_H
#define LT_ENGINE_STREAM_LIST_H

#include "engine/plan/plan.h"
#include "engine/stream/streaming.h"

/* How small tensors of one layout and target are converted: planned once for all of them. */
typedef struct lt_stream_small {
    lt_plan plan;
    lt_ranges ranges;
} lt_stream_small;

/* Plans it. False: they are not for a list, but for lt_streamer_convert: large, without elements,
 * of a quality that takes more passes, or a device's work. */
bool lt_streamer_plan_small(const lt_streamer *streamer, const lathe_tensor_desc *from,
                            const lathe_target *target, lt_stream_small *small);

/* True if a tensor of so many bytes, scales included, can be copied by a list. */
bool lt_streamer_copies_small(const lt_streamer *streamer, uint64_t n_bytes);

/* Data and scales, at places that are the caller's numbers for a file and bytes from its beginning.
 */
typedef struct lt_stream_place {
    uint64_t data_at;
    uint64_t scales_at;
    uint32_t file;
} lt_stream_place;

/* One tensor. */
typedef struct lt_stream_item {
    const lt_stream_small *small; /* NULL: it is copied */
    uint64_t n_bytes;             /* of the source's data, and scales in it */
    uint64_t n_scales;
    lt_stream_place from;
    lt_stream_place to;
} lt_stream_item;

/* The tensors, numbered from 0. All functions are called from several threads at once; failures are
 * recorded with lt_fail. */
typedef struct lt_stream_list {
    void *ctx;
    size_t n_items;
    void (*at)(void *ctx, size_t i, lt_stream_item *item);
    lathe_status (*read)(void *ctx, uint32_t file, uint64_t at, void *buffer, size_t n_bytes);
    lathe_status (*write)(void *ctx, uint32_t file, uint64_t at, const void *bytes, size_t n_bytes);
    void (*done)(void *ctx, size_t i, uint64_t n_saturated); /* once for each that is written */
} lt_stream_list;

/* Converts or copies all of them, and counts them. On failure *at_fault is the tensor that it is
 * about: of several with faulty data the first, whatever the threads do. Errors: those of
 * lt_streamer_convert; INSUFFICIENT_MEMORY. */
lathe_status lt_streamer_run_list(lt_streamer *streamer, const lt_stream_list *list,
                                  const lt_progress *progress, size_t *at_fault);

#endif
