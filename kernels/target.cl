/* SPDX-License-Identifier: Apache-2.0 */
/* The target's side: encoding, storing, checking what was encoded, and the scale rule. */
#include "source.cl"

#if LT_DST == LATHE_CL_I8
#define LT_BOUND ((float)LATHE_I8_MAX)
#elif LT_DST == LATHE_CL_I4
#define LT_BOUND ((float)LATHE_I4_MAX)
#elif LT_DST == LATHE_CL_I2
#define LT_BOUND ((float)LATHE_I2_MAX)
#else
#define LT_BOUND ((float)LATHE_BITNET158_MAX)
#endif

/* Elements of floats can be NaNs; codes times a scale cannot. */
#define LT_HAS_NAN (LT_SRC < LATHE_CL_I8)

/* The scale of some elements, its inverse, and the bound of their codes: 0 where the inverse is,
 * since an infinity times 0 is a NaN, whose code is 0. */
typedef struct lt_scale {
    float scale;
    float inverse;
    float bound;
} lt_scale;

lt_scale lt_scale_of(float scale) {
    lt_scale made = {scale, 0, 0};
#if LT_DST != LATHE_CL_I1
    made.inverse = lt_inverse(scale);
    made.bound = made.inverse == 0 ? 0 : LT_BOUND;
#endif
    return made;
}

lt_scale lt_target_scale(const lathe_side *side, __global const float *scales, lt_spot spot) {
#if LT_DST >= LATHE_CL_I8
    return lt_scale_of(scales[lt_scale_index(side, spot)]);
#else
    const lt_scale none = {1, 1, 0};
    return none;
#endif
}

/* Codes of four elements, each in the low bits of a word; higher bits are anything. */
uint4 lt_encode4(float4 x, lt_scale scale) {
#if LT_DST == LATHE_CL_F32
    return as_uint4(x);
#elif LT_DST == LATHE_CL_F16 && LT_HAS_NAN
    return lt_f16_of_f32(as_uint4(x));
#elif LT_DST == LATHE_CL_F16
    return lt_f16_of_number(x);
#elif LT_DST == LATHE_CL_BF16 && LT_HAS_NAN
    return lt_bf16_of_f32(as_uint4(x));
#elif LT_DST == LATHE_CL_BF16
    return lt_bf16_of_number(x);
#elif LT_DST == LATHE_CL_I1
    return lt_sign_codes(x);
#else
    const uint4 codes = lt_quantized(x, scale.inverse, scale.bound);
#if LT_HAS_NAN
    return LT_SELECT(isnan(x), (uint4)(0), codes);
#else
    return codes;
#endif
#endif
}

/* What decoding gives back. */
float4 lt_back4(uint4 codes, lt_scale scale) {
#if LT_DST == LATHE_CL_F32
    return as_float4(codes);
#elif LT_DST == LATHE_CL_F16
    return as_float4(lt_f32_of_f16((uint2)(codes.x | codes.y << 16, codes.z | codes.w << 16)));
#elif LT_DST == LATHE_CL_BF16
    return as_float4(codes << 16);
#elif LT_DST == LATHE_CL_I1
    return convert_float4(as_int4(codes) * 2 - 1) * scale.scale;
#else
    return convert_float4(as_int4(codes) << 24 >> 24) * scale.scale;
#endif
}

/* The first of four that holds; 4: none. */
uint lt_first4(int4 holds) {
    return holds.x ? 0 : holds.y ? 1 : holds.z ? 2 : holds.w ? 3 : 4;
}

/* Looks for faults in four elements, or the first `count`, and counts saturated ones. */
void lt_survey4(float4 x, uint4 codes, lt_scale scale, uint elem, uint count, ulong flags,
                __global uint *report) {
    count = min(count, 4u);
    if ((flags & LATHE_CL_STRICT) != 0) {
        const float4 back = lt_back4(codes, scale);
        const uint first = lt_first4(!(isequal(back, x) | (isnan(back) & isnan(x))));
        if (first < count) {
            lt_fault(report, elem + first, LATHE_CL_FAULT_DATA_LOSS);
        }
    }
#if LT_DST >= LATHE_CL_I8
    if ((flags & LATHE_CL_SURVEY) != 0) {
        const uint first = lt_first4((as_uint4(x) & LT_MAGNITUDE) >= LT_INFINITY);
        if ((flags & LATHE_CL_NONFINITE_ERROR) != 0 && first < count) {
            lt_fault(report, elem + first, LATHE_CL_FAULT_NON_FINITE);
        }
#if LT_DST != LATHE_CL_I1
        /* A missing element is 0. */
        const float4 scaled = fabs(x * scale.inverse);
        const float beyond = LT_BOUND + 0.5f;
        const uint n_saturated = (uint)(scaled.x >= beyond) + (uint)(scaled.y >= beyond) +
                                 (uint)(scaled.z >= beyond) + (uint)(scaled.w >= beyond);
        if (n_saturated > 0) {
            (void)atomic_add(report + 1, n_saturated);
        }
#endif
    }
#endif
}

