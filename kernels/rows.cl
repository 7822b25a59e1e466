/* SPDX-License-Identifier: Apache-2.0 */
/* The rows kernel: what the plain kernel does, for rows that are scopes, whatever their length. A
 * work-group has as many work-items as hold the row in registers, so that rows of more than one
 * tile are read once, too, and short ones do not leave most of the group idle. */
#include "doubles.cl"

#if LT_HAS_ROWS

/* Sixteens of bytes that a work-item holds, as many apart as there are work-items: in the kernels
 * for shorter rows, and in that for the longest. */
#define LT_FEW_QUADS (LATHE_CL_ROW_SHARE(LT_SRC) / LT_QUAD_ELEMS)
#define LT_MANY_QUADS (2 * LT_FEW_QUADS)

/* Loads n_quads of them. What lies behind the row is 0. Loops over them have a fixed length, so
 * that they are unrolled and registers do. */
void lt_hold_row(uint4 *raw, uint n_quads, const lt_plain *row, uint item, uint n_items) {
#pragma unroll
    for (uint i = 0; i < LT_MANY_QUADS; i++) {
        const uint at = item + i * n_items;
        if (i < n_quads) {
            raw[i] = at * LT_QUAD_ELEMS < row->n_cols ? row->src[at] : (uint4)(0);
        }
    }
}

#if LT_IS_MEAN

/* The most tiles of a row. Their lanes lie as those of long scopes in a block do. */
#define LT_ROW_TILES (2 * LATHE_CL_ROW_MANY * LATHE_CL_ROW_SHARE(LT_SRC) / LATHE_STAT_TILE)

/* Tiles that local memory has room for. */
#define LT_ROOM_TILES (LATHE_CL_ROW_ROOM(LT_DST) / (LATHE_STAT_TILE * LATHE_CL_BITS(LT_SRC) / 8))

typedef struct lt_row_memory {
    float4 lanes[LT_LANE_FOURS];
    float stats[LT_ROW_TILES];
    float scale;
    uint is_odd;
#if LT_DST == LATHE_CL_I1
    uchar bits[LATHE_CL_ROW_ROOM(LT_DST) / 16]; /* a byte for each quad in the room */
#endif
} lt_row_memory;

/* Whether the row stays in local memory, all of it, and 0s behind it: registers are then left to
 * other groups. */
#define LT_STAYS(n_quads) ((n_quads) == LT_FEW_QUADS)

/* Loads such a row's quads from `first` on, as many as a work-item does at once. */
void lt_stage_quads(const lt_plain *row, uint first, uint n_items, __local lt_row_memory *memory,
                    __local uint4 *room) {
    const uint n_all = row->n_cols / LT_QUAD_ELEMS;
    uint4 raw[LT_FEW_QUADS];
#pragma unroll
    for (uint i = 0; i < LT_FEW_QUADS; i++) {
        const uint at = first + i * n_items;
        raw[i] = at < n_all ? row->src[at] : (uint4)(0);
    }
#pragma unroll
    for (uint i = 0; i < LT_FEW_QUADS; i++) {
        const uint at = first + i * n_items;
        if (at < n_all) {
            room[at] = raw[i];
#if LT_DST == LATHE_CL_I1
            memory->bits[at] = (uchar)lt_minus_bits(raw[i]);
#endif
        }
    }
}

/* Loads such a row. */
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

