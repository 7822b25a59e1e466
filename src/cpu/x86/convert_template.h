/* SPDX-License-Identifier: Apache-2.0 */
/* Makes conversion kernels out of steps.
 *
 * A step converts a fixed number of elements between fixed places. This template adds what every
 * kernel needs: the loop, the cache policies, and the last elements that do not fill a step. Those
 * are converted by a step that goes over some elements again, or, where there are too few, in a
 * buffer of zeros, so that a step never sees less than its full size. Zero is code 0 in every type
 * but I1 (the sign of zero counts as +1), whose unused bits are cleared afterwards.
 *
 * Parameters: the file that includes this has included one of simd_*.h (of this folder, or of
 * cpu/arm, whose kernels these templates make, too), which define LT_ISA, LT_HOT_REST, and, with
 * the header of prototypes, LT_SMALLEST and LT_HAS_STREAM_STORES. */
#ifndef LT_CPU_X86_CONVERT_TEMPLATE_H
#define LT_CPU_X86_CONVERT_TEMPLATE_H

#include "lathe_constants.h"

enum {
    CACHE_LINE = 64,
    STEP_MAX_BYTES = 1280, /* 320 elements of F32 */
    STEP_ELEMS = 4 * V_FLOATS,
    /* How far ahead of its use memory is prefetched: into the first cache beside plain stores, into
     * the second beside streaming ones. */
    PREFETCH_BYTES = 1024,
    STREAM_PREFETCH_BYTES = 2048,
};

typedef enum policy { HOT, STREAM, PREFETCH } policy;

typedef void step_fn(const uint8_t *src, uint8_t *dst, const lt_kernel_params *params,
                     lt_store store);

typedef struct shape {
    step_fn *step;
    size_t n_elems; /* of one step */
    size_t src_bytes;
    size_t dst_bytes;
    bool clear_unused_bits; /* the output is I1 */
    bool plain_stores;      /* STREAM: rows seldom begin where streaming stores can write */
} shape;

/* Bytes of n elements, where `step_bytes` hold `step_elems`. */
LT_INLINE size_t part_bytes(size_t n_elems, size_t step_bytes, size_t step_elems) {
    return (n_elems * step_bytes + step_elems - 1) / step_elems;
}

/* Copies results to dst, whole lines of them past the cache where stores stream; dst begins a line
 * then. */
LT_INLINE void copy_results(uint8_t *dst, const uint8_t *results, size_t n_bytes, lt_store store) {
    size_t done = 0;
    if (store == LT_STORE_STREAM) {
        for (; n_bytes - done >= CACHE_LINE; done += CACHE_LINE) {
            LT_UNROLL
            for (size_t i = done; i < done + CACHE_LINE; i += V_BYTES)
                v_store(dst + i, v_load(results + i), store);
        }
    }
    memcpy(dst + done, results + done, n_bytes - done);
}

/* n_elems is above 0 and at most a step. */
LT_INLINE void convert_part(shape s, const uint8_t *src, uint8_t *dst, size_t n_elems,
                            const lt_kernel_params *params, lt_store store) {
    _Alignas(64) uint8_t in[STEP_MAX_BYTES];
    _Alignas(64) uint8_t out[STEP_MAX_BYTES];
    const size_t n_dst = part_bytes(n_elems, s.dst_bytes, s.n_elems);

    memset(in, 0, s.src_bytes);
    memcpy(in, src, part_bytes(n_elems, s.src_bytes, s.n_elems));
    s.step(in, out, params, LT_STORE_PLAIN);
    if (s.clear_unused_bits && n_elems % 8 != 0)
        out[n_dst - 1] &= (uint8_t)((1u << n_elems % 8) - 1);
    copy_results(dst, out, n_dst, store);
}

/* There is no intrinsic that gives this instruction without a further compiler flag; a processor
 * that lacks it ignores it. The address may lie past the end of the data: a prefetch never faults.
 */
LT_INLINE void prefetch_for_write(const uint8_t *p) {
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*p));
#else
    __builtin_prefetch(p, 1);
#endif
}

