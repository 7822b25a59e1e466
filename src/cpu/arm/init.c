/* SPDX-License-Identifier: Apache-2.0 */
/* Puts the NEON kernels into the table. */
#include "cpu/arm/kernels_arm.h"

void lt_kernels_init_neon(lt_kernels *kernels) {
    kernels->isa = LATHE_ISA_NEON;
    kernels->copy = lt_copy_prefetch_neon;
#define SET_CONVERT_NEON(name, from, to)                                                           \
    kernels->convert[LT_HOT][from][to] = lt_##name##_hot_neon;                                     \
    kernels->convert[LT_COLD][from][to] = lt_##name##_prefetch_neon;
    LT_CORE_KERNELS(SET_CONVERT_NEON)
    LT_DIRECT_KERNELS(SET_CONVERT_NEON)
#define SET_STAT_NEON(name, dtype, statistic)                                                      \
    kernels->stat[LT_HOT][statistic][dtype] = lt_##name##_hot_neon;                                \
    kernels->stat[LT_COLD][statistic][dtype] = lt_##name##_stream_neon;                            \
    kernels->group_stat[LT_HOT][statistic][dtype] = lt_##name##_hot_groups_neon;                   \
    kernels->group_stat[LT_COLD][statistic][dtype] = lt_##name##_stream_groups_neon;
    LT_STAT_KERNELS(SET_STAT_NEON)
#define SET_GROUP_NEON(name, from, to)                                                             \
    kernels->group_encode[LT_HOT][from][to] = lt_##name##_hot_groups_neon;                         \
    kernels->group_encode[LT_COLD][from][to] = lt_##name##_stream_groups_neon;
    LT_GROUP_KERNELS(SET_GROUP_NEON)
    LT_TERNARY_ENCODERS(SET_GROUP_NEON)
#define SET_DECODE_NEON(name, from, to)                                                            \
    kernels->group_decode[LT_HOT][from][to] = lt_##name##_hot_groups_neon;                         \
    kernels->group_decode[LT_COLD][from][to] = lt_##name##_stream_groups_neon;
    LT_GROUP_DECODERS(SET_DECODE_NEON)
    LT_TERNARY_DECODERS(SET_DECODE_NEON)
#define SET_PACK_NEON(name) kernels->name = lt_##name##_neon;
    LT_PACK_KERNELS(SET_PACK_NEON)
    kernels->saturated_f32 = lt_saturated_f32_neon;
#define SET_FUSED_NEON(name, from, as, to) kernels->fused[from][as][to] = lt_##name##_fused_neon;
    LT_FUSED_KERNELS(SET_FUSED_NEON)
    kernels->fused_scales = lt_fused_scales_neon;
#define SET_ROUNDED_SUM_NEON(name, as) kernels->rounded_sum[as] = lt_##name##_neon;
    LT_ROUNDED_SUM_KERNELS(SET_ROUNDED_SUM_NEON)
}
