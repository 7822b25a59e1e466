/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels from floats to base-3 bytes by way of planes of bits, one that says which elements are
 * not 0, and one that says which are negative. A comparison of bytes makes 64 bits at a time; of
 * each plane five bits are what it adds to a byte, and VBMI looks that up for 64 bytes at once.
 *
 * Elements of 16 bits are never decoded: as codes do not fall where magnitudes rise, those that are
 * not 0 are those of at least some magnitude, which the scale leads to.
 *
 * Parameters: as convert_template.h; the level has VBMI. */
#ifndef LT_CPU_X86_TRIT_PLANES_VBMI_H
#define LT_CPU_X86_TRIT_PLANES_VBMI_H

#include "cpu/numerics.h"
#include "cpu/x86/groups_template.h"
#include "cpu/x86/stat_blocks_template.h"
#include "cpu/x86/ternary_template.h"
#include "cpu/x86/values_template.h"
#include "cpu/x86/word_rules_avx512.h"

enum {
    BLOCK = 64,                     /* elements whose bits are made at a time: 8 bytes of a plane */
    PLANES_ELEMS = 12 * PACK_ELEMS, /* that planes hold: whole blocks, and whole steps of packing */
    PLANE_STEP = PACK_ELEMS / 8,
};

/* A vector is read where a step's bytes begin. */
typedef struct planes {
    uint8_t used[PLANES_ELEMS / 8 + V_BYTES];
    uint8_t negative[PLANES_ELEMS / 8 + V_BYTES];
} planes;

/* Where in its block byte c of a plane lies: in order, or where packing two vectors of words lane
 * by lane leaves it. */
#define IN_ORDER(c) (c)
#define BY_LANES(c) ((c) % 4 * 2 + (c) / 4)
#define PLANE_BYTE(order, e) (uint8_t)((e) / 8 * 8 + order((e) % 8))
/* The five bytes with the bits of eight base-3 bytes. */
#define PLANE_BYTES(order, q)                                                                      \
    PLANE_BYTE(order, 5 * (q)), PLANE_BYTE(order, 5 * (q) + 1), PLANE_BYTE(order, 5 * (q) + 2),    \
        PLANE_BYTE(order, 5 * (q) + 3), PLANE_BYTE(order, 5 * (q) + 4), 0, 0, 0
#define PLANE_ORDER(order)                                                                         \
    {                                                                                              \
        PLANE_BYTES(order, 0), PLANE_BYTES(order, 1), PLANE_BYTES(order, 2),                       \
            PLANE_BYTES(order, 3), PLANE_BYTES(order, 4), PLANE_BYTES(order, 5),                   \
            PLANE_BYTES(order, 6), PLANE_BYTES(order, 7)                                           \
    }

_Alignas(64) static const uint8_t plane_in_order[64] = PLANE_ORDER(IN_ORDER);
_Alignas(64) static const uint8_t plane_by_lanes[64] = PLANE_ORDER(BY_LANES);

/* What five bits come to in base 3. Those above them, of which one is looked at, belong to others.
 */
#define BASE_3(b)                                                                                  \
    (((b)&1) + ((b) >> 1 & 1) * 3 + ((b) >> 2 & 1) * 9 + ((b) >> 3 & 1) * 27 + ((b) >> 4 & 1) * 81)
#define USED(b) (uint8_t)(LATHE_BITNET158_BYTE_ZERO + BASE_3(b))
#define NEGATIVE(b) (uint8_t)(256 - 2 * BASE_3(b))
#define OF_4(F, b) F(b), F((b) + 1), F((b) + 2), F((b) + 3)
#define OF_16(F, b) OF_4(F, b), OF_4(F, (b) + 4), OF_4(F, (b) + 8), OF_4(F, (b) + 12)
#define OF_5_BITS(F)                                                                               \
    { OF_16(F, 0), OF_16(F, 16), OF_16(F, 0), OF_16(F, 16) }

_Alignas(64) static const uint8_t used_values[64] = OF_5_BITS(USED);
_Alignas(64) static const uint8_t negative_values[64] = OF_5_BITS(NEGATIVE);

