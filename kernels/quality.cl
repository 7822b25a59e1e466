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

/* Adds a magnitude below 2^48 in units of 2^(at - 352), in pieces of 16 bits. */
void lt_spill(__local int *words, ulong number, uint at, bool is_negative) {
    ulong left = number << at % 16;
    for (uint i = at / 16; left != 0; i++, left >>= 16) {
        const int piece = (int)(left & 0xffff);
        (void)atomic_add(&words[i], is_negative ? -piece : piece);
    }
}

/* A work-item's part of a sum: a window of LT_WINDOW exponents, from that of the bits `base` on, in
 * units of its first one. What lies outside goes into local memory at once. */
typedef struct lt_window {
    long sum;
    uint base;
} lt_window;

/* With 24 bits and 64 elements a sum stays below 2^61. */
#define LT_WINDOW 31

/* What F32's exponent says above a term's `at`. */
#define LT_TERM_AT 202

/* The least window: numbers whose products F32 rounds like any others. */
#define LT_LEAST_BASE 0x01000000u

/* The greatest one: infinity is outside. */
#define LT_MOST_BASE ((255u - LT_WINDOW) << 23)

void lt_spill_window(__local int *words, const lt_window *window) {
    const bool is_negative = window->sum < 0;
    const ulong left = is_negative ? (ulong)-window->sum : (ulong)window->sum;
    const uint at = (window->base >> 23) + LT_TERM_AT;
    lt_spill(words, left & 0xffffffff, at, is_negative);
    lt_spill(words, left >> 32, at + 32, is_negative);
}

/* Adds what F32 makes of four products, those of magnitudes a and b, whose bits are given; the
 * upper bits of `signs` are theirs. */
void lt_add_products(lt_window *window, __local int *words, uint4 bits, uint4 signs, uint4 a,
                     uint4 b) {
    const uint reach = (uint)LT_WINDOW << 23;
    uint4 above = bits - window->base;
    if (any(above >= reach && bits != 0) || any(bits == 0 && min(a, b) != 0)) {
        const uint4 high = max(bits, (uint4)(bits.w, bits.x, bits.y, bits.z));
        const uint greatest = max(high.x, high.z);
        if (greatest < LT_INFINITY && greatest >= window->base + reach) {
            /* With some room above. */
            lt_spill_window(words, window);
            window->base = min((greatest & LT_INFINITY) - (22u << 23), LT_MOST_BASE);
            window->sum = 0;
            above = bits - window->base;
        }
        const uint bit[4] = {bits.x, bits.y, bits.z, bits.w};
        const uint sign[4] = {signs.x, signs.y, signs.z, signs.w};
        const uint as[4] = {a.x, a.y, a.z, a.w};
        const uint bs[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
        for (uint i = 0; i < 4; i++) {
            if (bit[i] - window->base >= reach) {
                const lt_term term = lt_exact_product(as[i], bs[i]);
                lt_spill(words, term.whole, term.at, sign[i] >> 31 != 0);
            }
        }
    }
    /* Those outside, and 0, are 0 here. */
    const uint4 whole = LT_SELECT(above < reach, (bits & 0x7fffff) | 0x800000, (uint4)(0));
    const int4 terms = as_int4((whole ^ -(signs >> 31)) + (signs >> 31));
    const int4 units = (int4)(1) << as_int4(above >> 23 & 31);
    window->sum += (long)terms.x * units.x;
    window->sum += (long)terms.y * units.y;
    window->sum += (long)terms.z * units.z;
    window->sum += (long)terms.w * units.w;
}

/* Counts of a work-item. */
typedef struct lt_counts {
    uint n_zero;
    uint n_nonfinite;
    uint n_saturated;
    uint max_error;
} lt_counts;

/* Counts pairs of values of which one is not finite, and makes them zeros; likewise what is beyond
 * the first n_elems. */
void lt_take_out(float4 *x, float4 *y, uint n_elems, float4 limit, lt_counts *counts) {
    const float limits[4] = {limit.x, limit.y, limit.z, limit.w};
    float xs[4] = {x->x, x->y, x->z, x->w};
    float ys[4] = {y->x, y->y, y->z, y->w};
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        const uint a = as_uint(xs[i]) & LT_MAGNITUDE;
        const uint b = as_uint(ys[i]) & LT_MAGNITUDE;
        if (i < n_elems && max(a, b) < LT_INFINITY) {
            continue;
        }
        if (i < n_elems) {
            const bool are_same = min(a, b) > LT_INFINITY || as_uint(xs[i]) == as_uint(ys[i]);
            counts->n_nonfinite += are_same ? 0 : 1;
            counts->n_saturated += max(a, b) == LT_INFINITY && fabs(xs[i]) > limits[i] &&
                                   fabs(ys[i]) >= limits[i] && a != b;
            counts->n_zero += b == 0;
        }
        counts->n_zero--; /* as which it will be counted */
        xs[i] = 0;
        ys[i] = 0;
    }
    *x = (float4)(xs[0], xs[1], xs[2], xs[3]);
    *y = (float4)(ys[0], ys[1], ys[2], ys[3]);
}

uint lt_sum4(uint4 x) {
    return (x.x + x.y) + (x.z + x.w);
}

