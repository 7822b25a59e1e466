/* SPDX-License-Identifier: Apache-2.0 */
/* The plain kernel's scales from a sum: elements go through local memory as they come, where
 * work-items find those of a lane, and BITNET158's twenties. */
#include "plain_max.cl"

#if LT_HAS_ROWS && LT_IS_MEAN

/* Rows of lanes that a work-item loads at once. */
#define LT_LONG_STEPS 16

/* Registers decide how many blocks are on their way: with two rows of a short scope at a time,
 * NVIDIA's compiler takes 31 in place of 39 from F16 to BITNET158, but I1 loses by it (groups: 0.97
 * of a copy's speed in place of 1.03). */
#define LT_PAIRS_ROWS (LT_SRC != LATHE_CL_F32 && LT_DST == LATHE_CL_BITNET158)

/* Four elements of the source. */
#if LT_SRC == LATHE_CL_F32
typedef float4 lt_cell;
#else
typedef uint2 lt_cell;
#endif

float4 lt_cell_floats(lt_cell cell) {
#if LT_SRC == LATHE_CL_F32
    return cell;
#else
    return lt_decode4(cell, 0, 1);
#endif
}

/* 16 bits lose their signs before: afterwards F16 is converted back for that, and BF16 takes more
 * registers. */
float4 lt_cell_magnitudes(lt_cell cell) {
#if LT_SRC != LATHE_CL_F32
    return lt_cell_floats(cell & 0x7fff7fff);
#else
    return fabs(lt_cell_floats(cell));
#endif
}

/* Two elements that follow each other. */
#if LT_SRC == LATHE_CL_F32
typedef float2 lt_two;
#else
typedef uint lt_two;
#endif

float2 lt_two_magnitudes(lt_two two) {
#if LT_SRC == LATHE_CL_F32
    return fabs(two);
#else
    return lt_cell_magnitudes((uint2)(two, 0)).xy;
#endif
}

/* Shorter scopes have their lanes added up by four work-items, of four times four lanes each;
 * longer ones, of which a block has few, by 32, of two lanes each. */
#define LT_PLAIN_LONG 512

/* Short scopes that are added up at once, and the fours of floats that each leaves: four, and one
 * of padding. */
#define LT_AT_ONCE 32
#define LT_SHORT_FOURS 5

/* The most long scopes in a block, all of whose lanes lie behind what they leave in the end. */
#define LT_PLAIN_LONGS (LATHE_CL_BLOCK_ELEMS / LT_PLAIN_LONG)
#define LT_LONG_FOURS (LATHE_STAT_LANES / 4)
#define LT_LANE_FOURS (LT_PLAIN_LONGS * (LT_SHORT_FOURS + LT_LONG_FOURS))

/* What BITNET158's digits are found with. */
#if LT_SRC == LATHE_CL_F32
typedef float2 lt_cut;
#else
typedef uint lt_cut;
#endif

typedef struct lt_plain_memory {
    uint4 x[LT_BLOCK_QUADS + 1]; /* BITNET158's last unit ends in the one behind */
    float4 lanes[LT_LANE_FOURS];
#if LT_DST == LATHE_CL_BITNET158
    lt_cut cuts[LATHE_CL_BLOCK_SCOPES];
#else
    uchar bits[LT_BLOCK_QUADS];
#endif
    uint is_odd;
} lt_plain_memory;

/* Leaves all lanes of long scopes. */
void lt_sum_long(const lt_plain *plain, uint item, uint n_items, __local const uint4 *x,
                 __local float4 *lanes) {
    for (uint task = item; task < 32 * plain->n_scopes; task += n_items) {
        const uint begin = task / 32 * plain->scope_elems;
        const uint n_elems = min(plain->scope_elems, plain->n_cols - begin);
        __local const lt_two *mine = (__local const lt_two *)x + begin / 2 + task % 32;
        float2 sums = (float2)(0.0f);
        uint rows = n_elems / LATHE_STAT_LANES;
        for (; rows >= LT_LONG_STEPS; rows -= LT_LONG_STEPS) {
#pragma unroll
            for (uint k = 0; k < LT_LONG_STEPS; k++) {
                sums += lt_two_magnitudes(mine[32 * k]);
            }
            mine += 32 * LT_LONG_STEPS;
        }
#if LT_PAIRS_ROWS
#pragma unroll 2
#else
#pragma unroll 1
#endif
        for (; rows > 0; rows--) {
            sums += lt_two_magnitudes(*mine);
            mine += 32;
        }
        if (n_elems % LATHE_STAT_LANES != 0 && task % 32 < 16) { /* 32 elements more */
            sums += lt_two_magnitudes(*mine);
        }
        ((__local float2 *)lanes)[task] = sums;
    }
}

