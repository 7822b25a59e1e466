/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels that take floats through several conversions in registers: rounded to a narrower float,
 * then to codes, then to narrower codes. They take the statistics of the groups that come next
 * meanwhile, so that memory is read all the time.
 *
 * Parameters: the including file has included one of codes_*.h, and defined v_round_f16 and
 * v_round_bf16, the values that floats become in those types, and v_scaled_bytes, which makes bytes
 * as v_to_near_bytes does of integers that it multiplies by factor / 2^15, as v_scale_codes does,
 * and v_keep_nan.
 */
#include "cpu/x86/convert_template.h"
#include "cpu/x86/stat_blocks_template.h"
#include "cpu/x86/values_template.h"

enum { HALF_ELEMS = BLOCK_ELEMS / 2 };

typedef void load_fn(const uint8_t *src, vf x[4]);
typedef void store_bytes_fn(void *dst, vi bytes, lt_store store);

/* ---- sources */

LT_INLINE void load_f32_as_f16(const uint8_t *src, vf x[4]) {
    load_f32(src, x);
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_round_f16(x[i]);
}

LT_INLINE void load_f32_as_bf16(const uint8_t *src, vf x[4]) {
    load_f32(src, x);
    LT_UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = v_round_bf16(x[i]);
}

/* ---- codes */

typedef struct coder {
    load_fn *load;
    store_bytes_fn *store;
    size_t elem_bytes;
    size_t dst_bits; /* of a code */
    bool scales;     /* codes become narrower ones */
} coder;

/* The first half by one scale, the second by another. */
LT_INLINE void code_step(coder c, const uint8_t *src, uint8_t *dst, float first, float second,
                         short factor, lt_store store) {
    vf x[4];
    c.load(src, x);
    divide_by_scales(x, first, second);
    c.store(dst, c.scales ? v_scaled_bytes(x, factor) : v_to_near_bytes(x), store);
}

/* A block of 64 elements, the halves of which have a scale each. */
LT_INLINE void code_halves(coder c, const uint8_t *src, uint8_t *dst, float first, float second,
                           short factor, lt_store store) {
    LT_UNROLL
    for (size_t i = 0; i < BLOCK_ELEMS; i += STEP_ELEMS) {
        const float inverse = i < HALF_ELEMS ? first : second;
        code_step(c, src + i * c.elem_bytes, dst + i * c.dst_bits / 8, inverse,
                  i + STEP_ELEMS / 2 < HALF_ELEMS ? first : second, factor, store);
    }
}

LT_INLINE void code_block(coder c, const uint8_t *src, uint8_t *dst, float inverse, short factor,
                          lt_store store) {
    code_halves(c, src, dst, inverse, inverse, factor, store);
}

/* Fewer elements than a block, among zeros, whose codes are 0. */
LT_INLINE void code_part(coder c, const uint8_t *src, uint8_t *dst, size_t n_elems, float inverse,
                         short factor) {
    _Alignas(64) uint8_t in[BLOCK_ELEMS * sizeof(float)] = {0};
    _Alignas(64) uint8_t out[BLOCK_ELEMS];
    memcpy(in, src, n_elems * c.elem_bytes);
    code_block(c, in, out, inverse, factor, LT_STORE_PLAIN);
    memcpy(dst, out, (n_elems * c.dst_bits + 7) / 8);
}

/* ---- groups */

