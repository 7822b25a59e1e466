/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE's choice between a scope's standard scale and the one that a search has found. Only
 * programs with LT_SEARCH. */
#include "search.cl"

#ifdef LT_SEARCH

/* What both scales make of some elements: sums of code times element, and of codes squared. */
typedef struct lt_fits {
    long product;
    long other_product;
    uint squares; /* of at most 2^18 elements */
    uint other_squares;
} lt_fits;

/* Codes lie between low and high. `factor` makes whole numbers of elements. */
void lt_add_fit(lt_fits *fits, float x, float low, float high, float inverse, float other_inverse,
                float factor) {
    const float from = fabs(x) <= FLT_MAX ? x : 0;
    const int whole = lt_nearest_int(from * factor);
    const int code = lt_nearest_int(fmin(fmax(from * inverse, low), high));
    const int other = lt_nearest_int(fmin(fmax(from * other_inverse, low), high));
    fits->product += (long)code * whole;
    fits->other_product += (long)other * whole;
    fits->squares += (uint)(code * code);
    fits->other_squares += (uint)(other * other);
}

/* Every `step`th four of n_elems elements from `elem` on. */
lt_fits lt_fits_of(__global const uchar *src, __global const float *src_scales,
                   const lathe_launch *launch, const lathe_search *search, uint elem, uint n_elems,
                   uint first, uint step, float inverse, float other_inverse, float factor) {
    const bool is_vector = (launch->flags & LATHE_CL_SRC_VECTOR) != 0;
    const float high = (float)search->high_code;
    const float low = -high - (float)search->extra_codes;
    lt_fits fits = {0, 0, 0, 0};
    for (uint i = 4 * first; i < n_elems; i += 4 * step) {
        const float4 x = lt_values_at(&launch->src, (uint)search->src_dtype, src, src_scales,
                                      elem + i, n_elems - i, is_vector);
        lt_add_fit(&fits, x.x, low, high, inverse, other_inverse, factor);
        lt_add_fit(&fits, x.y, low, high, inverse, other_inverse, factor);
        lt_add_fit(&fits, x.z, low, high, inverse, other_inverse, factor);
        lt_add_fit(&fits, x.w, low, high, inverse, other_inverse, factor);
    }
    return fits;
}

/* The sums of both scales. */
typedef struct lt_both {
    lt_fit standard;
    lt_fit other;
} lt_both;

/* Adds them up over a team's `step` work-items, whose first one gets the sums. */
lt_both lt_join_both(const lt_shared *shared, uint item, uint step, lt_both both) {
    lt_join(shared, item, step, both.standard);
    both.standard.product = shared->products[item];
    both.standard.squares = shared->squares[item];
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_join(shared, item, step, both.other);
    both.other.product = shared->products[item];
    both.other.squares = shared->squares[item];
    barrier(CLK_LOCAL_MEM_FENCE);
    return both;
}

lt_both lt_both_of(lt_fits fits) {
    const lt_both both = {{(ulong)fits.product, fits.squares},
                          {(ulong)fits.other_product, fits.other_squares}};
    return both;
}

/* The scale with the least squared error for the codes of the other one, if that is less than the
 * standard scale's; else the standard one. */
float lt_chosen(const lt_both *both, float scale, float factor, const lathe_search *search) {
    const int unit = lt_octave(factor);
    const ulong standard = lt_d_scaled(lt_d_of_float(scale), unit);
    const ulong p0 = lt_d_scaled(lt_d_of_whole(both->standard.product), 1);
    const ulong q0 = lt_d_mul(standard, lt_d_of_whole(both->standard.squares));
    const ulong p1 = lt_d_of_whole(both->other.product);
    const ulong q1 = lt_d_of_whole(both->other.squares);
    const ulong gain = p0 > q0 ? lt_d_mul(standard, lt_d_sub(p0, q0)) : 0;
    if (q1 == 0 || p1 == 0) {
        return scale;
    }
    const ulong best = lt_d_div(p1, q1);
    const ulong found = lt_d_scaled(best, -unit);
    const ulong reach = lt_d_mul(found, lt_d_of_whole(search->high_code + search->extra_codes));
    if (lt_d_mul(best, p1) <= lt_d_mul(gain, LATHE_PRECISE_MARGIN) ||
        reach >= LATHE_PRECISE_MAX_FLOAT) {
        return scale;
    }
    const float chosen = lt_d_to_float(found);
    return chosen > 0 && lt_inverse(chosen) > 0 ? chosen : scale;
}

#endif
