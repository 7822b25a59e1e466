/* SPDX-License-Identifier: Apache-2.0 */
/* What the x86 kernel files share: their prototypes, and how a store is done. */
#ifndef LT_CPU_X86_KERNELS_X86_H
#define LT_CPU_X86_KERNELS_X86_H

#include "cpu/kernels.h"
#include "cpu/vector.h"
#include <string.h>

#define LT_HAS_STREAM_STORES 1

/* Every remainder ends in AVX2's HOT kernel, whose steps are the smallest and divide any group. */
#define LT_SMALLEST(name) lt_##name##_hot_avx2
#define LT_SMALLEST_GROUPS(name, variant) lt_##name##_##variant##_groups_avx2

/* How a conversion treats the caches.
 *   HOT: not at all.
 *   STREAM: outputs are written around the cache; reads are prefetched.
 *   PREFETCH: reads and writes are prefetched. */
#define LT_X86_CONVERT_PROTOTYPES(name, isa)                                                       \
    lt_convert_fn lt_##name##_hot_##isa;                                                           \
    lt_convert_fn lt_##name##_stream_##isa;                                                        \
    lt_convert_fn lt_##name##_prefetch_##isa;

#define LT_X86_CONVERT(name, from, to)                                                             \
    LT_X86_CONVERT_PROTOTYPES(name, avx2)                                                          \
    LT_X86_CONVERT_PROTOTYPES(name, avx512)
/* Statistics and encoders of groups: HOT, and STREAM. */
#define LT_X86_STAT_PROTOTYPES(name, isa)                                                          \
    lt_stat_fn lt_##name##_hot_##isa;                                                              \
    lt_stat_fn lt_##name##_stream_##isa;                                                           \
    lt_group_stat_fn lt_##name##_hot_groups_##isa;                                                 \
    lt_group_stat_fn lt_##name##_stream_groups_##isa;
#define LT_X86_STAT(name, dtype, statistic)                                                        \
    LT_X86_STAT_PROTOTYPES(name, avx2)                                                             \
    LT_X86_STAT_PROTOTYPES(name, avx512)                                                           \
    lt_stat_fn lt_##name##_pairs_avx512;

#define LT_X86_GROUP_PROTOTYPES(name, isa)                                                         \
    lt_group_encode_fn lt_##name##_hot_groups_##isa;                                               \
    lt_group_encode_fn lt_##name##_stream_groups_##isa;
#define LT_X86_GROUP(name, from, to)                                                               \
    LT_X86_GROUP_PROTOTYPES(name, avx2)                                                            \
    LT_X86_GROUP_PROTOTYPES(name, avx512)

#define LT_X86_SIGN_SUMS_PROTOTYPES(name, isa)                                                     \
    lt_sign_sums_fn lt_##name##_hot_sums_##isa;                                                    \
    lt_sign_sums_fn lt_##name##_stream_sums_##isa;
#define LT_X86_SIGN_SUMS(name, from)                                                               \
    LT_X86_SIGN_SUMS_PROTOTYPES(name, avx2)                                                        \
    LT_X86_SIGN_SUMS_PROTOTYPES(name, avx512)

#define LT_X86_SCOPE(name, from, to) lt_scope_encode_fn lt_##name##_scope_avx512;
#define LT_X86_SCOPE_VBMI(name, from, to) lt_scope_encode_fn lt_##name##_scope_vbmi;

#define LT_X86_DECODE_PROTOTYPES(name, isa)                                                        \
    lt_group_decode_fn lt_##name##_hot_groups_##isa;                                               \
    lt_group_decode_fn lt_##name##_stream_groups_##isa;
#define LT_X86_DECODE(name, from, to)                                                              \
    LT_X86_DECODE_PROTOTYPES(name, avx2)                                                           \
    LT_X86_DECODE_PROTOTYPES(name, avx512)

#define LT_X86_VBMI(name, from, to)                                                                \
    LT_X86_CONVERT_PROTOTYPES(name, vbmi)                                                          \
    LT_X86_GROUP_PROTOTYPES(name, vbmi)

#define LT_X86_PACK(name)                                                                          \
    lt_pack_fn lt_##name##_avx2;                                                                   \
    lt_pack_fn lt_##name##_avx512;

