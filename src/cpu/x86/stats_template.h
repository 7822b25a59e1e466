/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics kernels: the greatest magnitude, and the canonical sum of magnitudes.
 *
 * Parameters: the including file has included one of simd_*.h. */
#include "cpu/x86/convert_template.h"
#include "cpu/x86/stat_blocks_template.h"

/* What a kernel prefetches: that of a tile each line a little ahead, or one of two, where the
 * processor fetches the other one by itself; that of groups what it is told. */
typedef enum lines { NO_LINES, LINES_BESIDE, PAIRED_LINES, ALL_LINES } lines;

LT_INLINE void prefetch_block(lines which, lt_prefetch *ahead, const uint8_t *src, size_t n_bytes) {
    const size_t step = which == PAIRED_LINES ? 2 * CACHE_LINE : CACHE_LINE;
    if (which == LINES_BESIDE)
        prefetch_beside(ahead, n_bytes);
    if (which == PAIRED_LINES || which == ALL_LINES) {
        LT_UNROLL
        for (size_t i = 0; i < n_bytes; i += step)
            prefetch_to_second_cache(src + STREAM_PREFETCH_BYTES + i);
    }
}

/* A statistic as kernels: of one tile, and of each of many groups. */
#define STAT_OF_TILE(name, variant, tile_lines)                                                    \
    float LT_NAME(name, variant)(const void *src, size_t n_elems) {                                \
        lt_prefetch none = {0};                                                                    \
        return name##_of(src, n_elems, tile_lines, &none);                                         \
    }
#define STAT_VARIANT(name, elem_bytes, variant, tile_lines, group_lines)                           \
    STAT_OF_TILE(name, variant, tile_lines)                                                        \
    void LT_NAME(name, variant##_groups)(const void *src, size_t n_elems, size_t group_elems,      \
                                         float *stats, lt_prefetch ahead) {                        \
        const uint8_t *in = src;                                                                   \
        if (n_elems > group_elems) {                                                               \
            const size_t done = name##_many(in, n_elems, group_elems, stats, group_lines, &ahead); \
            in += done * group_elems * (elem_bytes);                                               \
            stats += done;                                                                         \
            n_elems -= done * group_elems;                                                         \
            if (n_elems == 0)                                                                      \
                return;                                                                            \
        }                                                                                          \
        for (; n_elems > group_elems; n_elems -= group_elems, in += group_elems * (elem_bytes))    \
            *stats++ = name##_of(in, group_elems, group_lines, &ahead);                            \
        *stats = name##_of(in, n_elems, group_lines, &ahead);                                      \
    }

#if LT_V_BYTES == 64
#include "cpu/x86/stat_groups_avx512.h"
#define STAT_OF_TILE_BY_PAIRS(name) STAT_OF_TILE(name, pairs, PAIRED_LINES)
#else
#define STAT_OF_TILE_BY_PAIRS(name)
/* One by one. */
#define STAT_GROUPS(name, elem_bytes)                                                              \
    LT_INLINE size_t name##_many(const uint8_t *in, size_t n_elems, size_t group_elems,            \
                                 float *stats, lines which, lt_prefetch *ahead) {                  \
        (void)in, (void)n_elems, (void)group_elems, (void)stats, (void)which, (void)ahead;         \
        return 0;                                                                                  \
    }
#endif

#define STAT_KERNELS(name, elem_bytes)                                                             \
    LT_INLINE void name##_add_up(name##_sums *sums, const uint8_t *in, size_t n_elems,             \
                                 lines which, lt_prefetch *ahead) {                                \
        enum { BLOCK_BYTES = BLOCK_ELEMS * (elem_bytes) };                                         \
        name##_begin(sums);                                                                        \
        for (; n_elems >= BLOCK_ELEMS; n_elems -= BLOCK_ELEMS, in += BLOCK_BYTES) {                \
            prefetch_block(which, ahead, in, BLOCK_BYTES);                                         \
            name##_block(sums, in);                                                                \
        }                                                                                          \
        name##_rest(sums, in, n_elems);                                                            \
    }                                                                                              \
    LT_INLINE float name##_of(const void *src, size_t n_elems, lines which, lt_prefetch *ahead) {  \
        name##_sums sums;                                                                          \
        name##_add_up(&sums, src, n_elems, which, ahead);                                          \
        return name##_end(&sums);                                                                  \
    }                                                                                              \
    STAT_GROUPS(name, elem_bytes)                                                                  \
    STAT_VARIANT(name, elem_bytes, hot, NO_LINES, NO_LINES)                                        \
    STAT_VARIANT(name, elem_bytes, stream, ALL_LINES, LINES_BESIDE)                                \
    STAT_OF_TILE_BY_PAIRS(name)

STAT_KERNELS(absmax_f32, 4)
STAT_KERNELS(absmax_f16, 2)
STAT_KERNELS(absmax_bf16, 2)
STAT_KERNELS(abssum_f32, 4)
STAT_KERNELS(abssum_f16, 2)
STAT_KERNELS(abssum_bf16, 2)
