/* SPDX-License-Identifier: Apache-2.0 */
/* The stream kernel: rows that lie alike on both sides, aligned for vectors, with their scales in
 * place. A work-item takes a unit in each step; what it loads for all of them is on its way before
 * the first is needed, scales too. */
#include "target.cl"

/* The scale at a place of a side that has more than one. The host sees to it that there are fewer
 * than 2^31 elements to a scale, and phase 0 where there are several rows. */
float lt_given_scale(const lathe_side *side, __global const float *scales, lt_spot spot) {
    if (side->scales_per_row == 1) {
        return scales[side->scale_offset + spot.row];
    }
    const uint in_row = lt_div_32(spot.col + (uint)side->scale_phase, &side->scale_elems);
    return scales[side->scale_offset + (spot.row * (uint)side->scales_per_row + in_row)];
}

/* Where a unit of the launch begins in its row. */
lt_spot lt_unit_spot(const lathe_launch *launch, uint unit) {
    lt_spot spot = {0, unit * LT_UNIT};
    if (launch->n_rows > 1) {
        spot.row = lt_div_32(unit, &launch->row_units);
        spot.col = (unit - spot.row * (uint)launch->row_units.by) * LT_UNIT;
    }
    return spot;
}

lt_spot lt_moved(lt_spot spot, const lathe_side *side) {
    spot.col += (uint)side->first_col;
    return spot;
}

#if LT_DST != LATHE_CL_BITNET158

#define LT_UNIT_STEPS (LATHE_CL_GROUP * LATHE_CL_PAIR_STEPS(LT_SRC, LT_DST) / LT_GROUP)

/* What holds a unit. */
#if LT_SRC == LATHE_CL_BITNET158

/* For eights a table of what bytes hold: three words to load in place of some forty operations. */
#define LT_HAS_TABLE (LT_UNIT == 8)

/* Its two or three bytes, the last one perhaps twice. */
typedef uchar4 lt_held;

lt_held lt_hold(__global const uchar *row, uint col) {
    const uint byte = col / 5;
#if LT_UNIT == 8
    return (uchar4)(row[byte], row[byte + 1], row[(col + 7) / 5], 0);
#else
    return (uchar4)(row[byte], row[(col + 3) / 5], 0, 0);
#endif
}

/* Reports the first byte that no encoder emits. */
void lt_corrupt_unit(lt_held held, uint elem, __global uint *report) {
    const uint bytes_before = held.x >= LATHE_BITNET158_BYTE_VALUES   ? 0
                              : held.y >= LATHE_BITNET158_BYTE_VALUES ? 1
                                                                      : 2;
    lt_fault(report, elem + 5 * bytes_before, LATHE_CL_FAULT_CORRUPT_DATA);
}

#if LT_HAS_TABLE

/* A byte's codes, with a mark where no encoder emits it. */
#define LT_CORRUPT 0x80000000u

