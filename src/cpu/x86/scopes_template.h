/* SPDX-License-Identifier: Apache-2.0 */
/* Makes kernels that encode one scope while they take the next one's statistics, a step of each in
 * turn: memory is read all the time, and what is encoded lies in the cache.
 *
 * Parameters: as convert_template.h. Levels of 32 registers have these: both sides' values, sums
 * and constants are in use at once. */
#ifndef LT_CPU_X86_SCOPES_TEMPLATE_H
#define LT_CPU_X86_SCOPES_TEMPLATE_H

#include "cpu/x86/convert_template.h"
#include "cpu/x86/stat_blocks_template.h"

/* step(src, dst, rule, store) encodes step_elems elements, whole blocks, of which a tile has whole
 * steps; rest(src, dst, n_elems, rule) fewer. rule_of(inv_scale) is what they have to know. */
#define LT_SCOPE_KERNEL(name, stat, elem_bytes, step_elems, step_bytes, rule_of, step, rest)       \
    LT_INLINE void name##_scope_of(const uint8_t *src, uint8_t *dst, size_t n_elems, float rule,   \
                                   float *stats, size_t ahead, lt_store store) {                   \
        enum { BLOCK_BYTES = BLOCK_ELEMS * (elem_bytes), BLOCKS = (step_elems) / BLOCK_ELEMS };    \
        const uint8_t *next = src + n_elems * (elem_bytes);                                        \
        while (n_elems > 0) {                                                                      \
            size_t left = n_elems < LATHE_STAT_TILE ? n_elems : LATHE_STAT_TILE;                   \
            n_elems -= left;                                                                       \
            stat##_sums sums;                                                                      \
            stat##_begin(&sums);                                                                   \
            for (; left >= (step_elems); left -= (step_elems)) {                                   \
                LT_UNROLL                                                                          \
                for (int i = 0; i < BLOCKS; i++) {                                                 \
                    LT_UNROLL                                                                      \
                    for (int line = 0; line < BLOCK_BYTES; line += CACHE_LINE)                     \
                        prefetch_to_second_cache(next + ahead + line);                             \
                    stat##_block(&sums, next);                                                     \
                    next += BLOCK_BYTES;                                                           \
                }                                                                                  \
                step(src, dst, rule, store);                                                       \
                src += (step_elems) * (elem_bytes);                                                \
                dst += (step_bytes);                                                               \
            }                                                                                      \
            if (left > 0) {                                                                        \
                rest(src, dst, left, rule);                                                        \
                for (; left >= BLOCK_ELEMS; left -= BLOCK_ELEMS, next += BLOCK_BYTES)              \
                    stat##_block(&sums, next);                                                     \
                stat##_rest(&sums, next, left);                                                    \
            }                                                                                      \
            *stats++ = stat##_end(&sums);                                                          \
        }                                                                                          \
    }                                                                                              \
    void LT_NAME_PLAIN(name##_scope)(const void *src, void *dst, size_t n_elems, float inv_scale,  \
                                     float *stats, size_t ahead) {                                 \
        const float rule = rule_of(inv_scale);                                                     \
        if ((uintptr_t)dst % (step_bytes) == 0)                                                    \
            name##_scope_of(src, dst, n_elems, rule, stats, ahead, LT_STORE_STREAM);               \
        else                                                                                       \
            name##_scope_of(src, dst, n_elems, rule, stats, ahead, LT_STORE_PLAIN);                \
    }

#endif
