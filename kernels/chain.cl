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

/* ---- scales that are found on the way: of scopes that lie in a block, and are the same for all */

#ifndef LT_STEP_2
#define LT_STEP_2 LATHE_CL_F32 /* which changes nothing */
#endif
#ifndef LT_STEP_3
#define LT_STEP_3 LATHE_CL_F32
#endif

/* The float types that come first: their values need no scale. */
#define LT_IS_FLOAT(dtype) ((dtype) < LATHE_CL_I8)
#define LT_LEADING                                                                                 \
    (!LT_IS_FLOAT(LT_STEP_1) ? 0 : !LT_IS_FLOAT(LT_STEP_2) ? 1 : !LT_IS_FLOAT(LT_STEP_3) ? 2 : 3)

#define LT_CHAIN_UNITS (LATHE_CL_CHAIN_BLOCK / LT_UNIT)
#define LT_CHAIN_ROUNDS (LT_CHAIN_UNITS / LT_GROUP)

/* Units that a work-item takes the maximum of at once, and how many there are of these at most. */
#define LT_SEGMENT 16
#define LT_MOST_SEGMENTS (LATHE_CL_CHAIN_BLOCK / LATHE_CL_CHAIN_LEAST)

typedef struct lt_chain_memory {
    uint tops[LT_CHAIN_UNITS];
    uint segments[LT_CHAIN_UNITS / 4];
    float2 scales[LATHE_CL_CHAIN_STEPS + 1][LT_MOST_SEGMENTS]; /* of scopes, with their inverses */
} lt_chain_memory;

/* What a step makes of four values, none beyond its scale's: no code needs clamping. Steps before
 * the first scale may meet what is not finite, and leave it so. */
float4 lt_near_step4(float4 x, float2 scale, uint dtype) {
    if (dtype == LATHE_CL_F16) {
        ushort4 f16;
        vstore_half4_rte(x, 0, (half *)&f16);
        return vload_half4(0, (const half *)&f16);
    }
    if (dtype == LATHE_CL_BF16) {
        return as_float4(lt_bf16_of_f32(as_uint4(x)) << 16);
    }
    if (dtype == LATHE_CL_F32) {
        return x;
    }
    return ((x * scale.y + 0x1.8p23f) - 0x1.8p23f) * scale.x;
}

lt_floats lt_near_step(lt_floats x, float2 scale, uint dtype) {
#if LT_WIDTH == 8
    return (float8)(lt_near_step4(x.lo, scale, dtype), lt_near_step4(x.hi, scale, dtype));
#else
    return lt_near_step4(x, scale, dtype);
#endif
}

/* Codes of finite values, likewise, or floats. */
uint4 lt_near_codes4(float4 x, float inverse) {
#if LT_DST == LATHE_CL_F32
    return as_uint4(x);
#elif LT_DST == LATHE_CL_F16
    return lt_f16_of_number(x);
#elif LT_DST == LATHE_CL_BF16
    return lt_bf16_of_number(x);
#else
    return lt_nearest(x * inverse);
#endif
}

lt_words lt_near_codes(lt_floats x, float inverse) {
#if LT_WIDTH == 8
    return (uint8)(lt_near_codes4(x.lo, inverse), lt_near_codes4(x.hi, inverse));
#else
    return lt_near_codes4(x, inverse);
#endif
}

uint lt_top_of(lt_floats x) {
#if LT_WIDTH == 8
    const uint4 both = max(as_uint4(x.lo) & LT_MAGNITUDE, as_uint4(x.hi) & LT_MAGNITUDE);
#else
    const uint4 both = as_uint4(x) & LT_MAGNITUDE;
#endif
    const uint2 two = max(both.lo, both.hi);
    return max(two.x, two.y);
}

/* The scale of a scope whose greatest magnitude is given, and its inverse. */
float2 lt_near_scale(float top, uint dtype) {
    const float scale = dtype == LATHE_CL_I8   ? lt_divide(top, (float)LATHE_I8_MAX)
                        : dtype == LATHE_CL_I4 ? lt_divide(top, (float)LATHE_I4_MAX)
                                               : top;
    return (float2)(scale, lt_inverse(scale));
}

