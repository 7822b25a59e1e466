/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from 16-bit floats to codes of I2 with scales of their own: see word_rules_avx512.h.
 *
 * Parameters: as convert_template.h. */
#ifndef LT_CPU_X86_WORD_I2_AVX512_H
#define LT_CPU_X86_WORD_I2_AVX512_H

#include "cpu/x86/groups_template.h"
#include "cpu/x86/scopes_template.h"
#include "cpu/x86/word_rules_avx512.h"

enum { WORD_STEP_BYTES = 2 * STEP_ELEMS, CRUMB_STEP_BYTES = STEP_ELEMS / 4 };

/* Each half of a step has a rule. */
LT_INLINE void words_to_i2_step(const uint8_t *src, uint8_t *dst, const float *first,
                                const float *second, lt_store store) {
    const vi magnitude = _mm512_set1_epi16(0x7fff);
    const vi a = v_load(src);
    const vi b = v_load(src + V_BYTES);
    const vi above = _mm512_packus_epi16(
        _mm512_subs_epu16(_mm512_and_si512(a, magnitude), v_load_32_to_all(first)),
        _mm512_subs_epu16(_mm512_and_si512(b, magnitude), v_load_32_to_all(second)));
    const __mmask64 used = _mm512_test_epi8_mask(above, above);
    const __mmask64 negative = _mm512_movepi8_mask(_mm512_packs_epi16(a, b));
    const vi signs = _mm512_mask_mov_epi8(_mm512_set1_epi8(1), negative, _mm512_set1_epi8(3));
    const vi fours = _mm512_madd_epi16(
        _mm512_maddubs_epi16(_mm512_maskz_mov_epi8(used, signs), _mm512_set1_epi16(0x0401)),
        _mm512_set1_epi32(0x00100001));
    /* Packing went 128 bits at a time. */
    const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    const __m128i codes = _mm_shuffle_epi8(_mm512_cvtepi32_epi8(fours), order);
    if (store == LT_STORE_STREAM)
        _mm_stream_si128((__m128i *)dst, codes);
    else
        _mm_storeu_si128((__m128i *)dst, codes);
}

/* The last elements, fewer than a step. */
LT_INLINE void words_to_i2_rest(const uint8_t *src, uint8_t *dst, size_t n_elems,
                                const float *first, const float *second) {
    _Alignas(64) uint8_t in[WORD_STEP_BYTES] = {0}; /* zeros give code 0 */
    uint8_t out[CRUMB_STEP_BYTES];
    memcpy(in, src, 2 * n_elems);
    words_to_i2_step(in, out, first, second, LT_STORE_PLAIN);
    memcpy(dst, out, part_bytes(n_elems, CRUMB_STEP_BYTES, STEP_ELEMS));
}

enum { HALF_ELEMS = STEP_ELEMS / 2, RULES_AT_ONCE = 128 };

LT_INLINE void words_to_i2_groups(word_rules_fn *rules_of, policy how, const uint8_t *src,
                                  uint8_t *dst, size_t n_elems, size_t group_elems,
                                  const float *inverses, lt_prefetch ahead) {
    enum { MOST = RULES_AT_ONCE * HALF_ELEMS };
    /* Where a group is a power of two of halves, or all there is, nothing is counted, and no branch
     * depends on where groups end. */
    const size_t n_halves = group_elems / HALF_ELEMS;
    const bool is_all = n_elems <= group_elems;
    const bool is_power = is_all || (n_halves & (n_halves - 1)) == 0;
    const unsigned shift = is_all ? 63 : (unsigned)__builtin_ctzll(n_halves);
    float rules[RULES_AT_ONCE + V_FLOATS];
    group_walk walk = {inverses, group_elems, group_elems};
    while (n_elems > 0) {
        const size_t n_begun = group_elems - walk.left; /* elements of the first group */
        size_t n_now = n_elems < MOST ? n_elems : MOST;
        size_t half = n_begun / HALF_ELEMS; /* of the first group */
        group_walk at = {rules, group_elems, walk.left};
        rules_of(walk.of_each, (n_begun + n_now - 1) / group_elems + 1, rules);
        walk.of_each += (n_begun + n_now) / group_elems;
        walk.left = group_elems - (n_begun + n_now) % group_elems;
        n_elems -= n_now;
        for (; n_now >= STEP_ELEMS; n_now -= STEP_ELEMS, half += 2) {
            step_floats of_halves;
            if (is_power) {
                of_halves.of[0] = rules[half >> shift];
                of_halves.of[1] = rules[(half + 1) >> shift];
            } else {
                of_halves = walk_step(&at, STEP_ELEMS, HALF_ELEMS);
            }
            if (how == STREAM)
                prefetch_beside(&ahead, WORD_STEP_BYTES);
            words_to_i2_step(src, dst, &of_halves.of[0], &of_halves.of[1],
                             how == STREAM ? LT_STORE_STREAM : LT_STORE_PLAIN);
            src += WORD_STEP_BYTES;
            dst += CRUMB_STEP_BYTES;
        }
        if (n_now > 0) {
            if (is_power)
                at = (group_walk){rules + (half >> shift), group_elems,
                                  group_elems - (is_all ? 0 : half * HALF_ELEMS % group_elems)};
            const step_floats of_halves = walk_step(&at, n_now, HALF_ELEMS);
            words_to_i2_rest(src, dst, n_now, &of_halves.of[0], &of_halves.of[1]);
        }
    }
}

/* Streaming stores write a step. */
#define WORD_I2_GROUPS(from, variant, how)                                                         \
    void LT_NAME(from##_to_i2, variant##_groups)(const void *src, void *dst, size_t n_elems,       \
                                                 size_t group_elems, const float *inv_scales,      \
                                                 lt_prefetch ahead) {                              \
        if (how == STREAM && (uintptr_t)dst % CRUMB_STEP_BYTES != 0)                               \
            LT_NAME(from##_to_i2, hot_groups)(src, dst, n_elems, group_elems, inv_scales, ahead);  \
        else                                                                                       \
            words_to_i2_groups(from##_word_rules, how, src, dst, n_elems, group_elems, inv_scales, \
                               ahead);                                                             \
    }

#define WORD_I2_KERNELS(from)                                                                      \
    WORD_I2_GROUPS(from, hot, HOT)                                                                 \
    WORD_I2_GROUPS(from, stream, STREAM)                                                           \
    LT_INLINE void from##_to_i2_scope_step(const uint8_t *src, uint8_t *dst, float rule,           \
                                           lt_store store) {                                       \
        words_to_i2_step(src, dst, &rule, &rule, store);                                           \
    }                                                                                              \
    LT_INLINE void from##_to_i2_scope_rest(const uint8_t *src, uint8_t *dst, size_t n_elems,       \
                                           float rule) {                                           \
        words_to_i2_rest(src, dst, n_elems, &rule, &rule);                                         \
    }                                                                                              \
    LT_INLINE float from##_to_i2_rule(float inv_scale) {                                           \
        float rules[V_FLOATS];                                                                     \
        from##_word_rules(&inv_scale, 1, rules);                                                   \
        return rules[0];                                                                           \
    }                                                                                              \
    LT_SCOPE_KERNEL(from##_to_i2, absmax_##from, 2, STEP_ELEMS, CRUMB_STEP_BYTES,                  \
                    from##_to_i2_rule, from##_to_i2_scope_step, from##_to_i2_scope_rest)

WORD_I2_KERNELS(f16)
WORD_I2_KERNELS(bf16)

#endif