/* PACK_BYTES bytes of PLANE_STEP of each plane. */
LT_INLINE vi pack_step_of_planes(const uint8_t *used, const uint8_t *negative, vi order) {
    const vi fives = _mm512_set1_epi64(0x231e19140f0a0500);
    const vi all = v_load(used);
    const vi minus = _mm512_and_si512(all, v_load(negative));
    const vi a = _mm512_multishift_epi64_epi8(fives, _mm512_permutexvar_epi8(order, all));
    const vi b = _mm512_multishift_epi64_epi8(fives, _mm512_permutexvar_epi8(order, minus));
    return _mm512_add_epi8(_mm512_permutexvar_epi8(a, v_load(used_values)),
                           _mm512_permutexvar_epi8(b, v_load(negative_values)));
}

LT_INLINE void pack_planes(const planes *p, vi order, uint8_t *dst, size_t n_elems) {
    const uint8_t *used = p->used;
    const uint8_t *negative = p->negative;
    size_t n_bytes = part_bytes(n_elems, PACK_BYTES, PACK_ELEMS);
    for (; n_bytes >= PACK_BYTES; n_bytes -= PACK_BYTES) {
        _mm512_storeu_si512(dst, pack_step_of_planes(used, negative, order));
        used += PLANE_STEP;
        negative += PLANE_STEP;
        dst += PACK_BYTES;
    }
    if (n_bytes > 0)
        _mm512_mask_storeu_epi8(dst, ((uint64_t)1 << n_bytes) - 1,
                                pack_step_of_planes(used, negative, order));
}

/* As many as are found at once: at least of the groups that a chunk can touch. */
enum { RULES = (PLANES_ELEMS / LATHE_GROUP_MULTIPLE / V_FLOATS + 1) * V_FLOATS };

LT_INLINE void store_bits(uint8_t *dst, __mmask64 bits) {
    const uint64_t word = bits;
    memcpy(dst, &word, sizeof word);
}

/* What tells the codes of the two halves of a block: inverses of scales, or, as word_rules_avx512.h
 * has them, the greatest magnitudes whose code is 0. */
typedef struct block_rules {
    float of[2];
} block_rules;

/* Makes the bits of a block. `any`: of elements that may be anything, while others are finite, and
 * no product is above 2^31. */
typedef void block_fn(const uint8_t *src, block_rules rules, bool any, uint8_t *used,
                      uint8_t *negative);

LT_INLINE void f32_block(const uint8_t *src, block_rules rules, bool any, uint8_t *used,
                         uint8_t *negative) {
    vf x[4];
    load_f32(src, x);
    divide_by_scales(x, rules.of[0], rules.of[1]);
    const vi codes = any ? v_to_code_bytes(x, v_set1(1)) : v_to_near_bytes(x);
    store_bits(used, _mm512_test_epi8_mask(codes, codes));
    store_bits(negative, _mm512_movepi8_mask(codes));
}

LT_INLINE void words_block(const uint8_t *src, block_rules rules, bool any, short infinity,
                           uint8_t *used, uint8_t *negative) {
    const vi bits = _mm512_set1_epi16(0x7fff);
    const vi a = v_load(src);
    const vi b = v_load(src + V_BYTES);
    vi first = _mm512_and_si512(a, bits);
    vi second = _mm512_and_si512(b, bits);
    if (any) {
        const vi most = _mm512_set1_epi16(infinity);
        if (_mm512_cmpgt_epu16_mask(_mm512_max_epu16(first, second), most) != 0) { /* NaN gives 0 */
            first = _mm512_maskz_mov_epi16(_mm512_cmple_epu16_mask(first, most), first);
            second = _mm512_maskz_mov_epi16(_mm512_cmple_epu16_mask(second, most), second);
        }
    }
    const vi above = _mm512_packus_epi16(_mm512_subs_epu16(first, v_load_32_to_all(&rules.of[0])),
                                         _mm512_subs_epu16(second, v_load_32_to_all(&rules.of[1])));
    store_bits(used, _mm512_test_epi8_mask(above, above));
    store_bits(negative, _mm512_movepi8_mask(_mm512_packs_epi16(a, b)));
}

LT_INLINE void f16_block(const uint8_t *src, block_rules rules, bool any, uint8_t *used,
                         uint8_t *negative) {
    words_block(src, rules, any, 0x7c00, used, negative);
}

LT_INLINE void bf16_block(const uint8_t *src, block_rules rules, bool any, uint8_t *used,
                          uint8_t *negative) {
    words_block(src, rules, any, 0x7f80, used, negative);
}

/* The sums of a scope's magnitudes, of whatever type its elements are. */
typedef union trit_sums {
    abssum_f16_sums f16;
    abssum_bf16_sums bf16;
} trit_sums;

