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

/* The scale of an element; 1 for floats. */
float lt_value_scale(const lathe_side *side, uint dtype, __global const float *scales,
                     lt_spot spot) {
    return dtype >= LATHE_CL_I8 ? scales[lt_scale_index(side, spot)] : 1.0f;
}

#endif