/* Leaves the sums of the row's tiles. */
void lt_sum_tiles(const uint4 *raw, uint n_quads, const lt_plain *row, uint n_tiles, uint item,
                  uint n_items, __local lt_row_memory *memory, __local uint4 *room) {
    __local float4 *all = memory->lanes + LT_PLAIN_LONGS * LT_SHORT_FOURS;
    const uint at_once = LT_STAYS(n_quads) ? LT_ROW_TILES : LT_ROOM_TILES;
    lt_plain tiles = {row->src, row->out, row->scales, 0, LATHE_STAT_TILE, 0};
    for (uint first = 0; first < n_tiles; first += at_once) {
#pragma unroll
        for (uint i = 0; i < LT_MANY_QUADS; i++) {
            const uint at = item + i * n_items;
            if (!LT_STAYS(n_quads) && at * LT_QUAD_ELEMS < row->n_cols &&
                at - first * LT_BLOCK_QUADS < LT_ROOM_TILES * LT_BLOCK_QUADS) {
                room[at - first * LT_BLOCK_QUADS] = raw[i];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        tiles.n_scopes = min(n_tiles - first, at_once);
        tiles.n_cols = row->n_cols - first * LATHE_STAT_TILE;
        lt_sum_long(&tiles, item, n_items, room, all + first * LT_LONG_FOURS);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    tiles.n_scopes = n_tiles;
    lt_fold_to_sixteen(&tiles, item, all, memory->lanes);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < n_tiles) {
        memory->stats[item] = lt_fold_lanes16(memory->lanes + item * LT_SHORT_FOURS);
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

#if LT_DST == LATHE_CL_I1

void lt_encode_row(const uint4 *raw, uint n_quads, const lt_plain *row, uint item, uint n_items,
                   __local const lt_row_memory *memory, __local uint4 *room) {
    __local uchar *bits = (__local uchar *)room;
    if (LT_STAYS(n_quads)) {
        lt_store_bits(row, item, n_items, memory->bits);
        return;
    }
#pragma unroll
    for (uint i = 0; i < LT_MANY_QUADS; i++) {
        const uint at = item + i * n_items;
        if (at * LT_QUAD_ELEMS < row->n_cols) {
            bits[at] = (uchar)lt_minus_bits(raw[i]);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_bits(row, item, n_items, bits);
}

#else

void lt_encode_row(const uint4 *raw, uint n_quads, const lt_plain *row, uint item, uint n_items,
                   __local const lt_row_memory *memory, __local uint4 *room) {
    if (LT_STAYS(n_quads)) {
        const lt_cut cut = lt_cut_of(memory->scale);
        __local const lt_cell *cells = (__local const lt_cell *)room;
        for (uint col = LT_UNIT * item; col < row->n_cols; col += LT_UNIT * n_items) {
            lt_store_unit_bytes(row->out + col / 5,
                                lt_unit_bytes(cells + col / 4, 0, LT_UNIT, cut, cut),
                                row->n_cols - col);
        }
        return;
    }
    const uint cut = lt_cut_of_bits(memory->scale);
    __local uint *words = (__local uint *)room;
    __local lt_quad_digits *digits = (__local lt_quad_digits *)(words + LT_DIGITS_LEAD / 4);
#pragma unroll
    for (uint i = 0; i < LT_MANY_QUADS; i++) {
        const uint at = item + i * n_items;
        if (at * LT_QUAD_ELEMS < row->n_cols) {
            digits[at] = lt_digits_of_quad(raw[i], cut);
        }
    }
    if (item < LT_DIGITS_LEAD / 4) {
        words[item] = 0;
    }
    if (item == 0) {
        words[(LT_DIGITS_LEAD + row->n_cols) / 4] = 0x01010101;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_digits(row->out, row->n_cols, item, n_items, words);
}

#endif

void lt_row(uint4 *raw, uint n_quads, const lt_plain *row, uint item, uint n_items,
            __local lt_row_memory *memory, __local uint4 *room) {
    const uint n_tiles = (row->n_cols + LATHE_STAT_TILE - 1) / LATHE_STAT_TILE;
    if (LT_STAYS(n_quads)) {
        lt_stage_row(row, item, n_items, memory, room);
    } else {
        lt_hold_row(raw, n_quads, row, item, n_items);
    }
    lt_sum_tiles(raw, n_quads, row, n_tiles, item, n_items, memory, room);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item == 0) {
        memory->scale = lt_row_scale(row->n_cols, n_tiles, memory);
        row->scales[0] = memory->scale;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_encode_row(raw, n_quads, row, item, n_items, memory, room);
}

#else

/* Work-items that fold what all have found. */
#define LT_ROW_FOLDERS 32

typedef struct lt_row_memory {
    uint4 tops[LT_ROW_FOLDERS / 4];
    float factor;
    uint is_odd;
} lt_row_memory;

void lt_row(uint4 *raw, uint n_quads, const lt_plain *row, uint item, uint n_items,
            __local lt_row_memory *memory, __local uint4 *room) {
    __local uint *tops = (__local uint *)room;
    uint top = 0;
    lt_hold_row(raw, n_quads, row, item, n_items);
#pragma unroll
    for (uint i = 0; i < LT_MANY_QUADS; i++) {
        top = i < n_quads ? max(top, lt_top_of_quad(raw[i])) : top;
    }
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

/* For a group of up to LT_GROUP work-items. `room`: as many bytes as a row, LATHE_CL_ROW_ROOM at
 * most, and the margin. */
__kernel void lathe_rows_few(__global const uchar *restrict src,
                             __global const float *restrict src_scales,
                             __global uchar *restrict dst, __global float *dst_scales,
                             __global uint *reports, lathe_launch launch, __local uint4 *room) {
    __local lt_row_memory memory;
    const lt_plain row = lt_plain_of(src, dst, dst_scales, &launch, (uint)get_group_id(0));
    const uint item = (uint)get_local_id(0);
    uint4 raw[LT_FEW_QUADS];
    lt_row(raw, LT_FEW_QUADS, &row, item, (uint)get_local_size(0), &memory, room);
    lt_end_row(&row, &launch, item, memory.is_odd, reports);
}

#ifndef LT_SMALL

/* The same for longer rows. Compilers want to know the size of such groups; and where few vectors
 * do, more groups are on their way at once. */
#define LT_LONG_ROWS_KERNEL(name, n_quads)                                                         \
    __kernel __attribute__((reqd_work_group_size(LATHE_CL_ROW_MANY, 1, 1))) void name(             \
        __global const uchar *restrict src, __global const float *restrict src_scales,             \
        __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,          \
        lathe_launch launch, __local uint4 *room) {                                                \
        __local lt_row_memory memory;                                                              \
        const lt_plain row = lt_plain_of(src, dst, dst_scales, &launch, (uint)get_group_id(0));    \
        const uint item = (uint)get_local_id(0);                                                   \
        uint4 raw[n_quads];                                                                        \
        lt_row(raw, n_quads, &row, item, LATHE_CL_ROW_MANY, &memory, room);                        \
        lt_end_row(&row, &launch, item, memory.is_odd, reports);                                   \
    }

LT_LONG_ROWS_KERNEL(lathe_rows_many, LT_FEW_QUADS)
LT_LONG_ROWS_KERNEL(lathe_rows_most, LT_MANY_QUADS)

#endif

#endif
