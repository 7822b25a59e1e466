/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of doubles that do not depend on the order. */
#include "core/exact_sum.h"

#include <math.h>

/* The exponent of a bucket's unit: its least term's, less the 23 bits that follow the first. */
static int unit_exponent(int bucket) {
    return 16 * (LT_SUM_FIRST_BUCKET + bucket) - 1023 - 23;
}

static void add_128(lt_exact_sum *sum, int bucket, uint64_t low, uint64_t high) {
    uint64_t before = sum->low[bucket];
    sum->low[bucket] += low;
    sum->high[bucket] += high + (sum->low[bucket] < before ? 1 : 0);
}

void lt_exact_sum_add(lt_exact_sum *sum, const lt_sum_block *block) {
    for (int i = 0; i < LT_SUM_BUCKETS; i++) {
        if (block->buckets[i] != 0) {
            int64_t units = (int64_t)ldexp(block->buckets[i], -unit_exponent(i));
            add_128(sum, i, (uint64_t)units, units < 0 ? UINT64_MAX : 0);
        }
    }
}

void lt_exact_sum_merge(lt_exact_sum *sum, const lt_exact_sum *from) {
    for (int i = 0; i < LT_SUM_BUCKETS; i++) {
        add_128(sum, i, from->low[i], from->high[i]);
    }
}

/* 128 bits, rounded. */
static double units_of(uint64_t low, uint64_t high) {
    if (high >> 63 != 0) {
        uint64_t minus_low = ~low + 1;
        return -units_of(minus_low, ~high + (minus_low == 0 ? 1 : 0));
    }
    return (double)high * 0x1p64 + (double)low;
}

double lt_exact_sum_value(const lt_exact_sum *sum) {
    double total = 0;
    for (int i = 0; i < LT_SUM_BUCKETS; i++) {
        if ((sum->low[i] | sum->high[i]) != 0) {
            total += ldexp(units_of(sum->low[i], sum->high[i]), unit_exponent(i));
        }
    }
    return total;
}
