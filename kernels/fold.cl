/* SPDX-License-Identifier: Apache-2.0 */
/* What the tiles of one scope come to, without an addition that rounds: gathered by whole-number
 * atomic operations, whose order does not matter, while the tiles' statistics are found.
 * src/core/scale.h says why the canonical sum can be had from it. A maximum is the first word. For
 * a sum there is a bucket for each exponent: whole numbers that count units of 2^exponent are added
 * to it, in parts of LATHE_CL_SUM_BITS bits, a word for each part. */
#include "flat.cl"

/* A tile's sum as a whole number times 2^(bucket + LATHE_CL_SUM_LOWEST). */
typedef struct lt_whole {
    uint number;
    uint bucket;
} lt_whole;

#define LT_NO_BUCKET 0xffffffffu

lt_whole lt_whole_of(uint bits) {
    const uint biased = bits >> 23 & 0xff;
    lt_whole whole = {(bits & 0x7fffff) | (biased != 0 ? 0x800000 : 0), LT_NO_BUCKET};
    if (whole.number != 0) {
        /* A minus sign stands for LATHE_STAT_GROW. */
        whole.bucket = max(biased, 1u) - 1 + ((bits >> 31) != 0 ? 16 : 0);
    }
    return whole;
}

/* Adds one part of a number. */
void lt_add_to_bucket(__global uint *sums, uint bucket, ulong number, uint part) {
    const uint digits =
        (uint)(number >> part * LATHE_CL_SUM_BITS) & ((1u << LATHE_CL_SUM_BITS) - 1);
    if (digits != 0) {
        (void)atomic_add(sums + 1 + bucket * LATHE_CL_SUM_PARTS + part, digits);
    }
}

/* So far may a tile's number be shifted that the ones of a work-group fit in 60 bits. */
#define LT_SUM_SHIFT 28

/* The words that each tile leaves for lt_gather in local memory: their first and second ones. */
uint2 lt_to_gather(uint stat) {
#if LT_IS_MEAN
    const lt_whole whole = lt_whole_of(stat);
    return (uint2)(whole.number, whole.bucket);
#else
    return (uint2)(stat, 0);
#endif
}

/* Adds a work-group's tiles, n of them: most have much the same exponent, so that they are added up
 * before. For each part there is a work-item, because additions to neighbouring words are one for
 * the memory if they come together; all work-groups add to the same few. */
void lt_gather(__global uint *sums, __local const uint *firsts, __local const uint *seconds, uint n,
               uint part) {
#if LT_IS_MEAN
    uint lowest = LT_NO_BUCKET;
    ulong sum = 0;
#pragma unroll
    for (uint i = 0; i < n; i++) {
        lowest = min(lowest, seconds[i]);
    }
#pragma unroll
    for (uint i = 0; i < n; i++) {
        const uint shift = seconds[i] - lowest;
        if (shift <= LT_SUM_SHIFT) {
            sum += (ulong)firsts[i] << shift;
        } else if (firsts[i] != 0) {
            lt_add_to_bucket(sums, seconds[i], firsts[i], part);
        }
    }
    if (lowest != LT_NO_BUCKET) {
        lt_add_to_bucket(sums, lowest, sum, part);
    }
#else
    uint top = 0;
#pragma unroll
    for (uint i = 0; i < n; i++) {
        top = max(top, firsts[i]);
    }
    if (part == 0) {
        (void)atomic_max(sums, top);
    }
#endif
}
