/* SPDX-License-Identifier: Apache-2.0 */
/* The rows_long kernel: what the rows kernels do, for rows that they do not hold. A work-group
 * reads its row twice, the second time soon enough to find it in a cache, which has room for what
 * all work-groups are at. */
#include "rows.cl"

#if LT_HAS_ROWS && !defined LT_SMALL

/* Loads a work-item's quads from `first` on. What lies behind the row is 0. */
void lt_load_far(uint4 *raw, const lt_plain *row, uint first) {
    const uint n_all = row->n_cols / LT_QUAD_ELEMS;
#pragma unroll
    for (uint i = 0; i < LATHE_CL_FAR_QUADS(LT_SRC, LT_DST); i++) {
        const uint at = first + i * LATHE_CL_ROW_MANY;
        raw[i] = at < n_all ? LT_COME4(row->src[at]) : (uint4)(0);
    }
}

/* Quads that the work-group loads at once. */
#define LT_FAR_STEP (LATHE_CL_FAR_QUADS(LT_SRC, LT_DST) * LATHE_CL_ROW_MANY)

#if LT_IS_MEAN

/* Rows of so many bytes are fetched at once, as few work-items add up. More of them than those that
 * are added up would push each other out of the cache. */
#define LT_FAR_FETCH (LT_SRC == LATHE_CL_F32 ? 0 : 65536)

/* Two elements of the source. */
lt_two lt_load_two(__global const lt_two *at) {
#if LT_SRC == LATHE_CL_F32
    return as_float2(LT_COME2(as_uint2(*at)));
#else
    return *at;
#endif
}

/* Leaves all lanes of the row's tiles: lt_sum_long without local memory. */
void lt_sum_far(const lt_plain *row, uint item, __local float4 *lanes) {
    for (uint task = item; task / 32 * LATHE_STAT_TILE < row->n_cols; task += LATHE_CL_ROW_MANY) {
        const uint begin = task / 32 * LATHE_STAT_TILE;
        const uint n_elems = min(row->n_cols - begin, (uint)LATHE_STAT_TILE);
        __global const lt_two *mine = (__global const lt_two *)row->src + begin / 2 + task % 32;
        float2 sums = (float2)(0.0f);
        uint rows = n_elems / LATHE_STAT_LANES;
        for (; rows >= LT_LONG_STEPS; rows -= LT_LONG_STEPS) {
            lt_two raw[LT_LONG_STEPS];
#pragma unroll
            for (uint k = 0; k < LT_LONG_STEPS; k++) {
                raw[k] = lt_load_two(mine + 32 * k);
            }
#pragma unroll
            for (uint k = 0; k < LT_LONG_STEPS; k++) {
                sums += lt_two_magnitudes(raw[k]);
            }
            mine += 32 * LT_LONG_STEPS;
        }
#pragma unroll 4
        for (; rows > 0; rows--) {
            sums += lt_two_magnitudes(lt_load_two(mine));
            mine += 32;
        }
        if (n_elems % LATHE_STAT_LANES != 0 && task % 32 < 16) { /* 32 elements more */
            sums += lt_two_magnitudes(lt_load_two(mine));
        }
        ((__local float2 *)lanes)[task] = sums;
    }
}

void lt_find_far_scale(const lt_plain *row, uint item, __local lt_row_memory *memory,
                       __local uint4 *room) {
    const uint n_tiles = (row->n_cols + LATHE_STAT_TILE - 1) / LATHE_STAT_TILE;
    const lt_plain tiles = {row->src, row->out, row->scales, row->n_cols, LATHE_STAT_TILE, n_tiles};
    __local float4 *all = (__local float4 *)room;
#if LT_CAN_FETCH
    const uint n_bytes = row->n_cols * (LATHE_CL_BITS(LT_SRC) / 8);
    if (n_bytes <= LT_FAR_FETCH && item < LT_GROUP) {
        lt_fetch_lines((__global const uchar *)row->src, n_bytes, item);
    }
#endif
    lt_sum_far(row, item, all);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_fold_tiles(&tiles, item, all, all + n_tiles * LT_LONG_FOURS, memory->stats);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_find_row_scale(row, item, n_tiles, memory);
}

#if LT_DST == LATHE_CL_I1

