/* SPDX-License-Identifier: Apache-2.0 */
/* The linear kernel: scales of their own for regular blocks, see regular.cl. */
#include "linear_mean.cl"

#if LT_HAS_LINEAR

/* For kernels that meet blocks of both kinds. */
typedef union lt_either_memory {
    lt_memory any;
    lt_linear_memory linear;
} lt_either_memory;

__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_linear(__global const uchar *restrict src, __global const float *restrict src_scales,
             __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
             lathe_launch launch) {
    __local lt_linear_memory memory;
    const lt_block block = lt_block_of(&launch, (uint)get_group_id(0));
    lt_linear_block(&block, src, src_scales, dst, dst_scales, &launch, (uint)get_local_id(0),
                    &memory, reports + launch.report * LATHE_CL_REPORT_WORDS);
}

#elif LT_DST >= LATHE_CL_I8

/* Smaller groups than a block wants. */
__kernel __attribute__((reqd_work_group_size(LT_GROUP, 1, 1))) void
lathe_linear(__global const uchar *restrict src, __global const float *restrict src_scales,
             __global uchar *restrict dst, __global float *dst_scales, __global uint *reports,
             lathe_launch launch) {
    __local lt_memory memory;
    const uint item = (uint)get_local_id(0);
    const lt_block block = lt_block_of(&launch, (uint)get_group_id(0));
    __global uint *report = reports + launch.report * LATHE_CL_REPORT_WORDS;
    lt_any_block(&block, src, src_scales, dst, dst_scales, &launch, item, &memory, report);
#if LT_DST == LATHE_CL_BITNET158
    barrier(CLK_LOCAL_MEM_FENCE);
    lt_store_block_trits(&block, dst, &launch, item, &memory);
#endif
}

#endif
