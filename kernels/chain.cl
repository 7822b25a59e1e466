/* SPDX-License-Identifier: Apache-2.0 */
/* The chain kernels: values go through several types in registers, with scales that are known, or
 * that are found on the way. Only programs with LT_CHAIN, the number of steps between the source
 * and the target, have them; LT_STEP_1, ... are their types. */
#ifdef LT_CHAIN

#include "lathe_chain.h"
#include "stats.cl"

/* The scale of a step, its inverse and the bound of its codes, as lt_scale_of. */
lt_scale lt_step_scale(const lathe_side *side, __global const float *scales, lt_spot spot,
                       uint dtype) {
    lt_scale made = {1, 0, 0};
    if (dtype >= LATHE_CL_I8) {
        made.scale = scales[lt_scale_index(side, spot)];
        made.inverse = lt_inverse(made.scale);
        made.bound = dtype == LATHE_CL_I8   ? (float)LATHE_I8_MAX
                     : dtype == LATHE_CL_I4 ? (float)LATHE_I4_MAX
                                            : (float)LATHE_I2_MAX;
        made.bound = made.inverse == 0 ? 0 : made.bound;
    }
    return made;
}

/* What a step makes of four values: encoded and decoded again. `dtype` is a constant. */
float4 lt_step4(float4 x, lt_scale scale, uint dtype) {
    if (dtype == LATHE_CL_F16) {
        const uint4 f16 = lt_f16_of_f32(as_uint4(x));
        return as_float4(lt_f32_of_f16((uint2)(f16.x | f16.y << 16, f16.z | f16.w << 16)));
    }
    if (dtype == LATHE_CL_BF16) {
        return as_float4(lt_bf16_of_f32(as_uint4(x)) << 16);
    }
    if (dtype == LATHE_CL_F32) {
        return x;
    }
    if (dtype == LATHE_CL_I1) {
        return convert_float4(as_int4(lt_sign_codes(x)) * 2 - 1) * scale.scale;
    }
    const uint4 codes = lt_quantized(x, scale.inverse, scale.bound);
    const int4 signed_codes = as_int4(LT_SELECT(isnan(x), (uint4)(0), codes)) << 24 >> 24;
    return convert_float4(signed_codes) * scale.scale;
}

