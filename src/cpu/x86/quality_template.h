/* SPDX-License-Identifier: Apache-2.0 */
/* The quality kernels: what a report adds up, and saturated elements.
 *
 * Terms are products in F32, which rounds them as the report's terms are, and are added up as
 * doubles. That is exact as long as the factors of all terms lie close together: let the greatest
 * |x| of a block of 1024 elements be below 2^(e + 1), and count those that are at least 2^(e - 9).
 * Their squares are multiples of 2^(2 (e - 9) - 23) below 2^(2 e + 2), so that 1024 of them add up
 * to less than 2^53 such units. The same goes for y, for x - y, and for products of two of them.
 * The few elements of which x, y or x - y is closer to 0, but not 0, are taken out and added one by
 * one; a block whose products might leave the range of F32 goes to the scalar reference.
 *
 * Parameters: the file that includes this has included one of simd_*.h and defines
 *   vm                 a mask of lanes
 *   m_bits(m)          as a number, the first lane lowest
 *   m_or(a, b)
 *   m_and(a, b)
 *   m_between(x, t)    lanes with 0 < |x| < t, by bits
 *   m_above(a, b), m_reaches(a, b), m_equal(a, b)  lanes with a > b, a >= b, a == b
 *   v_drop(x, m)       x, 0 in the mask's lanes
 *   v_sub(a, b)
 *   vd, d_zero(), d_add(sums, x)  two vectors of doubles to which floats are added
 *   d_total(sums)      the sum of all lanes, which does not round */
#ifndef LT_CPU_X86_QUALITY_TEMPLATE_H
#define LT_CPU_X86_QUALITY_TEMPLATE_H

#include "core/exact_sum.h"
#include "core/quality.h"
#include "cpu/numerics.h"
#include "cpu/x86/convert_template.h"

enum {
    BLOCK_ELEMS = 1024,
    REACH = 9,     /* elements count that are at least 2^-REACH of the greatest power of 2 */
    GREATEST = 61, /* exponents of factors: no product overflows, */
    LEAST = -50,   /* nor does one become subnormal */
    EXPONENT_BIAS = 127,
    MANTISSA_BITS = 23,
};

/* What a block's elements amount to, before they are added up. */
typedef struct extent {
    uint32_t x; /* the greatest magnitudes' bits */
    uint32_t y;
    uint32_t error;
    uint64_t n_zero;
} extent;

LT_INLINE extent extent_of(const float *x, const float *y, size_t n_elems) {
    vi max_x = v_zero();
    vi max_y = v_zero();
    vi max_error = v_zero();
    uint64_t n_zero = 0;
    for (size_t i = 0; i < n_elems; i += V_FLOATS) {
        const vf a = v_load_f32(x + i);
        const vf b = v_load_f32(y + i);
        max_x = v_max_abs_32(max_x, v_bits(a));
        max_y = v_max_abs_32(max_y, v_bits(b));
        max_error = v_max_abs_32(max_error, v_bits(v_sub(a, b)));
        n_zero += (uint64_t)_mm_popcnt_u32(m_bits(m_equal(b, v_set1(0))));
    }
    return (extent){v_reduce_max_32(max_x), v_reduce_max_32(max_y), v_reduce_max_32(max_error),
                    n_zero};
}

/* The exponent from which on factors count, and the number with that exponent. */
LT_INLINE int reach_of(uint32_t greatest) {
    const int exponent = (int)(greatest >> MANTISSA_BITS) - EXPONENT_BIAS - REACH;
    return exponent > LEAST ? exponent : LEAST;
}

LT_INLINE vf v_power(int exponent) {
    return v_set1(lt_f32_from_bits((uint32_t)(exponent + EXPONENT_BIAS) << MANTISSA_BITS));
}

LT_INLINE void add_total(lt_exact_sum *sum, const vd *terms, int exponent) {
    const int unit = exponent - MANTISSA_BITS;
    const uint64_t bits = (uint64_t)(1023 - unit) << 52; /* 2^-unit */
    double inverse_unit;
    memcpy(&inverse_unit, &bits, sizeof inverse_unit);
    lt_exact_sum_add(sum, d_total(terms) * inverse_unit, unit);
}

/* Elements that are taken out. */
static __attribute__((noinline)) void add_lanes(lt_quality_block *rare, const float *x,
                                                const float *y, uint32_t lanes) {
    for (; lanes != 0; lanes &= lanes - 1) {
        const int i = __builtin_ctz(lanes);
        lt_quality_add_terms(rare, x[i], y[i]);
    }
}

