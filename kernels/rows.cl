/* SPDX-License-Identifier: Apache-2.0 */
/* The rows kernels: what the plain kernel does, for rows that are scopes. A work-group has as many
 * work-items as hold the row, in registers or in local memory, so that rows of more than one tile
 * are read once, too, and short ones do not leave most of the group idle. */
#include "doubles.cl"

#if LT_HAS_ROWS

/* Sixteens of bytes that a work-item holds, or loads at once: as many apart as there are
 * work-items. */
#define LT_FEW_QUADS (LATHE_CL_ROW_SHARE(LT_SRC) / LT_QUAD_ELEMS)

/* Those of kernels that hold longer rows. */
#define LT_MANY_QUADS (2 * LT_FEW_QUADS)

/* Loads n_quads of them. What lies behind the row is 0. Loops over them have a fixed length, so
 * that they are unrolled and registers do. */
void lt_hold_row(uint4 *raw, uint n_quads, const lt_plain *row, uint item, uint n_items) {
#pragma unroll
    for (uint i = 0; i < LT_MANY_QUADS; i++) {
        const uint at = item + i * n_items;
        if (i < n_quads) {
            raw[i] = at * LT_QUAD_ELEMS < row->n_cols ? LT_COME4(row->src[at]) : (uint4)(0);
        }
    }
}

#if LT_IS_MEAN

/* The most tiles of a row. The lanes of those that are held lie as those of long scopes in a block
 * do. */
#define LT_ROW_TILES (LATHE_CL_ROW_LONGEST / LATHE_STAT_TILE)

typedef struct lt_row_memory {
    float4 lanes[LT_LANE_FOURS];
    float stats[LT_ROW_TILES];
#if LT_DST == LATHE_CL_BITNET158
    lt_cut cut;
#else
    uint2 bits[LATHE_CL_ROW_ROOM(LT_DST) / 128]; /* a byte for each quad in the room */
#endif
    uint is_odd;
} lt_row_memory;

/* Loads quads from `first` on, as many as a work-item does at once. */
void lt_stage_quads(const lt_plain *row, uint first, uint n_items, __local lt_row_memory *memory,
                    __local uint4 *room) {
    const uint n_all = row->n_cols / LT_QUAD_ELEMS;
    uint4 raw[LT_FEW_QUADS];
#pragma unroll
    for (uint i = 0; i < LT_FEW_QUADS; i++) {
        const uint at = first + i * n_items;
        raw[i] = at < n_all ? LT_COME4(row->src[at]) : (uint4)(0);
    }
#pragma unroll
    for (uint i = 0; i < LT_FEW_QUADS; i++) {
        const uint at = first + i * n_items;
        if (at < n_all) {
            room[at] = raw[i];
#if LT_DST == LATHE_CL_I1
            ((__local uchar *)memory->bits)[at] = (uchar)lt_minus_bits(raw[i]);
#endif
        }
    }
}

/* Loads the row into local memory, where it stays, and 0s behind it: registers are then left to
 * other groups. */
void lt_stage_row(const lt_plain *row, uint item, uint n_items, __local lt_row_memory *memory,
                  __local uint4 *room) {
    const uint n_all = row->n_cols / LT_QUAD_ELEMS;
    lt_stage_quads(row, item, n_items, memory, room);
    for (uint first = item + LT_FEW_QUADS * n_items; first < n_all;
         first += LT_FEW_QUADS * n_items) {
        lt_stage_quads(row, first, n_items, memory, room);
    }
    if (item < LATHE_CL_ROW_MARGIN / 16) {
        room[n_all + item] = (uint4)(0);
    }
}

/* Leaves the tiles' sums from all their lanes. Barriers before and after it. */
void lt_fold_tiles(const lt_plain *tiles, uint item, __local const float4 *all,
                   __local float4 *lanes, __local float *sums) {
    lt_fold_to_sixteen(tiles, item, all, lanes);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < tiles->n_scopes) {
        sums[item] = lt_fold_lanes16(lanes + item * LT_SHORT_FOURS);
    }
}

/* The row's scale from its tiles' sums. */
float lt_row_scale(uint n_cols, uint n_tiles, __local lt_row_memory *memory) {
    bool is_odd = false;
    if (n_tiles == 1) {
        memory->is_odd = lt_is_odd_stat(memory->stats[0]);
        return lt_plain_scale(memory->stats[0], n_cols);
    }
    for (uint i = 0; i < n_tiles; i++) {
        is_odd = is_odd || lt_is_odd_stat(memory->stats[i]);
    }
    memory->is_odd = is_odd;
    return is_odd ? 1 : lt_scale_of_tiles(memory->stats, n_tiles, n_cols);
}

/* Leaves the row's scale. Barriers before and after it. */
void lt_find_row_scale(const lt_plain *row, uint item, uint n_tiles,
                       __local lt_row_memory *memory) {
    if (item == 0) {
        const float scale = lt_row_scale(row->n_cols, n_tiles, memory);
        row->scales[0] = scale;
#if LT_DST == LATHE_CL_BITNET158
        memory->cut = lt_cut_of(scale);
#endif
    }
}