lt_floats lt_step(lt_floats x, const lathe_side *side, __global const float *scales, lt_spot spot,
                  uint dtype) {
    const lt_spot at = {spot.row, (uint)side->first_col + spot.col};
    const lt_scale scale = lt_step_scale(side, scales, at, dtype);
#if LT_WIDTH == 8
    return (float8)(lt_step4(x.lo, scale, dtype), lt_step4(x.hi, scale, dtype));
#else
    return lt_step4(x, scale, dtype);
#endif
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_chain_kernel(__global const uchar *restrict src, __global const float *restrict src_scales,
                   __global uchar *restrict dst, __global const float *restrict dst_scales,
                   __global const float *restrict step_scales, __global uint *reports,
                   lathe_launch launch, lathe_chain chain) {
    const uint unit = (uint)get_global_id(0);
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    if (unit >= (uint)launch.n_units) {
        return;
    }
    const lt_spot spot = lt_unit_spot(&launch, unit);
    const lt_spot from = {spot.row, (uint)launch.src.first_col + spot.col};
    const lt_spot to = {spot.row, (uint)launch.dst.first_col + spot.col};
    const uint elem = spot.row * (uint)launch.n_cols + spot.col;
    const uint count = min((uint)launch.n_cols - spot.col, (uint)LT_UNIT);
    __global const uchar *row = src + lt_row_offset(&launch.src, spot.row);
    __global uchar *at = dst + lt_row_offset(&launch.dst, spot.row) + lt_target_byte(to.col);
    const float source = lt_source_scale(&launch.src, src_scales, from);
    const lt_scale target = lt_target_scale(&launch.dst, dst_scales, to);
    lt_floats x;
    if (count == LT_UNIT) {
        x = lt_decode(LT_FETCH(row, from.col), from.col, source, elem, launch.flags, report);
    } else {
        x = lt_decode_some(row, from.col, count, source, elem, launch.flags, report);
    }
    x = lt_step(x, &chain.steps[0], step_scales, spot, LT_STEP_1);
#if LT_CHAIN > 1
    x = lt_step(x, &chain.steps[1], step_scales, spot, LT_STEP_2);
#endif
#if LT_CHAIN > 2
    x = lt_step(x, &chain.steps[2], step_scales, spot, LT_STEP_3);
#endif
    /* Missing elements have gone through the steps, too. */
    for (uint i = count; i < LT_UNIT; i++) {
        ((float *)&x)[i] = LT_MISSING;
    }
    const lt_words codes = lt_convert(x, target, elem, count, launch.flags, report);
    if (count == LT_UNIT) {
        lt_store_unit(at, codes);
    } else {
        lt_store_part(at, codes, count);
    }
}

/* ---- scales that are found on the way, of floats: for all steps those of the same scopes */

#if LT_SRC <= LATHE_CL_BF16 && LT_DST <= LATHE_CL_I2 && LT_GROUP == LATHE_CL_GROUP

#ifndef LT_STEP_2
#define LT_STEP_2 LATHE_CL_F32 /* which changes nothing */
#endif
#ifndef LT_STEP_3
#define LT_STEP_3 LATHE_CL_F32
#endif

/* A block's units, and how many of them a work-item has, LT_GROUP apart, as they come. */
#define LT_CHAIN_UNITS (LATHE_CL_CHAIN_BLOCK(LT_SRC) / LT_UNIT)
#define LT_CHAIN_ROUNDS (LT_CHAIN_UNITS / LT_GROUP)

/* Units whose maximum is taken before those of longer scopes. */
#define LT_SEGMENT 8

#define LT_CHAIN_SCOPES (LATHE_CL_CHAIN_BLOCK(LT_SRC) / LATHE_CL_CHAIN_LEAST)

typedef struct lt_chain_memory {
    uint4 tops[LT_CHAIN_UNITS / 4];
    uint4 segments[LT_CHAIN_UNITS / LT_SEGMENT / 4];
    float2 scales[LATHE_CL_CHAIN_STEPS + 1][LT_CHAIN_SCOPES]; /* with their inverses */
} lt_chain_memory;

/* The greatest magnitude of a unit's elements: it orders like its bits in every float type. That of
 * 16 bits is in the upper half of the result; what lies in the lower one does not matter. */

uint lt_top4(uint4 four) {
    return max(max(four.x, four.y), max(four.z, four.w));
}

uint lt_top_of(lt_raw raw) {
#if LT_SRC == LATHE_CL_F32 && LT_WIDTH == 8
    return lt_top4(max(raw.lo & LT_MAGNITUDE, raw.hi & LT_MAGNITUDE));
#elif LT_SRC == LATHE_CL_F32
    return lt_top4(raw & LT_MAGNITUDE);
#elif LT_WIDTH == 8
    const uint4 high = raw & 0x7fff7fff;
    return lt_top4(max(high, high << 16));
#else
    const uint2 high = raw & 0x7fff7fff;
    const uint2 both = max(high, high << 16);
    return max(both.x, both.y);
#endif
}

float4 lt_near_decode4(lt_raw4 raw) {
#if LT_SRC == LATHE_CL_F16
    return lt_number_of_f16(raw);
#else
    return lt_decode4(raw, 0, 1);
#endif
}

/* The same as a number, or no finite one. */
float lt_near_top(uint top) {
#if LT_SRC == LATHE_CL_F32
    return as_float(top);
#else
    return lt_near_decode4((uint2)(top >> 16, 0)).x;
#endif
}

/* The greatest of 4 * n words. */
uint lt_top_of_fours(__local const uint4 *fours, uint n) {
    uint4 top = fours[0];
#pragma unroll 4
    for (uint i = 1; i < n; i++) {
        top = max(top, fours[i]);
    }
    return lt_top4(top);
}

#define LT_IS_FLOAT(dtype) ((dtype) < LATHE_CL_I8)

/* What a step makes of four values, none beyond its scale's: no code needs clamping. Steps before
 * the first scale may meet what is not finite, and leave it so. */
float4 lt_near_step4(float4 x, float2 scale, uint dtype) {
    if (LT_IS_FLOAT(dtype)) {
        return lt_rounded_to(x, dtype);
    }
    return ((x * scale.y + 0x1.8p23f) - 0x1.8p23f) * scale.x;
}

/* The scale of a scope whose greatest magnitude is given, and its inverse. */
float2 lt_near_scale(float top, uint dtype) {
    const float scale = dtype == LATHE_CL_I8   ? lt_divide(top, (float)LATHE_I8_MAX)
                        : dtype == LATHE_CL_I4 ? lt_divide(top, (float)LATHE_I4_MAX)
                                               : top;
    return (float2)(scale, lt_inverse(scale));
}

/* The scales of a scope's steps and of the target: what a step makes of the greatest magnitude is
 * the greatest after it (src/engine/pipeline/chain_scales.c). False if one of these is not finite.
 */
bool lt_chain_scales(float top, float2 *scales) {
    const uint types[LATHE_CL_CHAIN_STEPS] = {LT_STEP_1, LT_STEP_2, LT_STEP_3};
    float m = top;
#pragma unroll
    for (uint i = 0; i < LATHE_CL_CHAIN_STEPS; i++) {
        scales[i] = LT_IS_FLOAT(types[i]) ? (float2)(1, 1) : lt_near_scale(m, types[i]);
        m = lt_near_step4((float4)(m), scales[i], types[i]).x;
    }
    scales[LATHE_CL_CHAIN_STEPS] = LT_IS_FLOAT(LT_DST) ? (float2)(1, 1) : lt_near_scale(m, LT_DST);
    return max(as_uint(top), as_uint(m) & LT_MAGNITUDE) < LT_INFINITY;
}

/* What all steps make of four elements, the steps' scales and the target's inverse given: floats,
 * or what lt_codes_of_fields wants. */
float4 lt_near_chain4(lt_raw4 raw, const float2 *scales) {
    float4 x = lt_near_decode4(raw);
    x = lt_near_step4(x, scales[0], LT_STEP_1);
    x = lt_near_step4(x, scales[1], LT_STEP_2);
    x = lt_near_step4(x, scales[2], LT_STEP_3);
#if LT_DST >= LATHE_CL_I8
    x = x * scales[LATHE_CL_CHAIN_STEPS].y + LT_ROUNDING;
#endif
    return x;
}

/* Stores that of a unit. */
void lt_store_near(__global uchar *at, lt_raw raw, const float2 *scales) {
#if LT_WIDTH == 8
    const float4 low = lt_near_chain4(LT_RAW_LOW(raw), scales);
    const float4 high = lt_near_chain4(LT_RAW_HIGH(raw), scales);
#else
    const float4 low = lt_near_chain4(raw, scales);
#endif
#if LT_DST == LATHE_CL_I8 && LT_WIDTH == 8
    *(__global uint2 *)at = (uint2)(lt_codes_of_fields(lt_add_fields(0, low)),
                                    lt_codes_of_fields(lt_add_fields(0, high)));
#elif LT_DST == LATHE_CL_I8
    *(__global uint *)at = lt_codes_of_fields(lt_add_fields(0, low));
#elif LT_DST == LATHE_CL_I4
    *(__global uint *)at = lt_codes_of_fields(lt_add_fields(lt_add_fields(0, high), low));
#elif LT_DST == LATHE_CL_I2
    *(__global ushort *)at = (ushort)lt_codes_of_fields(lt_add_fields(lt_add_fields(0, high), low));
#elif LT_DST == LATHE_CL_F32
    lt_store_last(at, as_uint4(low));
#elif LT_WIDTH == 8
    lt_store_last(at, LT_PAIRS(low, high));
#else
    *(__global uint2 *)at = LT_PAIRS(low, low).lo;
#endif
}

/* A work-item's units, the first of which is `unit`; what lies behind the last one is 0. */
void lt_load_chain(lt_raw *raw, __global const uchar *from, uint unit, uint n_units) {
#pragma unroll
    for (uint i = 0; i < LT_CHAIN_ROUNDS; i++) {
        raw[i] = (lt_raw)(0);
        if (unit + i * LT_GROUP < n_units) {
            raw[i] = LT_FETCH(from, (unit + i * LT_GROUP) * LT_UNIT);
        }
    }
}

/* Whole scopes of scope_elems elements each: n_units units of consecutive elements on both sides. A
 * value that is not finite is reported, and nothing holds of the result then. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_scaled_chain(__global const uchar *restrict src, __global uchar *restrict dst,
                   __global float *restrict dst_scales, __global uint *reports,
                   lathe_launch launch) {
    __local lt_chain_memory memory;
    const uint item = (uint)get_local_id(0);
    const uint n_units = (uint)launch.n_units;
    const uint scope_units = (uint)launch.scope_elems / LT_UNIT;
    const uint scope_shift = 31 - clz(scope_units);
    const uint first = (uint)get_group_id(0) * LT_CHAIN_UNITS;
    const bool by_segments = scope_units >= 4 * LT_SEGMENT;
    __global uchar *out = dst + launch.dst.data_offset;
    lt_raw raw[LT_CHAIN_ROUNDS];
    float2 scales[LATHE_CL_CHAIN_STEPS + 1];
    lt_load_chain(raw, src + launch.src.data_offset, first + item, n_units);
#pragma unroll
    for (uint i = 0; i < LT_CHAIN_ROUNDS; i++) {
        ((__local uint *)memory.tops)[item + i * LT_GROUP] = lt_top_of(raw[i]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (by_segments && item < LT_CHAIN_UNITS / LT_SEGMENT) {
        ((__local uint *)memory.segments)[item] =
            lt_top4(max(memory.tops[2 * item], memory.tops[2 * item + 1]));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint i = item; i < LT_CHAIN_UNITS >> scope_shift; i += LT_GROUP) {
        uint top;
        if (by_segments) {
            const uint n = scope_units / (4 * LT_SEGMENT);
            top = lt_top_of_fours(memory.segments + i * n, n);
        } else {
            top = lt_top_of_fours(memory.tops + i * (scope_units / 4), scope_units / 4);
        }
        if (!lt_chain_scales(lt_near_top(top), scales)) {
            lt_fault(reports + launch.report * LATHE_CL_REPORT_WORDS, 0, LATHE_CL_FAULT_NON_FINITE);
        }
#pragma unroll
        for (uint k = 0; k <= LATHE_CL_CHAIN_STEPS; k++) {
            memory.scales[k][i] = scales[k];
        }
#if LT_DST >= LATHE_CL_I8
        if (first + (i << scope_shift) < n_units) {
            dst_scales[launch.dst.scale_offset + (first >> scope_shift) + i] =
                scales[LATHE_CL_CHAIN_STEPS].x;
        }
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (uint i = 0; i < LT_CHAIN_ROUNDS; i++) {
        const uint at = item + i * LT_GROUP;
        if (first + at < n_units) {
#pragma unroll
            for (uint k = 0; k <= LATHE_CL_CHAIN_STEPS; k++) {
                scales[k] = memory.scales[k][at >> scope_shift];
            }
            lt_store_near(out + lt_target_byte((first + at) * LT_UNIT), raw[i], scales);
        }
    }
}

/* The same with one scale for each step, which the greatest of all magnitudes leads to: word
 * launch.sums of the reports, where a stats launch has gathered it. All work-groups work the scales
 * out, while their elements are on the way, and the first one stores the target's. The end of the
 * source comes first: the stats launch has left it in the cache. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_near_chain(__global const uchar *restrict src, __global uchar *restrict dst,
                 __global float *restrict dst_scales, __global uint *reports, lathe_launch launch) {
    __local float2 found[LATHE_CL_CHAIN_STEPS + 1];
    const uint item = (uint)get_local_id(0);
    const uint n_units = (uint)launch.n_units;
    const uint group = (uint)get_num_groups(0) - 1 - (uint)get_group_id(0);
    const uint first = group * LT_CHAIN_UNITS + item;
    __global uchar *out = dst + launch.dst.data_offset;
    lt_raw raw[LT_CHAIN_ROUNDS];
    float2 scales[LATHE_CL_CHAIN_STEPS + 1];
    lt_load_chain(raw, src + launch.src.data_offset, first, n_units);
    if (item == 0) {
        const bool is_finite = lt_chain_scales(as_float(reports[launch.sums]), scales);
#pragma unroll
        for (uint k = 0; k <= LATHE_CL_CHAIN_STEPS; k++) {
            found[k] = scales[k];
        }
        if (group == 0) {
            if (!is_finite) {
                lt_fault(reports + launch.report * LATHE_CL_REPORT_WORDS, 0,
                         LATHE_CL_FAULT_NON_FINITE);
            }
#if LT_DST >= LATHE_CL_I8
            dst_scales[launch.dst.scale_offset] = scales[LATHE_CL_CHAIN_STEPS].x;
#endif
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (uint k = 0; k <= LATHE_CL_CHAIN_STEPS; k++) {
        scales[k] = found[k];
    }
#pragma unroll
    for (uint i = 0; i < LT_CHAIN_ROUNDS; i++) {
        const uint unit = first + i * LT_GROUP;
        if (unit < n_units) {
            lt_store_near(out + lt_target_byte(unit * LT_UNIT), raw[i], scales);
        }
    }
}

#endif

#endif
