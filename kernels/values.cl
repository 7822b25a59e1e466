/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of any dtype, which is known when a kernel runs. Only programs with LT_SEARCH or
 * LT_MEASURE, which do for all dtypes. */
#include "doubles.cl"
#include "lathe_search.h"

#if defined(LT_SEARCH) || defined(LT_MEASURE)

/* What column `col` of a row decodes to. */
float lt_value(uint dtype, __global const uchar *row, uint col, float scale) {
    switch (dtype) {
    case LATHE_CL_F32:
        return as_float(lt_load_32(row + (ulong)col * 4));
    case LATHE_CL_F16:
        return lt_number_of_f16((uint2)(lt_load_16(row + (ulong)col * 2), 0)).x;
    case LATHE_CL_BF16:
        return as_float(lt_load_16(row + (ulong)col * 2) << 16);
    case LATHE_CL_I8:
        return (float)(char)row[col] * scale;
    case LATHE_CL_I4:
        return lt_numbers_of_i4((uint)row[col / 2] >> 4 * (col % 2)).x * scale;
    case LATHE_CL_I2:
        return lt_numbers_of_i2((uint)row[col / 4] >> 2 * (col % 4)).x * scale;
    case LATHE_CL_I1:
        return lt_signed_of_i1((uint)row[col / 8] >> col % 8, scale).x;
    default:
        return lt_numbers_of_i2(lt_codes_of_trits(row[col / 5]) >> 2 * (col % 5)).x * scale;
    }
}

/* The same of four columns, the first a multiple of 4, where these can be loaded at once. */
float4 lt_four_values(uint dtype, __global const uchar *row, uint col, float scale) {
    switch (dtype) {
    case LATHE_CL_F32:
        return as_float4(*(__global const uint4 *)(row + (ulong)col * 4));
    case LATHE_CL_F16:
        return lt_number_of_f16(*(__global const uint2 *)(row + (ulong)col * 2));
    case LATHE_CL_BF16: {
        const uint2 raw = *(__global const uint2 *)(row + (ulong)col * 2);
        return as_float4(
            (uint4)(raw.x << 16, raw.x & 0xffff0000u, raw.y << 16, raw.y & 0xffff0000u));
    }
    case LATHE_CL_I8:
        return lt_numbers_of_i8(*(__global const uint *)(row + col)) * scale;
    case LATHE_CL_I4:
        return lt_numbers_of_i4(*(__global const ushort *)(row + col / 2)) * scale;
    case LATHE_CL_I2:
        return lt_numbers_of_i2(row[col / 4]) * scale;
    case LATHE_CL_I1:
        return lt_signed_of_i1((uint)row[col / 8] >> (col & 4), scale);
    default: {
        const uint two = lt_codes_of_trits(row[col / 5] | (uint)row[(col + 3) / 5] << 16);
        const uint fields = (two & 0x3ff) | (two >> 6 & 0xffc00);
        return lt_numbers_of_i2(fields >> 2 * (col % 5)) * scale;
    }
    }
}

/* The scale of an element; 1 for floats. */
float lt_value_scale(const lathe_side *side, uint dtype, __global const float *scales,
                     lt_spot spot) {
    return dtype >= LATHE_CL_I8 ? scales[lt_scale_index(side, spot)] : 1.0f;
}

/* Element `elem` of the launch. */
float lt_value_at(const lathe_side *side, uint dtype, __global const uchar *data,
                  __global const float *scales, uint elem) {
    const lt_spot spot = lt_spot_of(side, elem);
    return lt_value(dtype, data + lt_row_offset(side, spot.row), spot.col,
                    lt_value_scale(side, dtype, scales, spot));
}

/* Elements [elem, elem + 4) of the launch, as far as there are so many; what follows is 0. With
 * `is_vector` those of a whole four can be loaded at once. */
float4 lt_values_at(const lathe_side *side, uint dtype, __global const uchar *data,
                    __global const float *scales, uint elem, uint n_elems, bool is_vector) {
    if (is_vector && n_elems >= 4) {
        const lt_spot spot = lt_spot_of(side, elem);
        return lt_four_values(dtype, data + lt_row_offset(side, spot.row), spot.col,
                              lt_value_scale(side, dtype, scales, spot));
    }
    float4 x = (float4)(0);
    x.x = n_elems > 0 ? lt_value_at(side, dtype, data, scales, elem) : 0;
    x.y = n_elems > 1 ? lt_value_at(side, dtype, data, scales, elem + 1) : 0;
    x.z = n_elems > 2 ? lt_value_at(side, dtype, data, scales, elem + 2) : 0;
    x.w = n_elems > 3 ? lt_value_at(side, dtype, data, scales, elem + 3) : 0;
    return x;
}

/* Their scales. */
float4 lt_scales_at(const lathe_side *side, uint dtype, __global const float *scales, uint elem,
                    uint n_elems, bool is_vector) {
    const float first = lt_value_scale(side, dtype, scales, lt_spot_of(side, elem));
    float4 found = (float4)(first);
    if (dtype >= LATHE_CL_I8 && !(is_vector && n_elems >= 4)) {
        const uint last = elem + n_elems - 1;
        found.y = lt_value_scale(side, dtype, scales, lt_spot_of(side, min(elem + 1, last)));
        found.z = lt_value_scale(side, dtype, scales, lt_spot_of(side, min(elem + 2, last)));
        found.w = lt_value_scale(side, dtype, scales, lt_spot_of(side, min(elem + 3, last)));
    }
    return found;
}

#endif
