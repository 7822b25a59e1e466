/* SPDX-License-Identifier: Apache-2.0 */
/* The first steps of a chain, or all of them, in one kernel. */
#ifndef LT_CPU_FUSED_H
#define LT_CPU_FUSED_H

#include "chain.h"
#include "cpu/cpu.h"

/* Which steps of a chain, and how; what is the same for all of its blocks. */
typedef struct lt_fusion {
    uint32_t n_steps; /* from the first on; 0: none */
    bool to_result;   /* all of them; else they make codes a byte each */
    bool own_scales;
    lt_fused_fn *run;
    lt_fused_scales_fn *find_scales;
    lt_stat_fn *stat; /* of the source */
    lt_group_stat_fn *group_stat;
    lt_fused_rule rule;
    lt_fused how;  /* but for what is of a segment */
    float inverse; /* of the scale, where it is known */
    uint64_t row_elems;
    size_t elem_bytes;      /* of the source */
    size_t code_bits;       /* of what is made */
    uint64_t segment_elems; /* of whole scopes, that are encoded at a time */
    bool is_beside;         /* statistics of the next segment are taken meanwhile */
} lt_fusion;

/* The factor of lt_fused that does to codes what the types of a rule do, one after another: 0 if
 * there is one type, -1 if there is no such factor. */
int lt_fused_factor(const lt_fused_rule *rule);

/* Between lt_chain_plan, with all scales in place that are not found in the blocks, and the blocks.
 */
lt_fusion lt_fusion_of(const lt_cpu_backend *cpu, const lt_chain *chain);

/* The statistics of what comes next, which one segment leaves to the one after it. */
typedef struct lt_fused_ahead {
    const uint8_t *at; /* NULL: of nothing */
    uint64_t n_elems;
    float of[LT_FUSED_SCOPES];
} lt_fused_ahead;

/* Elements of the source that are consecutive, and begin a scope or, if these end there, a row. */
typedef struct lt_fused_block {
    const uint8_t *src;
    uint8_t *dst;
    float *scales; /* of the last step's; NULL: they are known */
    uint64_t col;  /* of the first element in its row */
    uint64_t n_elems;
    uint64_t n_beyond; /* elements after them that may be looked at, too */
} lt_fused_block;

/* Runs the steps on a block. Returns false, with nothing done that another way would not do again,
 * where values are found that the kernel does not take: those that are not finite, or so small, or
 * so great, that their scale is near the end of the normal numbers. */
bool lt_fused_run(const lt_fusion *fusion, const lt_fused_block *block, lt_fused_ahead *ahead);

#endif
