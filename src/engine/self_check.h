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

#endif
