/* SPDX-License-Identifier: Apache-2.0 */
/* The stream kernel: rows that lie alike on both sides, aligned for vectors, with their scales in
 * place. A work-item takes a unit in each step; what it loads for all of them is on its way before
 * the first is needed, scales too. */
#include "trits.cl"

#if LT_DST != LATHE_CL_BITNET158

#if LT_SRC != LATHE_CL_BITNET158
typedef lt_raw lt_held; /* what holds a unit */
#endif

#if LT_SRC == LATHE_CL_I1 && defined(LT_PAIRS)

/* Eight elements of I1: the scale's bits, of one sign or the other. */
uint4 lt_signed_pairs(uint bits, float scale) {
    const uint4 pairs = LT_PAIRS((float4)(scale), (float4)(scale));
    const uint spread = (bits & 0x55) | (bits & 0xaa) << 15;
    const uint4 plus = (uint4)(spread << 15, spread << 13, spread << 11, spread << 9);
    return pairs ^ (~plus & 0x80008000u);
}

#endif

/* Four of a unit's numbers, from its 4 * part-th on. */
float4 lt_held_numbers(lt_held held, uint part, uint src_col, float source) {
#if LT_SRC == LATHE_CL_BITNET158 && LT_UNIT == 8
    return lt_numbers_of_i8(part == 0 ? held.x : held.y) * source;
#elif LT_SRC == LATHE_CL_BITNET158
    return lt_numbers_of_i8(held) * source;
#elif LT_UNIT == 8
    return lt_decode4(part == 0 ? LT_RAW_LOW(held) : LT_RAW_HIGH(held), src_col + 4 * part, source);
#else
    return lt_decode4(held, src_col, source);
#endif
}

/* Converts and stores a whole unit, without a survey. */
void lt_stream_unit(lt_held held, __global uchar *at, uint src_col, float source, lt_scale target) {
#if LT_SRC == LATHE_CL_I1 && defined(LT_PAIRS)
    lt_store_last(at, lt_signed_pairs(held, source));
#elif LT_SRC == LATHE_CL_BITNET158 && defined(LT_PAIRS)
    lt_store_last(at, lt_picked(held, source));
#elif LT_UNIT == 8
    const float4 low = lt_held_numbers(held, 0, src_col, source);
    const float4 high = lt_held_numbers(held, 1, src_col, source);
#if defined(LT_PAIRS) && !LT_HAS_NAN
    lt_store_last(at, LT_PAIRS(low, high));
#else
    lt_store_unit(at, (uint8)(lt_encode4(low, target), lt_encode4(high, target)));
#endif
#else
    lt_store_unit(at, lt_encode4(lt_held_numbers(held, 0, src_col, source), target));
#endif
}

/* Any unit, from its start, with all that the launch asks for. */
void lt_careful_unit(__global const uchar *src, __global const float *src_scales,
                     __global uchar *dst, __global const float *dst_scales,
                     const lathe_launch *launch, lt_spot spot, __global uint *report) {
    const lt_spot from = lt_moved(spot, &launch->src);
    const lt_spot to = lt_moved(spot, &launch->dst);
    const uint elem = spot.row * (uint)launch->n_cols + spot.col;
    const uint count = min((uint)launch->n_cols - spot.col, (uint)LT_UNIT);
    __global const uchar *row = src + lt_row_offset(&launch->src, spot.row);
    __global uchar *at = dst + lt_row_offset(&launch->dst, spot.row) + lt_target_byte(to.col);
    const float source = lt_source_scale(&launch->src, src_scales, from);
    const lt_scale target = lt_target_scale(&launch->dst, dst_scales, to);
    if (count == LT_UNIT) {
        const lt_floats x =
            lt_decode(LT_FETCH(row, from.col), from.col, source, elem, launch->flags, report);
        lt_store_unit(at, lt_convert(x, target, elem, LT_UNIT, launch->flags, report));
    } else {
        const lt_floats x =
            lt_decode_some(row, from.col, count, source, elem, launch->flags, report);
        lt_store_part(at, lt_convert(x, target, elem, count, launch->flags, report), count);
    }
}

#if LT_CAN_FETCH

/* A burst: its elements, of which the source has some megabytes (with the scales that were best on
 * an H200), and the work-groups that ask for it, which are the first of those that convert the
 * burst before it. */