LT_INLINE void prefetch_to_second_cache(const uint8_t *p) {
    __builtin_prefetch(p, 0, 2);
}

/* Prefetches what a step reads `ahead` later, where stores stream. The second cache takes more
 * misses at a time than the first: on Sapphire Rapids this is worth 1.4 to 1.7, on Zen 4 up to 1.1;
 * there, prefetching into the first cache slows conversions that narrow. Zen 4 fetches lines by
 * pairs: `by_pairs` asks for one of two. */
LT_INLINE void prefetch_lines(const uint8_t *at, size_t n_bytes, bool by_pairs) {
    if (by_pairs) {
        LT_UNROLL
        for (size_t i = 0; i < n_bytes; i += 2 * CACHE_LINE)
            prefetch_to_second_cache(at + i);
    } else {
        LT_UNROLL
        for (size_t i = 0; i < n_bytes; i += CACHE_LINE)
            prefetch_to_second_cache(at + i);
    }
}

LT_INLINE void prefetch_step(shape s, policy how, const uint8_t *src, const uint8_t *dst,
                             size_t ahead, bool by_pairs) {
    if (how == STREAM)
        prefetch_lines(src + ahead, s.src_bytes, by_pairs);
    if (how == PREFETCH) {
        LT_UNROLL
        for (size_t i = 0; i < s.src_bytes; i += CACHE_LINE)
            __builtin_prefetch(src + PREFETCH_BYTES + i);
        LT_UNROLL
        for (size_t i = 0; i < s.dst_bytes; i += CACHE_LINE)
            prefetch_for_write(dst + PREFETCH_BYTES + i);
    }
}

/* The fewest elements that bring dst to the start of a cache line and src to the start of a byte.
 * Returns false if no number does. */
LT_INLINE bool elems_to_line(shape s, const uint8_t *dst, size_t *n_elems) {
    const size_t line_elems = CACHE_LINE * s.n_elems / s.dst_bytes;
    const size_t n_bytes = -(uintptr_t)dst % CACHE_LINE;

    *n_elems = n_bytes * s.n_elems / s.dst_bytes;
    if (*n_elems * s.dst_bytes != n_bytes * s.n_elems)
        return false;
    for (int i = 0; i < LATHE_BITNET158_PER_BYTE; i++) { /* a further round would only repeat */
        if (*n_elems * s.src_bytes % s.n_elems == 0)
            return true;
        *n_elems += line_elems;
    }
    return false;
}

/* Where a step came before, the last elements may be the end of one more that converts some
 * elements again, to the same bytes. Returns false where that step would not begin on a byte. */
LT_INLINE bool ends_with_whole_step(shape s, const uint8_t *src, uint8_t *dst, const uint8_t *begin,
                                    size_t n_elems, const lt_kernel_params *params) {
    const size_t n_again = s.n_elems - n_elems;
    const size_t src_back = n_again * s.src_bytes / s.n_elems;
    const size_t dst_back = n_again * s.dst_bytes / s.n_elems;

    if (src == begin || src_back * s.n_elems != n_again * s.src_bytes ||
        dst_back * s.n_elems != n_again * s.dst_bytes)
        return false;
    s.step(src - src_back, dst - dst_back, params, LT_STORE_PLAIN);
    return true;
}

/* Other kernels of the same pair. */
typedef struct relatives {
    lt_convert_fn *rest; /* takes what does not fill a step; NULL: this kernel does it itself */
    lt_convert_fn *unaligned; /* takes what streaming stores cannot write, for want of alignment */
} relatives;

/* The last elements, fewer than a step; those before them began at `begin`. Where stores stream, a
 * plain one would make all after it wait until its line has been read. */
LT_INLINE void convert_rest(shape s, const uint8_t *src, uint8_t *dst, const uint8_t *begin,
                            size_t n_elems, const lt_kernel_params *params, relatives others,
                            lt_store store) {
    if (n_elems == 0)
        return;
    const bool is_little = src == begin && n_elems < s.n_elems / 2;
    if (store == LT_STORE_STREAM && !is_little)
        convert_part(s, src, dst, n_elems, params, store);
    else if (ends_with_whole_step(s, src, dst, begin, n_elems, params))
        return;
    else if (others.rest != NULL)
        others.rest(src, dst, n_elems, params);
    else
        convert_part(s, src, dst, n_elems, params, store);
}