/* Folds 64 lanes to sixteen. */
void lt_fold_to_sixteen(const lt_plain *plain, uint item, __local const float4 *all,
                        __local float4 *lanes) {
    if (item < 4 * plain->n_scopes) {
        __local const float4 *mine = all + item / 4 * LT_LONG_FOURS + item % 4;
        lanes[item / 4 * LT_SHORT_FOURS + item % 4] = (mine[0] + mine[8]) + (mine[4] + mine[12]);
    }
}

/* Leaves sixteen lanes of short scopes, from scope `first` on. Work-items of scopes that follow
 * each other begin at different sixteens, which lie on different banks: the order of two does not
 * matter to a sum. Lanes without elements are 0, which changes none. */
void lt_sum_short(const lt_plain *plain, uint first, uint item, __local const lt_cell *x,
                  __local float4 *lanes) {
    const uint scope = first + item / 4;
    const uint begin = scope * plain->scope_elems;
    if (item >= 4 * LT_AT_ONCE || begin >= plain->n_cols) {
        return;
    }
    const uint n_elems = min(plain->scope_elems, plain->n_cols - begin);
    __local const lt_cell *mine = x + begin / 4 + item % 4;
    float4 sum = (float4)(0.0f);
#pragma unroll
    for (uint k = 0; k < 2; k++) {
        const uint sixteen = (k + scope) % 4;
        __local const lt_cell *one = mine + 4 * sixteen;
        __local const lt_cell *other = mine + 4 * (sixteen ^ 2);
        float4 ones = (float4)(0.0f);
        float4 others = (float4)(0.0f);
        uint left = n_elems;
#if LT_PAIRS_ROWS
#pragma unroll 2
#else
#pragma unroll 1
#endif
        for (; left >= LATHE_STAT_LANES; left -= LATHE_STAT_LANES) {
            ones += lt_cell_magnitudes(*one);
            others += lt_cell_magnitudes(*other);
            one += LATHE_STAT_LANES / 4;
            other += LATHE_STAT_LANES / 4;
        }
        if (left > 0) { /* 32 elements more, in the first two sixteens */
            if (sixteen < 2) {
                ones += lt_cell_magnitudes(*one);
            } else {
                others += lt_cell_magnitudes(*other);
            }
        }
        sum += ones + others;
    }
    lanes[item / 4 * LT_SHORT_FOURS + item % 4] = sum;
}

float lt_fold_lanes16(__local const float4 *lanes) {
    const float4 four = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
    const float2 two = four.lo + four.hi;
    return two.x + two.y;
}

#if LT_DST == LATHE_CL_I1

void lt_keep_scale(const lt_plain *plain, uint scope, float stat, __local lt_plain_memory *memory) {
    const uint col = scope * plain->scope_elems;
    const float scale = lt_plain_scale(stat, min(plain->scope_elems, plain->n_cols - col));
    plain->scales[scope] = scale;
    if (lt_is_odd_stat(stat)) {
        memory->is_odd = 1;
    }
}

/* Elements of a quad that are less than 0, a bit each. -0 is not: no other number loses its sign
 * with 1 less. */
uint lt_minus_bits(uint4 raw) {
#if LT_SRC == LATHE_CL_F32
    const uint4 minus = (raw & (raw - 1)) >> 31;
    return minus.x | minus.y << 1 | minus.z << 2 | minus.w << 3;
#else
    /* In the upper bits of the words' halves. */
    const uint4 minus = raw & ((raw & 0x7fff7fff) + 0x7fff7fff) & 0x80008000;
    const uint both = minus.x >> 15 | minus.y >> 13 | minus.z >> 11 | minus.w >> 9;
    return (both | both >> 15) & 0xff;
#endif
}