#if LT_SRC == LATHE_CL_BITNET158
#define LT_BURST_ELEMS (1u << 24)
#else
#define LT_BURST_ELEMS ((LT_SRC < LATHE_CL_I8 ? 4u << 23 : 3u << 23) / LATHE_CL_BITS(LT_SRC))
#endif
#define LT_BURST_GROUPS (LT_BURST_ELEMS / (LT_GROUP * LT_UNIT_STEPS * LT_UNIT))
#define LT_BURST_LEADERS min(LT_BURST_GROUPS, 256u)
#define LT_LEADER_ELEMS (LT_BURST_ELEMS / LT_BURST_LEADERS)

/* A work-group's share of the next burst, and its scales. The rows of regular launches follow each
 * other. */
void lt_read_ahead(__global const uchar *src, __global const float *scales,
                   const lathe_launch *launch, uint group, uint item) {
    const lathe_side *side = &launch->src;
    const uint place = group % LT_BURST_GROUPS;
    const uint begin = (group / LT_BURST_GROUPS + 1) * LT_BURST_ELEMS + place * LT_LEADER_ELEMS;
    const uint end = begin + LT_LEADER_ELEMS;
    if (place >= LT_BURST_LEADERS || end > (uint)launch->n_cols * (uint)launch->n_rows) {
        return;
    }
    const lt_spot at = lt_moved(lt_unit_spot(launch, begin / LT_UNIT), side);
    lt_fetch_lines(src + lt_row_offset(side, at.row) + lt_source_byte(at.col),
                   (uint)lt_source_byte(LT_LEADER_ELEMS), item);
    if (side->scale_elems.by != 0) {
        const lt_spot last = lt_moved(lt_unit_spot(launch, end / LT_UNIT - 1), side);
        const uint first = lt_given_index(side, at);
        lt_fetch_lines((__global const uchar *)(scales + side->scale_offset + first),
                       4 * (lt_given_index(side, last) - first + 1), item);
    }
}

#endif

/* The units of a group: all of them whole, and nothing asked for on top. */
#if LT_SRC == LATHE_CL_BITNET158

/* Makes and stores one of a tile's units: that of a work-item in a step that begins at `spot`. */
void lt_store_trit_unit(__global uchar *restrict dst, const lathe_launch *launch,
                        const lt_trit_tile *tile, __local const lt_trit_memory *memory, uint unit,
                        lt_spot spot, uint item, uint step, const lt_unit_scales *scales) {
    const uint row = 5 * (uint)(lt_row_offset(&launch->src, spot.row) - tile->from);
    const uint at = row + lt_item_spot(spot, &launch->src, item).col;
#if LT_DST <= LATHE_CL_BF16
    /* of which rows follow each other */
    __global uchar *out = dst + launch->dst.data_offset +
                          lt_target_byte((uint)launch->dst.first_col) +
                          (ulong)unit * lt_target_byte(LT_UNIT);
#else
    const lt_spot to = lt_item_spot(spot, &launch->dst, item);
    __global uchar *out = dst + lt_row_offset(&launch->dst, to.row) + lt_target_byte(to.col);
#endif
    lt_stream_unit(lt_trit_unit(memory, at), out, 0, lt_unit_source(scales, step),
                   lt_unit_target(scales, step));
}

void lt_stream_group(__global const uchar *restrict src, __global const float *restrict src_scales,
                     __global uchar *restrict dst, __global const float *restrict dst_scales,
                     const lathe_launch *launch, uint first, uint item,
                     __local lt_trit_memory *memory, __global uint *report) {
    const lt_trit_tile tile = lt_trit_tile_of(src, launch, first);
    const bool each = launch->n_rows > 1 && (uint)launch->row_units.by % LT_GROUP != 0;
    lt_spot spot = lt_unit_spot(launch, first);
    lt_unit_scales scales;
    if (each) {
        lt_load_each_scales(src_scales, dst_scales, launch, first + item, &scales);
    } else {
        lt_load_unit_scales(src_scales, dst_scales, launch, spot, item, &scales);
    }
    lt_unpack_trits(src, &tile, launch, spot.row, item, memory, report);
    if (each) {
        spot = lt_unit_spot(launch, first + item);
#pragma unroll
        for (uint step = 0; step < LT_UNIT_STEPS; step++) {
            lt_store_trit_unit(dst, launch, &tile, memory, first + step * LT_GROUP + item, spot, 0,
                               step, &scales);
            spot = lt_next_unit(launch, spot);
        }
        return;
    }
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        lt_store_trit_unit(dst, launch, &tile, memory, first + step * LT_GROUP + item, spot, item,
                           step, &scales);
        spot = lt_next_step(launch, spot);
    }
}