void lt_encode_row(const lt_plain *row, uint item, uint n_items,
                   __local const lt_row_memory *memory, __local const uint4 *room) {
#if LT_DST == LATHE_CL_I1
    lt_store_bits(row, item, n_items, (__local const uchar *)memory->bits);
#else
    const lt_cut cut = memory->cut;
    __local const lt_cell *cells = (__local const lt_cell *)room;
    for (uint col = LT_UNIT * item; col < row->n_cols; col += LT_UNIT * n_items) {
        lt_store_unit_bytes(row->out + col / 5,
                            lt_unit_bytes(cells + col / 4, 0, LT_UNIT, cut, cut),
                            row->n_cols - col);
    }
#endif
}

/* The scale of tiles whose lanes are in memory. Barriers before and after it. */
void lt_end_sums(const lt_plain *row, uint item, __local const float4 *all, __local float4 *lanes,
                 __local lt_row_memory *memory) {
    const uint n_tiles = (row->n_cols + LATHE_STAT_TILE - 1) / LATHE_STAT_TILE;
    const lt_plain tiles = {row->src, row->out, row->scales, row->n_cols, LATHE_STAT_TILE, n_tiles};
    lt_fold_tiles(&tiles, item, all, lanes, memory->stats);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_find_row_scale(row, item, n_tiles, memory);
}

void lt_row_staged(const lt_plain *row, uint item, uint n_items, __local lt_row_memory *memory,
                   __local uint4 *room) {
    const uint n_tiles = (row->n_cols + LATHE_STAT_TILE - 1) / LATHE_STAT_TILE;
    const lt_plain tiles = {row->src, row->out, row->scales, row->n_cols, LATHE_STAT_TILE, n_tiles};
    __local float4 *all = memory->lanes + LT_PLAIN_LONGS * LT_SHORT_FOURS;
    lt_stage_row(row, item, n_items, memory, room);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_sum_long(&tiles, item, n_items, room, all);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_end_sums(row, item, all, memory->lanes, memory);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_encode_row(row, item, n_items, memory, room);
}

#if LATHE_CL_HAS_MOST(LT_SRC, LT_DST)

/* Quads of a part of a row, of whole tiles, that is summed at once. */
#define LT_PART (LT_FEW_QUADS * LATHE_CL_ROW_MANY)

/* Leaves all lanes of the part from quad `first` on, which the room has. */
void lt_sum_part(const lt_plain *row, uint first, uint item, __local const uint4 *room,
                 __local float4 *all) {
    const uint begin = first * LT_QUAD_ELEMS;
    if (begin < row->n_cols) {
        const uint n_cols = min(row->n_cols - begin, (uint)(LT_PART * LT_QUAD_ELEMS));
        const lt_plain part = {row->src,        row->out,
                               row->scales,     n_cols,
                               LATHE_STAT_TILE, (n_cols + LATHE_STAT_TILE - 1) / LATHE_STAT_TILE};
        lt_sum_long(&part, item, LATHE_CL_ROW_MANY, room,
                    all + begin / LATHE_STAT_TILE * LT_LONG_FOURS);
    }
}

/* Makes and stores the codes of a row that is in registers. What they are made from takes the
 * elements' place in the room; behind the row these are 0, whose digit is 1. */
