/* SPDX-License-Identifier: Apache-2.0 */
/* The one list of CPU kernels: it feeds the prototypes, the dispatch tables, the tests and the
 * bench.
 *
 * Every entry is X(name, from, to). An ISA's kernel is called lt_<name>_<variant>_<isa>. */
#ifndef LT_CPU_KERNEL_LIST_H
#define LT_CPU_KERNEL_LIST_H

/* One encoder from F32 and one decoder to F32 for each dtype: with these all 64 pairs work through
 * an F32 tile. The scalar reference implements exactly these, so an SIMD table starts out complete.
 */
#define LT_CORE_KERNELS(X)                                                                         \
    X(f32_to_f16, LATHE_F32, LATHE_F16)                                                            \
    X(f32_to_bf16, LATHE_F32, LATHE_BF16)                                                          \
    X(f32_to_i8, LATHE_F32, LATHE_I8)                                                              \
    X(f32_to_i4, LATHE_F32, LATHE_I4)                                                              \
    X(f32_to_i2, LATHE_F32, LATHE_I2)                                                              \
    X(f32_to_i1, LATHE_F32, LATHE_I1)                                                              \
    X(f32_to_bitnet158, LATHE_F32, LATHE_BITNET158)                                                \
    X(f16_to_f32, LATHE_F16, LATHE_F32)                                                            \
    X(bf16_to_f32, LATHE_BF16, LATHE_F32)                                                          \
    X(i8_to_f32, LATHE_I8, LATHE_F32)                                                              \
    X(i4_to_f32, LATHE_I4, LATHE_F32)                                                              \
    X(i2_to_f32, LATHE_I2, LATHE_F32)                                                              \
    X(i1_to_f32, LATHE_I1, LATHE_F32)                                                              \
    X(bitnet158_to_f32, LATHE_BITNET158, LATHE_F32)

/* Pairs that skip the tile. Additions only: the tests hold each to the bytes of the tile route. */
#define LT_DIRECT_KERNELS(X)                                                                       \
    X(f16_to_bf16, LATHE_F16, LATHE_BF16)                                                          \
    X(bf16_to_f16, LATHE_BF16, LATHE_F16)                                                          \
    X(f16_to_i8, LATHE_F16, LATHE_I8)                                                              \
    X(f16_to_i4, LATHE_F16, LATHE_I4)                                                              \
    X(f16_to_bitnet158, LATHE_F16, LATHE_BITNET158)                                                \
    X(bf16_to_i8, LATHE_BF16, LATHE_I8)                                                            \
    X(f16_to_i2, LATHE_F16, LATHE_I2)                                                              \
    X(f16_to_i1, LATHE_F16, LATHE_I1)                                                              \
    X(bf16_to_i4, LATHE_BF16, LATHE_I4)                                                            \
    X(bf16_to_i2, LATHE_BF16, LATHE_I2)                                                            \
    X(bf16_to_i1, LATHE_BF16, LATHE_I1)                                                            \
    X(bf16_to_bitnet158, LATHE_BF16, LATHE_BITNET158)                                              \
    X(i8_to_f16, LATHE_I8, LATHE_F16)                                                              \
    X(i8_to_bf16, LATHE_I8, LATHE_BF16)                                                            \
    X(i4_to_f16, LATHE_I4, LATHE_F16)                                                              \
    X(i4_to_bf16, LATHE_I4, LATHE_BF16)                                                            \
    X(i2_to_f16, LATHE_I2, LATHE_F16)                                                              \
    X(i2_to_bf16, LATHE_I2, LATHE_BF16)                                                            \
    X(i1_to_f16, LATHE_I1, LATHE_F16)                                                              \
    X(i1_to_bf16, LATHE_I1, LATHE_BF16)                                                            \
    X(bitnet158_to_f16, LATHE_BITNET158, LATHE_F16)                                                \
    X(bitnet158_to_bf16, LATHE_BITNET158, LATHE_BF16)

/* Encoders that also come in a form for groups whose scales are their own, many in one call. */
#define LT_GROUP_KERNELS(X)                                                                        \
    X(f32_to_i8, LATHE_F32, LATHE_I8)                                                              \
    X(f32_to_i4, LATHE_F32, LATHE_I4)                                                              \
    X(f32_to_i2, LATHE_F32, LATHE_I2)                                                              \
    X(f16_to_i8, LATHE_F16, LATHE_I8)                                                              \
    X(f16_to_i4, LATHE_F16, LATHE_I4)                                                              \
    X(bf16_to_i8, LATHE_BF16, LATHE_I8)                                                            \
    X(bf16_to_i4, LATHE_BF16, LATHE_I4)                                                            \
    X(f16_to_i2, LATHE_F16, LATHE_I2)                                                              \
    X(bf16_to_i2, LATHE_BF16, LATHE_I2)                                                            \
    X(f32_to_i1, LATHE_F32, LATHE_I1)                                                              \
    X(f16_to_i1, LATHE_F16, LATHE_I1)                                                              \
    X(bf16_to_i1, LATHE_BF16, LATHE_I1)

