/* SPDX-License-Identifier: Apache-2.0 */
/* Puts the x86 kernels into the table. */
#include "cpu/x86/kernels_x86.h"
#include <xmmintrin.h>

static void wait_for_stores(void) {
    _mm_sfence();
}

void lt_kernels_init_avx2(lt_kernels *kernels, const lt_cpu_features *features) {
    const bool stream = features->stream_stores;

    kernels->isa = LATHE_ISA_AVX2;
    kernels->copy = stream ? lt_copy_stream_avx2 : lt_copy_prefetch_avx2;
    kernels->publish = stream ? wait_for_stores : NULL;
#define SET_CONVERT_AVX2(name, from, to)                                                           \
    kernels->convert[LT_HOT][from][to] = lt_##name##_hot_avx2;                                     \
    kernels->convert[LT_COLD][from][to] =                                                          \
        stream ? lt_##name##_stream_avx2 : lt_##name##_prefetch_avx2;
    LT_CORE_KERNELS(SET_CONVERT_AVX2)
    LT_DIRECT_KERNELS(SET_CONVERT_AVX2)
#define SET_STAT_AVX2(name, dtype, statistic)                                                      \
    kernels->stat[LT_HOT][statistic][dtype] = lt_##name##_hot_avx2;                                \
    kernels->stat[LT_COLD][statistic][dtype] =                                                     \
        stream ? lt_##name##_stream_avx2 : lt_##name##_hot_avx2;                                   \
    kernels->group_stat[LT_HOT][statistic][dtype] = lt_##name##_hot_groups_avx2;                   \
    kernels->group_stat[LT_COLD][statistic][dtype] =                                               \
        stream ? lt_##name##_stream_groups_avx2 : lt_##name##_hot_groups_avx2;
    LT_STAT_KERNELS(SET_STAT_AVX2)
#define SET_GROUP_AVX2(name, from, to)                                                             \
    kernels->group_encode[LT_HOT][from][to] = lt_##name##_hot_groups_avx2;                         \
    kernels->group_encode[LT_COLD][from][to] =                                                     \
        stream ? lt_##name##_stream_groups_avx2 : lt_##name##_hot_groups_avx2;
    LT_GROUP_KERNELS(SET_GROUP_AVX2)
    LT_TERNARY_ENCODERS(SET_GROUP_AVX2)
#define SET_SIGN_SUMS_AVX2(name, from)                                                             \
    kernels->sign_sums[LT_HOT][from] = lt_##name##_hot_sums_avx2;                                  \
    kernels->sign_sums[LT_COLD][from] =                                                            \
        stream ? lt_##name##_stream_sums_avx2 : lt_##name##_hot_sums_avx2;
    LT_SIGN_SUM_KERNELS(SET_SIGN_SUMS_AVX2)
#define SET_DECODE_AVX2(name, from, to)                                                            \
    kernels->group_decode[LT_HOT][from][to] = lt_##name##_hot_groups_avx2;                         \
    kernels->group_decode[LT_COLD][from][to] =                                                     \
        stream ? lt_##name##_stream_groups_avx2 : lt_##name##_hot_groups_avx2;
    LT_GROUP_DECODERS(SET_DECODE_AVX2)
    LT_TERNARY_DECODERS(SET_DECODE_AVX2)
#define SET_PACK_AVX2(name) kernels->name = lt_##name##_avx2;
    LT_PACK_KERNELS(SET_PACK_AVX2)
#define SET_UNPACK_AVX2(name, from) kernels->unpack[from] = lt_##name##_avx2;
    LT_UNPACK_KERNELS(SET_UNPACK_AVX2)
#define SET_RECODE_AVX2(name, to)                                                                  \
    kernels->recode[LT_HOT][to] = lt_##name##_hot_avx2;                                            \
    kernels->recode[LT_COLD][to] = stream ? lt_##name##_stream_avx2 : lt_##name##_hot_avx2;
    LT_RECODE_KERNELS(SET_RECODE_AVX2)
#define SET_LOOKUP_AVX2(name, from, to)                                                            \
    kernels->lookup[LT_HOT][from][to] = lt_##name##_lookup_hot_avx2;                               \
    kernels->lookup[LT_COLD][from][to] =                                                           \
        stream ? lt_##name##_lookup_stream_avx2 : lt_##name##_lookup_hot_avx2;
    LT_LOOKUP_KERNELS(SET_LOOKUP_AVX2)
#define SET_CODE_STAT_AVX2(name, dtype, statistic)                                                 \
    kernels->code_stat[statistic][dtype] = lt_##name##_avx2;
    LT_CODE_STAT_KERNELS(SET_CODE_STAT_AVX2)
    kernels->repack_bitnet158 = lt_repack_bitnet158_avx2;
    kernels->scales = lt_scales_avx2;
    kernels->saturated_f32 = lt_saturated_f32_avx2;
    kernels->quality = lt_quality_avx2;
    kernels->quality_saturated = lt_saturated_avx2;
    kernels->precise = &lt_precise_loops_avx2;
#define SET_FUSED_AVX2(name, from, as, to) kernels->fused[from][as][to] = lt_##name##_fused_avx2;
    LT_FUSED_KERNELS(SET_FUSED_AVX2)
    kernels->fused_scales = lt_fused_scales_avx2;
#define SET_ROUNDED_SUM_AVX2(name, as) kernels->rounded_sum[as] = lt_##name##_avx2;
    LT_ROUNDED_SUM_KERNELS(SET_ROUNDED_SUM_AVX2)
}