/* As lt_encode4, with what the launch asks for on top. */
uint4 lt_convert4(float4 x, lt_scale scale, uint elem, uint count, ulong flags,
                  __global uint *report) {
    const uint4 codes = lt_encode4(x, scale);
    if ((flags & (LATHE_CL_STRICT | LATHE_CL_SURVEY)) != 0) {
        lt_survey4(x, codes, scale, elem, count, flags, report);
    }
    return codes;
}

ulong lt_target_byte(uint col) {
#if LT_DST == LATHE_CL_BITNET158
    return col / 5;
#else
    return (ulong)col * LATHE_CL_BITS(LT_DST) / 8;
#endif
}

void lt_store_16(__global uchar *at, uint value) {
    if (((size_t)at & 1) == 0) {
        *(__global ushort *)at = (ushort)value;
    } else {
        at[0] = (uchar)value;
        at[1] = (uchar)(value >> 8);
    }
}

void lt_store_32(__global uchar *at, uint value) {
    if (((size_t)at & 3) == 0) {
        *(__global uint *)at = value;
    } else {
        lt_store_16(at, value);
        lt_store_16(at + 2, value >> 16);
    }
}

/* Stores the first n_bytes of four, at most. */
void lt_store_bytes(__global uchar *at, uint value, uint n_bytes) {
    for (uint i = 0; i < n_bytes; i++) {
        at[i] = (uchar)(value >> 8 * i);
    }
}

#if LT_DST <= LATHE_CL_I8

/* Four elements, of which count are stored. */
void lt_store_some4(__global uchar *at, uint4 codes, uint count) {
    const uint values[4] = {codes.x, codes.y, codes.z, codes.w};
    for (uint i = 0; i < min(count, 4u); i++) {
#if LT_DST == LATHE_CL_F32
        lt_store_32(at + 4 * i, values[i]);
#elif LT_DST == LATHE_CL_I8
        at[i] = (uchar)values[i];
#else
        lt_store_16(at + 2 * i, values[i]);
#endif
    }
}

#endif

#if LT_DST >= LATHE_CL_I8

/* The low `bits` of each of four codes side by side. */
uint lt_pack4(uint4 codes, uint bits) {
    const uint4 low = codes & ((1u << bits) - 1);
    return low.x | low.y << bits | low.z << 2 * bits | low.w << 3 * bits;
}

#endif

#if LT_WIDTH == 8
typedef uint8 lt_words;
#else
typedef uint4 lt_words;
#endif

/* As lt_convert4, LT_WIDTH elements. */
lt_words lt_convert(lt_floats x, lt_scale scale, uint elem, uint count, ulong flags,
                    __global uint *report) {
#if LT_WIDTH == 8
    const uint rest = max(count, 4u) - 4;
    return (uint8)(lt_convert4(x.lo, scale, elem, count, flags, report),
                   lt_convert4(x.hi, scale, elem + 4, rest, flags, report));
#else
    return lt_convert4(x, scale, elem, count, flags, report);
#endif
}

/* Stores a unit at its first byte: whole and in a vector, or `count` of its elements. */

#if LT_UNIT == 4

void lt_store_unit(__global uchar *at, uint4 codes) {
#if LT_DST == LATHE_CL_F32
    lt_store_last(at, codes);
#elif LT_DST == LATHE_CL_I8
    *(__global uchar4 *)at = convert_uchar4(codes & 0xff);
#else
    *(__global uint2 *)at = codes.even | codes.odd << 16;
#endif
}

void lt_store_part(__global uchar *at, uint4 codes, uint count) {
    lt_store_some4(at, codes, count);
}

#elif LT_UNIT == 8

void lt_store_unit(__global uchar *at, uint8 codes) {
#if LT_DST == LATHE_CL_I8
    *(__global uint2 *)at = (uint2)(lt_pack4(codes.lo, 8), lt_pack4(codes.hi, 8));
#elif LT_DST == LATHE_CL_I4
    *(__global uint *)at = lt_pack4(codes.lo, 4) | lt_pack4(codes.hi, 4) << 16;
#elif LT_DST == LATHE_CL_I2
    *(__global ushort *)at = (ushort)(lt_pack4(codes.lo, 2) | lt_pack4(codes.hi, 2) << 8);
#elif LT_DST == LATHE_CL_I1
    *at = (uchar)(lt_pack4(codes.lo, 1) | lt_pack4(codes.hi, 1) << 4);
#else
    lt_store_last(at, codes.even | codes.odd << 16);
#endif
}

void lt_store_part(__global uchar *at, uint8 codes, uint count) {
#if LT_DST == LATHE_CL_I4
    lt_store_bytes(at, lt_pack4(codes.lo, 4) | lt_pack4(codes.hi, 4) << 16, (count + 1) / 2);
#elif LT_DST == LATHE_CL_I2
    lt_store_bytes(at, lt_pack4(codes.lo, 2) | lt_pack4(codes.hi, 2) << 8, (count + 3) / 4);
#elif LT_DST == LATHE_CL_I1
    *at = (uchar)(lt_pack4(codes.lo, 1) | lt_pack4(codes.hi, 1) << 4);
#else
    lt_store_some4(at, codes.lo, count);
    if (count > 4) {
        lt_store_some4(at + lt_target_byte(4), codes.hi, count - 4);
    }
#endif
}

