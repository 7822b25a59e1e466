/* SPDX-License-Identifier: Apache-2.0 */
/* Makes kernels for groups of elements, each with a scale of its own, out of steps.
 *
 * Parameters: as convert_template.h. */
#ifndef LT_CPU_X86_GROUPS_TEMPLATE_H
#define LT_CPU_X86_GROUPS_TEMPLATE_H

#include "cpu/x86/convert_template.h"

/* What is done to a group: its elements are encoded, or decoded. */
typedef enum direction { ENCODE, DECODE } direction;

/* Group after group; what does not fill a step is left to a kernel for any scale. `of_each` has the
 * inverse scale of each to encode with, or the scale to decode with. */
LT_INLINE void convert_groups(shape s, policy how, direction which, const uint8_t *src,
                              uint8_t *dst, size_t n_elems, size_t group_elems,
                              const float *of_each, lt_prefetch ahead, float max_code,
                              relatives others) {
    lt_kernel_params params = {.max_code = max_code};
    while (n_elems > 0) {
        const size_t n_group = n_elems < group_elems ? n_elems : group_elems;
        const uint8_t *const begin = src;
        size_t left = n_group;
        *(which == ENCODE ? &params.inv_scale : &params.scale) = *of_each++;
        for (; left >= s.n_elems; left -= s.n_elems) {
            if (which == DECODE)
                prefetch_step(s, how, src, dst, STREAM_PREFETCH_BYTES, false);
            else if (how == STREAM)
                prefetch_beside(&ahead, s.src_bytes);
            s.step(src, dst, &params, how == STREAM ? LT_STORE_STREAM : LT_STORE_PLAIN);
            src += s.src_bytes;
            dst += s.dst_bytes;
        }
        convert_rest(s, src, dst, begin, left, &params, others, LT_STORE_PLAIN);
        src += part_bytes(left, s.src_bytes, s.n_elems);
        dst += part_bytes(left, s.dst_bytes, s.n_elems);
        n_elems -= n_group;
    }
}

/* True if streaming stores can write a step's results at dst, and those of all that follow. */
LT_INLINE bool can_stream(shape s, const uint8_t *dst) {
    return (uintptr_t)dst % (s.dst_bytes < CACHE_LINE ? s.dst_bytes : CACHE_LINE) == 0;
}

/* True if each group but the last one ends where a vector or step of n elements does. The smallest
 * step divides any group. */
LT_INLINE bool groups_fit(size_t n, size_t n_elems, size_t group_elems) {
    return n <= LATHE_GROUP_MULTIPLE || n_elems <= group_elems || group_elems % n == 0;
}

/* A walk over groups by parts: what five parts of a step have for each. */
typedef struct group_walk {
    const float *of_each;
    size_t group_elems;
    size_t left; /* of the group */
} group_walk;

typedef struct step_floats {
    float of[5];
} step_floats;

/* Of a step whose n_elems elements lie in parts of part_elems; 0 where there are none. */
LT_INLINE step_floats walk_step(group_walk *walk, size_t n_elems, size_t part_elems) {
    step_floats floats = {{0}};
    LT_UNROLL
    for (size_t i = 0; i < 5; i++) {
        if (i * part_elems >= n_elems)
            break;
        if (walk->left == 0) {
            walk->of_each++;
            walk->left = walk->group_elems;
        }
        floats.of[i] = *walk->of_each;
        walk->left -= walk->left < part_elems ? walk->left : part_elems;
    }
    return floats;
}

/* A step whose halves have an inverse scale each. */
typedef void halves_fn(const uint8_t *src, uint8_t *dst, float first, float second, lt_store store);

/* True if a step has one group or two. */
LT_INLINE bool are_short(size_t n_step, size_t n_elems, size_t group_elems) {
    return n_elems > group_elems && (group_elems == n_step || 2 * group_elems == n_step);
}

/* Short groups, and those of which some step has the end of one and the beginning of the next: each
 * is whole halves of steps. */