/* n_elems is a multiple of V_FLOATS, at most BLOCK_ELEMS. */
LT_INLINE void add_near(lt_quality_sums *sums, lt_quality_block *rare, const float *x,
                        const float *y, size_t n_elems, const extent *range) {
    const int reach_x = reach_of(range->x);
    const int reach_y = reach_of(range->y);
    const int reach_error = reach_of(range->error);
    const vf least_x = v_power(reach_x);
    const vf least_y = v_power(reach_y);
    const vf least_error = v_power(reach_error);
    vd squares = d_zero();
    vd decoded = d_zero();
    vd product = d_zero();
    vd errors = d_zero();
    for (size_t i = 0; i < n_elems; i += V_FLOATS) {
        vf a = v_load_f32(x + i);
        vf b = v_load_f32(y + i);
        vf error = v_sub(a, b);
        const vm far =
            m_or(m_or(m_between(a, least_x), m_between(b, least_y)), m_between(error, least_error));
        const uint32_t lanes = m_bits(far);
        if (lanes != 0) {
            add_lanes(rare, x + i, y + i, lanes);
            a = v_drop(a, far);
            b = v_drop(b, far);
            error = v_drop(error, far);
        }
        d_add(&squares, v_mul(a, a));
        d_add(&decoded, v_mul(b, b));
        d_add(&product, v_mul(a, b));
        d_add(&errors, v_mul(error, error));
    }
    add_total(&sums->squares, &squares, 2 * reach_x);
    add_total(&sums->decoded, &decoded, 2 * reach_y);
    add_total(&sums->product, &product, reach_x + reach_y);
    add_total(&sums->errors, &errors, 2 * reach_error);
}

/* The same elements, of which n_padding are zeros that do not count. */
LT_INLINE void add_block(lt_quality_sums *sums, lt_quality_block *rare, const float *x,
                         const float *y, size_t n_elems, size_t n_padding) {
    const uint32_t too_great = (uint32_t)(GREATEST + 1 + EXPONENT_BIAS) << MANTISSA_BITS;
    const extent range = extent_of(x, y, n_elems);
    if (range.x >= too_great || range.y >= too_great || range.error >= too_great) {
        lt_quality_add(sums, x, y, n_elems - n_padding);
        return;
    }
    const double error = (double)lt_f32_from_bits(range.error);
    sums->n_zero += range.n_zero - n_padding;
    sums->max_abs_error = error > sums->max_abs_error ? error : sums->max_abs_error;
    add_near(sums, rare, x, y, n_elems, &range);
}

void LT_NAME_PLAIN(quality)(lt_quality_sums *sums, const float *x, const float *y, size_t n_elems) {
    lt_quality_block rare = {0};
    while (n_elems >= V_FLOATS) {
        const size_t whole = n_elems - n_elems % V_FLOATS;
        const size_t count = whole < BLOCK_ELEMS ? whole : BLOCK_ELEMS;
        add_block(sums, &rare, x, y, count, 0);
        x += count;
        y += count;
        n_elems -= count;
    }
    if (n_elems > 0) {
        float last_x[V_FLOATS] = {0};
        float last_y[V_FLOATS] = {0};
        memcpy(last_x, x, n_elems * sizeof *x);
        memcpy(last_y, y, n_elems * sizeof *y);
        add_block(sums, &rare, last_x, last_y, V_FLOATS, V_FLOATS - n_elems);
    }
    lt_quality_add_block(sums, &rare);
}

uint64_t LT_NAME_PLAIN(saturated)(const float *x, const float *y, size_t n_elems, float limit) {
    const vf most = v_set1(limit);
    const vf infinity = v_set1(INFINITY);
    const size_t rest = n_elems % V_FLOATS;
    uint64_t n_saturated = 0;
    for (size_t i = 0; i < n_elems - rest; i += V_FLOATS) {
        const vf from = v_abs(v_load_f32(x + i));
        const vf to = v_abs(v_load_f32(y + i));
        const vm beyond = m_and(m_above(from, most), m_reaches(to, most));
        const vm grew = m_and(m_equal(to, infinity), m_above(infinity, from));
        const vm is = m_and(beyond, m_or(m_above(from, to), grew));
        n_saturated += (uint64_t)_mm_popcnt_u32(m_bits(is));
    }
    x += n_elems - rest;
    y += n_elems - rest;
    return n_saturated + lt_quality_saturated(x, y, rest, limit);
}

#endif
