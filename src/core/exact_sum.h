/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of doubles that do not depend on the order: docs/numerics.md, "Sums without an order". */
#ifndef LT_CORE_EXACT_SUM_H
#define LT_CORE_EXACT_SUM_H

#include <stdint.h>
#include <string.h>

/* Terms are rounded to 24 significant bits. Those whose exponents share a run of 16 have a common
 * unit, of which each of them is less than 2^40; in a block of so many terms their sum is then
 * exact in a double. The buckets cover what products of two F32 differences can be: 2^-298 to
 * 2^258. */
enum { LT_SUM_BUCKETS = 36, LT_SUM_BLOCK = 4096, LT_SUM_FIRST_BUCKET = 45 };

/* At most LT_SUM_BLOCK terms. Zero-initialised. */
typedef struct lt_sum_block {
    double buckets[LT_SUM_BUCKETS];
} lt_sum_block;

/* Any number of terms: of each bucket a 128-bit integer, in two's complement. Zero-initialised. */
typedef struct lt_exact_sum {
    uint64_t low[LT_SUM_BUCKETS];
    uint64_t high[LT_SUM_BUCKETS];
} lt_exact_sum;

/* `term` is 0, or finite and within the range of the buckets. */
static inline void lt_sum_block_add(lt_sum_block *block, double term) {
    uint64_t bits;
    memcpy(&bits, &term, sizeof bits);
    bits = (bits + (UINT64_C(1) << 28)) & ~((UINT64_C(1) << 29) - 1);
    memcpy(&term, &bits, sizeof bits);
    uint64_t bucket = bits >> 56 & 0x7f; /* a sixteenth of the biased exponent */
    bucket = bucket > LT_SUM_FIRST_BUCKET ? bucket - LT_SUM_FIRST_BUCKET : 0;
    block->buckets[bucket] += term;
}

/* Adds a block, and what another sum has. */
void lt_exact_sum_add(lt_exact_sum *sum, const lt_sum_block *block);
void lt_exact_sum_merge(lt_exact_sum *sum, const lt_exact_sum *from);

/* The sum as a double: the buckets, smallest first. */
double lt_exact_sum_value(const lt_exact_sum *sum);

#endif