void lt_fill_table(__local uint *table, uint item) {
    for (uint i = item; i < 256; i += LT_GROUP) {
        table[i] =
            (lt_codes_of_trits(i) & 0x3ff) | (i < LATHE_BITNET158_BYTE_VALUES ? 0 : LT_CORRUPT);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
}

#endif

/* The unit's codes as I2 has them. */
uint lt_held_codes(lt_held held, uint col, uint elem, __local const uint *table,
                   __global uint *report) {
    const uint digit = col % 5;
#if LT_HAS_TABLE
    const uint first = table[held.x];
    const uint second = table[held.y];
    const uint third = table[held.z];
    if (((first | second | third) & LT_CORRUPT) != 0) {
        lt_corrupt_unit(held, elem - digit, report);
    }
    return (first | second << 10 | third << 20) >> 2 * digit;
#else
    const uint two = held.x | (uint)held.y << 16;
    const uint room = 256 - LATHE_BITNET158_BYTE_VALUES;
    if (((two + room * 0x10001) & 0x01000100) != 0) {
        lt_corrupt_unit(held, elem - digit, report);
    }
    const uint codes = lt_codes_of_trits(two);
    return ((codes & 0x3ff) | (codes >> 6 & 0xffc00)) >> 2 * digit;
#endif
}

#else

#define LT_HAS_TABLE 0

typedef lt_raw lt_held;
#define lt_hold LT_FETCH

#endif

/* ---- sources of two bits and less, to F16 and BF16: the bits of all values of a code are known
 * once the scale's are */

#define LT_FEW_VALUES (LT_SRC >= LATHE_CL_I2 && (LT_DST == LATHE_CL_F16 || LT_DST == LATHE_CL_BF16))

#if LT_FEW_VALUES

uint lt_bits_of_number(float x) {
#if LT_DST == LATHE_CL_F16
    return lt_f16_of_number((float4)(x)).x;
#else
    return lt_bf16_of_number((float4)(x)).x;
#endif
}

/* Eight codes, as I1 or I2 has them, times `scale`, whose sign is what a code 0 has. */
uint4 lt_few_values(uint codes, float scale) {
    const uint one = lt_bits_of_number(fabs(scale));
    const uint sign = (uint)(as_int(scale) >> 31) & 0x80008000u;
#if LT_SRC == LATHE_CL_I1
    const uint spread = (codes & 0x55) | (codes & 0xaa) << 15;
    return ((uint4)(spread << 15, spread << 13, spread << 11, spread << 9) & 0x80008000u) ^
           (one * 0x10001 ^ sign ^ 0x80008000u);
#else
    const uint spread = (codes & 0x3333) | (codes & 0xcccc) << 14;
    const uint4 pairs = (uint4)(spread, spread >> 4, spread >> 8, spread >> 12);
    uint4 bits = (pairs & 0x00010001) * one + (pairs & 0x00020002) * 0x4000;
#if LT_SRC == LATHE_CL_I2
    /* -2, which no encoder emits here */
    bits += (pairs >> 1 & ~pairs & 0x00010001) * lt_bits_of_number(2 * fabs(scale));
#endif
    return bits ^ sign;
#endif
}

#endif

/* Converts and stores a whole unit, without a survey. */
void lt_stream_unit(lt_held held, __global uchar *at, uint src_col, float source, lt_scale target,
                    uint elem, __local const uint *table, __global uint *report) {
#if LT_FEW_VALUES && LT_SRC == LATHE_CL_BITNET158
    lt_store_last(at, lt_few_values(lt_held_codes(held, src_col, elem, table, report), source));
#elif LT_FEW_VALUES
    lt_store_last(at, lt_few_values(held, source));
#elif LT_SRC == LATHE_CL_BITNET158
    const uint codes = lt_held_codes(held, src_col, elem, table, report);
#if LT_UNIT == 8
    const float8 x = (float8)(lt_numbers_of_i2(codes), lt_numbers_of_i2(codes >> 8)) * source;
    lt_store_unit(at, (uint8)(lt_encode4(x.lo, target), lt_encode4(x.hi, target)));
#else
    lt_store_unit(at, lt_encode4(lt_numbers_of_i2(codes) * source, target));
#endif
#elif LT_UNIT == 8
    const float4 low = lt_decode4(LT_RAW_LOW(held), src_col, source);
    const float4 high = lt_decode4(LT_RAW_HIGH(held), src_col + 4, source);
    lt_store_unit(at, (uint8)(lt_encode4(low, target), lt_encode4(high, target)));
#else
    lt_store_unit(at, lt_encode4(lt_decode4(held, src_col, source), target));
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

/* A burst: its elements, about 4 MiB of the source, and the work-groups that ask for it, which are
 * the first of those that convert the burst before it. */
#define LT_BURST_ELEMS                                                                             \
    (LT_SRC == LATHE_CL_BITNET158 ? 1u << 24 : (4u << 23) / LATHE_CL_BITS(LT_SRC))
#define LT_BURST_GROUPS (LT_BURST_ELEMS / (LT_GROUP * LT_UNIT_STEPS * LT_UNIT))
#define LT_BURST_LEADERS min(LT_BURST_GROUPS, 256u)
#define LT_LEADER_ELEMS (LT_BURST_ELEMS / LT_BURST_LEADERS)

/* A work-group's share of the next burst. The rows of regular launches follow each other. */
void lt_read_ahead(__global const uchar *src, const lathe_launch *launch, uint group, uint item) {
    const uint place = group % LT_BURST_GROUPS;
    const uint begin = (group / LT_BURST_GROUPS + 1) * LT_BURST_ELEMS + place * LT_LEADER_ELEMS;
    if (place < LT_BURST_LEADERS &&
        begin + LT_LEADER_ELEMS <= (uint)launch->n_cols * (uint)launch->n_rows) {
        const lt_spot at = lt_moved(lt_unit_spot(launch, begin / LT_UNIT), &launch->src);
        lt_fetch_lines(src + lt_row_offset(&launch->src, at.row) + lt_source_byte(at.col),
                       (uint)lt_source_byte(LT_LEADER_ELEMS), item);
    }
}

#endif

/* The units of a group, all of them whole, those of a step in one row, and nothing asked for on
 * top. */
#if LT_HAS_TABLE

/* Steps find their places one by one: with a table, that has been faster. */
void lt_stream_group(__global const uchar *restrict src, __global const float *restrict src_scales,
                     __global uchar *restrict dst, __global const float *restrict dst_scales,
                     const lathe_launch *launch, uint first, uint item, __local uint *table,
                     __global uint *report) {
    lt_held held[LT_UNIT_STEPS];
    float sources[LT_UNIT_STEPS]; /* their scales, on either side */
    float targets[LT_UNIT_STEPS];

#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        const lt_spot base = lt_moved(lt_unit_spot(launch, first + step * LT_GROUP), &launch->src);
        held[step] =
            lt_hold(src + lt_row_offset(&launch->src, base.row), base.col + item * LT_UNIT);
    }
    const bool one_source = launch->src.scale_elems.by == 0;
    const float source = one_source ? src_scales[launch->src.scale_offset] : 0;
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        sources[step] = source;
        if (!one_source) {
            lt_spot from = lt_moved(lt_unit_spot(launch, first + step * LT_GROUP), &launch->src);
            from.col += item * LT_UNIT;
            sources[step] = lt_given_scale(&launch->src, src_scales, from);
        }
    }
#if LT_DST >= LATHE_CL_I8
    const bool one_target = launch->dst.scale_elems.by == 0;
    lt_scale target;
    if (one_target) {
        target = lt_scale_of(dst_scales[launch->dst.scale_offset]);
    } else {
#pragma unroll
        for (uint step = 0; step < LT_UNIT_STEPS; step++) {
            lt_spot to = lt_moved(lt_unit_spot(launch, first + step * LT_GROUP), &launch->dst);
            to.col += item * LT_UNIT;
            targets[step] = lt_given_scale(&launch->dst, dst_scales, to);
        }
    }
#else
    const lt_scale target = {1, 1, 0};
#endif
    lt_fill_table(table, item);
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        const lt_spot base = lt_unit_spot(launch, first + step * LT_GROUP);
        const lt_spot to = lt_moved(base, &launch->dst);
        const lt_spot from = lt_moved(base, &launch->src);
#if LT_DST >= LATHE_CL_I8
        if (!one_target) {
            target = lt_scale_of(targets[step]);
        }
#endif
        lt_stream_unit(held[step],
                       dst + lt_row_offset(&launch->dst, to.row) + lt_target_byte(to.col) +
                           item * (uint)lt_target_byte(LT_UNIT),
                       from.col + item * LT_UNIT, sources[step], target,
                       base.row * (uint)launch->n_cols + base.col + item * LT_UNIT, table, report);
    }
}