LT_INLINE void encode_halves(shape s, halves_fn *step, policy how, const uint8_t *src, uint8_t *dst,
                             size_t n_elems, size_t group_elems, const float *inv_scales,
                             lt_prefetch ahead, float max_code, lt_convert_fn *rest) {
    const size_t half = s.n_elems / 2;
    group_walk walk = {inv_scales, group_elems, group_elems};
    if (are_short(s.n_elems, n_elems, group_elems)) {
        const bool is_one = group_elems != half; /* nothing is counted then */
        for (; n_elems >= s.n_elems; n_elems -= s.n_elems) {
            if (how == STREAM)
                prefetch_beside(&ahead, s.src_bytes);
            step(src, dst, walk.of_each[0], walk.of_each[!is_one],
                 how == STREAM ? LT_STORE_STREAM : LT_STORE_PLAIN);
            walk.of_each += 2 - is_one;
            src += s.src_bytes;
            dst += s.dst_bytes;
        }
    }
    for (; n_elems >= s.n_elems; n_elems -= s.n_elems) {
        const step_floats inverses = walk_step(&walk, s.n_elems, half);
        if (how == STREAM)
            prefetch_beside(&ahead, s.src_bytes);
        step(src, dst, inverses.of[0], inverses.of[1],
             how == STREAM ? LT_STORE_STREAM : LT_STORE_PLAIN);
        src += s.src_bytes;
        dst += s.dst_bytes;
    }
    const step_floats inverses = walk_step(&walk, n_elems, half);
    for (size_t i = 0; i * half < n_elems; i++) {
        const lt_kernel_params params = {.inv_scale = inverses.of[i], .max_code = max_code};
        const size_t left = n_elems - i * half;
        rest(src + i * s.src_bytes / 2, dst + i * s.dst_bytes / 2, left < half ? left : half,
             &params);
    }
}

/* `by_halves` is NULL where scales do not matter: all groups are one. */
#define LT_GROUP_VARIANT(name, variant, policy, shape_of, by_halves, max_code)                     \
    void LT_NAME(name, variant##_groups)(const void *src, void *dst, size_t n_elems,               \
                                         size_t group_elems, const float *inv_scales,              \
                                         lt_prefetch ahead) {                                      \
        const shape s = shape_of;                                                                  \
        const relatives others = {.rest = LT_SMALLEST(name)};                                      \
        halves_fn *const halves = by_halves;                                                       \
        const size_t run = halves == NULL ? n_elems : group_elems;                                 \
        if (policy == STREAM && !can_stream(s, dst))                                               \
            LT_NAME(name, hot_groups)(src, dst, n_elems, group_elems, inv_scales, ahead);          \
        else if (groups_fit(s.n_elems, n_elems, run) &&                                            \
                 (halves == NULL || !are_short(s.n_elems, n_elems, run)))                          \
            convert_groups(s, policy, ENCODE, src, dst, n_elems, run, inv_scales, ahead, max_code, \
                           others);                                                                \
        else                                                                                       \
            encode_halves(s, halves, policy, src, dst, n_elems, run, inv_scales, ahead, max_code,  \
                          others.rest);                                                            \
    }

#define LT_GROUP_KERNEL(name, shape_of, by_halves, max_code)                                       \
    LT_GROUP_VARIANT(name, hot, HOT, shape_of, by_halves, max_code)                                \
    LT_GROUP_VARIANT(name, stream, STREAM, shape_of, by_halves, max_code)

#define LT_DECODE_VARIANT(name, variant, policy, shape_of)                                         \
    void LT_NAME(name, variant##_groups)(const void *src, void *dst, size_t n_elems,               \
                                         size_t group_elems, const float *scales) {                \
        const shape s = shape_of;                                                                  \
        const relatives others = {.rest = LT_SMALLEST(name)};                                      \
        lt_group_decode_fn *other = NULL;                                                          \
        if (!groups_fit(s.n_elems, n_elems, group_elems))                                          \
            other = LT_SMALLEST_GROUPS(name, variant);                                             \
        else if (policy == STREAM && !can_stream(s, dst))                                          \
            other = LT_NAME(name, hot_groups);                                                     \
        if (other != NULL)                                                                         \
            other(src, dst, n_elems, group_elems, scales);                                         \
        else                                                                                       \
            convert_groups(s, policy, DECODE, src, dst, n_elems, group_elems, scales,              \
                           (lt_prefetch){0}, 0, others);                                           \
    }

#define LT_DECODE_KERNEL(name, shape_of)                                                           \
    LT_DECODE_VARIANT(name, hot, HOT, shape_of)                                                    \
    LT_DECODE_VARIANT(name, stream, STREAM, shape_of)

#endif
