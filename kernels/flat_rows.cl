/* SPDX-License-Identifier: Apache-2.0 */
/* The flat_rows kernel: the scales of rows that are longer than a tile and lie so that rows.cl does
 * not take them, and their codes. A work-group reads its row twice: once for the scale, and then
 * part by part, as the flat kernel does its blocks. */
#include "rows_long.cl"

#if LT_HAS_ROWS && LT_HAS_FLAT && !defined LT_SMALL

/* Elements of a part: whole bytes of every dtype. */
#define LT_FLAT_PART (LATHE_CL_BLOCK_ELEMS / 40 * 40)

typedef struct lt_flat_row_memory {
    lt_flat_memory part;
#if LT_IS_MEAN
    float sums[LATHE_CL_ROW_LONGEST / LATHE_STAT_TILE];
#endif
} lt_flat_row_memory;

#if LT_IS_MEAN

/* Elements that a work-item loads at once, and tiles that a work-group adds up at once. */
#define LT_FLAT_STEPS 16
#define LT_FLAT_TILES (LT_GROUP / LATHE_STAT_LANES)

float lt_flat_magnitude_of(lt_flat_elem elem) {
#if LT_SRC == LATHE_CL_F32
    return fabs(as_float(elem));
#else
    return lt_decode1(elem & 0x7fff, 0, 1);
#endif
}

/* A lane's sum of a tile. */
float lt_flat_far_lane(__global const lt_flat_elem *tile, uint n_elems, uint lane) {
    float sum = 0;
    uint at = lane;
    for (; at + (LT_FLAT_STEPS - 1) * LATHE_STAT_LANES < n_elems;
         at += LT_FLAT_STEPS * LATHE_STAT_LANES) {
        lt_flat_elem raw[LT_FLAT_STEPS];
#pragma unroll
        for (uint i = 0; i < LT_FLAT_STEPS; i++) {
            raw[i] = LT_COME1(tile[at + i * LATHE_STAT_LANES]);
        }
#pragma unroll
        for (uint i = 0; i < LT_FLAT_STEPS; i++) {
            sum += lt_flat_magnitude_of(raw[i]);
        }
    }
    for (; at < n_elems; at += LATHE_STAT_LANES) {
        sum += lt_flat_magnitude_of(LT_COME1(tile[at]));
    }
    return sum;
}

