/* SPDX-License-Identifier: Apache-2.0 */
/* Prototypes of the NEON kernels. */
#ifndef LT_CPU_ARM_KERNELS_ARM_H
#define LT_CPU_ARM_KERNELS_ARM_H

#include "cpu/kernels.h"
#include "cpu/vector.h"
#include <string.h>

/* HOT kernels leave the caches alone. PREFETCH ones prefetch what they read and write, and STREAM
 * ones, of which there are only statistics and kernels of groups, what they read. All stores are
 * plain: past the cache they take a pair of registers (stnp), and many processors ignore that hint.
 * Which is faster was not measured: there was no aarch64 processor to do it on. */
#define LT_HAS_STREAM_STORES 0

/* Every remainder ends in the HOT kernel. */
#define LT_SMALLEST(name) lt_##name##_hot_neon
#define LT_SMALLEST_GROUPS(name, variant) lt_##name##_##variant##_groups_neon

#define LT_NEON_CONVERT(name, from, to)                                                            \
    lt_convert_fn lt_##name##_hot_neon;                                                            \
    lt_convert_fn lt_##name##_prefetch_neon;
#define LT_NEON_STAT(name, dtype, statistic)                                                       \
    lt_stat_fn lt_##name##_hot_neon;                                                               \
    lt_stat_fn lt_##name##_stream_neon;                                                            \
    lt_group_stat_fn lt_##name##_hot_groups_neon;                                                  \
    lt_group_stat_fn lt_##name##_stream_groups_neon;
#define LT_NEON_GROUP(name, from, to)                                                              \
    lt_group_encode_fn lt_##name##_hot_groups_neon;                                                \
    lt_group_encode_fn lt_##name##_stream_groups_neon;
#define LT_NEON_DECODE(name, from, to)                                                             \
    lt_group_decode_fn lt_##name##_hot_groups_neon;                                                \
    lt_group_decode_fn lt_##name##_stream_groups_neon;
#define LT_NEON_PACK(name) lt_pack_fn lt_##name##_neon;
#define LT_NEON_FUSED(name, from, as, to) lt_fused_fn lt_##name##_fused_neon;
#define LT_NEON_ROUNDED_SUM(name, as) lt_stat_fn lt_##name##_neon;

LT_NEON_CONVERT(copy, , )
LT_CORE_KERNELS(LT_NEON_CONVERT)
LT_DIRECT_KERNELS(LT_NEON_CONVERT)
LT_STAT_KERNELS(LT_NEON_STAT)
LT_GROUP_KERNELS(LT_NEON_GROUP)
LT_TERNARY_ENCODERS(LT_NEON_GROUP)
LT_GROUP_DECODERS(LT_NEON_DECODE)
LT_TERNARY_DECODERS(LT_NEON_DECODE)
LT_PACK_KERNELS(LT_NEON_PACK)
LT_FUSED_KERNELS(LT_NEON_FUSED)
LT_ROUNDED_SUM_KERNELS(LT_NEON_ROUNDED_SUM)
lt_saturated_fn lt_saturated_f32_neon;
lt_fused_scales_fn lt_fused_scales_neon;

#endif