typedef void sum_block_fn(trit_sums *sums, const uint8_t *in);

/* Ends one tile's sum and begins the next. */
typedef float sum_end_fn(trit_sums *sums);

LT_INLINE void f16_sum_block(trit_sums *sums, const uint8_t *in) {
    abssum_f16_block(&sums->f16, in);
}

LT_INLINE float f16_sum_end(trit_sums *sums) {
    const float sum = abssum_f16_end(&sums->f16);
    abssum_f16_begin(&sums->f16);
    return sum;
}

LT_INLINE void bf16_sum_block(trit_sums *sums, const uint8_t *in) {
    abssum_bf16_block(&sums->bf16, in);
}

LT_INLINE float bf16_sum_end(trit_sums *sums) {
    const float sum = abssum_bf16_end(&sums->bf16);
    abssum_bf16_begin(&sums->bf16);
    return sum;
}

/* A kind of float. */
typedef struct trit_source {
    word_rules_fn *rules; /* NULL: the inverses are */
    block_fn *block;
    sum_block_fn *sum_block; /* NULL: there is no kernel that takes the next scope's sums */
    sum_end_fn *sum_end;
    size_t elem_bytes;
    const uint8_t *order;
} trit_source;

/* What is left of the last group, or of the elements. */
LT_INLINE void last_block(trit_source from, const uint8_t *src, size_t n_elems, block_rules rules,
                          bool any, uint8_t *used, uint8_t *negative) {
    _Alignas(64) uint8_t in[BLOCK * sizeof(float)] = {0}; /* zeros give code 0 */
    memcpy(in, src, n_elems * from.elem_bytes);
    from.block(in, rules, any, used, negative);
}

/* What a kernel prefetches: nothing, beside what it reads, or ahead of itself, with or without what
 * it writes; or, while it takes the sums of the next scope, ahead of that. */
typedef enum fetching { FETCH_NONE, FETCH_BESIDE, FETCH_AHEAD, FETCH_BOTH, FETCH_AND_SUM } fetching;

typedef struct fetch {
    fetching which;
    lt_prefetch beside;
    size_t ahead;
    const uint8_t *next; /* to be added to sums */
    size_t of_tile;      /* how many elements the tile has left */
    float *stats;        /* the tile's sum */
} fetch;

LT_INLINE void fetch_block(trit_source from, fetch *f, trit_sums *sums, const uint8_t *src,
                           const uint8_t *dst) {
    const size_t n_bytes = BLOCK * from.elem_bytes;
    if (f->which == FETCH_BESIDE)
        prefetch_beside(&f->beside, n_bytes);
    if (f->which == FETCH_AHEAD)
        prefetch_lines(src + (f->ahead != 0 ? f->ahead : STREAM_PREFETCH_BYTES), n_bytes,
                       f->ahead == 0);
    if (f->which == FETCH_BOTH) {
        LT_UNROLL
        for (size_t i = 0; i < n_bytes; i += CACHE_LINE)
            __builtin_prefetch(src + PREFETCH_BYTES + i);
        prefetch_for_write(dst + PREFETCH_BYTES);
    }
    if (f->which == FETCH_AND_SUM) {
        prefetch_lines(f->next + f->ahead, n_bytes, false);
        from.sum_block(sums, f->next);
        f->next += n_bytes;
        f->of_tile -= BLOCK;
        if (f->of_tile == 0) {
            f->of_tile = LATHE_STAT_TILE;
            *f->stats++ = from.sum_end(sums);
        }
    }
}

LT_INLINE float walk_half(group_walk *walk) {
    const size_t half = BLOCK / 2;
    if (walk->left == 0) {
        walk->of_each++;
        walk->left = walk->group_elems;
    }
    walk->left -= walk->left < half ? walk->left : half;
    return *walk->of_each;
}

/* The planes of a chunk of short groups, or of such whose ends lie in blocks. Each but the last one
 * is whole halves of blocks. */
