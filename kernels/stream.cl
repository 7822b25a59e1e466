/* SPDX-License-Identifier: Apache-2.0 */
/* The stream kernel: rows that lie alike on both sides, aligned for vectors, with their scales in
 * place. */
#include "target.cl"

/* The scales of a side that has one for all are looked up once. */
typedef struct lt_scales {
    float source;
    lt_scale target;
} lt_scales;

lt_scales lt_common_scales(const lathe_launch *launch, __global const float *src_scales,
                           __global const float *dst_scales) {
    const lt_spot none = {0, 0};
    lt_scales scales = {1, {1, 1, 0}};
    if (launch->src.scale_elems.by == 0) {
        scales.source = lt_source_scale(&launch->src, src_scales, none);
    }
    if (launch->dst.scale_elems.by == 0) {
        scales.target = lt_target_scale(&launch->dst, dst_scales, none);
    }
    return scales;
}

/* Those of an element. */
lt_scales lt_scales_at(const lt_scales *common, const lathe_launch *launch,
                       __global const float *src_scales, __global const float *dst_scales,
                       lt_spot from, lt_spot to) {
    lt_scales scales = *common;
    if (launch->src.scale_elems.by != 0) {
        scales.source = lt_source_scale(&launch->src, src_scales, from);
    }
    if (launch->dst.scale_elems.by != 0) {
        scales.target = lt_target_scale(&launch->dst, dst_scales, to);
    }
    return scales;
}

/* Where a unit of the launch begins in its row. */
lt_spot lt_unit_spot(const lathe_launch *launch, uint unit) {
    lt_spot spot = {0, unit * LT_UNIT};
    if (launch->n_rows > 1) {
        spot.row = lt_div(unit, &launch->row_units);
        spot.col = (unit - spot.row * (uint)launch->row_units.by) * LT_UNIT;
    }
    return spot;
}

#if LT_DST != LATHE_CL_BITNET158

#define LT_UNIT_STEPS (LATHE_CL_GROUP * LATHE_CL_PAIR_STEPS(LT_SRC, LT_DST) / LT_GROUP)

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_stream(__global const uchar *restrict src, __global const float *restrict src_scales,
             __global uchar *restrict dst, __global float *restrict dst_scales,
             __global uint *reports, lathe_launch launch) {
    const uint n_units = (uint)launch.n_units;
    const uint n_cols = (uint)launch.n_cols;
    const uint src_col = (uint)launch.src.first_col;
    const uint dst_col = (uint)launch.dst.first_col;
    const ulong flags = launch.flags;
    const uint first = (uint)get_group_id(0) * (LT_GROUP * LT_UNIT_STEPS) + (uint)get_local_id(0);
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    lt_raw raw[LT_UNIT_STEPS];
    lt_spot spots[LT_UNIT_STEPS];

    /* All loads are on their way before the first is needed. */
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        const uint unit = first + step * LT_GROUP;
        spots[step] = lt_unit_spot(&launch, unit);
        if (unit < n_units && spots[step].col + LT_UNIT <= n_cols) {
            raw[step] = LT_FETCH(src + lt_row_offset(&launch.src, spots[step].row),
                                 src_col + spots[step].col);
        }
    }
    const lt_scales common = lt_common_scales(&launch, src_scales, dst_scales);
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        if (first + step * LT_GROUP >= n_units) {
            return;
        }
        const lt_spot from = {spots[step].row, src_col + spots[step].col};
        const lt_spot to = {spots[step].row, dst_col + spots[step].col};
        const uint elem = spots[step].row * n_cols + spots[step].col;
        const uint count = n_cols - spots[step].col;
        const lt_scales scales =
            lt_scales_at(&common, &launch, src_scales, dst_scales, from, to);
        __global uchar *at = dst + lt_row_offset(&launch.dst, to.row) + lt_target_byte(to.col);
        if (count >= LT_UNIT) {
            const lt_floats x =
                lt_decode(raw[step], from.col, scales.source, elem, flags, report);
            lt_store_unit(at, lt_convert(x, scales.target, elem, LT_UNIT, flags, report));
        } else {
            const lt_floats x =
                lt_decode_some(src + lt_row_offset(&launch.src, from.row), from.col, count,
                               scales.source, elem, flags, report);
            lt_store_part(at, lt_convert(x, scales.target, elem, count, flags, report), count);
        }
    }
}

#else

/* A work-item takes a unit of 20 elements, four at a time: what they load together lies in the same
 * cache lines, and what they store is 20 times less than F32. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_stream(__global const uchar *restrict src, __global const float *restrict src_scales,
             __global uchar *restrict dst, __global float *restrict dst_scales,
             __global uint *reports, lathe_launch launch) {
    const uint n_cols = (uint)launch.n_cols;
    const ulong flags = launch.flags;
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    for (uint i = (uint)get_local_id(0); i < LATHE_CL_GROUP; i += LT_GROUP) {
        const uint unit = (uint)get_group_id(0) * LATHE_CL_GROUP + i;
        if (unit >= (uint)launch.n_units) {
            return;
        }
        const lt_spot spot = lt_unit_spot(&launch, unit);
        const uint elem = spot.row * n_cols + spot.col;
        const uint count = n_cols - spot.col;
        lt_spot from = {spot.row, (uint)launch.src.first_col + spot.col};
        lt_spot to = {spot.row, (uint)launch.dst.first_col + spot.col};
        __global const uchar *row = src + lt_row_offset(&launch.src, spot.row);
        __global uchar *at = dst + lt_row_offset(&launch.dst, spot.row) + lt_target_byte(to.col);
        lt_raw raw[5];
        uint trits[5];
#pragma unroll
        for (uint k = 0; k < 5; k++) {
            if (4 * k + 4 <= count) {
                raw[k] = LT_FETCH(row, from.col + 4 * k);
            }
        }
        const lt_scales common = lt_common_scales(&launch, src_scales, dst_scales);
#pragma unroll
        for (uint k = 0; k < 5; k++) {
            trits[k] = 0x01010101;
            if (4 * k < count) {
                const uint left = count - 4 * k;
                const lt_scales scales =
                    lt_scales_at(&common, &launch, src_scales, dst_scales, from, to);
                const float4 x = left >= 4 ? lt_decode(raw[k], from.col, scales.source,
                                                       elem + 4 * k, flags, report)
                                           : lt_decode_some(row, from.col, left, scales.source,
                                                            elem + 4 * k, flags, report);
                trits[k] =
                    lt_trits4(lt_convert4(x, scales.target, elem + 4 * k, left, flags, report));
            }
            from.col += 4;
            to.col += 4;
        }
        lt_store_trits(at, lt_pack_trits(trits[0], trits[1], trits[2], trits[3], trits[4]), count,
                       flags);
    }
}

#endif
