/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of the streaming strategy: what one needs for a chunk, and how chunks are sized to fit.
 */
#ifndef LT_ENGINE_SLOTS_H
#define LT_ENGINE_SLOTS_H

#include "engine/plan.h"

/* A slot's memory. Each chunk lays its two sides and its scales out anew. */
typedef struct lt_slot {
    lt_buffer data;
    float *scales;
} lt_slot;

/* How much a slot has. */
typedef struct lt_slot_size {
    uint64_t data_bytes;
    uint64_t n_scales;
} lt_slot_size;

/* A contiguous part of a tensor: elements [elem, elem + n_elems). */
typedef struct lt_part {
    uint64_t first_byte;
    uint64_t n_bytes;
    uint64_t first_scale; /* of those that its elements use */
    uint64_t n_scales;
} lt_part;

lt_part lt_part_of(const lt_layout *layout, uint64_t elem, uint64_t n_elems);

/* Cuts the target of a plan into chunks that fit a slot, of about ideal_bytes on both sides
 * together. False if a single scope, or the least chunk, does not fit. */
bool lt_chunks_cut(const lt_plan *plan, const lt_slot_size *slot, uint64_t ideal_bytes,
                   lt_ranges *chunks);

/* Where the target's side of a chunk lies in a slot whose source side has n_bytes. */
uint64_t lt_slot_dst_offset(uint64_t src_bytes);

#endif