LT_INLINE void make_planes_by_halves(trit_source from, bool any, fetch *f, trit_sums *sums,
                                     const uint8_t *src, const uint8_t *dst, size_t n_elems,
                                     group_walk walk, planes *p) {
    const bool is_one = walk.group_elems == BLOCK;
    const bool is_short = is_one || 2 * walk.group_elems == BLOCK; /* nothing is counted then */
    for (size_t done = 0; done < n_elems; done += BLOCK, src += BLOCK * from.elem_bytes) {
        const size_t left = n_elems - done;
        const bool has_second = left > BLOCK / 2;
        block_rules rules;
        if (is_short) {
            rules.of[0] = walk.of_each[0];
            rules.of[1] = walk.of_each[has_second && !is_one];
            walk.of_each += 2 - is_one;
        } else {
            rules.of[0] = walk_half(&walk);
            rules.of[1] = has_second ? walk_half(&walk) : rules.of[0];
        }
        if (left < BLOCK) {
            last_block(from, src, left, rules, any, p->used + done / 8, p->negative + done / 8);
            return;
        }
        fetch_block(from, f, sums, src, dst + done / LATHE_BITNET158_PER_BYTE);
        from.block(src, rules, any, p->used + done / 8, p->negative + done / 8);
    }
}

/* Groups of two blocks, the most frequent ones: returns how many elements they have. */
LT_INLINE size_t make_planes_of_pairs(trit_source from, bool any, fetch *f, trit_sums *sums,
                                      const uint8_t *src, const uint8_t *dst, size_t n_elems,
                                      const float *of_each, planes *p) {
    size_t done = 0;
    for (; n_elems - done >= 2 * BLOCK; of_each++) {
        const block_rules rules = {{*of_each, *of_each}};
        LT_UNROLL
        for (int i = 0; i < 2; i++, done += BLOCK, src += BLOCK * from.elem_bytes) {
            fetch_block(from, f, sums, src, dst + done / LATHE_BITNET158_PER_BYTE);
            from.block(src, rules, any, p->used + done / 8, p->negative + done / 8);
        }
    }
    return done;
}

/* The same where each group but the last one is whole blocks. */
LT_INLINE void make_planes(trit_source from, bool any, fetch *f, trit_sums *sums,
                           const uint8_t *src, const uint8_t *dst, size_t n_elems, group_walk walk,
                           planes *p) {
    size_t done = 0;
    /* A chunk begins with whole ones. Those of F32 wait for memory. */
    if (from.elem_bytes == sizeof(uint16_t) && walk.group_elems == 2 * BLOCK) {
        done = make_planes_of_pairs(from, any, f, sums, src, dst, n_elems, walk.of_each, p);
        src += done * from.elem_bytes;
        walk.of_each += done / (2 * BLOCK);
    }
    while (done < n_elems) {
        const block_rules rules = {{*walk.of_each, *walk.of_each}};
        const size_t left = n_elems - done;
        const size_t end = done + (left < walk.left ? left : walk.left);
        for (; end - done >= BLOCK; done += BLOCK, src += BLOCK * from.elem_bytes) {
            fetch_block(from, f, sums, src, dst + done / LATHE_BITNET158_PER_BYTE);
            from.block(src, rules, any, p->used + done / 8, p->negative + done / 8);
        }
        if (done < end) {
            last_block(from, src, end - done, rules, any, p->used + done / 8,
                       p->negative + done / 8);
            return;
        }
        walk.of_each++;
        walk.left = walk.group_elems;
    }
}

/* Groups that n_elems elements touch, of which the first has `of_group` left. */
LT_INLINE size_t groups_of(size_t n_elems, size_t of_group, size_t group_elems) {
    return n_elems <= of_group ? 1 : 1 + (n_elems - of_group + group_elems - 1) / group_elems;
}

LT_INLINE void encode_by_planes(trit_source from, bool any, fetch f, trit_sums *sums,
                                const uint8_t *src, uint8_t *dst, size_t n_elems,
                                size_t group_elems, const float *inverses) {
    const vi order = v_load(from.order);
    const bool by_halves =
        are_short(BLOCK, n_elems, group_elems) || !groups_fit(BLOCK, n_elems, group_elems);
    planes p;
    float rules[RULES];
    size_t n_rules = 0; /* that are known, from that of the next element on */
    group_walk walk = {inverses, group_elems, group_elems};
    while (n_elems > 0) {
        const size_t n_chunk = n_elems < PLANES_ELEMS ? n_elems : PLANES_ELEMS;
        if (from.rules != NULL && n_rules < groups_of(n_chunk, walk.left, group_elems)) {
            const size_t n_left = groups_of(n_elems, walk.left, group_elems);
            n_rules = n_left < RULES ? n_left : RULES;
            from.rules(inverses, n_rules, rules);
            walk.of_each = rules;
        }
        if (by_halves)
            make_planes_by_halves(from, any, &f, sums, src, dst, n_chunk, walk, &p);
        else
            make_planes(from, any, &f, sums, src, dst, n_chunk, walk, &p);
        /* The last byte may want bits behind them. */
        memset(p.used + (n_chunk + BLOCK - 1) / BLOCK * (BLOCK / 8), 0, BLOCK / 8);
        pack_planes(&p, order, dst, n_chunk);
        const size_t n_ended = groups_of(n_chunk + 1, walk.left, group_elems) - 1;
        walk.left += n_ended * group_elems - n_chunk;
        walk.of_each += n_ended;
        inverses += n_ended;
        n_rules -= n_ended;
        src += n_chunk * from.elem_bytes;
        dst += n_chunk / LATHE_BITNET158_PER_BYTE;
        n_elems -= n_chunk;
    }
}

