/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of floats, or rows, each with a scale of its own, encoded many at a time. */
#ifndef LT_CPU_GROUPS_H
#define LT_CPU_GROUPS_H

#include "cpu/cpu.h"

typedef struct lt_group_encoder {
    lt_group_stat_fn *stat; /* NULL: not for this pass */
    lt_group_encode_fn *encode;
    lt_sign_sums_fn *sign_sums; /* NULL: codes need scales, or the level has no kernel */
    size_t ahead;               /* of sign_sums */
    lt_scales_fn *scales;       /* NULL: the level has no kernel */
    lathe_dtype to;
    size_t group_elems; /* also of a row that is shorter than a group */
    size_t elem_bytes;  /* of the source */
    bool far_prefetch;
} lt_group_encoder;

/* For a pass that finds the scales of its target, balanced, while it converts; `stat` is NULL where
 * the level has no kernels. */
lt_group_encoder lt_group_encoder_of(const lt_cpu_backend *cpu, const lt_pass *pass);

/* How many elements are read for their statistics and again for their codes, before the next are.
 */
typedef struct lt_own_scale_parts {
    uint64_t n_elems; /* whole scopes, and, where bytes hold elements of two groups, whole bytes */
    uint64_t n_last;  /* as many as these, or fewer, are the last part */
} lt_own_scale_parts;

/* Of n_elems elements of a row: nearly the same for all parts. A short one would have little of
 * what follows prefetched. */
lt_own_scale_parts lt_own_scale_parts_of(const lt_pass *pass, bool through_codes, uint64_t n_elems);

/* Some that lie in a row: at most a part. */
typedef struct lt_segment {
    const uint8_t *src;
    uint8_t *dst;
    float *scales;
    uint64_t n_elems;
    const uint8_t *fetch; /* what is brought into the cache meanwhile; NULL: what follows src */
    size_t fetch_bytes;
} lt_segment;

/* Encodes a segment by two kernel calls. Returns false, with nothing done that the general way
 * would not do again, where a statistic is not finite. */
bool lt_encode_groups(const lt_group_encoder *encoder, const lt_segment *at);

#endif
