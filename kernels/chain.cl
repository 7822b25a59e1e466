/* SPDX-License-Identifier: Apache-2.0 */
/* The chain kernel: values go through several types in registers. Only programs with LT_CHAIN, the
 * number of steps between the source and the target, have it; LT_STEP_1, ... are their types. */
#ifdef LT_CHAIN

#include "stats.cl"
#include "lathe_chain.h"

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

#endif
