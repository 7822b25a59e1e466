/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): for tests that call every function which the kernels' tables
 * have for one purpose. */
#ifndef TESTS_KERNEL_VARIANTS_H
#define TESTS_KERNEL_VARIANTS_H

#include "kernel_case.h"
#include "oracle.h"
#include <string.h>

/* Elements that are tried one number after the other, and bytes between what is read or written and
 * the guard pages. */
enum { MAX_SHORT = 300, MARGIN = 64 };

/* The different functions that the tables have for one purpose. */
typedef struct variant {
    void (*function)(void);
    lathe_isa isa;
    int heat;
} variant;

enum { MAX_VARIANTS = MAX_TABLES * LT_HEAT_COUNT };

static inline size_t add_variant(variant *variants, size_t n, void (*function)(void), lathe_isa isa,
                                 int heat) {
    for (size_t i = 0; i < n; i++) {
        if (variants[i].function == function) {
            return n;
        }
    }
    if (function == NULL) {
        return n;
    }
    variants[n] = (variant){function, isa, heat};
    return n + 1;
}

typedef void any_function(void);

/* An element as a float. */
static inline float load(lathe_dtype dtype, const uint8_t *src, size_t i, float scale) {
    uint16_t narrow = 0;
    float x = 0;
    switch (dtype) {
    case LATHE_F32:
        memcpy(&x, src + 4 * i, 4);
        return x;
    case LATHE_F16:
        memcpy(&narrow, src + 2 * i, 2);
        return test_float(oracle_f16_to_f32(narrow));
    case LATHE_BF16:
        memcpy(&narrow, src + 2 * i, 2);
        return test_float(oracle_bf16_to_f32(narrow));
    default:
        return (float)((double)oracle_get_code(dtype, src, i) * (double)scale);
    }
}

#endif
