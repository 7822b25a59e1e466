/* SPDX-License-Identifier: Apache-2.0 */
/* What a CPU kernel is, and the table through which kernels are called. */
#ifndef LT_CPU_KERNELS_H
#define LT_CPU_KERNELS_H

#include "cpu/features.h"
#include "cpu/kernel_list.h"
#include "lathe_constants.h"
#include <lathe/dtype.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Parameters of the kernels that quantize or dequantize; the others look at `ahead` alone.
 *
 * Decode: value = (float)code * scale; the scale is finite.
 *
 * Encode: code = round to nearest even of x * inv_scale, clamped to [-max_code, max_code], or, to
 * I4 and I2, [-max_code - extra_codes, max_code]. NaN
 * gives 0 and an infinity the clamp bound. inv_scale is 0 for an uninvertible scale, which makes
 * every code 0 (an infinity times 0 is a NaN, so it too gives 0). BITNET158 is bounded by 1
 * whatever max_code says.
 *
 * Encode to I1: the bit is 1 unless x < 0, so NaN, which stands for 0, gives 1. No parameter is
 * used. */
typedef struct lt_kernel_params {
    float scale;
    float inv_scale;
    float max_code;    /* 127, 7 or 1 */
    float extra_codes; /* 0 or 1 */
    size_t ahead;      /* bytes of the source that COLD kernels prefetch ahead; 0: their own, and
                          of two lines one */
} lt_kernel_params;

/* Converts n_elems consecutive elements. Both sides begin on an element's first byte, with no other
 * alignment; they do not overlap. Exactly the bytes of n_elems elements are read and written, and
 * the unused bits of the last byte are written as zero (BITNET158: as digit 1). */
typedef void lt_convert_fn(const void *src, void *dst, size_t n_elems,
                           const lt_kernel_params *params);

/* Ternary codes to base-3 bytes or back; the same rules. */
typedef void lt_pack_fn(const void *src, void *dst, size_t n_elems);

typedef enum lt_stat { LT_STAT_ABSMAX = 0, LT_STAT_ABSSUM = 1 } lt_stat;
enum { LT_STAT_COUNT = 2 };

/* A statistic of one tile of at most LATHE_STAT_TILE elements: the greatest absolute value, or the
 * canonical F32 sum of absolute values. When any element is infinite or NaN the result is not
 * finite (a sum may also overflow by itself: the caller tells the two apart); a NaN is always
 * 0x7fc00000. 0 for no elements. */
typedef float lt_stat_fn(const void *src, size_t n_elems);

/* How many elements saturate: |x * inv_scale| >= max_code + 0.5. NaN does not count. */
typedef uint64_t lt_saturated_fn(const float *src, size_t n_elems, const lt_kernel_params *params);

/* lt_quality_add of at most LT_SUM_BLOCK elements, and lt_quality_saturated: core/quality.h. */
struct lt_quality_sums;
struct lt_precise_loops;
typedef void lt_quality_fn(struct lt_quality_sums *sums, const float *x, const float *y,
                           size_t n_elems);
typedef uint64_t lt_quality_saturated_fn(const float *x, const float *y, size_t n_elems,
                                         float limit);

/* What kernels for COLD data prefetch: a cache line for each two that they read, from `first` on,
 * each step_bytes, one or two lines, after the one before. It may lie past the end of the data. */
typedef struct lt_prefetch {
    const void *first;
    size_t step_bytes;
} lt_prefetch;

/* The same statistic of each group of group_elems elements (at most LATHE_STAT_TILE; where there
 * are several a multiple of LATHE_GROUP_MULTIPLE); the last may be short. */
typedef void lt_group_stat_fn(const void *src, size_t n_elems, size_t group_elems, float *stats,
                              lt_prefetch ahead);

/* Encodes group after group, each with the inverse of the scale that its own elements lead to:
 * all are finite, and no |x * inv_scale| rounds to more than the dtype's greatest code; for
 * BITNET158, which is clamped to it, to no more than 2^31. Otherwise as lt_convert_fn. */
typedef void lt_group_encode_fn(const void *src, void *dst, size_t n_elems, size_t group_elems,
                                const float *inv_scales, lt_prefetch ahead);

/* Encodes a scope as lt_group_encode_fn does, and takes the statistics of as many elements that
 * follow its source, one of each tile: one goes on while the other waits for memory. What lies
 * `ahead` bytes after what is read there is prefetched. */
typedef void lt_scope_encode_fn(const void *src, void *dst, size_t n_elems, float inv_scale,
                                float *stats, size_t ahead);

/* Codes of I1 of groups as in lt_group_stat_fn, which need no scale, and their sums of magnitudes.
 * `ahead` as in lt_kernel_params. */
