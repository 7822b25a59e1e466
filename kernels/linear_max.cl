/* SPDX-License-Identifier: Apache-2.0 */
/* Scales from the greatest magnitude, for the linear kernel: elements stay in registers, sixteen
 * side by side. What is odd (a NaN, an infinity) or asked for on top (strict mode, a survey) is
 * left to slower functions, sixteen elements at a time. */
#include "regular.cl"

#if LT_HAS_LINEAR && !LT_IS_MEAN

/* Fewer instructions for more registers: the wider codes do better the other way round, with more
 * work-items in flight (measured on NVIDIA's Hopper). */
#define LT_LEAN ((LT_SRC == LATHE_CL_F16 || LT_SRC == LATHE_CL_BF16) && LT_DST == LATHE_CL_I2)

/* Sixteen elements as they lie in memory. */
typedef struct lt_sixteen {
    lt_raw8 low;
    lt_raw8 high;
    uint col; /* of the source's row */
    float scale;
} lt_sixteen;

lt_sixteen lt_hold_sixteen(__global const uchar *src, __global const float *scales,
                           const lathe_launch *launch, uint elem) {
    lt_sixteen held;
#if LT_LEAN
    if (launch->src.row_elems.by == 0) { /* no row to find, and no scale */
        __global const uchar *all = src + lt_row_offset(&launch->src, 0);
        held.col = (uint)launch->src.first_col + elem;
        held.low = lt_fetch8(all, held.col);
        held.high = lt_fetch8(all, held.col + 8);
        held.scale = 1;
        return held;
    }
#endif
    const lt_spot spot = lt_spot_of(&launch->src, elem);
    __global const uchar *row = src + lt_row_offset(&launch->src, spot.row);
    held.low = lt_fetch8(row, spot.col);
    held.high = lt_fetch8(row, spot.col + 8);
    held.col = spot.col;
    held.scale = lt_source_scale(&launch->src, scales, spot);
    return held;
}

/* Elements 4 * i to 4 * i + 3 of them. */
lt_raw4 lt_held_raw4(const lt_sixteen *held, uint i) {
    return i == 0   ? LT_RAW_LOW(held->low)
           : i == 1 ? LT_RAW_HIGH(held->low)
           : i == 2 ? LT_RAW_LOW(held->high)
                    : LT_RAW_HIGH(held->high);
}

float4 lt_held4(const lt_sixteen *held, uint i) {
    return lt_decode4(lt_held_raw4(held, i), held->col + 4 * i, held->scale);
}

uint lt_greatest_sixteen(const lt_sixteen *held) {
#if LT_LEAN
    /* Magnitudes order like their bits in every float type. The upper half of a word decides; what
     * lies in the lower one may be anything. */
    const uint4 low = held->low & 0x7fff7fff;
    const uint4 high = held->high & 0x7fff7fff;
    const uint4 two = max(max(low, high), max(low << 16, high << 16));
    const uint bits = max(max(two.x, two.y), max(two.z, two.w)) >> 16;
    return as_uint(lt_decode1(bits, 0, 1)) & LT_MAGNITUDE;
#else
    uint4 top = as_uint4(lt_held4(held, 0)) & LT_MAGNITUDE;
#pragma unroll
    for (uint i = 1; i < 4; i++) {
        top = max(top, as_uint4(lt_held4(held, i)) & LT_MAGNITUDE);
    }
    return max(max(top.x, top.y), max(top.z, top.w));
#endif
}

/* Four elements, from memory once more. */
float4 lt_again4(__global const uchar *src, __global const float *scales,
                 const lathe_launch *launch, uint elem) {
    const lt_spot spot = lt_spot_of(&launch->src, elem);
    __global const uchar *row = src + lt_row_offset(&launch->src, spot.row);
    return lt_decode4(lt_fetch4(row, spot.col), spot.col,
                      lt_source_scale(&launch->src, scales, spot));
}

/* Reports NaNs and infinities, and returns the greatest magnitude that counts. */
uint lt_greatest_odd(__global const uchar *src, __global const float *scales,
                     const lathe_launch *launch, uint elem, __global uint *report) {
    uint top = 0;
    for (uint i = 0; i < 16; i += 4) {
        const float4 x = lt_again4(src, scales, launch, elem + i);
        if ((launch->flags & LATHE_CL_NONFINITE_ERROR) != 0) {
            lt_check_finite4(x, elem + i, report);
        }
        top = max(top, max(lt_counted(x.x, 1, launch->flags), lt_counted(x.y, 1, launch->flags)));
        top = max(top, max(lt_counted(x.z, 1, launch->flags), lt_counted(x.w, 1, launch->flags)));
    }
    return top;
}

/* The greatest of n words. */
uint lt_greatest_of(__local const uint *words, uint n) {
    uint top = 0;
    uint i = 0;
    for (; i + 8 <= n; i += 8) {
        uint eight[8];
#pragma unroll
        for (uint k = 0; k < 8; k++) {
            eight[k] = words[i + k];
        }
#pragma unroll
        for (uint k = 0; k < 8; k++) {
            top = max(top, eight[k]);
        }
    }
    for (; i < n; i++) {
        top = max(top, words[i]);
    }
    return top;
}

/* In what follows a code is the lowest field of as_uint(x * inverse + LT_ROUNDING) less LT_OFFSET:
 * between 2^23 and 2^24 floats are exactly the integers. The fields of a word are multiplied into
 * their places and added; what the number's other bits add up to is taken off again, and the offset
 * by turning the field's upper bit around. No element of a scope whose greatest magnitude gave the
 * scale is beyond the bound: the scale and its inverse are each within 2^-22 of what they should
 * be, or the inverse is 0. */
