/* SPDX-License-Identifier: Apache-2.0 */
/* An independent statement of what conversions give, for tests to compare with: written from the
 * contract with real-number arithmetic (double, frexp, division and remainder), and sharing no code
 * with the library. Slow and plain on purpose. */
#ifndef TESTS_ORACLE_H
#define TESTS_ORACLE_H

#include <lathe/lathe.h>
#include <stdbool.h>
#include <stdint.h>

/* Between bit patterns. */
uint16_t oracle_f32_to_f16(uint32_t f32);
uint16_t oracle_f32_to_bf16(uint32_t f32);
uint32_t oracle_f16_to_f32(uint16_t f16);
uint32_t oracle_bf16_to_f32(uint16_t bf16);

/* The same rounding, as intervals: all F32 patterns from `first` on, up to the next interval's,
 * give `value`. Covers patterns 0 to 0x7fffffff; with the sign bit, the value's sign bit is set.
 * The last entry is a sentinel whose first is 0x80000000. Freed with free. */
typedef struct oracle_interval {
    uint32_t first;
    uint16_t value;
} oracle_interval;

oracle_interval *oracle_intervals(lathe_dtype dtype, size_t *n_intervals);

/* How a tensor lies in memory. scale_elems: elements of a row that share a scale, 0 if all share
 * one. */
typedef struct oracle_layout {
    lathe_dtype dtype;
    bool quantized;
    uint64_t n_rows;
    uint64_t row_elems;
    uint64_t row_bytes;
    uint64_t scale_elems;
    uint64_t scales_per_row;
    uint64_t n_elems;
    uint64_t n_bytes;
    uint64_t n_scales;
} oracle_layout;

/* False if the description is wrong. */
bool oracle_layout_of(const lathe_tensor_desc *desc, oracle_layout *layout);

/* The codes that a dtype can store (I1: -1 and 1), and the bound that encoders clamp to. */
int oracle_lowest_code(lathe_dtype dtype);
int oracle_highest_code(lathe_dtype dtype);
int oracle_max_code(lathe_dtype dtype);

/* Makes a row of unused elements, then stores and loads codes of a quantized dtype. */
void oracle_clear_row(lathe_dtype dtype, uint8_t *row, uint64_t row_bytes);
void oracle_put_code(lathe_dtype dtype, uint8_t *row, uint64_t i, int code);
int oracle_get_code(lathe_dtype dtype, const uint8_t *row, uint64_t i);

/* The code of x, given the inverse of the scale. */
int oracle_encode(lathe_dtype dtype, float x, float inverse);

/* The scale over the n elements of a scope, and its inverse. Non-finite elements count as 0. */
float oracle_scale(lathe_dtype dtype, lathe_quality quality, const float *x, uint64_t n,
                   float *inverse);

/* Statistics of one tile of at most 4096 elements, and the sum over any number of them. */
float oracle_tile_sum(const float *x, uint64_t n);
float oracle_absmax(const float *x, uint64_t n);

/* Every element of a tensor as F32. Freed with free. The first element of the first byte that no
 * encoder emits is written to *corrupt, UINT64_MAX if there is none. */
float *oracle_decode(const oracle_layout *layout, const void *data, const float *scales,
                     uint64_t *corrupt);

/* What a conversion gives. */
typedef struct oracle_result {
    lathe_status status; /* the first of CORRUPT_DATA, NON_FINITE, DATA_LOSS that applies */
    uint64_t element;    /* that the status names */
    uint64_t n_saturated;
    oracle_layout layout;
    uint8_t *bytes;
    float *scales;
} oracle_result;

void oracle_convert(const lathe_tensor_desc *from, const void *data, const float *scales,
                    const lathe_target *target, oracle_result *result);
void oracle_result_free(oracle_result *result);

#endif
