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
    kernels->publish = stream ? wait_for_stores : NULL;
#define SET_CONVERT_AVX2(name, from, to)                                                           \
    kernels->convert[LT_HOT][from][to] = lt_##name##_hot_avx2;                                     \
    kernels->convert[LT_COLD][from][to] =                                                          \
        stream ? lt_##name##_stream_avx2 : lt_##name##_prefetch_avx2;
    LT_CORE_KERNELS(SET_CONVERT_AVX2)
    LT_DIRECT_KERNELS(SET_CONVERT_AVX2)
#define SET_STAT_AVX2(name, dtype, statistic)                                                      \
    kernels->stat[LT_HOT][statistic][dtype] = lt_##name##_avx2;                                    \
    kernels->stat[LT_COLD][statistic][dtype] = lt_##name##_avx2;                                   \
    kernels->group_stat[statistic][dtype] = lt_##name##_groups_avx2;
    LT_STAT_KERNELS(SET_STAT_AVX2)
#define SET_GROUP_AVX2(name, from, to) kernels->group_encode[from][to] = lt_##name##_groups_avx2;
    LT_GROUP_KERNELS(SET_GROUP_AVX2)
#define SET_PACK_AVX2(name) kernels->name = lt_##name##_avx2;
    LT_PACK_KERNELS(SET_PACK_AVX2)
    kernels->saturated_f32 = lt_saturated_f32_avx2;
    kernels->ladder_f32_to_i4 = lt_ladder_f32_to_i4_avx2;
}

/* Out of cache two things stay with AVX2, which was faster: F32 to BITNET158, and, where stores do
 * not stream, writing F32. */
static bool avx2_is_better_cold(lathe_dtype from, lathe_dtype to, bool stream) {
    return to == LATHE_F32 ? !stream : from == LATHE_F32 && to == LATHE_BITNET158;
}

void lt_kernels_init_avx512(lt_kernels *kernels, const lt_cpu_features *features) {
    const bool stream = features->stream_stores;

    kernels->isa = LATHE_ISA_AVX512;
#define SET_CONVERT_AVX512(name, from, to)                                                         \
    kernels->convert[LT_HOT][from][to] = lt_##name##_hot_avx512;                                   \
    if (!avx2_is_better_cold(from, to, stream))                                                    \
        kernels->convert[LT_COLD][from][to] =                                                      \
            stream ? lt_##name##_stream_avx512 : lt_##name##_prefetch_avx512;
    LT_CORE_KERNELS(SET_CONVERT_AVX512)
    LT_DIRECT_KERNELS(SET_CONVERT_AVX512)
/* Reading memory was faster 256 bits at a time: cold statistics stay with AVX2. */
#define SET_STAT_AVX512(name, dtype, statistic)                                                    \
    kernels->stat[LT_HOT][statistic][dtype] = lt_##name##_avx512;                                  \
    kernels->group_stat[statistic][dtype] = lt_##name##_groups_avx512;
    LT_STAT_KERNELS(SET_STAT_AVX512)
#define SET_GROUP_AVX512(name, from, to)                                                           \
    kernels->group_encode[from][to] = lt_##name##_groups_avx512;
    LT_GROUP_KERNELS(SET_GROUP_AVX512)
#define SET_PACK_AVX512(name) kernels->name = lt_##name##_avx512;
    LT_PACK_KERNELS(SET_PACK_AVX512)
    kernels->saturated_f32 = lt_saturated_f32_avx512;
    kernels->ladder_f32_to_i4 = lt_ladder_f32_to_i4_avx512;
}
