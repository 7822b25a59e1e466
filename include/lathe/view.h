/* SPDX-License-Identifier: Apache-2.0 */
/* Sharing memory: conversions that need none, and views, which show a tensor's memory in another
 * way. */
#ifndef LATHE_VIEW_H
#define LATHE_VIEW_H

#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stdbool.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* Whether converting `source` to the target is possible without copying or computing anything: the
 * dtype is the same, and rows and scales lie the same way. *reason, if `reason` is not NULL, then
 * becomes NULL; otherwise it becomes a static phrase that says why not. False for a NULL source and
 * an invalid target, too. Thread-safe. */
LATHE_API bool lathe_tensor_can_share(const lathe_tensor *source, const lathe_target *target,
                                      const char **reason);

/* lathe_convert, if it is possible without copying or computing anything: the result, which the
 * caller releases, is the source itself with one more reference or, where the target names the same
 * layout by another row_dims or granularity, a view of it. No data is read, no device is used, and
 * the pool is asked for nothing but a view's own struct. The conversion is recorded with the engine
 * unless that is NULL.
 * Errors: INVALID_ARGUMENT, SIZE_OVERFLOW, NOT_SUPPORTED (the target); INCOMPATIBLE_TYPES, whose
 * message says why; INSUFFICIENT_MEMORY; *result is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_zero_copy_convert(lathe_engine *engine, lathe_tensor *source,
                                               const lathe_target *target, lathe_tensor **result);

/* ---- views
 *
 * A view is a tensor of its own that shows memory of another, without a copy: what is written to
 * either is seen in both. It keeps that memory alive, so both may be released in any order and on
 * any thread. It lies where its source does; that of a read-only tensor is read-only. A view of a
 * view refers to the tensor that has the memory, not to the view. It takes less than a kilobyte of
 * the pool, and under a microsecond.
 *
 * The rule for memory that several tensors show: its contents may be written, by whoever
 * synchronises with the others, but a tensor's dtype and layout cannot be changed under them:
 * lathe_convert_in_place fails with SHARED while there is a view or more than one reference.
 * lathe_tensor_make_unique makes a copy then, if that is wanted.
 *
 * Scales come along. A view of a device tensor is unmapped at first, whatever its source is; two of
 * one memory may be mapped at once for reading only. The functions are thread-safe. */

/* A view with another shape of as many elements. `row_dims` is the number of trailing dimensions of
 * the new shape that make a row; 0 means 1. Where the rows of the two differ, there must be no
 * unused bits between them and no scales but one. The other parameters are the source's. The caller
 * owns *view on success; on failure it is left alone.
 * Errors: INVALID_ARGUMENT, SIZE_OVERFLOW, INCOMPATIBLE_TYPES, INSUFFICIENT_MEMORY. */
LATHE_API lathe_status lathe_tensor_view_reshape(lathe_tensor *source, uint32_t n_dims,
                                                 const uint64_t *shape, uint32_t row_dims,
                                                 lathe_tensor **view);

/* A view of entries [first, first + count) along the outermost dimension; `count` may be 0. Where
 * an entry is only a part of a row, because all dimensions make one, the slice must begin and end
 * with whole bytes and with whole groups, or with the row.
 * Errors: INVALID_ARGUMENT (a scalar, or a slice that is not inside), INCOMPATIBLE_TYPES,
 * INSUFFICIENT_MEMORY. */
LATHE_API lathe_status lathe_tensor_view_rows(lathe_tensor *source, uint64_t first, uint64_t count,
                                              lathe_tensor **view);

/* A view of the same bits as another dtype of the same width without scales: F16 as BF16, or BF16
 * as F16. This is no conversion: values change.
 * Errors: INVALID_ARGUMENT, INCOMPATIBLE_TYPES, INSUFFICIENT_MEMORY. */
LATHE_API lathe_status lathe_tensor_view_bits(lathe_tensor *source, lathe_dtype dtype,
                                              lathe_tensor **view);

/* True for what the three functions above have made, and lathe_zero_copy_convert with another
 * layout's name. The tensor must not be NULL. */
LATHE_API bool lathe_tensor_is_view(const lathe_tensor *tensor);

/* True if the tensor is a view, or if there is another reference to it, such as a view of it: where
 * lathe_convert_in_place fails with SHARED. Another thread may change that at any time unless the
 * caller has the only reference. The tensor must not be NULL. */
LATHE_API bool lathe_tensor_is_shared(const lathe_tensor *tensor);

/* A copy of a tensor or view with memory of its own, of the same kind, which is never read-only.
 * Errors: INVALID_ARGUMENT, INSUFFICIENT_MEMORY, DEVICE; *copy is then left alone. */
LATHE_API lathe_status lathe_tensor_materialize(lathe_engine *engine, const lathe_tensor *tensor,
                                                lathe_tensor **copy);

/* Copy on write, by name: if *tensor is shared or read-only, puts a materialized copy in its place
 * and drops the caller's reference to the original; otherwise does nothing.
 * Errors: as lathe_tensor_materialize; *tensor is then what it was. */
LATHE_API lathe_status lathe_tensor_make_unique(lathe_engine *engine, lathe_tensor **tensor);

LATHE_END_DECLS

#endif
