/* SPDX-License-Identifier: Apache-2.0 */
/* The tensors that are converted. */
#ifndef LATHE_CLI_BENCH_TENSORS_H
#define LATHE_CLI_BENCH_TENSORS_H

#include "bench.h"

/* Makes b->source what the case starts from, unless it is already. */
lathe_status bench_make_source(bench *b, const bench_case *c);

/* Makes b->base, the F32 tensor of b->size bytes, unless it is there already. */
lathe_status bench_make_base(bench *b);

/* Frees both. */
void bench_drop_tensors(bench *b);

/* The target of a case whose dtype is this one. */
lathe_target bench_target(const bench_case *c, lathe_dtype dtype);

#endif
