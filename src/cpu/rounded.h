/* SPDX-License-Identifier: Apache-2.0 */
/* Chains of roundings, and of one step more, which makes codes. */
#ifndef LT_CPU_ROUNDED_H
#define LT_CPU_ROUNDED_H

#include "chain.h"
#include "cpu/groups.h"

/* The first steps of a chain. */
typedef struct lt_rounder {
    bool is_on; /* all are roundings */
    const lt_kernels *kernels;
    const lt_chain *chain;
    uint32_t n_steps;
    bool fetches; /* the source is in memory */
} lt_rounder;

lt_rounder lt_rounder_of(const lt_cpu_backend *cpu, const lt_chain *chain, uint32_t n_steps);

/* The statistic of at most LATHE_STAT_TILE consecutive elements when they have been rounded, in
 * *stat; false where it is not finite, or there is no kernel. `tile` has room for what a thread
 * holds of the chain. */
bool lt_rounded_stat(const lt_rounder *rounder, lt_stat which, const uint8_t *src, uint8_t *tile,
                     uint64_t n_elems, double *stat);

/* All steps. */
typedef struct lt_rounded_encoder {
    bool is_on;
    lt_rounder rounder;
    const lt_pass *last;
    lt_group_encoder groups; /* scales of their own */
    bool shares_bytes;
    lt_convert_fn *encode; /* one known scale */
    lt_kernel_params params;
} lt_rounded_encoder;

/* Between lt_chain_plan, with all scales in place that are not found in the blocks, and the blocks.
 */
lt_rounded_encoder lt_rounded_encoder_of(const lt_cpu_backend *cpu, const lt_chain *chain);

/* Consecutive elements of the source: whole rows of the result, or whole scopes, or bytes, of one
 * row. */
typedef struct lt_rounded_block {
    const uint8_t *src;
    uint8_t *tile;
    uint8_t *dst;
    float *scales;
    uint64_t n_elems;
} lt_rounded_block;

/* Runs the steps on a block. Returns false, with nothing done that another way would not do again,
 * where a statistic is not finite. */
bool lt_rounded_encode(const lt_rounded_encoder *encoder, const lt_rounded_block *block);

#endif
