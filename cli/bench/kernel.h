/* SPDX-License-Identifier: Apache-2.0 */
/* A conversion on the calling thread without what a call of the library costs: what other
 * libraries' row functions do. */
#ifndef LATHE_CLI_BENCH_KERNEL_H
#define LATHE_CLI_BENCH_KERNEL_H

#include "cases.h"

typedef struct bench_kernel bench_kernel;

/* Prepares a conversion of host tensors by the engine's CPU; all of them outlive it. BENCH_ENCODE:
 * the codes alone, with `scale`. */
bench_kernel *bench_kernel_open(lathe_engine *engine, const bench_case *c,
                                const lathe_tensor *source, const lathe_target *target,
                                lathe_tensor *result, float scale);

/* A bench_fn, whose ctx is the kernel. Errors: those of the data. */
lathe_status bench_kernel_run(void *ctx, uint64_t rounds);

/* NULL is legal. */
void bench_kernel_close(bench_kernel *kernel);

#endif
