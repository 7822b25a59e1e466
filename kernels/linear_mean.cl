/* SPDX-License-Identifier: Apache-2.0 */
/* Scales from a sum, for the linear kernel: elements go through local memory, where work-items find
 * those of a lane. What is odd (a sum that is not finite) or asked for on top (strict mode, a
 * survey) is left to the slower functions of block.cl, a block at a time. */
#include "linear_max.cl"

#if LT_HAS_LINEAR && LT_IS_MEAN

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

/* Adds up the lanes of short scopes, which begin at multiples of 32, or of 16 where there is no
 * padding. Lanes without elements are 0, which changes no sum. */
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