#else /* BITNET158: from digits in bytes */

/* The digits of four elements in a word. */
uint lt_trits4(uint4 codes) {
    return lt_pack4(codes + 1, 8);
}

/* The highest bytes of four words. */
uint lt_top_bytes(uint a, uint b, uint c, uint d) {
#if LT_HAS_PTX
    uint low, high, all;
    __asm__("prmt.b32 %0, %1, %2, 0x73;" : "=r"(low) : "r"(a), "r"(b));
    __asm__("prmt.b32 %0, %1, %2, 0x73;" : "=r"(high) : "r"(c), "r"(d));
    __asm__("prmt.b32 %0, %1, %2, 0x5410;" : "=r"(all) : "r"(low), "r"(high));
    return all;
#else
    return a >> 24 | (b >> 16 & 0xff00) | (c >> 8 & 0xff0000) | (d & 0xff000000u);
#endif
}

/* Four bytes from twenty digits: each in the upper byte of a sum of products, in which digit i of a
 * word meets byte 3 - i of its factor: a power of 3, or 0. No lower byte carries. */
uint lt_pack_trits(uint a, uint b, uint c, uint d, uint e) {
    return lt_top_bytes(a * 0x0103091bu + b * 0x51000000u, b * 0x00010309u + c * 0x1b510000u,
                        c * 0x00000103u + d * 0x091b5100u, d + e * 0x03091b51u);
}

/* The bytes that hold `count` of a unit's elements, all of them at once where they may be. */
void lt_store_trits(__global uchar *at, uint bytes, uint count, ulong flags) {
    if (count >= LT_UNIT && (flags & LATHE_CL_DST_VECTOR) != 0) {
        *(__global uint *)at = bytes;
    } else {
        lt_store_bytes(at, bytes, min((count + 4) / 5, 4u));
    }
}

#endif

/* Statistics are handled as bits: a sum's, or the greatest magnitude, whose order is that of
 * integers. */
#define LT_IS_MEAN (LT_DST == LATHE_CL_I1 || LT_DST == LATHE_CL_BITNET158)

uint lt_stat_join(uint a, uint b) {
#if LT_IS_MEAN
    return as_uint(as_float(a) + as_float(b));
#else
    return max(a, b);
#endif
}

bool lt_is_finite(uint stat) {
    return stat < LT_INFINITY;
}

/* Folds eight lanes that lie `step` apart by halves. */
uint lt_fold8(const uint *lanes) {
    uint four[4];
    for (uint i = 0; i < 4; i++) {
        four[i] = lt_stat_join(lanes[i], lanes[i + 4]);
    }
    return lt_stat_join(lt_stat_join(four[0], four[2]), lt_stat_join(four[1], four[3]));
}

/* 64 lanes are folded in two steps of eight: lanes i, i + 8, ... first, and what they give then. */
uint lt_fold8_local(__local const uint *lanes, uint step) {
    uint mine[8];
    for (uint i = 0; i < 8; i++) {
        mine[i] = lanes[i * step];
    }
    return lt_fold8(mine);
}

/* The scale of a scope of one tile; if its sum is shrunk, each element was multiplied by
 * LATHE_STAT_SHRINK first. */
float lt_scale_from_stat(uint stat, uint n_elems, bool is_shrunk) {
#if LT_IS_MEAN
    float mean = lt_divide(as_float(stat), (float)n_elems);
    if (is_shrunk) {
        mean = as_float(min(as_uint(mean * 0x1p16f), LT_INFINITY - 1));
    }
#if LT_DST == LATHE_CL_BITNET158
    return mean > LATHE_BITNET158_MIN_SCALE ? mean : LATHE_BITNET158_MIN_SCALE;
#else
    return mean;
#endif
#else
    return lt_divide(as_float(stat), LT_BOUND);
#endif
}

/* What plain kernels leave in place of a scale: none has these bits. */
#define LT_MARK 0x7fffffffu

/* Whether a scope is left to the kernel that looks for marks: its statistic is not 0, and no easy
 * one to divide. */
bool lt_is_odd_stat(float stat) {
    return as_uint(stat) != 0 && !lt_divides_fast(stat);
}

/* A scope's scale from its statistic, as lt_scale_from_stat; anything for one that is odd. */
float lt_plain_scale(float stat, uint n_elems) {
#if LT_IS_MEAN
    const float scale = lt_divides_fast(stat) ? lt_divide_fast(stat, (float)n_elems) : 0;
#else
    const float scale = lt_divides_fast(stat) ? lt_divide_fast(stat, LT_BOUND) : 0;
#endif
#if LT_DST == LATHE_CL_BITNET158
    return scale > LATHE_BITNET158_MIN_SCALE ? scale : LATHE_BITNET158_MIN_SCALE;
#else
    return scale;
#endif
}
