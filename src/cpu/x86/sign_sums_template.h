/* SPDX-License-Identifier: Apache-2.0 */
/* Makes kernels that store the signs of scopes, which are codes of I1 and need no scale, while they
 * add up the magnitudes that lead to it: memory is read once, and nothing is read again.
 *
 * Parameters: as convert_template.h. */
#ifndef LT_CPU_X86_SIGN_SUMS_TEMPLATE_H
#define LT_CPU_X86_SIGN_SUMS_TEMPLATE_H

#include "cpu/x86/convert_template.h"
#include "cpu/x86/stat_blocks_template.h"

#define SIGN_SUMS_VARIANT(from, from_bytes, variant, policy)                                       \
    void LT_NAME(from##_to_i1, variant##_sums)(const void *src, void *dst, size_t n_elems,         \
                                               size_t group_elems, float *sums, size_t ahead) {    \
        if (policy == STREAM && (uintptr_t)dst % (STEP_ELEMS / 8) == 0)                            \
            from##_sign_sums(policy, src, dst, n_elems, group_elems, sums, ahead,                  \
                             LT_STORE_STREAM);                                                     \
        else                                                                                       \
            from##_sign_sums(policy, src, dst, n_elems, group_elems, sums, ahead, LT_STORE_PLAIN); \
    }

#define SIGN_SUMS_KERNEL(from, from_bytes)                                                         \
    LT_INLINE void from##_sign_sums(policy how, const uint8_t *src, uint8_t *dst, size_t n_elems,  \
                                    size_t group_elems, float *sums, size_t ahead,                 \
                                    lt_store store) {                                              \
        enum { BLOCK_BYTES = BLOCK_ELEMS * (from_bytes) };                                         \
        const bool by_pairs = ahead == 0;                                                          \
        const size_t distance = by_pairs ? STREAM_PREFETCH_BYTES : ahead;                          \
        while (n_elems > 0) {                                                                      \
            abssum_##from##_sums sum;                                                              \
            size_t left = n_elems < group_elems ? n_elems : group_elems;                           \
            n_elems -= left;                                                                       \
            abssum_##from##_begin(&sum);                                                           \
            for (; left >= BLOCK_ELEMS; left -= BLOCK_ELEMS) {                                     \
                if (how == STREAM)                                                                 \
                    prefetch_lines(src + distance, BLOCK_BYTES, by_pairs);                         \
                abssum_##from##_block(&sum, src);                                                  \
                LT_UNROLL                                                                          \
                for (int i = 0; i < BLOCK_ELEMS; i += STEP_ELEMS)                                  \
                    from##_to_i1_step(src + i * (from_bytes), dst + i / 8, NULL, store);           \
                src += BLOCK_BYTES;                                                                \
                dst += BLOCK_ELEMS / 8;                                                            \
            }                                                                                      \
            if (left > 0) {                                                                        \
                abssum_##from##_rest(&sum, src, left);                                             \
                LT_NAME(from##_to_i1, hot)(src, dst, left, NULL);                                  \
                src += left * (from_bytes);                                                        \
                dst += part_bytes(left, 1, 8);                                                     \
            }                                                                                      \
            *sums++ = abssum_##from##_end(&sum);                                                   \
        }                                                                                          \
    }                                                                                              \
    SIGN_SUMS_VARIANT(from, from_bytes, hot, HOT)                                                  \
    SIGN_SUMS_VARIANT(from, from_bytes, stream, STREAM)

#endif