/* Of those, encoders that, where a level has them, find their own scale in the same pass. */
#define LT_SIGN_SUM_KERNELS(X)                                                                     \
    X(f32_to_i1, LATHE_F32)                                                                        \
    X(f16_to_i1, LATHE_F16)                                                                        \
    X(bf16_to_i1, LATHE_BF16)

/* Encoders that, where a level has them, also come in a form that takes the next scope's statistic
 * meanwhile: those in which computing takes about as long as reading. */
#define LT_SCOPE_KERNELS(X)                                                                        \
    X(f16_to_i8, LATHE_F16, LATHE_I8)                                                              \
    X(f16_to_i4, LATHE_F16, LATHE_I4)                                                              \
    X(f16_to_i2, LATHE_F16, LATHE_I2)                                                              \
    X(bf16_to_i8, LATHE_BF16, LATHE_I8)                                                            \
    X(bf16_to_i4, LATHE_BF16, LATHE_I4)                                                            \
    X(bf16_to_i2, LATHE_BF16, LATHE_I2)

/* The same, where a level has them, of base-3 bytes; these have a form of their own for VBMI. */
#define LT_TERNARY_ENCODERS(X)                                                                     \
    X(f32_to_bitnet158, LATHE_F32, LATHE_BITNET158)                                                \
    X(f16_to_bitnet158, LATHE_F16, LATHE_BITNET158)                                                \
    X(bf16_to_bitnet158, LATHE_BF16, LATHE_BITNET158)

/* Of those, encoders that also take the next scope's statistic. */
#define LT_TERNARY_SCOPE_KERNELS(X)                                                                \
    X(f16_to_bitnet158, LATHE_F16, LATHE_BITNET158)                                                \
    X(bf16_to_bitnet158, LATHE_BF16, LATHE_BITNET158)

/* Decoders that also come in a form for groups, many in one call; and those of base-3 bytes, where
 * a level has them. */
#define LT_GROUP_DECODERS(X)                                                                       \
    X(i8_to_f32, LATHE_I8, LATHE_F32)                                                              \
    X(i4_to_f32, LATHE_I4, LATHE_F32)                                                              \
    X(i2_to_f32, LATHE_I2, LATHE_F32)                                                              \
    X(i1_to_f32, LATHE_I1, LATHE_F32)                                                              \
    X(i8_to_f16, LATHE_I8, LATHE_F16)                                                              \
    X(i4_to_f16, LATHE_I4, LATHE_F16)                                                              \
    X(i2_to_f16, LATHE_I2, LATHE_F16)                                                              \
    X(i1_to_f16, LATHE_I1, LATHE_F16)                                                              \
    X(i8_to_bf16, LATHE_I8, LATHE_BF16)                                                            \
    X(i4_to_bf16, LATHE_I4, LATHE_BF16)                                                            \
    X(i2_to_bf16, LATHE_I2, LATHE_BF16)                                                            \
    X(i1_to_bf16, LATHE_I1, LATHE_BF16)
#define LT_TERNARY_DECODERS(X)                                                                     \
    X(bitnet158_to_f32, LATHE_BITNET158, LATHE_F32)                                                \
    X(bitnet158_to_f16, LATHE_BITNET158, LATHE_F16)                                                \
    X(bitnet158_to_bf16, LATHE_BITNET158, LATHE_BF16)

/* Ternary codes (int8 in {-1, 0, +1}, no scale) to and from base-3 bytes: for groups whose first
 * element is not the first of a byte. X(name). */
#define LT_PACK_KERNELS(X)                                                                         \
    X(pack_bitnet158)                                                                              \
    X(unpack_bitnet158)

/* Between quantized types, where a level has them. From packed codes to those of another scale, by
 * looking them up. */
#define LT_LOOKUP_KERNELS(X)                                                                       \
    X(i4_to_i8, LATHE_I4, LATHE_I8)                                                                \
    X(i4_to_i4, LATHE_I4, LATHE_I4)                                                                \
    X(i4_to_i2, LATHE_I4, LATHE_I2)                                                                \
    X(i4_to_i1, LATHE_I4, LATHE_I1)                                                                \
    X(i2_to_i8, LATHE_I2, LATHE_I8)                                                                \
    X(i2_to_i4, LATHE_I2, LATHE_I4)                                                                \
    X(i2_to_i2, LATHE_I2, LATHE_I2)                                                                \
    X(i2_to_i1, LATHE_I2, LATHE_I1)                                                                \
    X(i1_to_i8, LATHE_I1, LATHE_I8)                                                                \
    X(i1_to_i4, LATHE_I1, LATHE_I4)                                                                \
    X(i1_to_i2, LATHE_I1, LATHE_I2)

