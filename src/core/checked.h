/* SPDX-License-Identifier: Apache-2.0 */
/* Size arithmetic that notices overflow: each function returns false and leaves *out alone then. */
#ifndef LT_CORE_CHECKED_H
#define LT_CORE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

static inline bool lt_mul(uint64_t a, uint64_t b, uint64_t *out) {
    if (a != 0 && b > UINT64_MAX / a) {
        return false;
    }
    *out = a * b;
    return true;
}

static inline bool lt_add(uint64_t a, uint64_t b, uint64_t *out) {
    if (b > UINT64_MAX - a) {
        return false;
    }
    *out = a + b;
    return true;
}

/* ceil(a / b) for b > 0, which cannot overflow. */
static inline uint64_t lt_ceil_div(uint64_t a, uint64_t b) {
    return a / b + (a % b != 0);
}

static inline uint64_t lt_min(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static inline uint64_t lt_max(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* The greatest number that divides both. */
static inline uint64_t lt_gcd(uint64_t a, uint64_t b) {
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

#endif