void lt_encode_held(const uint4 *raw, const lt_plain *row, uint item,
                    __local const lt_row_memory *memory, __local uint4 *room) {
#if LT_DST == LATHE_CL_I1
    __local uchar *bits = (__local uchar *)room;
#pragma unroll
    for (uint i = 0; i < LT_MANY_QUADS; i++) {
        bits[item + i * LATHE_CL_ROW_MANY] = (uchar)lt_minus_bits(raw[i]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_bits(row, item, LATHE_CL_ROW_MANY, bits);
#else
    const lt_cut cut = memory->cut;
    __local uint *words = (__local uint *)room;
    __local lt_quad_digits *digits = (__local lt_quad_digits *)(words + LT_DIGITS_LEAD / 4);
    if (item < LT_DIGITS_LEAD / 4) {
        words[item] = 0;
    }
#pragma unroll
    for (uint i = 0; i < LT_MANY_QUADS; i++) {
        digits[item + i * LATHE_CL_ROW_MANY] = lt_digits_of_quad(raw[i], cut);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_digits(row->out, row->n_cols, item, LATHE_CL_ROW_MANY, words);
#endif
}

/* A row in registers: only its sums are found in local memory, part by part. */
void lt_row_held(const lt_plain *row, uint item, __local lt_row_memory *memory,
                 __local uint4 *room) {
    __local float4 *all = memory->lanes + LT_PLAIN_LONGS * LT_SHORT_FOURS;
    uint4 raw[LT_MANY_QUADS];
    lt_hold_row(raw, LT_MANY_QUADS, row, item, LATHE_CL_ROW_MANY);
#pragma unroll
    for (uint part = 0; part < LT_MANY_QUADS / LT_FEW_QUADS; part++) {
#pragma unroll
        for (uint i = 0; i < LT_FEW_QUADS; i++) {
            room[item + i * LATHE_CL_ROW_MANY] = raw[part * LT_FEW_QUADS + i];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        lt_sum_part(row, part * LT_PART, item, room, all);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    lt_end_sums(row, item, all, memory->lanes, memory);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_encode_held(raw, row, item, memory, room);
}

#endif

void lt_row(uint n_quads, const lt_plain *row, uint item, uint n_items,
            __local lt_row_memory *memory, __local uint4 *room) {
#if LATHE_CL_HAS_MOST(LT_SRC, LT_DST)
    if (n_quads == LT_MANY_QUADS) {
        lt_row_held(row, item, memory, room);
        return;
    }
#endif
    lt_row_staged(row, item, n_items, memory, room);
}

#else

/* Work-items that fold what all have found. */
#define LT_ROW_FOLDERS 32

typedef struct lt_row_memory {
    uint4 tops[LT_ROW_FOLDERS / 4];
    float factor;
    uint is_odd;
} lt_row_memory;

/* Leaves the row's scale, from the greatest magnitude that each work-item has found. */
void lt_find_row_scale(const lt_plain *row, uint top, uint item, uint n_items,
                       __local lt_row_memory *memory, __local uint4 *room) {
    __local uint *tops = (__local uint *)room;
    tops[item] = top;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < LT_ROW_FOLDERS) {
        for (uint i = item + LT_ROW_FOLDERS; i < n_items; i += LT_ROW_FOLDERS) {
            top = max(top, tops[i]);
        }
        ((__local uint *)memory->tops)[item] = top;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0) {
        const float stat = lt_stat_of_top(lt_greatest_of_fours(memory->tops, LT_ROW_FOLDERS / 4));
        const float scale = lt_plain_scale(stat, row->n_cols);
        row->scales[0] = scale;
        memory->factor = lt_plain_factor(scale);
        memory->is_odd = lt_is_odd_stat(stat);
    }
}

void lt_row(uint n_quads, const lt_plain *row, uint item, uint n_items,
            __local lt_row_memory *memory, __local uint4 *room) {
    uint4 raw[LT_MANY_QUADS];
    uint top = 0;
    lt_hold_row(raw, n_quads, row, item, n_items);
#pragma unroll
    for (uint i = 0; i < LT_MANY_QUADS; i++) {
        top = i < n_quads ? max(top, lt_top_of_quad(raw[i])) : top;
    }
    lt_find_row_scale(row, top, item, n_items, memory, room);
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (uint i = 0; i < LT_MANY_QUADS; i++) {
        const uint at = item + i * n_items;
        if (i < n_quads && at * LT_QUAD_ELEMS < row->n_cols) {
            lt_store_quad(row->out, raw[i], at, memory->factor);
        }
    }
}

#endif

/* Says that the row is odd, if it is. */
void lt_end_row(const lt_plain *row, const lathe_launch *launch, uint item, uint is_odd,
                __global uint *reports) {
    if (item == 0 && is_odd != 0) {
        row->scales[0] = as_float(LT_MARK);
        if ((launch->flags & LATHE_CL_LONG) != 0) {
            reports[launch->report * LATHE_CL_REPORT_WORDS + 1] = 1;
        }
    }
}

/* Compilers want to know the size of groups of more than LT_GROUP. `room`: as many bytes as a row,
 * LATHE_CL_ROW_ROOM at most, and the margin; where the scale is no mean, a word for each work-item.
 */
#define LT_ROWS_KERNEL(name, attribute, n_quads, n_items)                                          \
    __kernel attribute void name(                                                                  \
        __global const uchar *restrict src, __global const float *restrict src_scales,             \
        __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,          \
        lathe_launch launch, __local uint4 *room) {                                                \
        __local lt_row_memory memory;                                                              \
        const lt_plain row = lt_plain_of(src, dst, dst_scales, &launch, (uint)get_group_id(0));    \
        const uint item = (uint)get_local_id(0);                                                   \
        lt_row(n_quads, &row, item, n_items, &memory, room);                                       \
        lt_end_row(&row, &launch, item, memory.is_odd, reports);                                   \
    }

LT_ROWS_KERNEL(lathe_rows_few, , LT_FEW_QUADS, (uint)get_local_size(0))

#ifndef LT_SMALL

#define LT_MANY_ITEMS __attribute__((reqd_work_group_size(LATHE_CL_ROW_MANY, 1, 1)))

/* The same for longer rows; and where few vectors do, more groups are on their way at once. */
#if LT_IS_MEAN
LT_ROWS_KERNEL(lathe_rows_many, LT_MANY_ITEMS, LT_FEW_QUADS, LATHE_CL_ROW_MANY)
#else
LT_ROWS_KERNEL(lathe_rows_many, , LT_MANY_QUADS, (uint)get_local_size(0))
#endif
#if LATHE_CL_HAS_MOST(LT_SRC, LT_DST)
LT_ROWS_KERNEL(lathe_rows_most, LT_MANY_ITEMS, LT_MANY_QUADS, LATHE_CL_ROW_MANY)
#endif

#endif

#endif