/* Leaves the row's scale for work-item 0. */
float lt_flat_row_scale(__global const uchar *row, uint n_elems, uint item,
                        __local lt_flat_row_memory *memory) {
    const uint n_tiles = (n_elems + LATHE_STAT_TILE - 1) / LATHE_STAT_TILE;
    __local lt_flat_memory *part = &memory->part;
    for (uint first = 0; first < n_tiles; first += LT_FLAT_TILES) {
        const uint begin = (first + item / LATHE_STAT_LANES) * LATHE_STAT_TILE;
        part->lanes[item] =
            begin < n_elems ? as_uint(lt_flat_far_lane((__global const lt_flat_elem *)row + begin,
                                                       min(n_elems - begin, (uint)LATHE_STAT_TILE),
                                                       item % LATHE_STAT_LANES))
                            : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < 8 * LT_FLAT_TILES) {
            part->eighths[item] =
                lt_fold8_local(part->lanes + item / 8 * LATHE_STAT_LANES + item % 8, 8);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < LT_FLAT_TILES && first + item < n_tiles) {
            memory->sums[first + item] = as_float(lt_fold8_local(part->eighths + 8 * item, 1));
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    bool is_odd = false;
    for (uint i = 0; i < n_tiles; i++) {
        is_odd = is_odd || lt_is_odd_stat(memory->sums[i]);
    }
    if (item == 0) {
        part->is_odd = is_odd;
    }
    return item == 0 && !is_odd ? lt_scale_of_tiles(memory->sums, n_tiles, n_elems) : 1;
}

#else

/* Runs that a work-item loads at once. */
#define LT_FLAT_STEPS 4

/* The greatest magnitude of a work-item's runs, as lt_top_of_quad has it. */
uint lt_flat_top(__global const uchar *row, uint n_elems, uint item) {
    const uint lead = lt_flat_lead(row, LT_FLAT_BYTES);
    const uint end = lead + n_elems;
    const uint last = (end - 1) / LT_RUN;
    __global const uchar *aligned = row - lead * LT_FLAT_BYTES;
    uint top = 0;
    for (uint first = item; first <= last; first += LT_FLAT_STEPS * LT_GROUP) {
        uint4 raw[LT_FLAT_STEPS];
#pragma unroll
        for (uint i = 0; i < LT_FLAT_STEPS; i++) {
            const uint run = first + i * LT_GROUP;
            const bool is_whole = run * LT_RUN >= lead && (run + 1) * LT_RUN <= end;
            raw[i] = is_whole ? LT_COME4(((__global const uint4 *)aligned)[run]) : (uint4)(0);
        }
#pragma unroll
        for (uint i = 0; i < LT_FLAT_STEPS; i++) {
            top = max(top, lt_top_of_quad(raw[i]));
        }
    }
    if (item == 0) { /* what is cut at either end */
        top = max(top, lt_top_of_quad(lt_flat_cut(aligned, lead, LT_RUN)));
        top = max(top, lt_top_of_quad(lt_flat_cut(aligned + (ulong)last * LT_RUN * LT_FLAT_BYTES, 0,
                                                  end - last * LT_RUN)));
    }
    return top;
}

/* Leaves the row's scale for work-item 0. */
float lt_flat_row_scale(__global const uchar *row, uint n_elems, uint item,
                        __local lt_flat_row_memory *memory) {
    __local uint *tops = memory->part.lanes;
    tops[item] = lt_flat_top(row, n_elems, item);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < LT_GROUP / 8) {
        memory->part.eighths[item] = lt_fold8_local(tops + item, LT_GROUP / 8);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    uint top = 0;
    for (uint i = 0; i < LT_GROUP / 8; i++) {
        top = max(top, memory->part.eighths[i]);
    }
    const float stat = lt_stat_of_top(top);
    if (item == 0) {
        memory->part.is_odd = lt_is_odd_stat(stat);
    }
    return lt_plain_scale(stat, n_elems);
}

#endif

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_flat_rows(__global const uchar *restrict src, __global const float *restrict src_scales,
                __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
                lathe_launch launch) {
    __local lt_flat_row_memory memory;
    const uint item = (uint)get_local_id(0);
    const uint row = (uint)get_group_id(0);
    const uint n_cols = (uint)launch.n_cols;
    __global float *scales = dst_scales + launch.dst.scale_offset + row;
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    const float scale =
        lt_flat_row_scale(src + (launch.src.data_offset +
                                 (launch.src.first_col + (ulong)row * n_cols) * LT_FLAT_BYTES),
                          n_cols, item, &memory);
    if (item == 0) {
        scales[0] = memory.part.is_odd != 0 ? as_float(LT_MARK) : scale;
        memory.part.inverses[0] = scale == 0 ? 0 : lt_inverse_fast(scale);
        if (memory.part.is_odd != 0) {
            report[1] = 1;
        }
    }
    for (uint col = 0; col < n_cols; col += LT_FLAT_PART) {
        const uint n_elems = min(n_cols - col, (uint)LT_FLAT_PART);
        const uint elem = row * n_cols + col;
        const lt_block block = {row, col, 1, n_elems, elem, n_elems, 0};
        lt_flat flat = {elem, n_elems, 0, 0, 0, 0, row};
        lt_flat_load(&flat, src, src_scales, &launch, item, &memory.part, report);
        barrier(CLK_LOCAL_MEM_FENCE);
        lt_flat_encode(&flat, &launch, item, &memory.part);
        barrier(CLK_LOCAL_MEM_FENCE);
        lt_flat_store(&flat, &block, dst, &launch, item, &memory.part);
        barrier(CLK_LOCAL_MEM_FENCE);
    }
}

#endif