#else

/* Work-items' next units lie so many elements on. */
#define LT_STEP_ELEMS (LT_GROUP * LT_UNIT)

/* n_steps units for each work-item, all of them whole and in one row, and nothing asked for on top:
 * but for the column, every work-item's place is the group's. */
void lt_stream_run(__global const uchar *restrict src, __global const float *restrict src_scales,
                   __global uchar *restrict dst, __global const float *restrict dst_scales,
                   const lathe_launch *launch, uint first, uint n_steps, uint item,
                   __local const uint *table, __global uint *report) {
    const lt_spot base = lt_unit_spot(launch, first);
    lt_spot from = lt_moved(base, &launch->src);
    lt_spot to = lt_moved(base, &launch->dst);
    from.col += item * LT_UNIT;
    to.col += item * LT_UNIT;
    __global const uchar *row = src + lt_row_offset(&launch->src, from.row);
    __global uchar *at = dst + lt_row_offset(&launch->dst, to.row) + lt_target_byte(to.col);
    lt_held held[LT_UNIT_STEPS];
    float sources[LT_UNIT_STEPS]; /* their scales, on either side */
    float targets[LT_UNIT_STEPS];

#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        if (step < n_steps) {
#if LT_SRC == LATHE_CL_BITNET158
            held[step] = lt_hold(row, from.col + step * LT_STEP_ELEMS);
#else
            held[step] =
                lt_hold(row + lt_source_byte(from.col) + lt_source_byte(step * LT_STEP_ELEMS), 0);
#endif
        }
    }
