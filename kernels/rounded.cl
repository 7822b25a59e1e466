/* SPDX-License-Identifier: Apache-2.0 */
/* What a source of F32 is taken for: itself or, in programs for chains that round it before they
 * quantize it, what is left of it after LT_ROUNDED steps to the types LT_STEP_1, ... Elements are
 * rounded wherever they are loaded, so that these programs have all kernels of a pair. */
#include "cache.cl"

/* Four values rounded to F16 or BF16, or as they are. A NaN stays one. */
float4 lt_rounded_to(float4 x, uint dtype) {
    if (dtype == LATHE_CL_F16) {
        ushort4 f16;
        vstore_half4_rte(x, 0, (half *)&f16);
        return vload_half4(0, (const half *)&f16);
    }
    return dtype == LATHE_CL_BF16 ? as_float4(lt_bf16_of_f32(as_uint4(x)) << 16) : x;
}

#ifdef LT_ROUNDED

uint4 lt_come4(uint4 raw) {
    float4 x = lt_rounded_to(as_float4(raw), LT_STEP_1);
#if LT_ROUNDED > 1
    x = lt_rounded_to(x, LT_STEP_2);
#endif
#if LT_ROUNDED > 2
    x = lt_rounded_to(x, LT_STEP_3);
#endif
    return as_uint4(x);
}

/* One element, and two: the others are never made. */
#define LT_COME1(raw) (lt_come4((uint4)((raw), 0, 0, 0)).x)
#define LT_COME2(raw) (lt_come4((uint4)((raw), 0, 0)).xy)
#define LT_COME4(raw) lt_come4(raw)

#else

#define LT_COME1(raw) (raw)
#define LT_COME2(raw) (raw)
#define LT_COME4(raw) (raw)

#endif