/* Stores a row's or a block's bits from those of its quads, of which each has a byte. */
void lt_store_bits(const lt_plain *plain, uint item, uint n_items, __local const uchar *bits) {
    for (uint i = item; 32 * i < plain->n_cols; i += n_items) {
#if LT_SRC == LATHE_CL_F32
        const uint2 eight = ((__local const uint2 *)bits)[i];
        const uint2 bytes = eight | eight >> 4;
        const uint2 halves = (bytes & 0xff) | (bytes >> 8 & 0xff00);
        const uint minus = halves.x | halves.y << 16;
#else
        const uint minus = ((__local const uint *)bits)[i];
#endif
        ((__global uint *)plain->out)[i] = ~minus;
    }
}

void lt_encode_plain(const lathe_launch *launch, const lt_plain *plain, uint item,
                     __local const lt_plain_memory *memory) {
    lt_store_bits(plain, item, LT_ITEMS, memory->bits);
}

#else

#if LT_SRC == LATHE_CL_F32

float4 lt_cut_to_1(float4 x) {
    return fmin(fmax(x, 0.0f), 1.0f);
}

/* A digit is how many of the bounds on either side an element has reached: its distance from the
 * number before them, times a power of two that makes the next one's 1, and cut to between 0 and 1.
 * No step of that rounds where it matters. */
lt_cut lt_cut_of(float scale) {
    const uint before = lt_least_of_code_1(scale) - 1;
    const float factor = as_float((2 * 127 + 23 + 1 - 1 - (before >> 23)) << 23);
    return (float2)(factor, as_float(before) * factor);
}

/* A digit is a code plus 1: in the low byte of the result, of which the rest is anything. */
uint4 lt_digits_of(lt_cell cell, lt_cut cut) {
    const float4 upper = lt_cut_to_1(mad(cell, cut.x, -cut.y));
    const float4 lower = lt_cut_to_1(mad(cell, cut.x, cut.y + 1.0f));
    return as_uint4((upper + 0x1p23f) + lower);
}

/* Digits of a quad, a byte for each: three of them at once in a number. */
typedef uint lt_quad_digits;

uint lt_digits_of_quad(uint4 raw, lt_cut cut) {
    const float4 x = as_float4(raw);
    const float4 upper = lt_cut_to_1(mad(x, cut.x, -cut.y));
    const float4 lower = lt_cut_to_1(mad(x, cut.x, cut.y + 1.0f));
    const float second = mad(upper.y, 0x1p8f, (upper.x + 0x1p23f) + lower.x);
    const float third = mad(upper.z, 0x1p16f, mad(lower.y, 0x1p8f, second));
    const uint three = as_uint(mad(lower.z, 0x1p16f, third));
    const uint fourth = as_uint((upper.w + 0x1p23f) + lower.w);
    return (three & 0xffffff) | fourth << 24;
}

/* In the low byte. */
uint lt_byte_of_digits(uint4 four, uint fifth) {
    return (((fifth * 3 + four.w) * 3 + four.z) * 3 + four.y) * 3 + four.x;
}

#else

lt_cut lt_cut_of(float scale) {
    return lt_rest_to(lt_least_elem(scale));
}

/* Digits are codes plus 1. */
uint lt_digits_of_bits(uint2 raw, uint2 reaches) {
    const uint not_0 = lt_high_bits4(reaches);
    return (~not_0 & 0x01010101) | (not_0 & ~lt_high_bits4(raw) & 0x02020202);
}

/* Of four numbers. */
uint lt_number_digits4(uint2 raw, uint rest) {
    return lt_digits_of_bits(raw, (raw & 0x7fff7fff) + rest);
}

typedef uint2 lt_quad_digits;

uint2 lt_digits_of_quad(uint4 raw, uint rest) {
    return (uint2)(lt_number_digits4(raw.lo, rest), lt_number_digits4(raw.hi, rest));
}

#endif

void lt_keep_scale(const lt_plain *plain, uint scope, float stat, __local lt_plain_memory *memory) {
    const uint col = scope * plain->scope_elems;
    const float scale = lt_plain_scale(stat, min(plain->scope_elems, plain->n_cols - col));
    plain->scales[scope] = scale;
    if (lt_is_odd_stat(stat)) {
        memory->is_odd = 1;
    }
    memory->cuts[scope] = lt_cut_of(scale);
}

