/* SPDX-License-Identifier: Apache-2.0 */
/* The fold kernel: what the tiles of one scope come to, without an addition that rounds. A
 * work-group leaves four words for its LATHE_CL_FOLD_STEPS * LT_GROUP tiles. Of a maximum: its
 * bits, and zeros. Of a sum: the exponent of a unit of which every tile's sum is a multiple, 1 if
 * the sum in that unit may not fit in 64 bits, and the sum in that unit, its lower half first.
 * src/core/scale.h says why the canonical sum can be had from it. */
#include "stats.cl"

/* A sum as a whole number times 2^exponent. */
typedef struct lt_whole {
    uint number;
    int exponent;
} lt_whole;

#define LT_NO_EXPONENT 0x7fffffff

/* The number is odd, or 0. */
lt_whole lt_whole_of(uint bits) {
    const uint biased = bits >> 23 & 0xff;
    lt_whole whole = {(bits & 0x7fffff) | (biased != 0 ? 0x800000 : 0), LT_NO_EXPONENT};
    if (whole.number != 0) {
        const uint zeros = 31 - clz(whole.number & -whole.number);
        whole.number >>= zeros;
        /* A minus sign stands for LATHE_STAT_GROW. */
        whole.exponent = (int)(max(biased, 1u) + zeros) - 150 + ((bits >> 31) != 0 ? 16 : 0);
    }
    return whole;
}

/* So far may a tile's number be shifted that 2^12 of them fit in 63 bits. */
#define LT_FOLD_SHIFT 27

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_fold(__global uint *stats, ulong n_tiles, ulong partials) {
    __local ulong shared[LT_GROUP];
    const uint item = (uint)get_local_id(0);
    const ulong first = get_group_id(0) * (LT_GROUP * LATHE_CL_FOLD_STEPS) + item;
    __global uint *out = stats + partials + 4 * get_group_id(0);
    uint bits[LATHE_CL_FOLD_STEPS];

    for (uint i = 0; i < LATHE_CL_FOLD_STEPS; i++) {
        const ulong tile = first + i * LT_GROUP;
        bits[i] = tile < n_tiles ? stats[tile] : 0;
    }
#if LT_IS_MEAN
    __local int lowest[LT_GROUP];
    __local uint is_wide;
    int mine = LT_NO_EXPONENT;
    for (uint i = 0; i < LATHE_CL_FOLD_STEPS; i++) {
        mine = min(mine, lt_whole_of(bits[i]).exponent);
    }
    lowest[item] = mine;
    if (item == 0) {
        is_wide = 0;
    }
    for (uint n = LT_GROUP / 2; n > 0; n /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < n) {
            lowest[item] = min(lowest[item], lowest[item + n]);
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    ulong sum = 0;
    for (uint i = 0; i < LATHE_CL_FOLD_STEPS; i++) {
        const lt_whole whole = lt_whole_of(bits[i]);
        if (whole.number != 0) {
            const uint shift = (uint)(whole.exponent - lowest[0]);
            if (shift > LT_FOLD_SHIFT) {
                is_wide = 1;
            }
            sum += (ulong)whole.number << min(shift, (uint)LT_FOLD_SHIFT);
        }
    }
    shared[item] = sum;
    for (uint n = LT_GROUP / 2; n > 0; n /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < n) {
            shared[item] += shared[item + n];
        }
    }
    if (item == 0) { /* which has written shared[0] last */
        out[0] = (uint)lowest[0];
        out[1] = is_wide;
        out[2] = (uint)shared[0];
        out[3] = (uint)(shared[0] >> 32);
    }
#else
    uint top = 0;
    for (uint i = 0; i < LATHE_CL_FOLD_STEPS; i++) {
        top = max(top, bits[i]);
    }
    shared[item] = top;
    for (uint n = LT_GROUP / 2; n > 0; n /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (item < n) {
            shared[item] = max(shared[item], shared[item + n]);
        }
    }
    if (item == 0) { /* likewise */
        out[0] = (uint)shared[0];
        out[1] = out[2] = out[3] = 0;
    }
#endif
}
