/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of products that do not depend on the order. */
#include "core/exact_sum.h"

#include <stdbool.h>

/* The exponent of a bucket's unit: its least term's, less the 23 bits that follow the first. */
static int unit_exponent(int bucket) {
    return 16 * (LT_SUM_FIRST_BUCKET + bucket) - 1023 - 23;
}

void lt_exact_sum_add(lt_exact_sum *sum, double whole, int exponent) {
    const int64_t sign = whole < 0 ? -1 : 1;
    const uint64_t magnitude = (uint64_t)fabs(whole);
    const int position = exponent - LT_SUM_UNIT;
    int64_t *digit = &sum->digits[position / 32];
    const int shift = position % 32;
    const uint64_t rest = magnitude >> (32 - shift);
    digit[0] += sign * (int64_t)(magnitude << shift & UINT32_MAX);
    if (rest != 0) {
        digit[1] += sign * (int64_t)(rest & UINT32_MAX);
        digit[2] += sign * (int64_t)(rest >> 32);
    }
}

void lt_exact_sum_add_block(lt_exact_sum *sum, const lt_sum_block *block) {
    for (int i = 0; i < LT_SUM_BUCKETS; i++) {
        if (block->buckets[i] != 0) {
            int unit = unit_exponent(i);
            lt_exact_sum_add(sum, ldexp(block->buckets[i], -unit), unit);
        }
    }
}

/* Leaves digits from 0 to 2^32 - 1, and the sign to the last one. */
static void carry(lt_exact_sum *sum) {
    for (int i = 0; i + 1 < LT_SUM_DIGITS; i++) {
        int64_t digit = sum->digits[i] & UINT32_MAX;
        sum->digits[i + 1] += (sum->digits[i] - digit) / (INT64_C(1) << 32);
        sum->digits[i] = digit;
    }
}

void lt_exact_sum_merge(lt_exact_sum *sum, const lt_exact_sum *from) {
    for (int i = 0; i < LT_SUM_DIGITS; i++) {
        sum->digits[i] += from->digits[i];
    }
    carry(sum);
}

double lt_exact_sum_value(const lt_exact_sum *sum) {
    lt_exact_sum digits = *sum;
    carry(&digits);
    const bool is_negative = digits.digits[LT_SUM_DIGITS - 1] < 0;
    if (is_negative) {
        for (int i = 0; i < LT_SUM_DIGITS; i++) {
            digits.digits[i] = -digits.digits[i];
        }
        carry(&digits);
    }
    double total = 0;
    for (int i = 0; i < LT_SUM_DIGITS; i++) {
        total += ldexp((double)digits.digits[i], 32 * i + LT_SUM_UNIT);
    }
    return is_negative ? -total : total;
}