/* Where stores do not stream, writing F32 out of cache was faster with AVX2. */
static bool avx2_is_better_cold(lathe_dtype to, bool stream) {
    return to == LATHE_F32 && !stream;
}

/* What VBMI and VNNI make faster. */
static void init_vbmi(lt_kernels *kernels, bool stream) {
#define SET_TERNARY_VBMI(name, from, to)                                                           \
    kernels->convert[LT_HOT][from][to] = lt_##name##_hot_vbmi;                                     \
    kernels->convert[LT_COLD][from][to] =                                                          \
        stream ? lt_##name##_stream_vbmi : lt_##name##_prefetch_vbmi;                              \
    kernels->group_encode[LT_HOT][from][to] = lt_##name##_hot_groups_vbmi;                         \
    kernels->group_encode[LT_COLD][from][to] =                                                     \
        stream ? lt_##name##_stream_groups_vbmi : lt_##name##_hot_groups_vbmi;
    LT_TERNARY_ENCODERS(SET_TERNARY_VBMI)
#define SET_SCOPE_VBMI(name, from, to) kernels->scope_encode[from][to] = lt_##name##_scope_vbmi;
    LT_TERNARY_SCOPE_KERNELS(SET_SCOPE_VBMI)
    kernels->pack_bitnet158 = lt_pack_bitnet158_vbmi;
#define SET_RECODE_VBMI(name, to)                                                                  \
    kernels->recode[LT_HOT][to] = lt_##name##_hot_vbmi;                                            \
    kernels->recode[LT_COLD][to] = stream ? lt_##name##_stream_vbmi : lt_##name##_hot_vbmi;
    LT_RECODE_KERNELS(SET_RECODE_VBMI)
    kernels->repack_bitnet158 = lt_repack_bitnet158_vbmi;
    kernels->code_stat[LT_STAT_ABSSUM][LATHE_I8] = lt_abssum_codes_vbmi;
    kernels->ternary[LATHE_I8] = lt_i8_to_ternary_vbmi;
    kernels->ternary[LATHE_I2] = lt_i2_to_ternary_vbmi;
    kernels->ternary[LATHE_I1] = lt_i1_to_ternary_vbmi;
}

