/* SPDX-License-Identifier: Apache-2.0 */
/* Sizing chunks. */
#include "engine/stream/slots.h"

#include "core/checked.h"
#include "lathe_constants.h"

/* A cache line or two, and what every device asks of a vector. */
enum { SIDE_ALIGNMENT = 128 };

lt_part lt_part_of(const lt_layout *layout, uint64_t elem, uint64_t n_elems) {
    if (n_elems == 0) {
        return (lt_part){0};
    }
    uint64_t last = elem + n_elems - 1;
    uint64_t row = elem / layout->row_elems;
    uint64_t col = elem % layout->row_elems;
    uint64_t last_row = last / layout->row_elems;
    uint64_t last_col = last % layout->row_elems;
    uint64_t unit = layout->unit_elems;
    lt_part part = {
        .first_byte = row * layout->row_bytes + lt_layout_col_bytes(layout, col),
    };
    uint64_t end =
        last_row * layout->row_bytes + lt_layout_col_bytes(layout, last_col / unit * unit + unit);
    part.n_bytes = end - part.first_byte;
    if (layout->n_scales > 0) {
        part.first_scale = lt_layout_scale_index(layout, row, col);
        part.n_scales = lt_layout_scale_index(layout, last_row, last_col) - part.first_scale + 1;
    }
    return part;
}

/* The most bytes and scales that n_elems consecutive elements, wherever they begin, can touch. */
static lt_part bound(const lt_layout *layout, uint64_t n_elems) {
    uint64_t rows = n_elems / layout->row_elems + 2;
    lt_part most = {.n_bytes = layout->n_bytes, .n_scales = layout->n_scales};
    /* Each row adds at most one partly used byte, and one short group, to what the elements need.
     */
    most.n_bytes = lt_min(most.n_bytes, lt_layout_col_bytes(layout, n_elems) + 2 * rows);
    if (layout->scale_elems != 0) {
        uint64_t in_rows = 0; /* stays 0 on overflow, which says nothing */
        (void)lt_mul(rows, layout->scales_per_row, &in_rows);
        most.n_scales = lt_min(most.n_scales, n_elems / layout->scale_elems + rows + 1);
        most.n_scales = in_rows != 0 ? lt_min(most.n_scales, in_rows) : most.n_scales;
    }
    return most;
}

uint64_t lt_slot_aligned(uint64_t offset) {
    return lt_ceil_div(offset, SIDE_ALIGNMENT) * SIDE_ALIGNMENT;
}

lt_slot_map lt_slot_map_of(const lt_part *src, const lt_part *dst, lt_stream_sides in_memory) {
    const uint64_t src_bytes = in_memory.has_source ? 0 : src->n_bytes;
    const uint64_t dst_bytes = in_memory.has_sink ? 0 : dst->n_bytes;
    lt_slot_map map = {.src_scales = lt_slot_aligned(src_bytes)};
    map.src_end = src->n_scales == 0 ? src_bytes : map.src_scales + src->n_scales * sizeof(float);
    map.dst_data = lt_slot_aligned(map.src_end);
    map.dst_scales = map.dst_data + lt_slot_aligned(dst_bytes);
    map.dst_end = dst->n_scales == 0 ? map.dst_data + dst_bytes
                                     : map.dst_scales + dst->n_scales * sizeof(float);
    return map;
}

uint64_t lt_slot_chunk_bytes(const lt_plan *plan, lt_stream_sides in_memory,
                             const lt_ranges *chunks) {
    uint64_t n_elems = chunks->rows_per_range * chunks->cols_per_range;
    lt_part src = bound(&plan->pass.src, n_elems);
    lt_part dst = bound(&plan->pass.dst, n_elems);
    dst.n_scales = plan->pass.own_scales ? dst.n_scales : 0;
    return lt_slot_map_of(&src, &dst, in_memory).dst_end;
}

uint64_t lt_slot_tile_bytes(const lt_plan *plan, lt_stream_sides in_memory, uint64_t n_tiles) {
    uint64_t per_piece = plan->pass.tiling.sampled ? 1 : n_tiles;
    uint64_t n_pieces = plan->pass.tiling.sampled ? n_tiles : 1;
    lt_part src = bound(&plan->pass.src, per_piece * LATHE_STAT_TILE);
    return n_pieces * (lt_slot_aligned(in_memory.has_source ? 0 : src.n_bytes) +
                       lt_slot_aligned(src.n_scales * sizeof(float)));
}

/* Chunks of a power of two of columns, no more than before: what comes by the megabyte, or in other
 * powers of two, then ends where a chunk does. They are whole tiles of statistics, as before. Not
 * where a byte holds five elements. */
static void round_columns(const lt_plan *plan, lt_ranges *chunks) {
    uint64_t cols = LATHE_STAT_TILE;
    const bool are_whole_bytes = LATHE_STAT_TILE % plan->pass.src.unit_elems == 0 &&
                                 LATHE_STAT_TILE % plan->pass.dst.unit_elems == 0;
    if (chunks->ranges_per_row == 1 || plan->pass.own_scales || !are_whole_bytes) {
        return;
    }
    while (2 * cols <= chunks->cols_per_range) {
        cols *= 2;
    }
    chunks->cols_per_range = cols;
    chunks->ranges_per_row = lt_ceil_div(chunks->row_elems, cols);
    chunks->n_ranges = chunks->n_rows * chunks->ranges_per_row;
}

bool lt_chunks_cut(const lt_plan *plan, lt_stream_sides in_memory, uint64_t slot_bytes,
                   uint64_t ideal_bytes, bool is_fed, lt_ranges *chunks) {
    const lt_layout *dst = &plan->pass.dst;
    uint64_t scale_elems = plan->pass.own_scales ? dst->scale_elems : 0;
    uint64_t n_elems = lt_max(ideal_bytes, 1);
    do {
        n_elems = lt_ceil_div(n_elems, 2);
        *chunks = lt_ranges_cut(dst, n_elems, scale_elems);
        if (is_fed) {
            round_columns(plan, chunks);
        }
        uint64_t both_sides = bound(&plan->pass.src, n_elems).n_bytes + bound(dst, n_elems).n_bytes;
        if ((both_sides <= ideal_bytes || n_elems == 1) &&
            lt_slot_chunk_bytes(plan, in_memory, chunks) <= slot_bytes) {
            return true;
        }
    } while (n_elems > 1);
    return false;
}