/* Digits as bytes in local memory: behind LT_DIGITS_LEAD zeros, and with some 1s behind them. */
#define LT_DIGITS_LEAD 16
#define LT_DIGITS_BEHIND 32

/* Those of a block. */
typedef struct lt_digits {
    uint2 lead[LT_DIGITS_LEAD / 8];
    lt_quad_digits quads[LT_BLOCK_QUADS];
    uint2 behind[LT_DIGITS_BEHIND / 8];
} lt_digits;

/* Sets what lies around them, by one work-item. */
void lt_frame_digits(__local lt_digits *digits) {
    digits->lead[0] = digits->lead[1] = (uint2)(0);
    digits->behind[0] = (uint2)(0x01010101);
}

/* Stores the bytes of n_cols digits by n_items work-items: whole words wherever `out` lies, and
 * single bytes at either end. */
void lt_store_digits(__global uchar *out, uint n_cols, uint item, uint n_items,
                     __local const uint *digits) {
    const uint skew = (uint)(size_t)out & 3;
    const uint end = (n_cols + 4) / 5 + skew;
    __global uint *words = (__global uint *)(out - skew);
    for (uint at = 4 * item; at < end; at += 4 * n_items) {
        const uint first = LT_DIGITS_LEAD + 5 * at - 5 * skew;
        __local const uint *mine = digits + first / 4;
        uint fours[5];
        if (skew == 0) {
#pragma unroll
            for (uint k = 0; k < 5; k++) {
                fours[k] = mine[k];
            }
        } else {
#pragma unroll
            for (uint k = 0; k < 5; k++) {
                fours[k] = (uint)(upsample(mine[k + 1], mine[k]) >> first % 4 * 8);
            }
        }
        const uint bytes = lt_pack_trits(fours[0], fours[1], fours[2], fours[3], fours[4]);
        if (at >= skew && at + 4 <= end) {
            words[at / 4] = bytes;
        } else {
            for (uint i = 0; i < 4; i++) {
                if (at + i >= skew && at + i < end) {
                    out[at + i - skew] = (uchar)(bytes >> 8 * i);
                }
            }
        }
    }
}

/* The bytes of a unit, whose fours from column `next` on are of the second scope. */
uint lt_unit_bytes(__local const lt_cell *cells, uint col, uint next, lt_cut first, lt_cut second) {
#if LT_SRC == LATHE_CL_F32
    uint4 digits[5];
#pragma unroll
    for (uint k = 0; k < 5; k++) {
        digits[k] = lt_digits_of(cells[k], col + 4 * k < next ? first : second);
    }
    const uint a = lt_byte_of_digits(digits[0], digits[1].x);
    const uint b = lt_byte_of_digits((uint4)(digits[1].yzw, digits[2].x), digits[2].y);
    const uint c = lt_byte_of_digits((uint4)(digits[2].zw, digits[3].xy), digits[3].z);
    const uint d = lt_byte_of_digits((uint4)(digits[3].w, digits[4].xyz), digits[4].w);
    return (a & 0xff) | (b & 0xff) << 8 | (c & 0xff) << 16 | d << 24;
#else
    uint digits[5];
#pragma unroll
    for (uint k = 0; k < 5; k++) {
        digits[k] = lt_number_digits4(cells[k], col + 4 * k < next ? first : second);
    }
    return lt_pack_trits(digits[0], digits[1], digits[2], digits[3], digits[4]);
#endif
}

/* A unit's bytes, of which the last one in a row has fewer. */
void lt_store_unit_bytes(__global uchar *out, uint bytes, uint n_elems) {
    if (n_elems >= 16 && ((size_t)out & 3) == 0) {
        *(__global uint *)out = bytes;
    } else if (n_elems >= 16) {
        vstore4(as_uchar4(bytes), 0, out);
    } else {
        lt_store_bytes(out, bytes, min((n_elems + 4) / 5, 4u));
    }
}

/* Rows that share a block have a mark each, by whoever has stored the scale. All of them are done
 * anew: the last unit of a row has looked at the next one, which may be no number. */