typedef void lt_sign_sums_fn(const void *src, void *dst, size_t n_elems, size_t group_elems,
                             float *sums, size_t ahead);

/* Decodes group after group, each with its own scale; otherwise as lt_convert_fn. */
typedef void lt_group_decode_fn(const void *src, void *dst, size_t n_elems, size_t group_elems,
                                const float *scales);

/* What codes, a byte each, stand for, and what is made of it. Groups as in lt_group_stat_fn. */
typedef struct lt_recode {
    const float *scales;   /* of each group: what its codes are multiplied by; finite, and not
                              below 0 */
    const float *inverses; /* of each group: of the target's scale */
    size_t group_elems;
    float max_code; /* of the target, as in lt_kernel_params */
    float extra_codes;
    bool are_narrow; /* the codes lie in [-8, 7] */
    /* Of each group LATHE_STAT_LANES numbers: its scale, added to 0 once, twice and so on, in F32.
     * Sums of I2 in groups of more than LT_SHORT_SUM_ELEMS look at them. */
    const float *lane_sums;
} lt_recode;

enum { LT_SHORT_SUM_ELEMS = 2 * LATHE_STAT_LANES };

/* Decodes codes, a byte each or packed, and encodes what they stand for; otherwise as
 * lt_convert_fn.
 */
typedef void lt_recode_fn(const void *codes, void *dst, size_t n_elems, const lt_recode *how);

/* How scales are made of statistics: lt_scales_from_stats. */
typedef struct lt_scale_of {
    float max_code; /* of a dtype whose rule that is; 0: they are means */
    double n_elems; /* of a mean: above 0 */
    float least;
} lt_scale_of;

/* Scales and their inverses from n statistics, all finite. */
typedef void lt_scales_fn(const lt_scale_of *how, const float *stats, size_t n, float *scales,
                          float *inverses);

/* Base-3 bytes to codes of I2, packed: n_elems of them, from element `skip` of the first byte on.
 * The bits behind the last one are undefined, as are LT_REPACK_SLACK bytes more, for which there is
 * room. */
enum { LT_REPACK_SLACK = 192 };
typedef void lt_repack_fn(const void *src, void *dst, size_t skip, size_t n_elems);

/* Codes to base-3 bytes, as lt_recode_fn; codes of one or two bits where all groups make the same
 * of a code. False, with nothing done, where they do not, or it is not known how. */
typedef bool lt_ternary_fn(const void *codes, void *dst, size_t n_elems, const lt_recode *how);

/* A statistic of what each group of codes, a byte each or packed, stands for; sums of at most
 * LATHE_STAT_TILE. `inverses` and the target's bounds are not looked at. Infinite where it
 * overflows. */
typedef void lt_code_stat_fn(const void *codes, size_t n_elems, const lt_recode *how, float *stats);

/* How floats become codes of several types, one after another, in one go. */
typedef struct lt_fused {
    const float *inverses; /* of each group: of the first type's scale, which its own values lead
                              to, as lt_group_encode_fn has them */
    size_t group_elems;    /* groups as in lt_group_encode_fn, of any length; each begins a byte of
                              the result */
    short factor;          /* codes of the last type are those of the first times factor / 2^15,
                              rounded to nearest, ties upwards; 0: they are the same */
    const void *next; /* as many elements of the source: their statistics are taken meanwhile */
    float *next_stats;
    size_t ahead; /* bytes: what lies so far from what is read of `next` is prefetched */
    bool streams; /* stores pass the cache, where they can */
} lt_fused;

/* Converts n_elems floats, all finite; the values of narrower ones where the kernel says so.
 * Statistics are greatest magnitudes, of the source as it is, as lt_group_stat_fn gives them. */
typedef void lt_fused_fn(const void *src, void *dst, size_t n_elems, const lt_fused *how);

enum { LT_FUSED_TYPES = 16, LT_FUSED_SCOPES = 128 };

/* Between these, products of scales and codes, and inverses, stay normal numbers. */
#define LT_FUSED_LEAST_SCALE 0x1p-100f
#define LT_FUSED_MOST_SCALE 0x1p100f

/* What statistics lead to. */
typedef struct lt_fused_rule {
    lathe_dtype as; /* what the statistics are rounded to; F32: they are not */
    unsigned n_types;
    float max_codes[LT_FUSED_TYPES];
} lt_fused_rule;

/* From statistics of n scopes, at most LT_FUSED_SCOPES, the inverses of the first type's scales,
 * and the last type's scales. False where one of the first type's is not finite, or neither 0 nor
 * between the bounds above. */