#if LT_DST == LATHE_CL_I8
#define LT_FIELD 8
#elif LT_DST == LATHE_CL_I4
#define LT_FIELD 4
#else
#define LT_FIELD 2
#endif
#define LT_OFFSET (1u << (LT_FIELD - 1))
#define LT_ONES (0xffffffffu / ((1u << LT_FIELD) - 1)) /* 1 in each field */
#define LT_ROUNDING (0x1.8p23f + LT_OFFSET)
#define LT_ROUNDING_BITS 0x4b400000u

uint lt_codes_of_fields(uint fields) {
    return (fields - LT_ROUNDING_BITS * LT_ONES) ^ (LT_OFFSET * LT_ONES);
}

/* The fields of four elements, added to those above them. */
uint lt_add_fields(uint above, float4 rounded) {
    const uint4 each = as_uint4(rounded);
    above = (above << LT_FIELD) + each.w;
    above = (above << LT_FIELD) + each.z;
    above = (above << LT_FIELD) + each.y;
    return (above << LT_FIELD) + each.x;
}

uint lt_fields_of(uint above, const lt_sixteen *held, uint i, float inverse) {
    return lt_add_fields(above, lt_held4(held, i) * inverse + LT_ROUNDING);
}

void lt_store_finite(__global uchar *out, const lt_sixteen *held, float inverse) {
#if LT_DST == LATHE_CL_I8
    *(__global uint4 *)out = (uint4)(lt_codes_of_fields(lt_fields_of(0, held, 0, inverse)),
                                     lt_codes_of_fields(lt_fields_of(0, held, 1, inverse)),
                                     lt_codes_of_fields(lt_fields_of(0, held, 2, inverse)),
                                     lt_codes_of_fields(lt_fields_of(0, held, 3, inverse)));
#elif LT_DST == LATHE_CL_I4
    const uint low = lt_fields_of(lt_fields_of(0, held, 1, inverse), held, 0, inverse);
    const uint high = lt_fields_of(lt_fields_of(0, held, 3, inverse), held, 2, inverse);
    *(__global uint2 *)out = (uint2)(lt_codes_of_fields(low), lt_codes_of_fields(high));
#else
    const uint low = lt_fields_of(0, held, 0, inverse) + (lt_fields_of(0, held, 1, inverse) << 8);
    const uint high = lt_fields_of(0, held, 2, inverse) + (lt_fields_of(0, held, 3, inverse) << 8);
    *(__global uint *)out = lt_codes_of_fields(low + (high << 16));
#endif
}

/* Sixteen elements from memory once more, with all that the launch asks for. */
void lt_store_any(__global uchar *out, __global const uchar *src, __global const float *scales,
                  const lathe_launch *launch, lt_scale scale, uint elem, __global uint *report) {
    for (uint i = 0; i < 16; i += 4) {
        const float4 x = lt_again4(src, scales, launch, elem + i);
        const uint codes =
            lt_pack4(lt_convert4(x, scale, elem + i, 4, launch->flags, report), LT_FIELD);
        lt_store_bytes(out + i * LT_FIELD / 8, codes, LT_FIELD / 2);
    }
}

typedef struct lt_linear_memory {
    uint tops[LT_GROUP];
    uint eighths[LT_GROUP / 8];
    float4 found[LATHE_CL_BLOCK_SCOPES];
} lt_linear_memory;

void lt_linear_block(const lt_block *block, __global const uchar *src,
                     __global const float *src_scales, __global uchar *dst,
                     __global float *dst_scales, const lathe_launch *launch, uint item,
                     __local lt_linear_memory *memory, __global uint *report) {
    __local uint *tops = memory->tops;
    __local uint *eighths = memory->eighths;
    __local float4 *found = memory->found;
    const lt_regular regular = lt_regular_of(block, launch);
    const uint n_tops = regular.scope_elems / 16;
    const bool by_eights = n_tops > 16 && n_tops % 8 == 0;
    const uint col = 16 * item;
    const uint elem = block->elem + col;
    const bool is_held = col < block->n_cols;
    const bool is_plain = (launch->flags & (LATHE_CL_STRICT | LATHE_CL_SURVEY)) == 0;
    lt_sixteen held;
    uint greatest = 0;
    uint top = 0;

    if (is_held) {
        held = lt_hold_sixteen(src, src_scales, launch, elem);
#if LT_SRC == LATHE_CL_BITNET158
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            lt_check4(lt_held_raw4(&held, i), elem + 4 * i, held.col + 4 * i, launch->flags,
                      report);
        }
#endif
        greatest = lt_greatest_sixteen(&held);
        top = lt_is_finite(greatest) ? greatest
                                     : lt_greatest_odd(src, src_scales, launch, elem, report);
    }
    tops[item] = top;
    barrier(CLK_LOCAL_MEM_FENCE);
    if (by_eights) {
        if (item < LT_GROUP / 8) {
            eighths[item] = lt_greatest_of(tops + 8 * item, 8);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (item < regular.n_scopes) {
        const uint first = item * n_tops;
        const uint n = min(n_tops, block->n_cols / 16 - first);
        uint stat = by_eights ? lt_greatest_of(eighths + first / 8, (n + 7) / 8)
                              : lt_greatest_of(tops + first, n);
        stat = lt_is_finite(stat) ? stat : 0;
        found[item] =
            lt_store_scale(block, launch, regular.scope_elems, item, stat, false, dst_scales);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (is_held) {
        const uint scope = lt_scope_of(launch, col);
        __global uchar *out = lt_block_out(dst, block, launch, 0, col);
        if (is_plain && lt_is_finite(greatest)) {
            lt_store_finite(out, &held, found[scope].y);
        } else {
            lt_store_any(out, src, src_scales, launch, lt_scale_found(found[scope]), elem, report);
        }
    }
}

#endif
