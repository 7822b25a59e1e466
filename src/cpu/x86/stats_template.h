/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics kernels: the greatest magnitude, and the canonical sum of magnitudes.
 *
 * Parameters: the including file has included one of simd_*.h. */
#include "cpu/x86/convert_template.h"
#include "cpu/x86/stat_blocks_template.h"

/* What a kernel prefetches: that of a tile each line a little ahead, that of groups what it is
 * told.
 */
typedef enum lines { NO_LINES, LINES_BESIDE, ALL_LINES } lines;

LT_INLINE void prefetch_block(lines which, lt_prefetch *ahead, const uint8_t *src, size_t n_bytes) {
    if (which == LINES_BESIDE)
        prefetch_beside(ahead, n_bytes);
    LT_UNROLL
    for (size_t i = 0; which == ALL_LINES && i < n_bytes; i += CACHE_LINE)
        prefetch_to_second_cache(src + STREAM_PREFETCH_BYTES + i);
}

/* A statistic as kernels: of one tile, and of each of many groups. */
#define STAT_VARIANT(name, elem_bytes, variant, tile_lines, group_lines)                           \
    float LT_NAME(name, variant)(const void *src, size_t n_elems) {                                \
        lt_prefetch none = {0};                                                                    \
        return name##_of(src, n_elems, tile_lines, &none);                                         \
    }                                                                                              \
    void LT_NAME(name, variant##_groups)(const void *src, size_t n_elems, size_t group_elems,      \
                                         float *stats, lt_prefetch ahead) {                        \
        const uint8_t *in = src;                                                                   \
        for (; n_elems > group_elems; n_elems -= group_elems, in += group_elems * (elem_bytes))    \
            *stats++ = name##_of(in, group_elems, group_lines, &ahead);                            \
        *stats = name##_of(in, n_elems, group_lines, &ahead);                                      \
    }

#define STAT_KERNELS(name, elem_bytes)                                                             \
    LT_INLINE float name##_of(const void *src, size_t n_elems, lines which, lt_prefetch *ahead) {  \
        enum { BLOCK_BYTES = BLOCK_ELEMS * (elem_bytes) };                                         \
        const uint8_t *in = src;                                                                   \
        name##_sums sums;                                                                          \
        name##_begin(&sums);                                                                       \
        for (; n_elems >= BLOCK_ELEMS; n_elems -= BLOCK_ELEMS, in += BLOCK_BYTES) {                \
            prefetch_block(which, ahead, in, BLOCK_BYTES);                                         \
            name##_block(&sums, in);                                                               \
        }                                                                                          \
        name##_rest(&sums, in, n_elems);                                                           \
        return name##_end(&sums);                                                                  \
    }                                                                                              \
    STAT_VARIANT(name, elem_bytes, hot, NO_LINES, NO_LINES)                                        \
    STAT_VARIANT(name, elem_bytes, stream, ALL_LINES, LINES_BESIDE)

STAT_KERNELS(absmax_f32, 4)
STAT_KERNELS(absmax_f16, 2)
STAT_KERNELS(absmax_bf16, 2)
STAT_KERNELS(abssum_f32, 4)
STAT_KERNELS(abssum_f16, 2)
STAT_KERNELS(abssum_bf16, 2)
