/* SPDX-License-Identifier: Apache-2.0 */
/* What a quality report is made of: sums over the values of a source and its result that do not
 * depend on the order (docs/numerics.md, "Sums without an order"), and counts. Whole numbers of 32
 * bits are all that work-items share. Only programs with LT_MEASURE have it. */
#include "histogram.cl"

#ifdef LT_MEASURE

/* A term, 24 bits or 2^24, in units of 2^(at - 352). */
typedef struct lt_term {
    uint whole;
    uint at;
} lt_term;

/* The product of two magnitudes, which are bits, rounded to 24 significant ones. An exponent may be
 * one more than the greatest float's. */
lt_term lt_exact_product(uint a, uint b) {
    const uint a_exponent = max(a >> 23, 1u);
    const uint b_exponent = max(b >> 23, 1u);
    const ulong product = (ulong)((a & 0x7fffff) | (a >> 23 != 0 ? 0x800000 : 0)) *
                          ((b & 0x7fffff) | (b >> 23 != 0 ? 0x800000 : 0));
    const uint shift = (uint)max(40 - (int)clz(product), 0);
    const ulong rounded =
        shift == 0 ? product
                   : (product + ((1UL << (shift - 1)) - 1) + (product >> shift & 1)) >> shift;
    const lt_term term = {(uint)rounded, shift + a_exponent + b_exponent + 52};
    return term;
}

/* The same, given what F32 makes of it: where that is well inside F32's range it is the term. */
lt_term lt_term_of(float product, uint a, uint b) {
    const uint bits = as_uint(product) & LT_MAGNITUDE;
    if (bits - 0x00800001u < LT_INFINITY - 0x00800001u) {
        const lt_term term = {(bits & 0x7fffff) | 0x800000, (bits >> 23) + 202};
        return term;
    }
    return lt_exact_product(a, b);
}

/* A work-item's part of a sum: three consecutive digits to the base 2^32, which hold most of its
 * terms, and for a few tens of them do not overflow. The rest goes into local memory at once. */
typedef struct lt_digits {
    long low;
    long middle;
    long high;
    int first; /* digit; below 0: there is none yet */
} lt_digits;

#define LT_NO_DIGITS (-100)

/* Adds a number in units of a digit, in pieces of 16 bits. */
void lt_spill(__local int *words, int digit, long number) {
    const bool is_negative = number < 0;
    ulong left = is_negative ? (ulong)-number : (ulong)number;
    for (int i = 2 * digit; left != 0; i++, left >>= 16) {
        const int piece = (int)(left & 0xffff);
        (void)atomic_add(&words[i], is_negative ? -piece : piece);
    }
}

void lt_add_term(lt_digits *sum, __local int *words, lt_term term, bool is_negative) {
    const int digit = (int)(term.at >> 5);
    const long shifted = (long)((ulong)term.whole << (term.at & 31));
    const long number = is_negative ? -shifted : shifted;
    if (sum->first < 0 && term.whole != 0) {
        sum->first = max(digit - 1, 0);
    }
    const int place = digit - sum->first;
    sum->low += place == 0 ? number : 0;
    sum->middle += place == 1 ? number : 0;
    sum->high += place == 2 ? number : 0;
    if ((uint)place > 2 && term.whole != 0) {
        lt_spill(words, digit, number);
    }
}

void lt_spill_digits(__local int *words, const lt_digits *sum) {
    if (sum->first >= 0) {
        lt_spill(words, sum->first, sum->low);
        lt_spill(words, sum->first + 1, sum->middle);
        lt_spill(words, sum->first + 2, sum->high);
    }
}

/* Counts of a work-item. */
typedef struct lt_counts {
    uint n_zero;
    uint n_nonfinite;
    uint n_saturated;
    uint max_error;
} lt_counts;

/* Adds a pair of values. */
void lt_measure_pair(float x, float y, float limit, lt_counts *counts, lt_digits *sums,
                     __local int *words) {
    const uint x_bits = as_uint(x) & LT_MAGNITUDE;
    const uint y_bits = as_uint(y) & LT_MAGNITUDE;
    counts->n_zero += y_bits == 0;
    counts->n_saturated +=
        x_bits <= LT_INFINITY && y_bits <= LT_INFINITY && fabs(x) > limit && fabs(y) >= limit &&
        (x_bits > y_bits || (y_bits == LT_INFINITY && x_bits != LT_INFINITY));
    if (max(x_bits, y_bits) >= LT_INFINITY) {
        const bool are_same =
            min(x_bits, y_bits) > LT_INFINITY || as_uint(x) == as_uint(y);
        counts->n_nonfinite += are_same ? 0 : 1;
        return;
    }
    const float difference = x - y;
    uint error = as_uint(difference) & LT_MAGNITUDE;
    if (error >= LT_INFINITY) {
        error = (as_uint(0.5f * x - 0.5f * y) & LT_MAGNITUDE) + 0x00800000;
    }
    counts->max_error = max(counts->max_error, error);
    lt_add_term(&sums[0], words, lt_term_of(x * x, x_bits, x_bits), false);
    lt_add_term(&sums[1], words + LATHE_CL_SUM_DIGITS, lt_term_of(y * y, y_bits, y_bits), false);
    lt_add_term(&sums[2], words + 2 * LATHE_CL_SUM_DIGITS, lt_term_of(x * y, x_bits, y_bits),
                ((as_uint(x) ^ as_uint(y)) >> 31) != 0);
    lt_add_term(&sums[3], words + 3 * LATHE_CL_SUM_DIGITS,
                lt_term_of(difference * difference, error, error), false);
}