void lt_encode_far(const lt_plain *row, uint item, __local const lt_row_memory *memory,
                   __local uint4 *room) {
    __local uchar *bits = (__local uchar *)room;
    const uint n_all = row->n_cols / LT_QUAD_ELEMS;
    for (uint first = item; first < n_all; first += LT_FAR_STEP) {
        uint4 raw[LATHE_CL_FAR_QUADS(LT_SRC, LT_DST)];
        lt_load_far(raw, row, first);
#pragma unroll
        for (uint i = 0; i < LATHE_CL_FAR_QUADS(LT_SRC, LT_DST); i++) {
            const uint at = first + i * LATHE_CL_ROW_MANY;
            if (at < n_all) {
                bits[at] = (uchar)lt_minus_bits(raw[i]);
            }
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_bits(row, item, LATHE_CL_ROW_MANY, bits);
}

#else

/* Part by part, each of whole twenties. */
void lt_encode_far(const lt_plain *row, uint item, __local const lt_row_memory *memory,
                   __local uint4 *room) {
    const uint n_all = row->n_cols / LT_QUAD_ELEMS;
    const lt_cut cut = memory->cut;
    __local uint *words = (__local uint *)room;
    __local lt_quad_digits *digits = (__local lt_quad_digits *)(words + LT_DIGITS_LEAD / 4);
    if (item < LT_DIGITS_LEAD / 4) {
        words[item] = 0;
    }
    for (uint first = 0; first < n_all; first += LT_FAR_STEP) {
        const uint n_quads = min(n_all - first, (uint)LT_FAR_STEP);
        const uint n_elems = n_quads * LT_QUAD_ELEMS;
        uint4 raw[LATHE_CL_FAR_QUADS(LT_SRC, LT_DST)];
        lt_load_far(raw, row, first + item);
#pragma unroll
        for (uint i = 0; i < LATHE_CL_FAR_QUADS(LT_SRC, LT_DST); i++) {
            const uint at = item + i * LATHE_CL_ROW_MANY;
            if (at < n_quads) {
                digits[at] = lt_digits_of_quad(raw[i], cut);
            }
        }
        if (item == 0) {
            words[(LT_DIGITS_LEAD + n_elems) / 4] = 0x01010101;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        lt_store_digits(row->out + first * LT_QUAD_ELEMS / 5, n_elems, item, LATHE_CL_ROW_MANY,
                        words);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

#endif

#else

void lt_find_far_scale(const lt_plain *row, uint item, __local lt_row_memory *memory,
                       __local uint4 *room) {
    uint top = 0;
    for (uint first = item; first < row->n_cols / LT_QUAD_ELEMS; first += LT_FAR_STEP) {
        uint4 raw[LATHE_CL_FAR_QUADS(LT_SRC, LT_DST)];
        lt_load_far(raw, row, first);
#pragma unroll
        for (uint i = 0; i < LATHE_CL_FAR_QUADS(LT_SRC, LT_DST); i++) {
            top = max(top, lt_top_of_quad(raw[i]));
        }
    }
    lt_find_row_scale(row, top, item, LATHE_CL_ROW_MANY, memory, room);
}

/* From the end, which has been read last and is still there. */
void lt_encode_far(const lt_plain *row, uint item, __local const lt_row_memory *memory,
                   __local uint4 *room) {
    const uint n_all = row->n_cols / LT_QUAD_ELEMS;
    for (uint n_left = (n_all + LT_FAR_STEP - 1) / LT_FAR_STEP; n_left > 0; n_left--) {
        const uint first = (n_left - 1) * LT_FAR_STEP + item;
        uint4 raw[LATHE_CL_FAR_QUADS(LT_SRC, LT_DST)];
        lt_load_far(raw, row, first);
#pragma unroll
        for (uint i = 0; i < LATHE_CL_FAR_QUADS(LT_SRC, LT_DST); i++) {
            const uint at = first + i * LATHE_CL_ROW_MANY;
            if (at < n_all) {
                lt_store_quad(row->out, raw[i], at, memory->factor);
            }
        }
    }
}

#endif

/* `room`: LATHE_CL_FAR_ROOM. */
__kernel LT_MANY_ITEMS void lathe_rows_long(__global const uchar *restrict src,
                                            __global const float *restrict src_scales,
                                            __global uchar *restrict dst,
                                            __global float *dst_scales, __global uint *reports,
                                            lathe_launch launch, __local uint4 *room) {
    __local lt_row_memory memory;
    const lt_plain row = lt_plain_of(src, dst, dst_scales, &launch, (uint)get_group_id(0));
    const uint item = (uint)get_local_id(0);
    lt_find_far_scale(&row, item, &memory, room);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_encode_far(&row, item, &memory, room);
    lt_end_row(&row, &launch, item, memory.is_odd, reports);
}

#endif