/* Groups of half a block go by twos as far as there are two. */
#define FUSED_SOURCE(name, statistic, bytes_of_elem)                                               \
    LT_INLINE size_t name##_halves(coder c, const uint8_t *src, uint8_t *dst, size_t n_elems,      \
                                   const lt_fused *how, lt_store store) {                          \
        enum { BLOCK_BYTES = BLOCK_ELEMS * (bytes_of_elem) };                                      \
        const lt_fused h = *how;                                                                   \
        const uint8_t *next = h.next;                                                              \
        size_t group = 0;                                                                          \
        for (; n_elems >= BLOCK_ELEMS; n_elems -= BLOCK_ELEMS, group += 2) {                       \
            statistic##_sums sums[2];                                                              \
            LT_UNROLL                                                                              \
            for (int line = 0; line < BLOCK_BYTES; line += CACHE_LINE)                             \
                prefetch_to_second_cache(next + h.ahead + line);                                   \
            LT_UNROLL                                                                              \
            for (int i = 0; i < 2; i++) {                                                          \
                statistic##_begin(&sums[i]);                                                       \
                statistic##_half(&sums[i], next + i * (BLOCK_BYTES / 2));                          \
                h.next_stats[group + (size_t)i] = statistic##_end(&sums[i]);                       \
            }                                                                                      \
            code_halves(c, src, dst, h.inverses[group], h.inverses[group + 1], h.factor, store);   \
            src += BLOCK_BYTES;                                                                    \
            next += BLOCK_BYTES;                                                                   \
            dst += BLOCK_ELEMS * c.dst_bits / 8;                                                   \
        }                                                                                          \
        return group;                                                                              \
    }                                                                                              \
    LT_INLINE void name##_groups(coder c, const uint8_t *src, uint8_t *dst, size_t n_elems,        \
                                 const lt_fused *how, lt_store store) {                            \
        enum { BLOCK_BYTES = BLOCK_ELEMS * (bytes_of_elem) };                                      \
        const lt_fused h = *how; /* a copy that the stores below cannot alias */                   \
        const uint8_t *next = h.next;                                                              \
        size_t group = 0;                                                                          \
        if (h.group_elems == HALF_ELEMS) {                                                         \
            group = name##_halves(c, src, dst, n_elems, how, store);                               \
            n_elems -= group * HALF_ELEMS;                                                         \
            src += group * HALF_ELEMS * (bytes_of_elem);                                           \
            next += group * HALF_ELEMS * (bytes_of_elem);                                          \
            dst += group * HALF_ELEMS * c.dst_bits / 8;                                            \
        }                                                                                          \
        for (; n_elems > 0; group++) {                                                             \
            const size_t n_group = n_elems < h.group_elems ? n_elems : h.group_elems;              \
            const float inverse = h.inverses[group];                                               \
            size_t left = n_group;                                                                 \
            statistic##_sums sums;                                                                 \
            statistic##_begin(&sums);                                                              \
            for (; left >= BLOCK_ELEMS; left -= BLOCK_ELEMS) {                                     \
                LT_UNROLL                                                                          \
                for (int line = 0; line < BLOCK_BYTES; line += CACHE_LINE)                         \
                    prefetch_to_second_cache(next + h.ahead + line);                               \
                statistic##_block(&sums, next);                                                    \
                code_block(c, src, dst, inverse, h.factor, store);                                 \
                src += BLOCK_BYTES;                                                                \
                next += BLOCK_BYTES;                                                               \
                dst += BLOCK_ELEMS * c.dst_bits / 8;                                               \
            }                                                                                      \
            if (left > 0) {                                                                        \
                statistic##_rest(&sums, next, left);                                               \
                code_part(c, src, dst, left, inverse, h.factor);                                   \
                src += left * (bytes_of_elem);                                                     \
                next += left * (bytes_of_elem);                                                    \
                dst += (left * c.dst_bits + 7) / 8;                                                \
            }                                                                                      \
            h.next_stats[group] = statistic##_end(&sums);                                          \
            n_elems -= n_group;                                                                    \
        }                                                                                          \
    }

FUSED_SOURCE(f32, absmax_f32, 4)
FUSED_SOURCE(f16, absmax_f16, 2)
FUSED_SOURCE(bf16, absmax_bf16, 2)

/* Streaming stores write whole vectors of their own size. */
#define FUSED_KERNEL(name, source, loader, bytes_of_elem, bits, store_bytes)                       \
    void LT_NAME_PLAIN(name##_fused)(const void *src, void *dst, size_t n_elems,                   \
                                     const lt_fused *how) {                                        \
        coder c = {                                                                                \
            .load = loader, .store = store_bytes, .elem_bytes = bytes_of_elem, .dst_bits = bits};  \
        const size_t group = how->group_elems;                                                     \
        const bool streams =                                                                       \
            how->streams && (uintptr_t)dst % (V_BYTES * (bits) / 8) == 0 &&                        \
            (n_elems <= group || group % BLOCK_ELEMS == 0 || group == HALF_ELEMS);                 \
        if (how->factor == 0) {                                                                    \
            if (streams)                                                                           \
                source##_groups(c, src, dst, n_elems, how, LT_STORE_STREAM);                       \
            else                                                                                   \
                source##_groups(c, src, dst, n_elems, how, LT_STORE_PLAIN);                        \
            return;                                                                                \
        }                                                                                          \
        c.scales = true;                                                                           \
        if (streams)                                                                               \
            source##_groups(c, src, dst, n_elems, how, LT_STORE_STREAM);                           \
        else                                                                                       \
            source##_groups(c, src, dst, n_elems, how, LT_STORE_PLAIN);                            \
    }