/* The scales of a scope's steps from number `first` on, and of the target: what a step makes of the
 * greatest magnitude is the greatest after it (src/engine/pipeline/chain_scales.c). Returns the
 * last magnitude's bits. */
uint lt_chain_scales(uint top, uint first, float2 *scales) {
    const uint types[LATHE_CL_CHAIN_STEPS] = {LT_STEP_1, LT_STEP_2, LT_STEP_3};
    float m = as_float(top);
#pragma unroll
    for (uint i = 0; i < LATHE_CL_CHAIN_STEPS; i++) {
        scales[i] = (float2)(1, 1);
        if (i >= first) {
            scales[i] = LT_IS_FLOAT(types[i]) ? scales[i] : lt_near_scale(m, types[i]);
            m = lt_near_step4((float4)(m), scales[i], types[i]).x;
        }
    }
    scales[LATHE_CL_CHAIN_STEPS] = LT_IS_FLOAT(LT_DST) ? (float2)(1, 1) : lt_near_scale(m, LT_DST);
    return as_uint(m) & LT_MAGNITUDE;
}

/* The maxima of segments of scopes, of n_units each: 4 or a multiple. */
void lt_chain_tops(uint n_units, uint item, __local lt_chain_memory *memory) {
    const uint segment = min(n_units, (uint)LT_SEGMENT);
    for (uint i = item; i < LT_CHAIN_UNITS / segment; i += LT_GROUP) {
        uint top = 0;
        for (uint k = 0; k < segment; k += 4) {
            const uint4 four = vload4(0, memory->tops + i * segment + k);
            top = max(top, max(max(four.x, four.y), max(four.z, four.w)));
        }
        memory->segments[i] = top;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
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
    const uint first = (uint)get_group_id(0) * LT_CHAIN_UNITS;
    const uint scope_shift = 31 - clz(scope_units);
    const uint segments = max(scope_units / LT_SEGMENT, 1u);
    __global const uchar *from = src + launch.src.data_offset;
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    const float2 none = (float2)(1, 1); /* of floats */
    lt_floats x[LT_CHAIN_ROUNDS];
#pragma unroll
    for (uint step = 0; step < LT_CHAIN_ROUNDS; step++) {
        const uint unit = first + step * LT_GROUP + item;
        x[step] = (lt_floats)(0);
        if (unit < n_units) {
            const uint col = unit * LT_UNIT;
            x[step] = lt_decode(LT_FETCH(from, col), col, 1, 0, 0, report);
        }
    }
#pragma unroll
    for (uint step = 0; step < LT_CHAIN_ROUNDS; step++) {
        x[step] = LT_LEADING > 0 ? lt_near_step(x[step], none, LT_STEP_1) : x[step];
        x[step] = LT_LEADING > 1 ? lt_near_step(x[step], none, LT_STEP_2) : x[step];
        x[step] = LT_LEADING > 2 ? lt_near_step(x[step], none, LT_STEP_3) : x[step];
        memory.tops[step * LT_GROUP + item] = lt_top_of(x[step]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_chain_tops(scope_units, item, &memory);
    for (uint i = item; i < LT_CHAIN_UNITS / scope_units; i += LT_GROUP) {
        uint top = 0;
        for (uint k = 0; k < segments; k++) {
            top = max(top, memory.segments[i * segments + k]);
        }
        float2 scales[LATHE_CL_CHAIN_STEPS + 1];
        const uint last = lt_chain_scales(top, LT_LEADING, scales);
        if (max(top, last) >= LT_INFINITY) {
            lt_fault(report, 0, LATHE_CL_FAULT_NON_FINITE);
        }
#pragma unroll
        for (uint k = LT_LEADING; k <= LATHE_CL_CHAIN_STEPS; k++) {
            memory.scales[k][i] = scales[k];
        }
#if LT_DST >= LATHE_CL_I8
        if (first + i * scope_units < n_units) {
            dst_scales[launch.dst.scale_offset + (first >> scope_shift) + i] =
                memory.scales[LATHE_CL_CHAIN_STEPS][i].x;
        }
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#pragma unroll
    for (uint step = 0; step < LT_CHAIN_ROUNDS; step++) {
        const uint at = step * LT_GROUP + item;
        const uint unit = first + at;
        const uint scope = at >> scope_shift;
        if (unit >= n_units) {
            break;
        }
        lt_floats y = x[step];
        y = LT_LEADING < 1 ? lt_near_step(y, memory.scales[0][scope], LT_STEP_1) : y;
        y = LT_LEADING < 2 ? lt_near_step(y, memory.scales[1][scope], LT_STEP_2) : y;
        y = LT_LEADING < 3 ? lt_near_step(y, memory.scales[2][scope], LT_STEP_3) : y;
        const lt_words codes = lt_near_codes(y, memory.scales[LATHE_CL_CHAIN_STEPS][scope].y);
        lt_store_unit(dst + launch.dst.data_offset + lt_target_byte(unit * LT_UNIT), codes);
    }
}

/* One scale for each step, which the greatest of all magnitudes leads to: word launch.sums of the
 * reports, where a stats launch has gathered it. A value that is not finite is reported by that one
 * or here, and nothing holds of the result then. One work-item. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1))) void
lathe_chain_top(__global float2 *restrict near, __global float *restrict dst_scales,
                __global uint *reports, lathe_launch launch) {
    float2 scales[LATHE_CL_CHAIN_STEPS + 1];
    const uint top = reports[launch.sums];
    const uint last = lt_chain_scales(top, 0, scales);
    if (max(top, last) >= LT_INFINITY) {
        lt_fault(reports + launch.report * LATHE_CL_REPORT_WORDS, 0, LATHE_CL_FAULT_NON_FINITE);
    }
#pragma unroll
    for (uint i = 0; i <= LATHE_CL_CHAIN_STEPS; i++) {
        near[i] = scales[i];
    }
#if LT_DST >= LATHE_CL_I8
    dst_scales[launch.dst.scale_offset] = scales[LATHE_CL_CHAIN_STEPS].x;
#endif
}

/* The values, with these scales. The end of the source comes first: the stats launch has left it in
 * the cache. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_near_chain(__global const uchar *restrict src, __global uchar *restrict dst,
                 __global const float2 *restrict near, __global uint *reports,
                 lathe_launch launch) {
    const uint n_units = (uint)launch.n_units;
    const uint group = (uint)get_num_groups(0) - 1 - (uint)get_group_id(0);
    const uint first = group * LT_CHAIN_UNITS + (uint)get_local_id(0);
    __global const uchar *from = src + launch.src.data_offset;
    const float2 step_1 = near[0];
    const float2 step_2 = near[1];
    const float2 step_3 = near[2];
    const float inverse = near[LATHE_CL_CHAIN_STEPS].y;
    lt_floats x[LT_CHAIN_ROUNDS];
#pragma unroll
    for (uint step = 0; step < LT_CHAIN_ROUNDS; step++) {
        const uint col = (first + step * LT_GROUP) * LT_UNIT;
        x[step] = (lt_floats)(0);
        if (first + step * LT_GROUP < n_units) {
            x[step] = lt_decode(LT_FETCH(from, col), col, 1, 0, 0, reports);
        }
    }
#pragma unroll
    for (uint step = 0; step < LT_CHAIN_ROUNDS; step++) {
        const uint unit = first + step * LT_GROUP;
        if (unit >= n_units) {
            break;
        }
        lt_floats y = lt_near_step(x[step], step_1, LT_STEP_1);
        y = lt_near_step(y, step_2, LT_STEP_2);
        y = lt_near_step(y, step_3, LT_STEP_3);
        const lt_words codes = lt_near_codes(y, inverse);
        lt_store_unit(dst + launch.dst.data_offset + lt_target_byte(unit * LT_UNIT), codes);
    }
}

#endif
