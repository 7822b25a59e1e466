/* SPDX-License-Identifier: Apache-2.0 */
/* Sums that do not depend on the order: docs/numerics.md, "Sums without an order". */
#ifndef LT_CORE_EXACT_SUM_H
#define LT_CORE_EXACT_SUM_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* A sum is a whole number of units, 2^LT_SUM_UNIT, in digits to the base 2^32. Terms are products
 * of two F32 values, rounded to 24 significant bits: multiples of 2^-298 below 2^258. */
enum { LT_SUM_DIGITS = 22, LT_SUM_UNIT = -352 };

/* Any number of terms. A digit may be negative, or beyond its 32 bits, until it is carried: one add
 * changes it by less than 2^32. Zero-initialised. */
typedef struct lt_exact_sum {
    int64_t digits[LT_SUM_DIGITS];
} lt_exact_sum;

/* Terms before they are a part of a sum: those whose exponents share a run of 16 are multiples of a
 * common unit, of which each is less than 2^40, so that LT_SUM_BLOCK of them add up exactly in a
 * double. Zero-initialised. */
enum { LT_SUM_BUCKETS = 36, LT_SUM_BLOCK = 4096, LT_SUM_FIRST_BUCKET = 45 };

typedef struct lt_sum_block {
    double buckets[LT_SUM_BUCKETS];
} lt_sum_block;

/* The product of two F32 values, which a double holds exactly, as a term. */
static inline void lt_sum_block_add(lt_sum_block *block, double product) {
    uint64_t bits;
    memcpy(&bits, &product, sizeof bits);
    /* To 24 bits, ties to even: 29 go. */
    bits += (UINT64_C(1) << 28) - 1 + (bits >> 29 & 1);
    bits &= ~((UINT64_C(1) << 29) - 1);
    double term;
    memcpy(&term, &bits, sizeof term);
    uint64_t bucket = bits >> 56 & 0x7f; /* a sixteenth of the biased exponent */
    bucket = bucket > LT_SUM_FIRST_BUCKET ? bucket - LT_SUM_FIRST_BUCKET : 0;
    block->buckets[bucket] += term;
}

/* x - y, rounded to 24 significant bits whatever its exponent; both are finite. */
static inline double lt_difference(float x, float y) {
    float difference = x - y;
    return isfinite(difference) ? (double)difference : 2 * (double)(0.5f * x - 0.5f * y);
}

/* Adds a whole number, at most 2^53 either way, times 2^exponent, of which nothing lies below the
 * unit. At most 2^29 times before a merge, which carries. */
void lt_exact_sum_add(lt_exact_sum *sum, double whole, int exponent);

/* Adds a block, and what another sum has. */
void lt_exact_sum_add_block(lt_exact_sum *sum, const lt_sum_block *block);
void lt_exact_sum_merge(lt_exact_sum *sum, const lt_exact_sum *from);

/* The sum as a double: its digits, smallest first. */
double lt_exact_sum_value(const lt_exact_sum *sum);

#endif