/* Adds a work-group's sum to what all have in common, with words made small: -2^15 to 2^15. */
void lt_carry_sum(__global int *sums, __local const int *words) {
    int carry = 0;
    for (uint i = 0; i < LATHE_CL_SUM_DIGITS; i++) {
        const int word = words[i];
        /* Apart, because together they may be too large. */
        const int low = (word & 0xffff) + (carry & 0xffff);
        const int part = ((low + 0x8000) & 0xffff) - 0x8000;
        carry = (word >> 16) + (carry >> 16) + ((low - part) >> 16);
        if (part != 0) {
            (void)atomic_add(&sums[i], part);
        }
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_measure_pairs(__global const uchar *restrict src, __global const float *restrict src_scales,
                    __global const uchar *restrict dst, __global const float *restrict dst_scales,
                    __global uint *found, lathe_launch launch, lathe_measure measure) {
    __local int words[LATHE_CL_EXACT_SUMS * LATHE_CL_SUM_DIGITS];
    __local uint totals[LATHE_CL_EXACT_AT];
    const uint item = (uint)get_local_id(0);
    const uint first = (uint)get_group_id(0) * (LT_GROUP * LATHE_CL_MEASURE_STEPS) + item;
    const uint from = (uint)measure.src_dtype;
    const uint to = (uint)measure.dst_dtype;
    const float limit = as_float((uint)measure.limit);
    lt_counts counts = {0, 0, 0, 0};
    lt_digits sums[LATHE_CL_EXACT_SUMS];
    for (uint i = 0; i < LATHE_CL_EXACT_SUMS; i++) {
        const lt_digits none = {0, 0, 0, LT_NO_DIGITS};
        sums[i] = none;
    }
    for (uint i = item; i < LATHE_CL_EXACT_SUMS * LATHE_CL_SUM_DIGITS; i += LT_GROUP) {
        words[i] = 0;
    }
    if (item < LATHE_CL_EXACT_AT) {
        totals[item] = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint step = 0; step < LATHE_CL_MEASURE_STEPS; step++) {
        const uint elem = first + step * LT_GROUP;
        if (elem >= measure.n_elems) {
            break;
        }
        const lt_spot at = lt_spot_of(&launch.src, elem);
        const lt_spot out = lt_spot_of(&launch.dst, elem);
        const float scale = lt_value_scale(&launch.dst, to, dst_scales, out);
        const float x = lt_value(from, src + lt_row_offset(&launch.src, at.row), at.col,
                                 lt_value_scale(&launch.src, from, src_scales, at));
        const float y = lt_value(to, dst + lt_row_offset(&launch.dst, out.row), out.col, scale);
        lt_measure_pair(x, y, limit * scale, &counts, sums, words);
    }
    for (uint i = 0; i < LATHE_CL_EXACT_SUMS; i++) {
        lt_spill_digits(words + i * LATHE_CL_SUM_DIGITS, &sums[i]);
    }
    (void)atomic_add(&totals[LATHE_CL_N_ZERO], counts.n_zero);
    (void)atomic_add(&totals[LATHE_CL_N_NONFINITE], counts.n_nonfinite);
    (void)atomic_add(&totals[LATHE_CL_N_SATURATED], counts.n_saturated);
    (void)atomic_max(&totals[LATHE_CL_MAX_ERROR], counts.max_error);
    barrier(CLK_LOCAL_MEM_FENCE);
    if (item < LATHE_CL_MAX_ERROR) {
        (void)atomic_add(&found[item], totals[item]);
    } else if (item == LATHE_CL_MAX_ERROR) {
        (void)atomic_max(&found[item], totals[item]);
    }
    if (item < LATHE_CL_EXACT_SUMS) {
        lt_carry_sum((__global int *)found + LATHE_CL_EXACT_AT + item * LATHE_CL_SUM_DIGITS,
                     words + item * LATHE_CL_SUM_DIGITS);
    }
}

#endif