LT_INLINE void convert(shape s, policy how, const uint8_t *src, uint8_t *dst, size_t n_elems,
                       const lt_kernel_params *params, relatives others) {
    const lt_store store = how == STREAM && !s.plain_stores ? LT_STORE_STREAM : LT_STORE_PLAIN;
    lt_kernel_params local = {0}; /* a copy that the stores below cannot alias */
    if (params != NULL)
        local = *params;

    if (store == LT_STORE_STREAM) {
        size_t head;
        if (!elems_to_line(s, dst, &head)) {
            others.unaligned(src, dst, n_elems, params);
            return;
        }
        head = head < n_elems ? head : n_elems;
        others.rest(src, dst, head, params);
        src += part_bytes(head, s.src_bytes, s.n_elems);
        dst += part_bytes(head, s.dst_bytes, s.n_elems);
        n_elems -= head;
    }
    const bool by_pairs = local.ahead == 0;
    const size_t ahead = by_pairs ? STREAM_PREFETCH_BYTES : local.ahead;
    const uint8_t *const begin = src;
    for (; n_elems >= s.n_elems; n_elems -= s.n_elems) {
        prefetch_step(s, how, src, dst, ahead, by_pairs);
        s.step(src, dst, &local, store);
        src += s.src_bytes;
        dst += s.dst_bytes;
    }
    convert_rest(s, src, dst, begin, n_elems, &local, others, store);
}

/* Prefetches while n_bytes are read: both passes over a scope, that for the statistics and the
 * encoder's, do part of it, so that memory is kept busy during both. */
LT_INLINE void prefetch_beside(lt_prefetch *ahead, size_t n_bytes) {
    const uint8_t *at = ahead->first;
    prefetch_to_second_cache(at);
    for (size_t i = 1; i < n_bytes / (2 * CACHE_LINE); i++)
        prefetch_to_second_cache(at + i * ahead->step_bytes);
    ahead->first = at + n_bytes / CACHE_LINE * (ahead->step_bytes / 2);
}

#define LT_NAME_2(name, variant, isa) lt_##name##_##variant##_##isa
#define LT_NAME_1(name, variant, isa) LT_NAME_2(name, variant, isa)
#define LT_NAME(name, variant) LT_NAME_1(name, variant, LT_ISA)

#define LT_NAME_PLAIN_2(name, isa) lt_##name##_##isa
#define LT_NAME_PLAIN_1(name, isa) LT_NAME_PLAIN_2(name, isa)
#define LT_NAME_PLAIN(name) LT_NAME_PLAIN_1(name, LT_ISA)

#define LT_CONVERT_VARIANT(name, variant, policy, shape_of, rest_of)                               \
    void LT_NAME(name, variant)(const void *src, void *dst, size_t n_elems,                        \
                                const lt_kernel_params *params) {                                  \
        const shape s = shape_of;                                                                  \
        const relatives others = {.rest = rest_of, .unaligned = LT_NAME(name, prefetch)};          \
        convert(s, policy, src, dst, n_elems, params, others);                                     \
    }

#if LT_HAS_STREAM_STORES
#define LT_STREAM_VARIANT(name, shape_of)                                                          \
    LT_CONVERT_VARIANT(name, stream, STREAM, shape_of, LT_SMALLEST(name))
#else
#define LT_STREAM_VARIANT(name, shape_of)
#endif

#define LT_CONVERT_KERNEL(name, shape_of)                                                          \
    LT_CONVERT_VARIANT(name, hot, HOT, shape_of, LT_HOT_REST(LT_SMALLEST(name)))                   \
    LT_STREAM_VARIANT(name, shape_of)                                                              \
    LT_CONVERT_VARIANT(name, prefetch, PREFETCH, shape_of, LT_SMALLEST(name))

#endif