#if LT_SRC >= LATHE_CL_I8
    const bool one_source = launch->src.scale_elems.by == 0;
    const float source = one_source ? src_scales[launch->src.scale_offset] : 0;
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        sources[step] = source;
        if (!one_source && step < n_steps) {
            const lt_spot spot = {from.row, from.col + step * LT_STEP_ELEMS};
            sources[step] = lt_given_scale(&launch->src, src_scales, spot);
        }
    }
#endif
#if LT_DST >= LATHE_CL_I8
    const bool one_target = launch->dst.scale_elems.by == 0;
    lt_scale target;
    if (one_target) {
        target = lt_scale_of(dst_scales[launch->dst.scale_offset]);
    } else {
#pragma unroll
        for (uint step = 0; step < LT_UNIT_STEPS; step++) {
            if (step < n_steps) {
                const lt_spot spot = {to.row, to.col + step * LT_STEP_ELEMS};
                targets[step] = lt_given_scale(&launch->dst, dst_scales, spot);
            }
        }
    }
#else
    const lt_scale target = {1, 1, 0};
#endif
#pragma unroll
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        if (step < n_steps) {
#if LT_DST >= LATHE_CL_I8
            if (!one_target) {
                target = lt_scale_of(targets[step]);
            }
#endif
            lt_stream_unit(
                held[step], at + lt_target_byte(step * LT_STEP_ELEMS),
                from.col + step * LT_STEP_ELEMS, LT_SRC >= LATHE_CL_I8 ? sources[step] : 1, target,
                base.row * (uint)launch->n_cols + base.col + item * LT_UNIT + step * LT_STEP_ELEMS,
                table, report);
        }
    }
}

void lt_stream_group(__global const uchar *restrict src, __global const float *restrict src_scales,
                     __global uchar *restrict dst, __global const float *restrict dst_scales,
                     const lathe_launch *launch, uint first, uint item, __local uint *table,
                     __global uint *report) {
    if (launch->n_rows == 1 || (uint)launch->row_units.by % (LT_GROUP * LT_UNIT_STEPS) == 0) {
        lt_stream_run(src, src_scales, dst, dst_scales, launch, first, LT_UNIT_STEPS, item, table,
                      report);
        return;
    }
    for (uint step = 0; step < LT_UNIT_STEPS; step++) {
        lt_stream_run(src, src_scales, dst, dst_scales, launch, first + step * LT_GROUP, 1, item,
                      table, report);
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
#if LT_HAS_TABLE
    __local uint table[256];
#else
    __local uint *table = 0;
#endif

    if ((launch.flags & LATHE_CL_REGULAR) != 0 &&
        first + LT_GROUP * LT_UNIT_STEPS <= (uint)launch.n_cols / LT_UNIT * (uint)launch.n_rows) {
#if LT_CAN_FETCH
        lt_read_ahead(src, &launch, (uint)get_group_id(0), item);
#endif
        lt_stream_group(src, src_scales, dst, dst_scales, &launch, first, item, table, report);
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
