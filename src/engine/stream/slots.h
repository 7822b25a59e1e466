/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of the streaming strategy: what one needs for a chunk, and how chunks are sized to fit.
 */
#ifndef LT_ENGINE_SLOTS_H
#define LT_ENGINE_SLOTS_H

#include "engine/plan/plan.h"
#include "engine/stream/streaming.h"

/* Where the four pieces of a chunk lie in its slot, in bytes: what the source gives, then what the
 * sink gets, each side in one piece so that it is one transfer. */
typedef struct lt_slot_map {
    uint64_t src_data;
    uint64_t src_scales;
    uint64_t src_end;
    uint64_t dst_data;
    uint64_t dst_scales;
    uint64_t dst_end;
} lt_slot_map;

/* A contiguous part of a tensor: elements [elem, elem + n_elems). */
typedef struct lt_part {
    uint64_t first_byte;
    uint64_t n_bytes;
    uint64_t first_scale; /* of those that its elements use */
    uint64_t n_scales;
} lt_part;

lt_part lt_part_of(const lt_layout *layout, uint64_t elem, uint64_t n_elems);

/* The most sampled tiles, between which the source is not read, that a slot takes at once. */
enum { LT_SAMPLED_TILES = 8 };

/* Bytes that n_tiles tiles of a stats pass take in a slot, at most: one run of elements, or as many
 * pieces where they are sampled. */
uint64_t lt_slot_tile_bytes(const lt_plan *plan, lt_stream_sides in_memory, uint64_t n_tiles);

/* Cuts the target of a plan into chunks that fit a slot, of about ideal_bytes on both sides
 * together; with is_fed into such as the parts in which data is brought are likely to end with.
 * False if a single scope, or the least chunk, does not fit. */
bool lt_chunks_cut(const lt_plan *plan, lt_stream_sides in_memory, uint64_t slot_bytes,
                   uint64_t ideal_bytes, bool is_fed, lt_ranges *chunks);

/* Bytes that a slot needs for chunks cut so. */
uint64_t lt_slot_chunk_bytes(const lt_plan *plan, lt_stream_sides in_memory,
                             const lt_ranges *chunks);

/* Where the next piece of a slot may begin. */
uint64_t lt_slot_aligned(uint64_t offset);

/* The slot of a chunk with these parts. A pass that does not find its own scales keeps the target's
 * elsewhere: their number is 0 then. */
lt_slot_map lt_slot_map_of(const lt_part *src, const lt_part *dst, lt_stream_sides in_memory);

#endif
