/* SPDX-License-Identifier: Apache-2.0 */
/* The linear kernel: scales of their own for regular blocks. A work-group takes a part of one row,
 * in which elements, scopes and, but for BITNET158, the target's bytes come in sixteens. What is
 * odd (a NaN, an infinity, a sum that overflows) or asked for on top (strict mode, a survey) is
 * left to the slower functions of block.cl, sixteen elements or a block at a time. */
#include "block.cl"

#define LT_HAS_LINEAR (LT_DST >= LATHE_CL_I8 && LT_GROUP == LATHE_CL_GROUP)

#if LT_HAS_LINEAR

/* What a block's scopes are like. */
typedef struct lt_regular {
    uint scope_elems; /* of a full one */
    uint n_scopes;
} lt_regular;

lt_regular lt_regular_of(const lt_block *block, const lathe_launch *launch) {
    lt_regular regular = {block->n_cols, 1};
    if (launch->dst.scale_elems.by < block->n_cols) {
        regular.scope_elems = (uint)launch->dst.scale_elems.by;
        regular.n_scopes =
            lt_div_32(block->n_cols + regular.scope_elems - 1, &launch->dst.scale_elems);
    }
    return regular;
}

/* A scope's scale as local memory holds it: one load. */
lt_scale lt_scale_found(float4 found) {
    const lt_scale made = {found.x, found.y, found.z};
    return made;
}

/* Stores a scope's scale, and returns what codes are made with. */
float4 lt_store_scale(const lt_block *block, const lathe_launch *launch, uint scope_elems,
                      uint scope, uint stat, bool is_shrunk, __global float *dst_scales) {
    const uint col = scope * scope_elems;
    const lt_spot spot = {block->row, (uint)launch->dst.first_col + block->col + col};
    const float scale = lt_scale_from_stat(stat, min(scope_elems, block->n_cols - col), is_shrunk);
    dst_scales[lt_scale_index(&launch->dst, spot)] = scale;
    const lt_scale made = lt_scale_of(scale);
    return (float4)(made.scale, made.inverse, made.bound, 0);
}

/* The scope of a column of the block: a block has whole scopes. */
uint lt_scope_of(const lathe_launch *launch, uint col) {
    return launch->dst.scale_elems.magic == 0 ? 0 : lt_div_32(col, &launch->dst.scale_elems);
}

#if LT_SRC == LATHE_CL_F32
#define LT_LOAD 4
typedef lt_raw4 lt_load;
#define lt_load_at lt_fetch4
#else
#define LT_LOAD 8
typedef lt_raw8 lt_load;
#define lt_load_at lt_fetch8
#endif

#if !LT_IS_MEAN

