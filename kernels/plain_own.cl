/* SPDX-License-Identifier: Apache-2.0 */
/* The plain kernel's scales of BITNET158 once more, for floats of 16 bits and scopes of one size
 * that is usual: four work-items have a scope to themselves and keep it in registers. On an H200,
 * groups of 128 take 0.81 of the plain kernel's time. To I1, whose bits need no scale, they take
 * longer. */
#include "plain_trits.cl"

#if LT_HAS_TRITS

/* Eights of elements in a scope. Each of its four work-items has every fourth, with lanes 8 i to
 * 8 i + 7 of each 32. */
#define LT_SCOPE_EIGHTS (LATHE_CL_OWN_SCOPE / 8)

typedef struct lt_own_memory {
    float4 eights[2][LT_ITEMS]; /* lower and upper halves */
    float2 pairs[LT_ITEMS];
    lt_digits digits;
    uint is_odd;
} lt_own_memory;

/* Folds what lies 32 lanes apart. Which of two comes first does not matter to a sum, so that the
 * order of the eights may be any in which those of the same lanes are 2 apart. */
float4 lt_fold_to_32(uint2 a, uint2 b, uint2 c, uint2 d) {
    return (lt_cell_magnitudes(a) + lt_cell_magnitudes(c)) +
           (lt_cell_magnitudes(b) + lt_cell_magnitudes(d));
}

/* The sum of a scope, for each of its work-items. In between each has two of eight lanes. */
float lt_sum_of_scope(const uint4 *raw, uint item, __local lt_own_memory *memory) {
    const uint first = item & ~3u;
    memory->eights[0][item] = lt_fold_to_32(raw[0].lo, raw[1].lo, raw[2].lo, raw[3].lo);
    memory->eights[1][item] = lt_fold_to_32(raw[0].hi, raw[1].hi, raw[2].hi, raw[3].hi);
    barrier(CLK_LOCAL_MEM_FENCE);
    __local const float2 *lanes =
        (__local const float2 *)(memory->eights[item / 2 % 2] + first) + item % 2;
    memory->pairs[item] = (lanes[0] + lanes[4]) + (lanes[2] + lanes[6]);
    barrier(CLK_LOCAL_MEM_FENCE);
    __local const float4 *fours = (__local const float4 *)(memory->pairs + first);
    const float4 four = fours[0] + fours[1];
    const float2 two = four.lo + four.hi;
    return two.x + two.y;
}

/* A block of scopes of LATHE_CL_OWN_SCOPE elements, whose scales it finds. */
void lt_own_block(const lt_plain *plain, uint item, __local lt_own_memory *memory) {
    const uint scope = item / 4;
    const uint turn = scope % 4; /* so that neighbours' digits lie on different banks */
    const uint first = LT_SCOPE_EIGHTS * scope + item % 4;
    uint4 raw[4];

    if (item == 0) {
        memory->is_odd = 0;
        lt_frame_digits(&memory->digits);
    }
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        raw[i] = scope < plain->n_scopes ? plain->src[first + 4 * (i ^ turn)] : (uint4)(0);
    }
    const float stat = lt_sum_of_scope(raw, item, memory);
    const float scale = lt_plain_scale(stat, LATHE_CL_OWN_SCOPE);
    if (item % 4 == 0 && scope < plain->n_scopes) {
        plain->scales[scope] = scale;
    }
    if (lt_is_odd_stat(stat)) {
        memory->is_odd = 1;
    }
    const uint rest = lt_rest_to(lt_least_elem(scale));
#pragma unroll
    for (uint i = 0; i < 4; i++) {
        memory->digits.eight[first + 4 * (i ^ turn)] =
            (uint2)(lt_number_digits4(raw[i].lo, rest), lt_number_digits4(raw[i].hi, rest));
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_digits(plain->out, plain->n_cols, item, LT_ITEMS,
                    (__local const uint *)&memory->digits);
    lt_leave_mark(plain, item, &memory->is_odd);
}

#endif