void lt_leave_marks(const lt_plain *plain, uint item, __local const lt_plain_memory *memory) {
    if (memory->is_odd != 0 && item < LT_AT_ONCE) {
        for (uint scope = item; scope < plain->n_scopes; scope += LT_AT_ONCE) {
            plain->scales[scope] = as_float(LT_MARK);
        }
    }
}

/* Rows that share a block, though their bytes do not: units begin with each. What lies behind a row
 * counts as 0. */
void lt_encode_apart(const lathe_launch *launch, const lt_plain *plain, uint item,
                     __local const lt_plain_memory *memory) {
    const uint n_units = (uint)launch->row_outputs.by;
    for (uint at = item; at < n_units * plain->n_scopes; at += LT_ITEMS) {
        const uint row = lt_div_32(at, &launch->row_outputs);
        const uint col = LT_UNIT * (at - row * n_units);
        __local const lt_cell *cells =
            (__local const lt_cell *)memory->x + (row * plain->scope_elems + col) / 4;
        const uint bytes =
            lt_unit_bytes(cells, col, plain->scope_elems, memory->cuts[row], (lt_cut)(0));
        lt_store_unit_bytes(plain->out + row * (uint)launch->dst.row_bytes + col / 5, bytes,
                            plain->scope_elems - col);
    }
}

void lt_encode_plain(const lathe_launch *launch, const lt_plain *plain, uint item,
                     __local const lt_plain_memory *memory) {
    if ((launch->flags & LATHE_CL_ROWS) != 0) {
        lt_leave_marks(plain, item, memory);
        lt_encode_apart(launch, plain, item, memory);
        return;
    }
    for (uint col = LT_UNIT * item; col < plain->n_cols; col += LT_UNIT * LT_ITEMS) {
        __local const lt_cell *cells = (__local const lt_cell *)memory->x + col / 4;
        uint bytes;
        if (plain->n_scopes == 1) {
            const lt_cut cut = memory->cuts[0];
            bytes = lt_unit_bytes(cells, 0, LT_UNIT, cut, cut);
        } else {
            const uint scope = lt_plain_scope(launch, plain, col);
            bytes = lt_unit_bytes(cells, col, (scope + 1) * plain->scope_elems, memory->cuts[scope],
                                  memory->cuts[min(scope + 1, plain->n_scopes - 1)]);
        }
        lt_store_unit_bytes(plain->out + col / 5, bytes, plain->n_cols - col);
    }
}

#endif

void lt_plain_block(const lathe_launch *launch, const lt_plain *plain, uint item,
                    __local lt_plain_memory *memory) {
    const bool is_long = plain->scope_elems >= LT_PLAIN_LONG;
    __local float4 *all = memory->lanes + LT_PLAIN_LONGS * LT_SHORT_FOURS;
    uint4 raw[LT_QUADS];

    if (item == 0) {
        memory->is_odd = 0;
        memory->x[LT_BLOCK_QUADS] = (uint4)(0);
    }
    lt_load_quads(raw, plain, item);
#pragma unroll
    for (uint i = 0; i < LT_QUADS; i++) {
        const uint at = item + i * LT_ITEMS;
        memory->x[at] = raw[i];
#if LT_DST == LATHE_CL_I1
        memory->bits[at] = (uchar)lt_minus_bits(raw[i]);
#endif
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (is_long) {
        lt_sum_long(plain, item, LT_ITEMS, memory->x, all);
    }
    /* Not in the branch: POCL takes what follows a barrier in a branch for one way of all items. */
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint first = 0; first < plain->n_scopes; first += LT_AT_ONCE) {
        if (is_long) {
            lt_fold_to_sixteen(plain, item, all, memory->lanes);
        } else {
            lt_sum_short(plain, first, item, (__local const lt_cell *)memory->x, memory->lanes);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < LT_AT_ONCE && first + item < plain->n_scopes) {
            lt_keep_scale(plain, first + item,
                          lt_fold_lanes16(memory->lanes + item * LT_SHORT_FOURS), memory);
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    lt_leave_mark(plain, item, &memory->is_odd);
    lt_encode_plain(launch, plain, item, memory);
}

#endif