/* ---- a scale from the greatest magnitude: elements stay in registers, 16 side by side */

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
uint lt_fields_of(uint above, const lt_sixteen *held, uint i, float inverse) {
    const uint4 each = as_uint4(lt_held4(held, i) * inverse + LT_ROUNDING);
    above = (above << LT_FIELD) + each.w;
    above = (above << LT_FIELD) + each.z;
    above = (above << LT_FIELD) + each.y;
    return (above << LT_FIELD) + each.x;
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

#else

/* ---- a scale from a sum: elements go through local memory, where work-items find those of a lane
 */

/* Scopes of fewer elements have their 64 lanes added by four work-items, of four times four lanes
 * each; longer ones have a work-item for each lane. Both leave 16 lanes, folded twice. */
#define LT_LONG_SCOPE 512

/* Words for each scope's lanes, some of them padding: 16 lanes, and all of a long scope's. */
#define LT_LANES_16 20
#define LT_LANES_64 72

float4 lt_staged4(__local const float *x, uint at) {
    return *(__local const float4 *)(x + lt_padded(at));
}

#define LT_LOADS (16 / LT_LOAD)

/* Words of local memory from one element of a lane to its next. */
#define LT_STAT_ROW (LATHE_STAT_LANES / 32 * LT_BANK_WORDS)

/* Loads that a work-item makes one after another lie so many elements apart, and so many words of
 * local memory. */
#define LT_LOAD_STEP (LT_LOAD * LT_GROUP)
#define LT_LOAD_WORDS (LT_LOAD_STEP / 32 * LT_BANK_WORDS)

/* Puts what was loaded into local memory. */
void lt_put_load(lt_load raw, uint elem, uint src_col, float scale, ulong flags, __local float *at,
                 __global uint *report) {
#if LT_LOAD == 4
    lt_check4(raw, elem, src_col, flags, report);
    *(__local float4 *)at = lt_decode4(raw, src_col, scale);
#else
    lt_check4(LT_RAW_LOW(raw), elem, src_col, flags, report);
    lt_check4(LT_RAW_HIGH(raw), elem + 4, src_col + 4, flags, report);
    *(__local float4 *)at = lt_decode4(LT_RAW_LOW(raw), src_col, scale);
    *(__local float4 *)(at + 4) = lt_decode4(LT_RAW_HIGH(raw), src_col + 4, scale);
#endif
}

/* Work-items load what lies side by side. Floats in one row have no scales and no row to find. */
void lt_stage(const lt_block *block, __global const uchar *src, __global const float *scales,
              const lathe_launch *launch, uint item, __local float *x, __global uint *report) {
    const uint col = LT_LOAD * item;
    __local float *mine = x + lt_padded(col);
#if LT_SRC <= LATHE_CL_BF16
    if (launch->src.row_elems.by == 0) {
        __global const uchar *row = src + lt_row_offset(&launch->src, 0);
        const uint first = (uint)launch->src.first_col + block->elem + col;
        const int left = (int)(block->n_cols - col);
        lt_load raw[LT_LOADS];
#pragma unroll
        for (uint i = 0; i < LT_LOADS; i++) {
            if ((int)(i * LT_LOAD_STEP) < left) {
                raw[i] = lt_load_at(row, first + i * LT_LOAD_STEP);
            }
        }
#pragma unroll
        for (uint i = 0; i < LT_LOADS; i++) {
            if ((int)(i * LT_LOAD_STEP) < left) {
                lt_put_load(raw[i], 0, 0, 1, 0, mine + i * LT_LOAD_WORDS, report);
            }
        }
        return;
    }
#endif
    for (uint at = col; at < block->n_cols; at += LT_LOAD_STEP, mine += LT_LOAD_WORDS) {
        const lt_spot spot = lt_spot_of(&launch->src, block->elem + at);
        lt_put_load(lt_load_at(src + lt_row_offset(&launch->src, spot.row), spot.col),
                    block->elem + at, spot.col, lt_source_scale(&launch->src, scales, spot),
                    launch->flags, mine, report);
    }
}

/* Adds up the lanes of short scopes, which begin at multiples of 32. Lanes without elements are 0,
 * which changes no sum. */
void lt_add_short(const lt_block *block, const lt_regular *regular, uint item,
                  __local const float *x, __local float *lanes) {
    for (uint task = item; task < 4 * regular->n_scopes; task += LT_GROUP) {
        const uint begin = task / 4 * regular->scope_elems;
        const uint n_elems = min(regular->scope_elems, block->n_cols - begin);
        __local const float *mine = x + lt_padded(begin) + 4 * (task % 4);
        float4 sums[4] = {(float4)(0.0f), (float4)(0.0f), (float4)(0.0f), (float4)(0.0f)};
        uint left = n_elems;
        for (; left >= LATHE_STAT_LANES; left -= LATHE_STAT_LANES) {
#pragma unroll
            for (uint k = 0; k < 4; k++) {
                sums[k] +=
                    fabs(*(__local const float4 *)(mine + k % 2 * 16 + k / 2 * LT_BANK_WORDS));
            }
            mine += LT_STAT_ROW;
        }
        if (left > 0) {
#pragma unroll
            for (uint k = 0; k < 3; k++) {
                if (16 * k < left) {
                    sums[k] +=
                        fabs(*(__local const float4 *)(mine + k % 2 * 16 + k / 2 * LT_BANK_WORDS));
                }
            }
        }
        *(__local float4 *)(lanes + task / 4 * LT_LANES_16 + 4 * (task % 4)) =
            (sums[0] + sums[2]) + (sums[1] + sums[3]);
    }
}

#define LT_SUM_STEPS 8

/* Adds up the lanes of long scopes. */
void lt_add_long(const lt_block *block, const lt_regular *regular, uint item,
                 __local const float *x, __local float *all) {
    for (uint task = item; task < LATHE_STAT_LANES * regular->n_scopes; task += LT_GROUP) {
        const uint scope = task / LATHE_STAT_LANES;
        const uint lane = task % LATHE_STAT_LANES;
        const uint end = min((scope + 1) * regular->scope_elems, block->n_cols);
        uint i = scope * regular->scope_elems + lane;
        float sum = 0;
        for (; i + LATHE_STAT_LANES * (LT_SUM_STEPS - 1) < end;
             i += LATHE_STAT_LANES * LT_SUM_STEPS) {
            float each[LT_SUM_STEPS];
#pragma unroll
            for (uint k = 0; k < LT_SUM_STEPS; k++) {
                each[k] = x[lt_padded(i) + k * LT_STAT_ROW];
            }
#pragma unroll
            for (uint k = 0; k < LT_SUM_STEPS; k++) {
                sum += fabs(each[k]);
            }
        }
        for (; i < end; i += LATHE_STAT_LANES) {
            sum += fabs(x[lt_padded(i)]);
        }
        all[scope * LT_LANES_64 + lane] = sum;
    }
}

/* Folds 64 lanes to 16. */
void lt_fold_long(const lt_regular *regular, uint item, __local const float *all,
                  __local float *lanes) {
    for (uint task = item; task < 16 * regular->n_scopes; task += LT_GROUP) {
        __local const float *mine = all + task / 16 * LT_LANES_64 + task % 16;
        lanes[task / 16 * LT_LANES_16 + task % 16] = (mine[0] + mine[32]) + (mine[16] + mine[48]);
    }
}

/* Folds a scope's 16 lanes. */
uint lt_fold_lanes(uint scope, __local const float *lanes) {
    __local const float4 *mine = (__local const float4 *)(lanes + scope * LT_LANES_16);
    const float4 four = (mine[0] + mine[2]) + (mine[1] + mine[3]);
    const float2 two = four.lo + four.hi;
    return as_uint(two.x + two.y);
}

/* The scale of a scope whose sum is not finite. */
float4 lt_odd_scale(const lt_block *block, const lathe_launch *launch, const lt_regular *regular,
                    uint index, __local const float *x, __global float *dst_scales) {
    const uint col = index * regular->scope_elems;
    const lt_scope scope = {0, col, min(regular->scope_elems, block->n_cols - col)};
    uint stat = LT_INFINITY;
    bool is_shrunk = true;
    for (uint attempt = 0; attempt < 2 && !lt_is_finite(stat); attempt++) {
        uint eighths[8];
        is_shrunk = attempt > 0;
        for (uint i = 0; i < 8; i++) {
            eighths[i] = lt_scope_share(block, scope, 8, i, is_shrunk ? LATHE_STAT_SHRINK : 1.0f,
                                        launch->flags, x);
        }
        stat = lt_fold8(eighths);
    }
    return lt_store_scale(block, launch, regular->scope_elems, index, lt_is_finite(stat) ? stat : 0,
                          is_shrunk, dst_scales);
}

#if LT_DST == LATHE_CL_I1

/* Sixteen elements' bits. -0 counts as positive, by integers, because there are compilers that take
 * a sum with 0 for nothing: no other number loses its sign with 1 less. */
uint lt_finite_bits(__local const float *x, uint col) {
    uint minus = 0;
#pragma unroll
    for (int i = 3; i >= 0; i--) {
        const uint4 bits = as_uint4(lt_staged4(x, col + 4 * i));
        const uint4 four = bits & (bits - 1);
        minus = minus << 1 | four.w >> 31;
        minus = minus << 1 | four.z >> 31;
        minus = minus << 1 | four.y >> 31;
        minus = minus << 1 | four.x >> 31;
    }
    return ~minus;
}

void lt_encode_block(const lt_block *block, const lathe_launch *launch, const lt_regular *regular,
                     uint item, bool is_plain, __local const float *x, __local const float4 *found,
                     __global uchar *dst, __global uint *report) {
    const uint col = 16 * item;
    if (col >= block->n_cols) {
        return;
    }
    uint bits = 0;
    if (is_plain) {
        bits = lt_finite_bits(x, col);
    } else {
        const lt_scale scale = lt_scale_found(found[lt_scope_of(launch, col)]);
        for (uint i = 0; i < 4; i++) {
            const uint4 codes = lt_convert4(lt_staged4(x, col + 4 * i), scale,
                                            block->elem + col + 4 * i, 4, launch->flags, report);
            bits |= lt_pack4(codes, 1) << 4 * i;
        }
    }
    *(__global ushort *)lt_block_out(dst, block, launch, 0, col) = (ushort)bits;
}

#else

/* The low byte of as_uint(x + LT_ROUNDING) is x's code: floats from 2^23 on are exactly the
 * integers, and since LT_ROUNDING is even, so is what ties go to. */
#define LT_ROUNDING 0x1.8p23f

/* A digit is a code plus 1. */
#define LT_ALL_ONES (1 + 3 + 9 + 27 + 81)

/* In the low byte. */
uint lt_byte_of_codes(uint4 four, uint fifth) {
    return ((((fifth * 3 + four.w) * 3 + four.z) * 3 + four.y) * 3 + four.x) + LT_ALL_ONES;
}

uint lt_finite_trits(const lt_block *block, const lathe_launch *launch, const lt_regular *regular,
                     uint col, __local const float *x, __local const float4 *found) {
    const uint scope = lt_scope_of(launch, col);
    const uint next = (scope + 1) * regular->scope_elems;
    const float4 first = found[scope];
    const float4 second = found[min(scope + 1, regular->n_scopes - 1)];
    uint4 codes[5];
#pragma unroll
    for (uint k = 0; k < 5; k++) {
        const uint at = col + 4 * k;
        const bool is_first = at < next;
        const float inverse = is_first ? first.y : second.y;
        const float bound = is_first ? first.z : second.z;
        const float4 x4 = at < block->n_cols ? lt_staged4(x, at) : (float4)(0.0f);
        codes[k] = as_uint4(fmin(fmax(x4 * inverse, -bound), bound) + LT_ROUNDING);
    }
    const uint a = lt_byte_of_codes(codes[0], codes[1].x);
    const uint b = lt_byte_of_codes((uint4)(codes[1].yzw, codes[2].x), codes[2].y);
    const uint c = lt_byte_of_codes((uint4)(codes[2].zw, codes[3].xy), codes[3].z);
    const uint d = lt_byte_of_codes((uint4)(codes[3].w, codes[4].xyz), codes[4].w);
    return (a & 0xff) | (b & 0xff) << 8 | (c & 0xff) << 16 | d << 24;
}

uint lt_any_trits(const lt_block *block, const lathe_launch *launch, uint col,
                  __local const float *x, __local const float4 *found, __global uint *report) {
    uint trits[5];
    for (uint k = 0; k < 5; k++) {
        const uint at = col + 4 * k;
        trits[k] = 0x01010101;
        if (at < block->n_cols) {
            trits[k] = lt_trits4(lt_convert4(lt_staged4(x, at),
                                             lt_scale_found(found[lt_scope_of(launch, at)]),
                                             block->elem + at, 4, launch->flags, report));
        }
    }
    return lt_pack_trits(trits[0], trits[1], trits[2], trits[3], trits[4]);
}

void lt_encode_block(const lt_block *block, const lathe_launch *launch, const lt_regular *regular,
                     uint item, bool is_plain, __local const float *x, __local const float4 *found,
                     __global uchar *dst, __global uint *report) {
    const uint col = LT_UNIT * item;
    if (col < block->n_cols) {
        const uint bytes = is_plain ? lt_finite_trits(block, launch, regular, col, x, found)
                                    : lt_any_trits(block, launch, col, x, found, report);
        lt_store_trits(lt_block_out(dst, block, launch, 0, col), bytes, block->n_cols - col,
                       launch->flags);
    }
}

#endif

/* The most long scopes in a block. */
#define LT_LONG_SCOPES (LATHE_CL_BLOCK_ELEMS / LT_LONG_SCOPE)

/* Less than 32 KiB, which is what every device has. */
typedef struct lt_linear_memory {
    float4 x[LT_BLOCK_WORDS / 4];
    float4 lanes[LATHE_CL_BLOCK_SCOPES * LT_LANES_16 / 4]; /* long scopes': all 64 behind the 16 */
    float4 found[LATHE_CL_BLOCK_SCOPES];
    uint is_odd;
} lt_linear_memory;

void lt_linear_block(const lt_block *block, __global const uchar *src,
                     __global const float *src_scales, __global uchar *dst,
                     __global float *dst_scales, const lathe_launch *launch, uint item,
                     __local lt_linear_memory *memory, __global uint *report) {
    __local float *x = (__local float *)memory->x;
    __local float *lanes = (__local float *)memory->lanes;
    __local float *all = lanes + LT_LONG_SCOPES * LT_LANES_16;
    __local float4 *found = memory->found;
    const lt_regular regular = lt_regular_of(block, launch);

    if (item == 0) {
        memory->is_odd = 0;
    }
    lt_stage(block, src, src_scales, launch, item, x, report);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (regular.scope_elems < LT_LONG_SCOPE) {
        lt_add_short(block, &regular, item, x, lanes);
    } else {
        lt_add_long(block, &regular, item, x, all);
        barrier(CLK_LOCAL_MEM_FENCE);
        lt_fold_long(&regular, item, all, lanes);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < regular.n_scopes) {
        const uint stat = lt_fold_lanes(item, lanes);
        if (lt_is_finite(stat)) {
            found[item] =
                lt_store_scale(block, launch, regular.scope_elems, item, stat, false, dst_scales);
        } else {
            memory->is_odd = 1;
            found[item] = lt_odd_scale(block, launch, &regular, item, x, dst_scales);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (memory->is_odd != 0 && (launch->flags & LATHE_CL_NONFINITE_ERROR) != 0) {
        lt_check_block(block, item, x, report);
    }
    lt_encode_block(block, launch, &regular, item,
                    memory->is_odd == 0 &&
                        (launch->flags & (LATHE_CL_STRICT | LATHE_CL_SURVEY)) == 0,
                    x, found, dst, report);
}

#endif

/* For kernels that meet blocks of both kinds. */
typedef union lt_either_memory {
    lt_memory any;
    lt_linear_memory linear;
} lt_either_memory;

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_linear(__global const uchar *restrict src, __global const float *restrict src_scales,
             __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
             lathe_launch launch) {
    __local lt_linear_memory memory;
    const lt_block block = lt_block_of(&launch, (uint)get_group_id(0));
    lt_linear_block(&block, src, src_scales, dst, dst_scales, &launch, (uint)get_local_id(0),
                    &memory, reports + launch.report * LATHE_CL_REPORT_WORDS);
}

#elif LT_DST >= LATHE_CL_I8

/* Smaller groups than a block wants. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_linear(__global const uchar *restrict src, __global const float *restrict src_scales,
             __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
             lathe_launch launch) {
    __local lt_memory memory;
    const uint item = (uint)get_local_id(0);
    const lt_block block = lt_block_of(&launch, (uint)get_group_id(0));
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    lt_any_block(&block, src, src_scales, dst, dst_scales, &launch, item, &memory, report);
#if LT_DST == LATHE_CL_BITNET158
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_block_trits(&block, dst, &launch, item, &memory);
#endif
}

#endif
