/* SPDX-License-Identifier: Apache-2.0 */
/* Planning a streamed conversion: passes, chunks, and the slots that they need. */
#include "core/checked.h"
#include "core/error.h"
#include "engine/stream/stream_job.h"
#include "lathe_constants.h"
#include <inttypes.h>

/* Where transfers and kernels of several chunks are to overlap, a tensor is cut into as many as
 * fill every slot twice, but not into smaller ones than this: launches cost microseconds. */
#define MIN_REMOTE_CHUNK_BYTES (UINT64_C(1) << 20)
/* Scales are copied, or made for tensors without elements, through a slot. */
enum { LEAST_SLOT_BYTES = 4096 };

static uint64_t ideal_chunk_bytes(const lt_slot_limits *limits, const lt_layout *src,
                                  const lt_layout *dst) {
    const lt_backend *backend = limits->backend;
    if (limits->chunk_bytes != 0) {
        return limits->chunk_bytes;
    }
    if (!backend->is_remote) {
        return limits->good_bytes != 0 ? limits->good_bytes : backend->chunk_bytes;
    }
    uint64_t share = (src->n_bytes + dst->n_bytes) / (2 * limits->n_slots);
    return lt_min(lt_max(share, MIN_REMOTE_CHUNK_BYTES), backend->chunk_bytes);
}

static uint64_t tiles_per_unit(const lt_plan *plan, const lt_slot_limits *limits,
                               const lt_ranges *chunks) {
    if (plan->pass.tiling.sampled) {
        uint64_t tile_bytes = lt_max(lt_slot_tile_bytes(plan, limits->in_memory, 1), 1);
        return lt_max(lt_min(limits->slot_bytes / tile_bytes, LT_SAMPLED_TILES), 1);
    }
    return lt_max(chunks->rows_per_range * chunks->cols_per_range / LATHE_STAT_TILE, 1);
}

/* Nothing is converted: bytes are copied, or there are none. */
static void plan_copy(const lt_slot_limits *limits, lt_stream_plan *planned) {
    uint64_t n_bytes = planned->plan.pass.src.n_bytes;
    uint64_t good = limits->good_bytes != 0 ? limits->good_bytes : limits->backend->chunk_bytes;
    uint64_t chunk = limits->chunk_bytes != 0 ? limits->chunk_bytes : good;
    bool is_held = !limits->in_memory.has_source;
    planned->slot_bytes = lt_max(is_held ? lt_min(chunk, n_bytes) : 0, LEAST_SLOT_BYTES);
    planned->slot_bytes = lt_min(planned->slot_bytes, limits->slot_bytes);
    chunk = is_held ? planned->slot_bytes : chunk;
    planned->n_units = lt_ceil_div(n_bytes, lt_max(chunk, 1));
}

/* False if the slots are too small; planned->slot_bytes then says what is needed. */
static bool plan_passes(const lt_slot_limits *limits, uint64_t ideal_bytes,
                        lt_stream_plan *planned) {
    const lt_plan *plan = &planned->plan;
    bool is_fed = limits->good_bytes != 0 && limits->chunk_bytes == 0;
    bool fits = lt_chunks_cut(plan, limits->in_memory, limits->slot_bytes, ideal_bytes, is_fed,
                              &planned->chunks);
    planned->slot_bytes = lt_slot_chunk_bytes(plan, limits->in_memory, &planned->chunks);
    planned->n_units = planned->chunks.n_ranges;
    if (plan->stats_first) {
        uint64_t n_tiles = lt_min(plan->pass.tiling.n_tiles, LT_STATS_WINDOW);
        planned->tiles_per_unit = tiles_per_unit(plan, limits, &planned->chunks);
        planned->n_units = lt_max(planned->n_units, lt_ceil_div(n_tiles, planned->tiles_per_unit));
        planned->slot_bytes =
            lt_max(planned->slot_bytes,
                   lt_slot_tile_bytes(plan, limits->in_memory, planned->tiles_per_unit));
    }
    return fits && planned->slot_bytes <= limits->slot_bytes;
}

static lathe_status too_small(const lt_slot_limits *limits, uint64_t needed) {
    lathe_status status = lt_fail(LATHE_INSUFFICIENT_MEMORY,
                                  "the least chunk takes %" PRIu64 " bytes, a slot has %" PRIu64,
                                  needed, limits->slot_bytes);
    lt_error()->required_bytes = needed;
    lt_error()->available_bytes = limits->slot_bytes;
    return status;
}

/* The longest scopes whose scales the convert pass finds by itself. A chunk that has been read into
 * a slot is in the cache, all of it. */
static uint64_t max_scope_elems(const lt_slot_limits *limits) {
    const lt_backend *backend = limits->backend;
    return limits->in_memory.has_source ? backend->max_own_scope_elems
                                        : backend->max_chunk_scope_elems;
}

/* With the scales given there are no statistics; the convert pass looks for what they would have
 * found, as it does with a sample. */
static void use_scales(lt_plan *plan, lt_stream_scales scales) {
    if (scales == LT_STREAM_SCALES_FOUND) {
        return;
    }
    plan->is_copy = false;
    plan->stats_first = scales == LT_STREAM_SCALES_BEFORE;
    plan->pass.own_scales = scales == LT_STREAM_SCALES_IN_CHUNK && plan->pass.dst.n_scales > 0;
    plan->pass.quality = scales == LT_STREAM_SCALES_GIVEN ? LATHE_FAST : plan->pass.quality;
}

lathe_status lt_stream_plan_for(const lt_slot_limits *limits, const lathe_tensor_desc *from,
                                const lathe_target *target, lt_stream_scales scales,
                                lt_stream_plan *planned) {
    lathe_tensor_desc to;
    lt_layout src;
    lt_layout dst;
    lathe_status status = lt_layout_of(from, &src);
    if (status == LATHE_OK) {
        status = lathe_target_desc(target, from->n_dims, from->shape, &to);
    }
    if (status == LATHE_OK) {
        status = lt_layout_of(&to, &dst);
    }
    if (status != LATHE_OK) {
        return status;
    }
    const uint64_t scope_limits[] = {max_scope_elems(limits), 0}; /* 0: none */
    const uint64_t ideal_bytes = ideal_chunk_bytes(limits, &src, &dst);
    for (int i = 0; i < 2; i++) {
        *planned = (lt_stream_plan){
            .plan = lt_plan_make(limits->backend, &src, &dst, target, scope_limits[i])};
        /* A chunk that has been read into a slot is in the cache, and one that is written to the
         * sink from there is to stay in it till then. */
        if (!limits->in_memory.has_sink) {
            planned->plan.pass.beyond_cache = false;
        }
        use_scales(&planned->plan, scales);
        if (planned->plan.is_copy || dst.n_elems == 0) {
            plan_copy(limits, planned);
            return LATHE_OK;
        }
        if (plan_passes(limits, ideal_bytes, planned)) {
            return LATHE_OK;
        }
    }
    return too_small(limits, planned->slot_bytes);
}