void lt_kernels_init_avx512(lt_kernels *kernels, const lt_cpu_features *features) {
    const bool stream = features->stream_stores;

    kernels->isa = LATHE_ISA_AVX512;
    if (!avx2_is_better_cold(LATHE_F32, stream))
        kernels->copy = stream ? lt_copy_stream_avx512 : lt_copy_prefetch_avx512;
#define SET_CONVERT_AVX512(name, from, to)                                                         \
    kernels->convert[LT_HOT][from][to] = lt_##name##_hot_avx512;                                   \
    if (!avx2_is_better_cold(to, stream))                                                          \
        kernels->convert[LT_COLD][from][to] =                                                      \
            stream ? lt_##name##_stream_avx512 : lt_##name##_prefetch_avx512;
    LT_CORE_KERNELS(SET_CONVERT_AVX512)
    LT_DIRECT_KERNELS(SET_CONVERT_AVX512)
/* Where stores do not stream, reading memory is faster 256 bits at a time; so are tiles of F32
 * where it is not prefetched far ahead. */
#define SET_STAT_AVX512(name, dtype, statistic)                                                    \
    kernels->stat[LT_HOT][statistic][dtype] = lt_##name##_hot_avx512;                              \
    kernels->group_stat[LT_HOT][statistic][dtype] = lt_##name##_hot_groups_avx512;                 \
    if (stream)                                                                                    \
        kernels->group_stat[LT_COLD][statistic][dtype] = lt_##name##_stream_groups_avx512;         \
    if (stream && features->far_prefetch)                                                          \
        kernels->stat[LT_COLD][statistic][dtype] = lt_##name##_stream_avx512;                      \
    else if (stream && (dtype) != LATHE_F32)                                                       \
        kernels->stat[LT_COLD][statistic][dtype] = lt_##name##_pairs_avx512;
    LT_STAT_KERNELS(SET_STAT_AVX512)
#define SET_GROUP_AVX512(name, from, to)                                                           \
    kernels->group_encode[LT_HOT][from][to] = lt_##name##_hot_groups_avx512;                       \
    kernels->group_encode[LT_COLD][from][to] =                                                     \
        stream ? lt_##name##_stream_groups_avx512 : lt_##name##_hot_groups_avx512;
    LT_GROUP_KERNELS(SET_GROUP_AVX512)
    LT_TERNARY_ENCODERS(SET_GROUP_AVX512)
#define SET_SIGN_SUMS_AVX512(name, from)                                                           \
    kernels->sign_sums[LT_HOT][from] = lt_##name##_hot_sums_avx512;                                \
    kernels->sign_sums[LT_COLD][from] =                                                            \
        stream ? lt_##name##_stream_sums_avx512 : lt_##name##_hot_sums_avx512;
    LT_SIGN_SUM_KERNELS(SET_SIGN_SUMS_AVX512)
#define SET_SCOPE_AVX512(name, from, to) kernels->scope_encode[from][to] = lt_##name##_scope_avx512;
    LT_SCOPE_KERNELS(SET_SCOPE_AVX512)
    kernels->publish = wait_for_stores; /* they stream whatever the others do */
#define SET_DECODE_AVX512(name, from, to)                                                          \
    kernels->group_decode[LT_HOT][from][to] = lt_##name##_hot_groups_avx512;                       \
    kernels->group_decode[LT_COLD][from][to] =                                                     \
        stream ? lt_##name##_stream_groups_avx512 : lt_##name##_hot_groups_avx512;
    LT_GROUP_DECODERS(SET_DECODE_AVX512)
    LT_TERNARY_DECODERS(SET_DECODE_AVX512)
#define SET_PACK_AVX512(name) kernels->name = lt_##name##_avx512;
    LT_PACK_KERNELS(SET_PACK_AVX512)
#define SET_UNPACK_AVX512(name, from) kernels->unpack[from] = lt_##name##_avx512;
    LT_UNPACK_KERNELS(SET_UNPACK_AVX512)
#define SET_RECODE_AVX512(name, to)                                                                \
    kernels->recode[LT_HOT][to] = lt_##name##_hot_avx512;                                          \
    kernels->recode[LT_COLD][to] = stream ? lt_##name##_stream_avx512 : lt_##name##_hot_avx512;
    LT_RECODE_KERNELS(SET_RECODE_AVX512)
#define SET_LOOKUP_AVX512(name, from, to)                                                          \
    kernels->lookup[LT_HOT][from][to] = lt_##name##_lookup_hot_avx512;                             \
    kernels->lookup[LT_COLD][from][to] =                                                           \
        stream ? lt_##name##_lookup_stream_avx512 : lt_##name##_lookup_hot_avx512;
    LT_LOOKUP_KERNELS(SET_LOOKUP_AVX512)
#define SET_CODE_STAT_AVX512(name, dtype, statistic)                                               \
    kernels->code_stat[statistic][dtype] = lt_##name##_avx512;
    LT_CODE_STAT_KERNELS(SET_CODE_STAT_AVX512)
    LT_CODE_SUM_KERNELS(SET_CODE_STAT_AVX512)
    kernels->repack_bitnet158 = lt_repack_bitnet158_avx512;
    kernels->scales = lt_scales_avx512;
    if (features->avx512_vbmi)
        init_vbmi(kernels, stream);
    kernels->saturated_f32 = lt_saturated_f32_avx512;
    kernels->quality = lt_quality_avx512;
    kernels->quality_saturated = lt_saturated_avx512;
    kernels->precise = &lt_precise_loops_avx512;
#define SET_FUSED_AVX512(name, from, as, to)                                                       \
    kernels->fused[from][as][to] = lt_##name##_fused_avx512;
    LT_FUSED_KERNELS(SET_FUSED_AVX512)
    kernels->fused_scales = lt_fused_scales_avx512;
#define SET_ROUNDED_SUM_AVX512(name, as) kernels->rounded_sum[as] = lt_##name##_avx512;
    LT_ROUNDED_SUM_KERNELS(SET_ROUNDED_SUM_AVX512)
}