#define FUSED_KERNELS(name, source, loader, bytes_of_elem)                                         \
    FUSED_KERNEL(name##_to_i8, source, loader, bytes_of_elem, 8, v_store)                          \
    FUSED_KERNEL(name##_to_i4, source, loader, bytes_of_elem, 4, v_store_nibbles)                  \
    FUSED_KERNEL(name##_to_i2, source, loader, bytes_of_elem, 2, v_store_crumbs)

FUSED_KERNELS(f32, f32, load_f32, 4)
FUSED_KERNELS(f32_as_f16, f32, load_f32_as_f16, 4)
FUSED_KERNELS(f32_as_bf16, f32, load_f32_as_bf16, 4)
FUSED_KERNELS(f16, f16, load_f16, 2)
FUSED_KERNELS(bf16, bf16, load_bf16, 2)

/* ---- sums */

LT_INLINE vf load_as_f16(const uint8_t *src) {
    return v_round_f16(v_load_f32(src));
}

LT_INLINE vf load_as_bf16(const uint8_t *src) {
    const vf x = v_load_f32(src);
    return v_keep_nan(v_round_bf16(x), x);
}

#define ROUNDED_SUM(name, load)                                                                    \
    ABSSUM_BLOCK(name, 4, load)                                                                    \
    float LT_NAME_PLAIN(name)(const void *src, size_t n_elems) {                                   \
        enum { BLOCK_BYTES = BLOCK_ELEMS * 4 };                                                    \
        const uint8_t *in = src;                                                                   \
        name##_sums sums;                                                                          \
        name##_begin(&sums);                                                                       \
        for (; n_elems >= BLOCK_ELEMS; n_elems -= BLOCK_ELEMS, in += BLOCK_BYTES) {                \
            prefetch_lines(in + STREAM_PREFETCH_BYTES, BLOCK_BYTES, false);                        \
            name##_block(&sums, in);                                                               \
        }                                                                                          \
        name##_rest(&sums, in, n_elems);                                                           \
        return name##_end(&sums);                                                                  \
    }

ROUNDED_SUM(abssum_f32_as_f16, load_as_f16)
ROUNDED_SUM(abssum_f32_as_bf16, load_as_bf16)

/* ---- scales */

LT_INLINE void round_stats(lathe_dtype as, const float *stats, size_t n, float *rounded) {
    for (size_t i = 0; i < n; i += V_FLOATS) {
        float x[V_FLOATS] = {0};
        memcpy(x, stats + i, (n - i < V_FLOATS ? n - i : V_FLOATS) * sizeof(float));
        vf v = v_load_f32(x);
        if (as == LATHE_F16)
            v = v_round_f16(v);
        else if (as == LATHE_BF16)
            v = v_round_bf16(v);
        v_store_f32(rounded + i, v, LT_STORE_PLAIN);
    }
}

bool LT_NAME_PLAIN(fused_scales)(const lt_fused_rule *rule, const float *stats, size_t n,
                                 float *inverses, float *scales) {
    _Alignas(64) float rounded[LT_FUSED_SCOPES + V_FLOATS];
    const float first = rule->max_codes[0];
    int n_plain = 0;
    round_stats(rule->as, stats, n, rounded);
    for (size_t i = 0; i < n; i++) {
        const float scale = rounded[i] / first;
        const float inverse = 1.0f / scale;
        n_plain += (scale > LT_FUSED_LEAST_SCALE) & (scale < LT_FUSED_MOST_SCALE);
        n_plain += scale == 0;
        scales[i] = scale;
        inverses[i] = scale == 0 ? 0 : inverse;
    }
    for (unsigned k = 1; k < rule->n_types; k++) {
        const float before = rule->max_codes[k - 1];
        const float after = rule->max_codes[k];
        for (size_t i = 0; i < n; i++)
            scales[i] = before * scales[i] / after;
    }
    return (size_t)n_plain == n;
}