/* Adds four pairs of values, of which there are n_elems. */
void lt_measure_four(float4 x, float4 y, uint n_elems, float4 limit, lt_counts *counts,
                     lt_window *sums, __local int *words) {
    uint4 a = as_uint4(x) & LT_MAGNITUDE;
    uint4 b = as_uint4(y) & LT_MAGNITUDE;
    if (n_elems < 4 || any(max(a, b) >= LT_INFINITY)) {
        lt_take_out(&x, &y, n_elems, limit, counts);
        a = as_uint4(x) & LT_MAGNITUDE;
        b = as_uint4(y) & LT_MAGNITUDE;
    }
    counts->n_zero += lt_sum4(LT_SELECT(b == 0, (uint4)(1), (uint4)(0)));
    counts->n_saturated += lt_sum4(LT_SELECT(fabs(y) >= limit && a > b, (uint4)(1), (uint4)(0)));
    const float4 difference = x - y;
    uint4 error = as_uint4(difference) & LT_MAGNITUDE;
    if (any(error >= LT_INFINITY)) {
        const uint4 half_error = as_uint4(0.5f * x - 0.5f * y) & LT_MAGNITUDE;
        error = LT_SELECT(error >= LT_INFINITY, half_error + 0x00800000, error);
    }
    const uint2 most = max(error.lo, error.hi);
    counts->max_error = max(counts->max_error, max(most.x, most.y));
    const uint4 none = (uint4)(0);
    lt_add_products(&sums[0], words, as_uint4(x * x), none, a, a);
    lt_add_products(&sums[1], words + LATHE_CL_SUM_DIGITS, as_uint4(y * y), none, b, b);
    lt_add_products(&sums[2], words + 2 * LATHE_CL_SUM_DIGITS, as_uint4(x * y) & LT_MAGNITUDE,
                    as_uint4(x) ^ as_uint4(y), a, b);
    lt_add_products(&sums[3], words + 3 * LATHE_CL_SUM_DIGITS, as_uint4(difference * difference),
                    none, error, error);
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

/* Neighbours spill into copies of their own, because what has to wait is additions to one word. */
#define LT_COPIES 8
#define LT_COPY_WORDS (LATHE_CL_EXACT_SUMS * LATHE_CL_SUM_DIGITS + 1)

/* Adds the copies up in the first one. */
void lt_join_copies(__local int *words, uint item) {
    for (uint i = item; i < LATHE_CL_EXACT_SUMS * LATHE_CL_SUM_DIGITS; i += LT_GROUP) {
        int sum = 0;
        for (uint copy = 0; copy < LT_COPIES; copy++) {
            sum += words[copy * LT_COPY_WORDS + i];
        }
        words[i] = sum;
    }
}

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_measure_pairs(__global const uchar *restrict src, __global const float *restrict src_scales,
                    __global const uchar *restrict dst, __global const float *restrict dst_scales,
                    __global uint *found, lathe_launch launch, lathe_measure measure) {
    __local int words[LT_COPIES * LT_COPY_WORDS];
    __local uint totals[LATHE_CL_EXACT_AT];
    const uint item = (uint)get_local_id(0);
    const uint first = (uint)get_group_id(0) * (LT_GROUP * LATHE_CL_MEASURE_STEPS) + 4 * item;
    const uint n_elems = (uint)measure.n_elems;
    const uint from = (uint)measure.src_dtype;
    const uint to = (uint)measure.dst_dtype;
    const bool src_is_vector = (launch.flags & LATHE_CL_SRC_VECTOR) != 0;
    const bool dst_is_vector = (launch.flags & LATHE_CL_DST_VECTOR) != 0;
    const float limit = as_float((uint)measure.limit);
    __local int *mine = words + item % LT_COPIES * LT_COPY_WORDS;
    lt_counts counts = {0, 0, 0, 0};
    lt_window sums[LATHE_CL_EXACT_SUMS];
#pragma unroll
    for (uint i = 0; i < LATHE_CL_EXACT_SUMS; i++) {
        sums[i].sum = 0;
        sums[i].base = LT_LEAST_BASE;
    }
    for (uint i = item; i < LT_COPIES * LT_COPY_WORDS; i += LT_GROUP) {
        words[i] = 0;
    }
    if (item < LATHE_CL_EXACT_AT) {
        totals[item] = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    const uint end = min(n_elems, first + LATHE_CL_MEASURE_STEPS * LT_GROUP);
    for (uint elem = first; elem < end; elem += 4 * LT_GROUP) {
        const uint left = n_elems - elem;
        const float4 x =
            lt_values_at(&launch.src, from, src, src_scales, elem, left, src_is_vector);
        const float4 y = lt_values_at(&launch.dst, to, dst, dst_scales, elem, left, dst_is_vector);
        const float4 scale = lt_scales_at(&launch.dst, to, dst_scales, elem, left, dst_is_vector);
        lt_measure_four(x, y, left, limit * scale, &counts, sums, mine);
    }
#pragma unroll
    for (uint i = 0; i < LATHE_CL_EXACT_SUMS; i++) {
        lt_spill_window(mine + i * LATHE_CL_SUM_DIGITS, &sums[i]);
    }
    (void)atomic_add(&totals[LATHE_CL_N_ZERO], counts.n_zero);
    (void)atomic_add(&totals[LATHE_CL_N_NONFINITE], counts.n_nonfinite);
    (void)atomic_add(&totals[LATHE_CL_N_SATURATED], counts.n_saturated);
    (void)atomic_max(&totals[LATHE_CL_MAX_ERROR], counts.max_error);
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_join_copies(words, item);
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