#else

/* The units of a group in one row: but for the column, every work-item's place is the group's. */
void lt_stream_run(__global const uchar *restrict src, __global const float *restrict src_scales,
                   __global uchar *restrict dst, __global const float *restrict dst_scales,
                   const lathe_launch *launch, uint first, uint item) {
    const lt_spot spot = lt_unit_spot(launch, first);
    const lt_spot from = lt_item_spot(spot, &launch->src, item);
    const lt_spot to = lt_item_spot(spot, &launch->dst, item);
    __global const uchar *row =
        src + lt_row_offset(&launch->src, from.row) + lt_source_byte(from.col);
    __global uchar *at = dst + lt_row_offset(&launch->dst, to.row) + lt_target_byte(to.col);
    lt_held held[LT_UNIT_STEPS];
    lt_unit_scales scales;

#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        held[step] = LT_FETCH(row + lt_source_byte(step * LT_STEP_ELEMS), 0);
    }
    lt_load_unit_scales(src_scales, dst_scales, launch, spot, item, &scales);
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        lt_stream_unit(held[step], at + lt_target_byte(step * LT_STEP_ELEMS),
                       from.col + step * LT_STEP_ELEMS, lt_unit_source(&scales, step),
                       lt_unit_target(&scales, step));
    }
}

/* The same where rows end in between: each unit has its own place. */
void lt_stream_each(__global const uchar *restrict src, __global const float *restrict src_scales,
                    __global uchar *restrict dst, __global const float *restrict dst_scales,
                    const lathe_launch *launch, uint first, uint item) {
    lt_held held[LT_UNIT_STEPS];
    lt_unit_scales scales;

#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        const lt_spot from =
            lt_moved(lt_unit_spot(launch, first + step * LT_GROUP + item), &launch->src);
        held[step] = LT_FETCH(src + lt_row_offset(&launch->src, from.row), from.col);
    }
    lt_load_each_scales(src_scales, dst_scales, launch, first + item, &scales);
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        const lt_spot spot = lt_unit_spot(launch, first + step * LT_GROUP + item);
        const lt_spot to = lt_moved(spot, &launch->dst);
        lt_stream_unit(held[step],
                       dst + lt_row_offset(&launch->dst, to.row) + lt_target_byte(to.col),
                       lt_moved(spot, &launch->src).col, lt_unit_source(&scales, step),
                       lt_unit_target(&scales, step));
    }
}

void lt_stream_group(__global const uchar *restrict src, __global const float *restrict src_scales,
                     __global uchar *restrict dst, __global const float *restrict dst_scales,
                     const lathe_launch *launch, uint first, uint item) {
    if (launch->n_rows == 1 || (uint)launch->row_units.by % (LT_GROUP * LT_UNIT_STEPS) == 0) {
        lt_stream_run(src, src_scales, dst, dst_scales, launch, first, item);
    } else {
        lt_stream_each(src, src_scales, dst, dst_scales, launch, first, item);
    }
}

#endif

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_stream(__global const uchar *restrict src, __global const float *restrict src_scales,
             __global uchar *restrict dst, __global float *restrict dst_scales,
             __global uint *reports, lathe_launch launch) {
    const uint item = (uint)get_local_id(0);
    const uint first = (uint)get_group_id(0) * (LT_GROUP * LT_UNIT_STEPS);
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
#if LT_SRC == LATHE_CL_BITNET158
    __local lt_trit_memory memory;
#endif

    if ((launch.flags & LATHE_CL_REGULAR) != 0 &&
        first + LT_GROUP * LT_UNIT_STEPS <= (uint)launch.n_cols / LT_UNIT * (uint)launch.n_rows) {
#if LT_CAN_FETCH
        lt_read_ahead(src, src_scales, &launch, (uint)get_group_id(0), item);
#endif
#if LT_SRC == LATHE_CL_BITNET158
        lt_stream_group(src, src_scales, dst, dst_scales, &launch, first, item, &memory, report);
#else
        lt_stream_group(src, src_scales, dst, dst_scales, &launch, first, item);
#endif
        return;
    }
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        const uint unit = first + step * LT_GROUP + item;
        if (unit < (uint)launch.n_units) {
            lt_careful_unit(src, src_scales, dst, dst_scales, &launch, lt_unit_spot(&launch, unit),
                            report);
        }
    }
}

#else

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