/* Others by way of codes a byte each: packed codes to bytes, X(name, dtype); and bytes to the codes
 * of another scale, X(name, target). */
#define LT_UNPACK_KERNELS(X)                                                                       \
    X(unpack_i4, LATHE_I4)                                                                         \
    X(unpack_i2, LATHE_I2)                                                                         \
    X(unpack_i1, LATHE_I1)
#define LT_RECODE_KERNELS(X)                                                                       \
    X(recode_i8, LATHE_I8)                                                                         \
    X(recode_i4, LATHE_I4)                                                                         \
    X(recode_i2, LATHE_I2)                                                                         \
    X(recode_i1, LATHE_I1)
/* Statistics of what bytes stand for, which are codes of I8 or of a narrower type, and packed
 * codes. X(name, dtype, statistic). */
#define LT_CODE_STAT_KERNELS(X)                                                                    \
    X(absmax_codes, LATHE_I8, LT_STAT_ABSMAX)                                                      \
    X(abssum_codes, LATHE_I8, LT_STAT_ABSSUM)                                                      \
    X(absmax_i4, LATHE_I4, LT_STAT_ABSMAX)                                                         \
    X(absmax_i2, LATHE_I2, LT_STAT_ABSMAX)
/* The same, where a level has them. */
#define LT_CODE_SUM_KERNELS(X)                                                                     \
    X(abssum_i4, LATHE_I4, LT_STAT_ABSSUM)                                                         \
    X(abssum_i2, LATHE_I2, LT_STAT_ABSSUM)

/* Several conversions at once, where a level has them: from floats, as values of that or of a
 * narrower float, to codes with scales of their own. X(name, source, as, to). */
#define LT_FUSED_KERNELS(X)                                                                        \
    X(f32_to_i8, LATHE_F32, LATHE_F32, LATHE_I8)                                                   \
    X(f32_to_i4, LATHE_F32, LATHE_F32, LATHE_I4)                                                   \
    X(f32_to_i2, LATHE_F32, LATHE_F32, LATHE_I2)                                                   \
    X(f32_as_f16_to_i8, LATHE_F32, LATHE_F16, LATHE_I8)                                            \
    X(f32_as_f16_to_i4, LATHE_F32, LATHE_F16, LATHE_I4)                                            \
    X(f32_as_f16_to_i2, LATHE_F32, LATHE_F16, LATHE_I2)                                            \
    X(f32_as_bf16_to_i8, LATHE_F32, LATHE_BF16, LATHE_I8)                                          \
    X(f32_as_bf16_to_i4, LATHE_F32, LATHE_BF16, LATHE_I4)                                          \
    X(f32_as_bf16_to_i2, LATHE_F32, LATHE_BF16, LATHE_I2)                                          \
    X(f16_to_i8, LATHE_F16, LATHE_F16, LATHE_I8)                                                   \
    X(f16_to_i4, LATHE_F16, LATHE_F16, LATHE_I4)                                                   \
    X(f16_to_i2, LATHE_F16, LATHE_F16, LATHE_I2)                                                   \
    X(bf16_to_i8, LATHE_BF16, LATHE_BF16, LATHE_I8)                                                \
    X(bf16_to_i4, LATHE_BF16, LATHE_BF16, LATHE_I4)                                                \
    X(bf16_to_i2, LATHE_BF16, LATHE_BF16, LATHE_I2)

/* Sums of magnitudes of one tile of F32, rounded first. X(name, what they are rounded to). */
#define LT_ROUNDED_SUM_KERNELS(X)                                                                  \
    X(abssum_f32_as_f16, LATHE_F16)                                                                \
    X(abssum_f32_as_bf16, LATHE_BF16)

/* Statistics of one tile. X(name, source dtype, statistic). */
#define LT_STAT_KERNELS(X)                                                                         \
    X(absmax_f32, LATHE_F32, LT_STAT_ABSMAX)                                                       \
    X(absmax_f16, LATHE_F16, LT_STAT_ABSMAX)                                                       \
    X(absmax_bf16, LATHE_BF16, LT_STAT_ABSMAX)                                                     \
    X(abssum_f32, LATHE_F32, LT_STAT_ABSSUM)                                                       \
    X(abssum_f16, LATHE_F16, LT_STAT_ABSSUM)                                                       \
    X(abssum_bf16, LATHE_BF16, LT_STAT_ABSSUM)

#endif
