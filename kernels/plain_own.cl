/* SPDX-License-Identifier: Apache-2.0 */
/* The plain kernel's scales of BITNET158 once more, for groups of the sizes that are usual: few
 * work-items have a group to themselves and keep it in registers. On an H200, groups of 128
 * elements of 16 bits take 0.81 of the plain kernel's time. To I1, whose bits need no scale, they
 * take longer. */
#include "plain_trits.cl"

#define LT_HAS_OWN (LT_HAS_PLAIN && LATHE_CL_HAS_OWN(LT_SRC, LT_DST))

#if LT_HAS_OWN

/* A group has one to eight sharers, work-items that follow each other. Sharer i of n has the
 * group's quads i, i + n, i + 2 n and i + 3 n. */
#define LT_SHARE_QUADS 4
#define LT_SHARE_ELEMS (LT_SHARE_QUADS * LT_QUAD_ELEMS)

/* The lanes of a quad. */
#if LT_SRC == LATHE_CL_F32
typedef float4 lt_lanes;
#else
typedef float8 lt_lanes;
#endif

typedef struct lt_own_memory {
    lt_lanes lanes[LT_ITEMS];
    float2 pairs[LT_ITEMS];
    lt_digits digits;
    uint is_odd;
} lt_own_memory;

lt_lanes lt_lanes_of_quad(uint4 raw) {
#if LT_SRC == LATHE_CL_F32
    return fabs(as_float4(raw));
#else
    return (float8)(lt_cell_magnitudes(raw.lo), lt_cell_magnitudes(raw.hi));
#endif
}

/* A sharer's lanes. What lies the farthest apart in a group is two quads apart in a sharer's. Which
 * of two comes first does not matter to a sum, so that the order of the quads may be any in which
 * these stay so. */
lt_lanes lt_fold_share(const uint4 *raw) {
    return (lt_lanes_of_quad(raw[0]) + lt_lanes_of_quad(raw[2])) +
           (lt_lanes_of_quad(raw[1]) + lt_lanes_of_quad(raw[3]));
}

float lt_fold_four(float4 four) {
    const float2 two = four.lo + four.hi;
    return two.x + two.y;
}

float lt_fold_quad(lt_lanes lanes) {
#if LT_SRC == LATHE_CL_F32
    return lt_fold_four(lanes);
#else
    return lt_fold_four(lanes.lo + lanes.hi);
#endif
}

