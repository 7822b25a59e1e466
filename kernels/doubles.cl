/* SPDX-License-Identifier: Apache-2.0 */
/* Arithmetic with doubles, rounded to nearest even: in integers on devices that have no doubles.
 * Numbers are bits, 0 or positive and normal, so that they compare like integers; no result is out
 * of that range. Only programs with LT_SEARCH, and those with means of rows. */
#include "recode_codes.cl"

#if defined LT_SEARCH || ((LT_HAS_ROWS || LT_HAS_RECODE) && LT_IS_MEAN)

#define LT_D_BIAS 1023
#define LT_D_BITS 52

ulong lt_d_significand(ulong a) {
    return (a & ((1UL << LT_D_BITS) - 1)) | 1UL << LT_D_BITS;
}

/* The exponent of the significand's last bit. */
int lt_d_exponent(ulong a) {
    return (int)(a >> LT_D_BITS) - LT_D_BIAS - LT_D_BITS;
}

/* a * 2^exponent */
ulong lt_d_scaled(ulong a, int exponent) {
    return a == 0 ? 0 : a + ((ulong)(long)exponent << LT_D_BITS);
}

/* Rounded down, below 2^32. */
uint lt_d_to_whole(ulong a) {
    const int shift = -lt_d_exponent(a);
    return a == 0 || shift > LT_D_BITS ? 0 : (uint)(lt_d_significand(a) >> (uint)shift);
}

/* A normal number, or 0. */
ulong lt_d_of_float(float x) {
    const uint bits = as_uint(x);
    return bits == 0 ? 0 : ((ulong)bits << 29) + ((ulong)(LT_D_BIAS - 127) << LT_D_BITS);
}

/* The nearest F32, which is normal; 0 for 0. */
float lt_d_to_float(ulong a) {
    if (a == 0) {
        return 0;
    }
    const ulong rounded = a + ((1UL << 28) - 1) + (a >> 29 & 1);
    return as_float((uint)((rounded - ((ulong)(LT_D_BIAS - 127) << LT_D_BITS)) >> 29));
}

/* whole * 2^exponent, below 2^63 and not 0; its last bit may stand for all that follow, if there
 * are more than 54. */
ulong lt_d_round(ulong whole, int exponent) {
    const int shift = 64 - (int)clz(whole) - (LT_D_BITS + 1);
    ulong significand = whole;
    if (shift <= 0) {
        significand = whole << (uint)-shift;
    } else {
        const uint s = (uint)shift;
        significand = (whole + ((1UL << (s - 1)) - 1) + (whole >> s & 1)) >> s;
    }
    /* The significand's first bit adds 1 to the exponent. */
    const int biased = exponent + shift + LT_D_BITS + LT_D_BIAS;
    return ((ulong)(biased - 1) << LT_D_BITS) + significand;
}

#if defined(cl_khr_fp64) && !defined(LT_NO_DOUBLES)

/* Below 2^63. */
ulong lt_d_of_whole(ulong whole) {
    return as_ulong((double)whole);
}

ulong lt_d_mul(ulong a, ulong b) {
    return as_ulong(as_double(a) * as_double(b));
}

ulong lt_d_add(ulong a, ulong b) {
    return as_ulong(as_double(a) + as_double(b));
}

/* a - b, a being no less than b. */
ulong lt_d_sub(ulong a, ulong b) {
    return as_ulong(as_double(a) - as_double(b));
}

/* b is not 0. */
ulong lt_d_div(ulong a, ulong b) {
    return as_ulong(as_double(a) / as_double(b));
}

#else

/* Below 2^63. */
ulong lt_d_of_whole(ulong whole) {
    return whole == 0 ? 0 : lt_d_round(whole, 0);
}

ulong lt_d_mul(ulong a, ulong b) {
    if (a == 0 || b == 0) {
        return 0;
    }
    /* The product, 105 or 106 bits, without its last 50. */
    const ulong x = lt_d_significand(a) << 11;
    const ulong y = lt_d_significand(b) << 3;
    const ulong high = mul_hi(x, y) | (x * y != 0);
    return lt_d_round(high, lt_d_exponent(a) + lt_d_exponent(b) + 50);
}

ulong lt_d_add(ulong a, ulong b) {
    const ulong large = max(a, b);
    const ulong small = min(a, b);
    if (small == 0) {
        return large;
    }
    const uint apart = min((uint)(lt_d_exponent(large) - lt_d_exponent(small)), 63u);
    const ulong addend = lt_d_significand(small) << 8;
    const ulong lost = (addend & ((1UL << apart) - 1)) != 0;
    return lt_d_round((lt_d_significand(large) << 8) + (addend >> apart | lost),
                      lt_d_exponent(large) - 8);
}

/* a - b, a being no less than b. */
ulong lt_d_sub(ulong a, ulong b) {
    if (b == 0 || a == b) {
        return b == 0 ? a : 0;
    }
    const uint apart = min((uint)(lt_d_exponent(a) - lt_d_exponent(b)), 63u);
    const ulong subtrahend = lt_d_significand(b) << 8;
    const ulong lost = (subtrahend & ((1UL << apart) - 1)) != 0;
    return lt_d_round((lt_d_significand(a) << 8) - (subtrahend >> apart | lost),
                      lt_d_exponent(a) - 8);
}

/* b is not 0. Three times 18 bits of the quotient: F32 estimates them with an error of less than 1,
 * whatever the device makes of a division, so that what is left is less than the divisor. */
ulong lt_d_div(ulong a, ulong b) {
    if (a == 0) {
        return 0;
    }
    const long divisor = (long)lt_d_significand(b);
    const float inverse = 0x1p18f / (float)divisor;
    long left = (long)lt_d_significand(a);
    long quotient = 0;
#pragma unroll
    for (uint i = 0; i < 3; i++) {
        const long digit = (long)rint((float)left * inverse);
        left = (long)(((ulong)left << 18) - (ulong)digit * (ulong)divisor);
        quotient = quotient * (1 << 18) + digit;
    }
    if (left < 0) {
        quotient--;
        left += divisor;
    }
    /* 54 or 55 bits, and one for all that follow. */
    return lt_d_round((ulong)quotient << 1 | (left != 0), lt_d_exponent(a) - lt_d_exponent(b) - 55);
}

#endif

#ifndef LT_SEARCH

/* The scale of n_elems elements from their tiles' sums, in the order of docs/numerics.md; none is
 * out of the ordinary. */
float lt_scale_of_tiles(__local const float *sums, uint n_tiles, uint n_elems) {
    ulong total = 0;
    for (uint i = 0; i < n_tiles; i++) {
        total = lt_d_add(total, lt_d_of_float(sums[i]));
    }
    const float scale = lt_d_to_float(lt_d_div(total, lt_d_of_whole(n_elems)));
#if LT_DST == LATHE_CL_BITNET158
    return scale > LATHE_BITNET158_MIN_SCALE ? scale : LATHE_BITNET158_MIN_SCALE;
#else
    return scale;
#endif
}

#endif

/* odd / 2 times a, which is not 0, as F32; odd is below 2^10. */
float lt_d_halves(uint odd, ulong a) {
    return lt_d_to_float(lt_d_round(lt_d_significand(a) * odd, lt_d_exponent(a) - 1));
}

#endif