#define PLANES_CONVERT(name, from, variant, fetching_of)                                           \
    void LT_NAME(name, variant)(const void *src, void *dst, size_t n_elems,                        \
                                const lt_kernel_params *params) {                                  \
        const fetch f = {.which = fetching_of, .ahead = params->ahead};                            \
        encode_by_planes(from, true, f, NULL, src, dst, n_elems, n_elems, &params->inv_scale);     \
    }

#define PLANES_GROUPS(name, from, variant, fetching_of)                                            \
    void LT_NAME(name, variant##_groups)(const void *src, void *dst, size_t n_elems,               \
                                         size_t group_elems, const float *inv_scales,              \
                                         lt_prefetch ahead) {                                      \
        const fetch f = {.which = fetching_of, .beside = ahead};                                   \
        encode_by_planes(from, false, f, NULL, src, dst, n_elems, group_elems, inv_scales);        \
    }

#define PLANES_SCOPE(name, from, type)                                                             \
    void LT_NAME_PLAIN(name##_scope)(const void *src, void *dst, size_t n_elems, float inv_scale,  \
                                     float *stats, size_t ahead) {                                 \
        const uint8_t *const next = (const uint8_t *)src + n_elems * (from).elem_bytes;            \
        const fetch f = {.which = FETCH_AND_SUM,                                                   \
                         .ahead = ahead,                                                           \
                         .next = next,                                                             \
                         .of_tile = LATHE_STAT_TILE,                                               \
                         .stats = stats};                                                          \
        const size_t n_rest = n_elems % BLOCK;                                                     \
        trit_sums sums;                                                                            \
        abssum_##type##_begin(&sums.type);                                                         \
        encode_by_planes(from, false, f, &sums, src, dst, n_elems, n_elems, &inv_scale);           \
        if (n_elems % LATHE_STAT_TILE != 0) {                                                      \
            const uint8_t *const rest = next + (n_elems - n_rest) * (from).elem_bytes;             \
            abssum_##type##_rest(&sums.type, rest, n_rest);                                        \
            stats[n_elems / LATHE_STAT_TILE] = abssum_##type##_end(&sums.type);                    \
        }                                                                                          \
    }

#define PLANES_KERNELS(name, from)                                                                 \
    PLANES_CONVERT(name, from, hot, FETCH_NONE)                                                    \
    PLANES_CONVERT(name, from, stream, FETCH_AHEAD)                                                \
    PLANES_CONVERT(name, from, prefetch, FETCH_BOTH)                                               \
    PLANES_GROUPS(name, from, hot, FETCH_NONE)                                                     \
    PLANES_GROUPS(name, from, stream, FETCH_BESIDE)

#define F32_TRITS ((trit_source){NULL, f32_block, NULL, NULL, sizeof(float), plane_in_order})
#define F16_TRITS                                                                                  \
    ((trit_source){f16_word_rules, f16_block, f16_sum_block, f16_sum_end, sizeof(uint16_t),        \
                   plane_by_lanes})
#define BF16_TRITS                                                                                 \
    ((trit_source){bf16_word_rules, bf16_block, bf16_sum_block, bf16_sum_end, sizeof(uint16_t),    \
                   plane_by_lanes})

PLANES_KERNELS(f32_to_bitnet158, F32_TRITS)
PLANES_KERNELS(f16_to_bitnet158, F16_TRITS)
PLANES_KERNELS(bf16_to_bitnet158, BF16_TRITS)
PLANES_SCOPE(f16_to_bitnet158, F16_TRITS, f16)
PLANES_SCOPE(bf16_to_bitnet158, BF16_TRITS, bf16)

#endif
