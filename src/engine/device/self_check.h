/* SPDX-License-Identifier: Apache-2.0 */
/* The self-check: a device's kernels against the scalar reference, before they are used. */
#ifndef LT_ENGINE_SELF_CHECK_H
#define LT_ENGINE_SELF_CHECK_H

#include <lathe/dtype.h>
#include <lathe/status.h>

/* Converts a few thousand values of every kind from src to dst in every way that the device has
 * kernels for, and compares bytes, scales and statistics with the reference. `engine` is a
 * lathe_engine. Errors: DEVICE (they differ, which the engine's listener is told, or the device
 * failed), INSUFFICIENT_MEMORY. */
lathe_status lt_self_check_pair(void *engine, lathe_dtype src, lathe_dtype dst);

/* The same for the kernel that converts many tensors in one launch. */
lathe_status lt_self_check_many(void *engine, lathe_dtype src, lathe_dtype dst);

/* The same for the launch that converts a tensor in its own memory. */
lathe_status lt_self_check_in_place(void *engine, lathe_dtype src, lathe_dtype dst);

/* The same for quality PRECISE, to targets whose codes reach further with it. */
lathe_status lt_self_check_precise(void *engine, lathe_dtype src, lathe_dtype dst);

/* The same for the kernels that find PRECISE scales, and for those that measure results: of every
 * source, and to every dtype, whatever src and dst. */
lathe_status lt_self_check_scales(void *engine, lathe_dtype src, lathe_dtype dst);
lathe_status lt_self_check_measure(void *engine, lathe_dtype src, lathe_dtype dst);

/* The same for a chain through n_types types, the first of them the source's, one scale for all and
 * one for each row (chain_check.c). */
lathe_status lt_self_check_chain(void *ctx, uint32_t n_types, const lathe_dtype *types);

/* The same as lt_self_check_pair for the first and the last of such types, the source being rounded
 * to those in between. */
lathe_status lt_self_check_rounded(void *ctx, uint32_t n_types, const lathe_dtype *types);

#endif
