/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions in a tensor's own memory. */
#ifndef LATHE_IN_PLACE_H
#define LATHE_IN_PLACE_H

#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* Converts a tensor to the target in the memory that it has: afterwards the same object has the
 * target's dtype and granularity, and the bytes and scales that lathe_convert would have given. Its
 * pointers may be asked for anew. What the target is narrower by is given back to the pool, and to
 * the system, where the tensor's memory is a block of the pool of 256 KiB or more; otherwise the
 * tensor keeps it (lathe_tensor_capacity). The target may be wider than the source as far as the
 * tensor has the memory. The only memory that the result takes beside that is a block for
 * its scales; on the way there are at most 128 KiB of statistics at a time and, on a device, 4
 * bytes for 4,096 elements, and a buffer for a 32nd of the elements, of 8 MiB at most, where the
 * result is wider, the data has to be looked at before, or rows have unused bits at their ends.
 *
 * All of the tensor is converted by all of the engine's threads, or by its device: device tensors,
 * and HOST and PINNED tensors whose memory the device shares. HOST and PINNED tensors that the
 * device does not reach are converted by the CPU.
 *
 * The caller has the only reference, and nobody else uses the tensor meanwhile, not even for
 * queries. Read-only tensors fail with READ_ONLY, and tensors that are shared (a view, one that
 * there are views of, or with another reference) with SHARED.
 *
 * Statistics are found, and what can be wrong with the data is looked for, before anything is
 * written: strict mode converts and decodes everything twice. So after any error the tensor is what
 * it was before, but for one: should a device fail in the midst of the conversion, the CPU finishes
 * it from the wave that failed, and if the device does not even hand out its memory for that, or
 * cannot tell what it has done, the error is DEVICE, and its message says that the tensor's
 * contents are lost. `stats` may be NULL.
 *
 * Errors: those of lathe_convert; READ_ONLY, SHARED; INSUFFICIENT_MEMORY also where a wider target
 * does not fit (with required and available bytes); INCOMPATIBLE_TYPES where the rows of source and
 * target differ so that no order of conversion is safe; NOT_SUPPORTED also where the engine
 * requires its device, but that does not reach the tensor. */
LATHE_API lathe_status lathe_convert_in_place(lathe_engine *engine, lathe_tensor *tensor,
                                              const lathe_target *target,
                                              lathe_convert_stats *stats);

/* Bytes that the tensor's data may take in place: at least lathe_tensor_n_bytes. Memory that was
 * wrapped, a device's, and small blocks of the pool keep what they had when the tensor was made.
 * The tensor must not be NULL. Thread-safe, but for lathe_convert_in_place. */
LATHE_API uint64_t lathe_tensor_capacity(const lathe_tensor *tensor);

/* Says that the memory of a wrapped HOST tensor goes on behind its data: n_bytes in all, which are
 * the tensor's as the data is, so that it can become wider in place. The caller has the only
 * reference. Errors: INVALID_ARGUMENT (not such a tensor, or fewer bytes than its data), SHARED. */
LATHE_API lathe_status lathe_tensor_set_capacity(lathe_tensor *tensor, uint64_t n_bytes);

LATHE_END_DECLS

#endif
