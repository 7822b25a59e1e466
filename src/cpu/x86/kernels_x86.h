/* SPDX-License-Identifier: Apache-2.0 */
/* What the x86 kernel files share: their prototypes, and how a store is done. */
#ifndef LT_CPU_X86_KERNELS_X86_H
#define LT_CPU_X86_KERNELS_X86_H

#include "cpu/kernels.h"
#include <string.h>

/* The templates only work when everything in them becomes one function. */
#define LT_INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define LT_UNROLL _Pragma("unroll")
#else
#define LT_UNROLL _Pragma("GCC unroll 16")
#endif

typedef enum lt_store { LT_STORE_PLAIN, LT_STORE_STREAM } lt_store;

/* How a conversion treats the caches.
 *   HOT: not at all.
 *   STREAM: 8-bit and wider outputs are written around the cache.
 *   PREFETCH: reads and writes are prefetched. */
#define LT_X86_CONVERT_PROTOTYPES(name, isa)                                                       \
    lt_convert_fn lt_##name##_hot_##isa;                                                           \
    lt_convert_fn lt_##name##_stream_##isa;                                                        \
    lt_convert_fn lt_##name##_prefetch_##isa;

#define LT_X86_CONVERT(name, from, to)                                                             \
    LT_X86_CONVERT_PROTOTYPES(name, avx2)                                                          \
    LT_X86_CONVERT_PROTOTYPES(name, avx512)
#define LT_X86_STAT(name, dtype, statistic)                                                        \
    lt_stat_fn lt_##name##_avx2;                                                                   \
    lt_stat_fn lt_##name##_avx512;                                                                 \
    lt_group_stat_fn lt_##name##_groups_avx2;                                                      \
    lt_group_stat_fn lt_##name##_groups_avx512;

#define LT_X86_GROUP(name, from, to)                                                               \
    lt_group_encode_fn lt_##name##_groups_avx2;                                                    \
    lt_group_encode_fn lt_##name##_groups_avx512;

#define LT_X86_PACK(name)                                                                          \
    lt_pack_fn lt_##name##_avx2;                                                                   \
    lt_pack_fn lt_##name##_avx512;

LT_CORE_KERNELS(LT_X86_CONVERT)
LT_DIRECT_KERNELS(LT_X86_CONVERT)
LT_GROUP_KERNELS(LT_X86_GROUP)
LT_STAT_KERNELS(LT_X86_STAT)
LT_PACK_KERNELS(LT_X86_PACK)
lt_saturated_fn lt_saturated_f32_avx2;
lt_saturated_fn lt_saturated_f32_avx512;

#endif