/* The sum of a group, for each of its sharers. */
float lt_sum_of_group(const uint4 *raw, uint n_sharers, uint item, __local lt_own_memory *memory) {
    lt_lanes lanes = lt_fold_share(raw);
    for (uint apart = n_sharers / 2; apart > 0; apart /= 2) {
        memory->lanes[item] = lanes;
        barrier(CLK_LOCAL_MEM_FENCE);
        lanes += memory->lanes[item ^ apart];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return lt_fold_quad(lanes);
}

/* A work-item's place in a block of groups. */
typedef struct lt_holding {
    uint first; /* its first quad */
    uint step;  /* from one of its quads to the next */
    uint turn;  /* where it begins, so that neighbours' digits lie on different banks */
} lt_holding;

lt_holding lt_holding_of(uint n_sharers, uint item) {
    const uint sharer = item & (n_sharers - 1);
    const lt_holding held = {(item - sharer) * LT_SHARE_QUADS + sharer, n_sharers,
                             item / (32 / LT_QUAD_ELEMS) % LT_SHARE_QUADS};
    return held;
}

uint lt_quad_held(lt_holding held, uint i) {
    return held.first + held.step * (i ^ held.turn);
}

/* Loads a work-item's quads. What lies behind the block is 0. */
void lt_load_held(uint4 *raw, const lt_plain *plain, lt_holding held) {
#pragma unroll
    for (uint i = 0; i < LT_SHARE_QUADS; i++) {
        const uint at = lt_quad_held(held, i);
        raw[i] = at * LT_QUAD_ELEMS < plain->n_cols ? LT_COME4(plain->src[at]) : (uint4)(0);
    }
}

/* Makes and stores the codes of groups with such scales, and the scales. */
void lt_encode_groups(const uint4 *raw, const lt_plain *plain, lt_holding held, float stat,
                      float scale, uint item, __local lt_own_memory *memory) {
    const lt_cut cut = lt_cut_of(scale);
    if (lt_is_odd_stat(stat)) {
        memory->is_odd = 1;
    }
#pragma unroll
    for (uint i = 0; i < LT_SHARE_QUADS; i++) {
        memory->digits.quads[lt_quad_held(held, i)] = lt_digits_of_quad(raw[i], cut);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_digits(plain->out, plain->n_cols, item, LT_ITEMS,
                    (__local const uint *)&memory->digits);
    lt_leave_mark(plain, item, &memory->is_odd);
}

/* A block of groups of LATHE_CL_OWN_SCOPE elements, or a half or a quarter of that, of which the
 * last may be short. */
void lt_own_block(const lt_plain *plain, uint item, __local lt_own_memory *memory) {
    const uint n_sharers = plain->scope_elems / LT_SHARE_ELEMS;
    const lt_holding held = lt_holding_of(n_sharers, item);
    const uint begin = (item & ~(n_sharers - 1)) * LT_SHARE_ELEMS;
    uint4 raw[LT_SHARE_QUADS];

    if (item == 0) {
        memory->is_odd = 0;
        lt_frame_digits(&memory->digits);
    }
    lt_load_held(raw, plain, held);
    barrier(CLK_LOCAL_MEM_FENCE); /* before any group is found to be odd */
    const float stat = lt_sum_of_group(raw, n_sharers, item, memory);
    const float scale = lt_plain_scale(stat, min(plain->scope_elems, plain->n_cols - begin));
    if (begin == item * LT_SHARE_ELEMS && begin < plain->n_cols) {
        plain->scales[item >> popcount(n_sharers - 1)] = scale;
    }
    lt_encode_groups(raw, plain, held, stat, scale, item, memory);
}

#if LT_HAS_TRITS

/* The same for four sharers, which need not add up the same lanes each: in between they have two of
 * eight. The halves of eight lie apart, on different banks. */
float lt_sum_by_four(const uint4 *raw, uint item, __local lt_own_memory *memory) {
    __local float4 *halves = (__local float4 *)memory->lanes;
    const uint first = item & ~3u;
    const lt_lanes mine = lt_fold_share(raw);
    halves[item] = mine.lo;
    halves[LT_ITEMS + item] = mine.hi;
    barrier(CLK_LOCAL_MEM_FENCE);
    __local const float2 *lanes =
        (__local const float2 *)(halves + item / 2 % 2 * LT_ITEMS + first) + item % 2;
    memory->pairs[item] = (lanes[0] + lanes[4]) + (lanes[2] + lanes[6]);
    barrier(CLK_LOCAL_MEM_FENCE);
    __local const float4 *fours = (__local const float4 *)(memory->pairs + first);
    return lt_fold_four(fours[0] + fours[1]);
}

/* A block of whole groups of LATHE_CL_OWN_SCOPE elements. */
void lt_whole_block(const lt_plain *plain, uint item, __local lt_own_memory *memory) {
    const uint scope = item / 4;
    const lt_holding held = lt_holding_of(4, item);
    uint4 raw[LT_SHARE_QUADS];

    if (item == 0) {
        memory->is_odd = 0;
        lt_frame_digits(&memory->digits);
    }
    lt_load_held(raw, plain, held);
    const float stat = lt_sum_by_four(raw, item, memory);
    const float scale = lt_plain_scale(stat, LATHE_CL_OWN_SCOPE);
    if (item % 4 == 0 && scope < plain->n_scopes) {
        plain->scales[scope] = scale;
    }
    lt_encode_groups(raw, plain, held, stat, scale, item, memory);
}

#endif

#endif