#define LT_X86_RECODE_PROTOTYPES(name, isa)                                                        \
    lt_recode_fn lt_##name##_hot_##isa;                                                            \
    lt_recode_fn lt_##name##_stream_##isa;
#define LT_X86_RECODE(name, to)                                                                    \
    LT_X86_RECODE_PROTOTYPES(name, avx2)                                                           \
    LT_X86_RECODE_PROTOTYPES(name, avx512)                                                         \
    LT_X86_RECODE_PROTOTYPES(name, vbmi)
#define LT_X86_LOOKUP_PROTOTYPES(name, isa)                                                        \
    lt_recode_fn lt_##name##_lookup_hot_##isa;                                                     \
    lt_recode_fn lt_##name##_lookup_stream_##isa;
#define LT_X86_LOOKUP(name, from, to)                                                              \
    LT_X86_LOOKUP_PROTOTYPES(name, avx2)                                                           \
    LT_X86_LOOKUP_PROTOTYPES(name, avx512)
#define LT_X86_UNPACK(name, from) LT_X86_PACK(name)
#define LT_X86_CODE_STAT(name, dtype, statistic)                                                   \
    lt_code_stat_fn lt_##name##_avx2;                                                              \
    lt_code_stat_fn lt_##name##_avx512;

#define LT_X86_FUSED(name, from, as, to)                                                           \
    lt_fused_fn lt_##name##_fused_avx2;                                                            \
    lt_fused_fn lt_##name##_fused_avx512;

#define LT_X86_ROUNDED_SUM(name, as)                                                               \
    lt_stat_fn lt_##name##_avx2;                                                                   \
    lt_stat_fn lt_##name##_avx512;

#define LT_X86_CODE_SUM(name, dtype, statistic) lt_code_stat_fn lt_##name##_avx512;

LT_X86_CONVERT(copy, , )
LT_CORE_KERNELS(LT_X86_CONVERT)
LT_DIRECT_KERNELS(LT_X86_CONVERT)
LT_GROUP_KERNELS(LT_X86_GROUP)
LT_STAT_KERNELS(LT_X86_STAT)
LT_PACK_KERNELS(LT_X86_PACK)
LT_TERNARY_ENCODERS(LT_X86_GROUP)
LT_GROUP_DECODERS(LT_X86_DECODE)
LT_TERNARY_DECODERS(LT_X86_DECODE)
LT_TERNARY_ENCODERS(LT_X86_VBMI)
LT_SIGN_SUM_KERNELS(LT_X86_SIGN_SUMS)
LT_SCOPE_KERNELS(LT_X86_SCOPE)
LT_TERNARY_SCOPE_KERNELS(LT_X86_SCOPE_VBMI)
LT_LOOKUP_KERNELS(LT_X86_LOOKUP)
LT_UNPACK_KERNELS(LT_X86_UNPACK)
LT_RECODE_KERNELS(LT_X86_RECODE)
LT_CODE_STAT_KERNELS(LT_X86_CODE_STAT)
LT_CODE_SUM_KERNELS(LT_X86_CODE_SUM)
lt_code_stat_fn lt_abssum_codes_vbmi;
lt_ternary_fn lt_i8_to_ternary_vbmi;
lt_ternary_fn lt_i2_to_ternary_vbmi;
lt_ternary_fn lt_i1_to_ternary_vbmi;
lt_scales_fn lt_scales_avx2;
lt_scales_fn lt_scales_avx512;
lt_repack_fn lt_repack_bitnet158_avx2;
lt_repack_fn lt_repack_bitnet158_avx512;
lt_repack_fn lt_repack_bitnet158_vbmi;
LT_FUSED_KERNELS(LT_X86_FUSED)
LT_ROUNDED_SUM_KERNELS(LT_X86_ROUNDED_SUM)
lt_fused_scales_fn lt_fused_scales_avx2;
lt_fused_scales_fn lt_fused_scales_avx512;
lt_pack_fn lt_pack_bitnet158_vbmi;
lt_saturated_fn lt_saturated_f32_avx2;
lt_saturated_fn lt_saturated_f32_avx512;
lt_quality_fn lt_quality_avx2;
lt_quality_fn lt_quality_avx512;
lt_quality_saturated_fn lt_saturated_avx2;
lt_quality_saturated_fn lt_saturated_avx512;

#endif
