/* SPDX-License-Identifier: Apache-2.0 */
/* Scopes that follow each other in memory, each with a scale of its own, encoded while the next
 * one's statistic is taken. */
#ifndef LT_CPU_SCOPES_H
#define LT_CPU_SCOPES_H

#include "cpu/cpu.h"

typedef struct lt_scope_encoder {
    lt_scope_encode_fn *encode; /* NULL: not for this pass */
    lt_group_stat_fn *stat;     /* of the first scope */
    lt_group_encode_fn *last;
    lathe_dtype to;
    size_t n_elems; /* of a scope */
    size_t src_bytes;
    size_t dst_bytes;
} lt_scope_encoder;

/* For a pass that finds the scales of its target, balanced, by scopes whose source is read from
 * memory; `encode` is NULL where they are short, or the level has no kernel. */
lt_scope_encoder lt_scope_encoder_of(const lt_cpu_backend *cpu, const lt_pass *pass);

/* Some of them. */
typedef struct lt_scope_run {
    const uint8_t *src;
    uint8_t *dst;
    float *scales;
    uint64_t n_scopes;
} lt_scope_run;

/* Encodes scopes up to the first whose statistic is not finite; returns how many. */
uint64_t lt_encode_scopes(const lt_scope_encoder *encoder, const lt_scope_run *run);

#endif