typedef bool lt_fused_scales_fn(const lt_fused_rule *rule, const float *stats, size_t n,
                                float *inverses, float *scales);

/* Where a kernel's data is expected. HOT: both sides in cache: plain loads and stores. COLD: in
 * memory: the output streams past the cache, or is prefetched for writing, whichever the CPU
 * prefers. */
typedef enum lt_heat { LT_HOT = 0, LT_COLD = 1 } lt_heat;
enum { LT_HEAT_COUNT = 2 };

enum { LT_DTYPE_SLOTS = LATHE_DTYPE_LAST + 1, LT_FLOAT_SLOTS = LATHE_BF16 + 1 };

/* NULL in convert[][] means that the pair goes through the F32 tile. Every core kernel is there. */
typedef struct lt_kernels {
    lathe_isa isa;
    lt_convert_fn *convert[LT_HEAT_COUNT][LT_DTYPE_SLOTS][LT_DTYPE_SLOTS];
    lt_stat_fn *stat[LT_HEAT_COUNT][LT_STAT_COUNT][LT_DTYPE_SLOTS]; /* F32, F16 and BF16 only */
    /* These three: NULL where a level has none; groups go one by one. */
    lt_group_stat_fn *group_stat[LT_HEAT_COUNT][LT_STAT_COUNT][LT_DTYPE_SLOTS];
    lt_group_encode_fn *group_encode[LT_HEAT_COUNT][LT_DTYPE_SLOTS][LT_DTYPE_SLOTS];
    lt_group_decode_fn *group_decode[LT_HEAT_COUNT][LT_DTYPE_SLOTS][LT_DTYPE_SLOTS];
    lt_sign_sums_fn *sign_sums[LT_HEAT_COUNT][LT_DTYPE_SLOTS]; /* NULL where a level has none */
    /* For what is beyond the caches; NULL where a level has none. */
    lt_scope_encode_fn *scope_encode[LT_DTYPE_SLOTS][LT_DTYPE_SLOTS];
    lt_pack_fn *pack_bitnet158;
    lt_pack_fn *unpack_bitnet158;
    /* Between quantized types; NULL where a level has none of them: they go through F32 then. */
    lt_pack_fn *unpack[LT_DTYPE_SLOTS];
    lt_repack_fn *repack_bitnet158;
    lt_ternary_fn *ternary[LT_DTYPE_SLOTS];
    lt_scales_fn *scales;
    lt_recode_fn *lookup[LT_HEAT_COUNT][LT_DTYPE_SLOTS][LT_DTYPE_SLOTS];
    lt_recode_fn *recode[LT_HEAT_COUNT][LT_DTYPE_SLOTS]; /* of bytes */
    lt_code_stat_fn *code_stat[LT_STAT_COUNT][LT_DTYPE_SLOTS];
    lt_saturated_fn *saturated_f32;
    lt_quality_fn *quality;
    lt_quality_saturated_fn *quality_saturated;
    const struct lt_precise_loops *precise;
    /* By the source, what its values become first, and the target; NULL where a level has none. */
    lt_fused_fn *fused[LT_FLOAT_SLOTS][LT_FLOAT_SLOTS][LT_DTYPE_SLOTS];
    lt_fused_scales_fn *fused_scales;
    lt_stat_fn *rounded_sum[LT_FLOAT_SLOTS]; /* of F32, by what its values become first; the same */
    /* Called once after COLD kernels, before another thread may read what they wrote: streaming
     * stores are not ordered with what follows. Waiting for them after each call would cost more
     * than short calls take. NULL: nothing to do. */
    void (*publish)(void);

    /* Copies bytes, which are the elements, from COLD memory to COLD memory. */
    lt_convert_fn *copy;
} lt_kernels;

/* Fills *kernels with the scalar reference, then upgrades it level by level up to `isa`, which the
 * features must allow. */
void lt_kernels_init(lt_kernels *kernels, lathe_isa isa, const lt_cpu_features *features);

/* Loops of PRECISE: core/precise.h. */
extern const struct lt_precise_loops lt_precise_loops_scalar;
#if defined(__x86_64__)
extern const struct lt_precise_loops lt_precise_loops_avx2;
extern const struct lt_precise_loops lt_precise_loops_avx512;
#endif

/* One level's upgrade of the table. */
void lt_kernels_init_scalar(lt_kernels *kernels);
#if defined(__x86_64__)
void lt_kernels_init_avx2(lt_kernels *kernels, const lt_cpu_features *features);
void lt_kernels_init_avx512(lt_kernels *kernels, const lt_cpu_features *features);
#elif defined(__AARCH64EL__)
void lt_kernels_init_neon(lt_kernels *kernels);
#endif

#endif
