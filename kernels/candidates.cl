/* SPDX-License-Identifier: Apache-2.0 */
/* What a candidate of PRECISE's search gives: its codes on the levels of few elements, or on a
 * histogram (docs/numerics.md). Only programs with LT_SEARCH. */
#include "values.cl"

#ifdef LT_SEARCH

#define LT_D_ONE 0x3ff0000000000000UL
#define LT_D_HALF 0x3fe0000000000000UL

int lt_octave(float magnitude) {
    return (int)(as_uint(magnitude) >> 23) - 127;
}

/* What takes elements of an octave below 2^22. */
float lt_unit_factor(int octave) {
    return as_float((uint)(LATHE_PRECISE_UNIT_BITS - 1 - octave + 127) << 23);
}

/* The inverse of a scope's standard scale; 0: there is nothing to search. */
float lt_standard_inverse(float scale) {
    return lt_octave(scale) < LATHE_PRECISE_LEAST_OCTAVE ? 0 : lt_inverse(scale);
}

/* The nearest whole number, ties to even, for magnitudes below 2^22. */
int lt_nearest_int(float x) {
    return (int)(as_uint(x + 0x1.8p23f) - 0x4b400000u);
}

/* Bins of which the sum of those above is kept; an octave has a multiple of that. */
#define LT_BLOCK_BINS 4

/* What candidates are tried on: the levels of few elements, or a histogram. */
typedef struct lt_space {
    bool is_few;
    bool is_signed;
    int low;
    int high;
    ulong n_elems;               /* a double */
    ulong greatest;              /* likewise, a level */
    __local const uint2 *levels; /* four each, `stride` apart */
    uint n_fours;
    uint stride;
    __local const uint *counts;      /* in a bin and those above it, by halves */
    __local const ulong *block_sums; /* of levels above each block */
    uint n_bins;                     /* of a half */
    uint bits;                       /* bins of an octave, as a power of two */
} lt_space;

/* Sums of code times level and of codes squared. */
typedef struct lt_fit {
    ulong product;
    ulong squares;
} lt_fit;

/* Every `step`th four of the levels. The two roundings of docs/numerics.md are one: (L m + 2^14 >>
 * 15) + r >> s is L m + 2^14 + r 2^15 >> s + 15. */
lt_fit lt_fit_few(const lt_space *space, ulong scale, uint first, uint step) {
    lt_fit fit = {0, 0};
    if (scale < lt_d_of_whole(LATHE_PRECISE_LEAST_CANDIDATE / 2)) {
        return fit;
    }
    const int exponent = (int)(scale >> 52) - 1022;
    const ulong over = lt_d_div(lt_d_scaled(LT_D_ONE, 14 + exponent), scale);
    const int multiplier = (int)min(lt_d_to_whole(lt_d_add(over, LT_D_HALF)), 32767u);
    const uint shift = (uint)exponent + 14;
    const int rounder = (1 << 14) + (1 << (shift - 1));
    /* Vectors, because oclgrind takes a bound that is one number for (bound, 0, 0, 0). */
    const int4 low = (int4)(space->low);
    const int4 high = (int4)(space->high);
    int product = 0; /* below 2^31 for all levels */
    int squares = 0;
    for (uint i = first; i < space->n_fours; i += step) {
        const int2 held = as_int2(space->levels[i * space->stride]);
        const int4 levels = (int4)(held.x << 16, held.x, held.y << 16, held.y) >> 16;
        const int4 codes = clamp((levels * multiplier + rounder) >> shift, low, high);
        const int4 products = codes * levels;
        const int4 both = codes * codes;
        product += (products.x + products.y) + (products.z + products.w);
        squares += (both.x + both.y) + (both.z + both.w);
    }
    fit.product = (ulong)product;
    fit.squares = (ulong)squares;
    return fit;
}

/* The first bin whose level is not below that, but for bin 0, which counts as 0. */
uint lt_bin_from(const lt_space *space, float level) {
    const uint shift = 23 - space->bits;
    const uint one = 127u << 23;
    const uint bits = as_uint(level);
    return bits <= one ? 1 : max((bits - one + (1u << shift) / 2 - 1) >> shift, 1u);
}

/* A bin's level in units of half a bin of the first octave; without the octave's power of two. */
uint lt_level_in_octave(uint bits, uint bin) {
    return 2 * ((1u << bits) + (bin & ((1u << bits) - 1))) + 1;
}

/* Adds what lies in a half from a bin on. */
void lt_add_from(const lt_space *space, uint half_first, uint bin, uint odd, lt_fit *fit) {
    if (bin >= space->n_bins) {
        return;
    }
    __local const uint *counts = space->counts + half_first;
    const uint end = (bin / LT_BLOCK_BINS + 1) * LT_BLOCK_BINS;
    uint level = lt_level_in_octave(space->bits, bin);
    uint count = counts[bin];
    ulong sum = 0;
    fit->squares += (ulong)odd * count;
    for (uint above = bin + 1; above <= end; above++) {
        const uint next = above < space->n_bins ? counts[above] : 0;
        sum += (ulong)(count - next) * level;
        count = next;
        level += 2;
    }
    fit->product +=
        space->block_sums[(half_first + bin) / LT_BLOCK_BINS] + (sum << (bin >> space->bits));
}

/* Every `step`th code. */
lt_fit lt_fit_counts(const lt_space *space, ulong scale, uint first, uint step) {
    lt_fit fit = {0, 0};
    for (int k = 1 + (int)first; k <= -space->low; k += (int)step) {
        const uint odd = (uint)(2 * k - 1);
        const uint bin = lt_bin_from(space, lt_d_halves(odd, scale));
        if (k <= space->high) {
            lt_add_from(space, 0, bin, odd, &fit);
        }
        if (space->is_signed) {
            lt_add_from(space, space->n_bins, bin, odd, &fit);
        }
    }
    return fit;
}

#endif
