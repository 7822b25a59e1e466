/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels of plain.cl and what includes it, and the one that does anew what these have marked.
 */
#include "plain_own.cl"

#if LT_HAS_PLAIN

__kernel __attribute__((reqd_work_group_size(LT_ITEMS, 1, 1))) void
lathe_plain(__global const uchar *restrict src, __global const float *restrict src_scales,
            __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
            lathe_launch launch) {
    __local lt_plain_memory memory;
    const lt_plain plain = lt_plain_of(src, dst, dst_scales, &launch, (uint)get_group_id(0));
#if LT_SRC == LATHE_CL_F32
    /* Some work-items do more than others. That these are not the first ones of all groups saves
     * 2% from F32 to BITNET158 on an H200; with smaller groups it takes longer. */
    const uint item = ((uint)get_local_id(0) + 32 * (uint)get_group_id(0)) % LT_ITEMS;
#else
    const uint item = (uint)get_local_id(0);
#endif
    lt_plain_block(&launch, &plain, item, &memory);
}

#if LT_HAS_OWN

#define LT_OWN_KERNEL(name, convert)                                                               \
    __kernel __attribute__((reqd_work_group_size(LT_ITEMS, 1, 1))) void name(                      \
        __global const uchar *restrict src, __global const float *restrict src_scales,             \
        __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,          \
        lathe_launch launch) {                                                                     \
        __local lt_own_memory memory;                                                              \
        const lt_plain plain = lt_plain_of(src, dst, dst_scales, &launch, (uint)get_group_id(0));  \
        convert(&plain, (uint)get_local_id(0), &memory);                                           \
    }

LT_OWN_KERNEL(lathe_own_groups, lt_own_block)

#endif

#if LT_HAS_TRITS

LT_OWN_KERNEL(lathe_own_whole, lt_whole_block)

__kernel __attribute__((reqd_work_group_size(LT_ITEMS, 1, 1))) void
lathe_trits(__global const uchar *restrict src, __global const float *restrict src_scales,
            __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
            lathe_launch launch) {
    __local lt_digits digits;
    const lt_plain plain = lt_plain_of(src, dst, dst_scales, &launch, (uint)get_group_id(0));
    lt_given_block(&plain, (uint)get_local_id(0), &digits);
}

#endif

/* A work-group looks at LT_GROUP blocks. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_again(__global const uchar *restrict src, __global const float *restrict src_scales,
            __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
            lathe_launch launch) {
    __local lt_linear_memory memory;
    __local uint marks[LT_GROUP];
    __local uint is_marked;
    const uint item = (uint)get_local_id(0);
    const uint first = (uint)get_group_id(0) * LT_GROUP;

    if (item == 0) {
        is_marked = 0;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    marks[item] = 0;
    if (first + item < (uint)launch.n_units) {
        const lt_plain plain = lt_plain_of(src, dst, dst_scales, &launch, first + item);
        if (as_uint(plain.scales[0]) == LT_MARK) {
            marks[item] = 1;
            is_marked = 1;
        }
    }
    barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE); /* the scales looked at are written next */
    if (is_marked == 0) {
        return;
    }
    for (uint i = 0; i < LT_GROUP; i++) {
        if (marks[i] != 0) {
            const lt_block block = lt_block_of(&launch, first + i);
            lt_linear_block(&block, src, src_scales, dst, dst_scales, &launch, item, &memory,
                            reports + launch.report * LATHE_CL_REPORT_WORDS);
            barrier(CLK_LOCAL_MEM_FENCE);
        }
    }
}

#endif
