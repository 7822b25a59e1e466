/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels for many tensors in one launch. A table says which tensor a work-group belongs to and
 * how that one lies, in the terms of the block kernel or the stats kernel. Only programs with
 * LT_BATCH have them. */
#ifdef LT_BATCH

#include "stats.cl"

/* Parts that each work-item of a block takes. */
#define LT_BLOCK_STEPS (LT_PARTS / LT_GROUP)

#if LT_DST != LATHE_CL_BITNET158

/* A block with known scales and aligned vectors on both sides: each work-item stores what it has
 * loaded, once all of its loads are on their way. */
void lt_direct_block(const lt_block *block, __global const uchar *src,
                     __global const float *src_scales, __global uchar *dst,
                     __global const float *dst_scales, const lathe_launch *launch, uint item,
                     __global uint *report) {
    const ulong flags = launch->flags;
    lt_part parts[LT_BLOCK_STEPS];
    lt_spot spots[LT_BLOCK_STEPS];
    lt_raw raw[LT_BLOCK_STEPS];
#pragma unroll
    for (uint step = 0; step < LT_BLOCK_STEPS; step++) {
        parts[step] = lt_part_of(block, launch, item + step * LT_GROUP);
        spots[step] = lt_spot_of(&launch->src, block->elem + parts[step].at);
        if (parts[step].count == LT_WIDTH) {
            raw[step] =
                LT_FETCH(src + lt_row_offset(&launch->src, spots[step].row), spots[step].col);
        }
    }
#pragma unroll
    for (uint step = 0; step < LT_BLOCK_STEPS; step++) {
        const lt_part part = parts[step];
        if (part.count == 0) {
            continue;
        }
        const lt_spot from = spots[step];
        const lt_spot to = {block->row + part.row,
                            (uint)launch->dst.first_col + block->col + part.col};
        const uint elem = block->elem + part.at;
        const float scale = lt_source_scale(&launch->src, src_scales, from);
        const lt_scale target = lt_target_scale(&launch->dst, dst_scales, to);
        __global uchar *out = lt_block_out(dst, block, launch, part.row, part.col);
        if (part.count == LT_WIDTH) {
            const lt_floats x = lt_decode(raw[step], from.col, scale, elem, flags, report);
            lt_store_unit(out, lt_convert(x, target, elem, LT_WIDTH, flags, report));
        } else {
            const lt_floats x = lt_decode_some(src + lt_row_offset(&launch->src, from.row),
                                               from.col, part.count, scale, elem, flags, report);
            lt_store_part(out, lt_convert(x, target, elem, part.count, flags, report), part.count);
        }
    }
}

#endif

/* The parameters of home n, and taking them. */
#define LT_HOME(n)                                                                                 \
    __global const uchar *src_##n, __global const float *src_scales_##n, __global uchar *dst_##n,  \
        __global float *dst_scales_##n,
#define LT_TAKE_HOME(n)                                                                            \
    case n:                                                                                        \
        src = src_##n;                                                                             \
        src_scales = src_scales_##n;                                                               \
        dst = dst_##n;                                                                             \
        dst_scales = dst_scales_##n;                                                               \
        break;
#define LT_HOMES(X) /* LATHE_CL_HOMES */                                                           \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

/* What they begin with: the work-group's tensor. */
#define LT_TAKE_TENSOR                                                                             \
    const uint item = (uint)get_local_id(0);                                                       \
    const uint group = (uint)get_group_id(0);                                                      \
    const uint owner = ((__global const uint *)(table + owners))[group];                           \
    const lathe_entry entry = ((__global const lathe_entry *)(table + entries))[owner];            \
    lathe_launch launch = ((__global const lathe_launch *)(table + launches))[entry.launch];       \
    __global const uchar *src = src_0;                                                             \
    __global const float *src_scales = src_scales_0;                                               \
    __global uchar *dst = dst_0;                                                                   \
    __global float *dst_scales = dst_scales_0;                                                     \
    __global uint *report = reports + owner * LATHE_CL_REPORT_WORDS;                               \
    switch ((uint)entry.home) { LT_HOMES(LT_TAKE_HOME) }                                           \
    launch.src.data_offset += entry.src_data;                                                      \
    launch.src.scale_offset += entry.src_scales;

/* Statistics: the tiles of each tensor, from number entry.dst_scales on. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_tiles_of_many(LT_HOMES(LT_HOME) __global uint *reports, __global const uchar *table,
                    ulong launches, ulong entries, ulong owners, __global float *stats) {
    __local lt_tiles_memory memory;
    LT_TAKE_TENSOR
    lt_take_tiles(src, src_scales, stats + entry.dst_scales, reports, report, &launch,
                  group - (uint)entry.first_group, &memory);
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_batch(LT_HOMES(LT_HOME) __global uint *reports, __global const uchar *table, ulong launches,
            ulong entries, ulong owners, ulong scales) {
#if LT_HAS_LINEAR
    __local lt_either_memory memory;
#else
    __local struct { lt_memory any; } memory;
#endif
    LT_TAKE_TENSOR
    launch.dst.data_offset += entry.dst_data;
    launch.dst.scale_offset += entry.dst_scales;
    if (entry.n_known > 0) { /* the table has them, and the first work-group stores them */
        __global const float *known = (__global const float *)(table + scales) + entry.known;
        const uint n_known = group == (uint)entry.first_group ? (uint)entry.n_known : 0;
        for (uint i = item; i < n_known; i += LT_GROUP) {
            dst_scales[launch.dst.scale_offset + i] = known[i];
        }
        dst_scales = (__global float *)known;
        launch.dst.scale_offset = 0;
    }
    const lt_block block = lt_block_of(&launch, group - (uint)entry.first_group);
#if LT_DST != LATHE_CL_BITNET158
    const ulong vectors = LATHE_CL_SRC_VECTOR | LATHE_CL_DST_VECTOR;
    if ((launch.flags & (vectors | LATHE_CL_OWN_SCALES)) == vectors) {
        lt_direct_block(&block, src, src_scales, dst, dst_scales, &launch, item, report);
        return;
    }
#endif
#if LT_HAS_LINEAR
    if ((launch.flags & LATHE_CL_LINEAR) != 0) {
        lt_linear_block(&block, src, src_scales, dst, dst_scales, &launch, item, &memory.linear,
                        report);
        return;
    }
#endif
    lt_any_block(&block, src, src_scales, dst, dst_scales, &launch, item, &memory.any, report);
#if LT_DST == LATHE_CL_BITNET158
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_block_trits(&block, dst, &launch, item, &memory.any);
#endif
}

#endif
