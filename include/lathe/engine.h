/* SPDX-License-Identifier: Apache-2.0 */
/* The engine: converts tensors. */
#ifndef LATHE_ENGINE_H
#define LATHE_ENGINE_H

#include <lathe/config.h>
#include <lathe/device.h>
#include <lathe/export.h>
#include <lathe/pool.h>
#include <lathe/quality.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* An engine is thread-safe: any number of threads may convert through one. Its own threads do not
 * survive a fork: a child process makes its own engine. */
typedef struct lathe_engine lathe_engine;

/* Makes an engine, which the caller frees with lathe_engine_free. NULL config means all defaults.
 * Errors: INVALID_ARGUMENT (naming the field), NOT_SUPPORTED (an ISA that this CPU lacks, a build
 * without OpenCL), NOT_FOUND (the device), DEVICE (require_device), INSUFFICIENT_MEMORY; *engine is
 * then left alone. */
LATHE_API lathe_status lathe_engine_create(const lathe_config *config, lathe_engine **engine);

/* Frees the engine once no call is using it; waits for its asynchronous conversions. Tensors that
 * it made live on. NULL is legal. */
LATHE_API void lathe_engine_free(lathe_engine *engine);

/* The engine's pool. The engine owns the reference. */
LATHE_API lathe_pool *lathe_engine_pool(lathe_engine *engine);

/* Describes the device that the engine converts on; with "auto", the CPU until the planner has
 * chosen another for a conversion. The caller has set info->struct_size. Errors: INVALID_ARGUMENT.
 */
LATHE_API lathe_status lathe_engine_device(lathe_engine *engine, lathe_device_info *info);

/* Runs every kernel family of the engine's device on a few thousand values and compares the bytes
 * with the reference: some seconds where programs are not in the cache yet. Kernels are checked at
 * their first use in any case. Errors: INVALID_ARGUMENT; DEVICE (naming the conversion). OK on the
 * CPU. */
LATHE_API lathe_status lathe_engine_self_check(lathe_engine *engine);

/* What an engine has done so far. */
typedef struct lathe_engine_stats {
    size_t struct_size;
    uint64_t n_conversions; /* of tensors, asynchronous ones included */
    uint64_t n_on_device;   /* of those, the ones that an OpenCL device did, all of it */
    uint64_t n_fallbacks;   /* the ones that the CPU did, or finished, because the device failed */
    uint64_t n_device_errors;   /* OpenCL calls that failed */
    uint64_t uploaded_bytes;    /* copied to the device */
    uint64_t downloaded_bytes;  /* and back */
    uint64_t n_wrapped;         /* host buffers that the device used in place */
    uint64_t n_launches;        /* of kernels */
    uint64_t n_programs_built;  /* from source */
    uint64_t n_programs_loaded; /* from the cache on disk */
    uint64_t program_build_ns;
    uint64_t program_load_ns;
} lathe_engine_stats;

/* Fills *stats, whose struct_size the caller has set. Thread-safe. Errors: INVALID_ARGUMENT. */
LATHE_API lathe_status lathe_engine_get_stats(lathe_engine *engine, lathe_engine_stats *stats);

/* Makes a tensor as lathe_tensor_create does, in the memory named: HOST is that; PINNED is host
 * memory that the device reads and writes without staging; DEVICE is the device's own. On the CPU
 * all are HOST. They are blocks of the engine's pool, under its budget. Tensors of at most 256 KiB
 * in a device's own memory share blocks: one lives as long as any of its tensors, is charged as a
 * whole, and has room for as many as were there before it, at most 1,024 or 16 MiB. Errors: as
 * lathe_tensor_create, and DEVICE; *tensor is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_engine_tensor_create(lathe_engine *engine, lathe_memory memory,
                                                  const lathe_tensor_desc *desc,
                                                  lathe_tensor **tensor);

/* Copies data and scales between tensors of the same shape, dtype, granularity, group_size and
 * row_dims, wherever they are: upload and download. Large ones are copied by the engine's threads,
 * in any order: what is written must not overlap what is read. Errors: INVALID_ARGUMENT,
 * INCOMPATIBLE_TYPES, READ_ONLY, DEVICE; the target's contents are then unspecified. */
LATHE_API lathe_status lathe_tensor_copy(lathe_engine *engine, const lathe_tensor *from,
                                         lathe_tensor *to);

/* Gives the host a device tensor's data and scales: between map and unmap lathe_tensor_data,
 * lathe_tensor_scales and, with `write`, their mutable forms point to them. No conversion may use
 * the tensor meanwhile, and maps do not nest. For HOST and PINNED tensors it does nothing.
 * Errors: INVALID_ARGUMENT (mapped already), READ_ONLY, DEVICE. */
LATHE_API lathe_status lathe_tensor_map(lathe_engine *engine, lathe_tensor *tensor, bool write);

/* Ends it, and gives the device what was written. Errors: INVALID_ARGUMENT (not mapped), DEVICE. */
LATHE_API lathe_status lathe_tensor_unmap(lathe_engine *engine, lathe_tensor *tensor);

/* What a conversion counted. The caller sets struct_size, and zeroes or sets `quality`. */
typedef struct lathe_convert_stats {
    size_t struct_size;
    uint64_t n_saturated; /* FAST quality: elements beyond the clamp bound; 0 otherwise */
    /* Set by the caller: NULL, or where to report how far the result is from the source, which the
     * conversion then measures: on the CPU in its own pass; on a device that has both tensors,
     * right after it, and otherwise the CPU does all of it. Its struct_size is set, too. */
    lathe_quality_report *quality;
} lathe_convert_stats;

/* Converts `source` to `target`. The source is only read. `stats` may be NULL. A device tensor
 * converts on its own engine, and gives one; HOST and PINNED tensors convert on the engine's device
 * as well, in chunks, or in place where the device shares the host's memory. A device tensor's own
 * scales are taken as they are, unchecked.
 *
 * The result, which the caller releases, is a new tensor; but where the source already is what the
 * target asks for (same dtype, granularity, group_size and row_dims), it is the source itself with
 * one more reference, in no time and no memory. To have a copy of it, use lathe_convert_into.
 *
 * The result's bytes and scales depend on the source and the target alone, never on the threads,
 * the ISA or the device (docs/numerics.md).
 *
 * Errors: INVALID_ARGUMENT, SIZE_OVERFLOW, INSUFFICIENT_MEMORY, NON_FINITE, DATA_LOSS, CORRUPT_DATA
 * (a BITNET158 byte of 243 or more, or a scale that is negative or not finite), NOT_SUPPORTED,
 * DEVICE (require_device; or a device tensor that neither the device nor, through the host, the CPU
 * could convert); *result is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_convert(lathe_engine *engine, const lathe_tensor *source,
                                     const lathe_target *target, lathe_tensor **result,
                                     lathe_convert_stats *stats);

/* The same into an existing tensor that matches the target: same shape, dtype, granularity,
 * group_size and row_dims, not read-only, its memory apart from the source's. For recycled outputs.
 * Either side may be a device tensor of this engine.
 * Errors: as lathe_convert, and INCOMPATIBLE_TYPES, READ_ONLY. After NON_FINITE, DATA_LOSS,
 * CORRUPT_DATA or, with require_device, DEVICE the contents of `result` are unspecified; after any
 * other error they are untouched.
 */
LATHE_API lathe_status lathe_convert_into(lathe_engine *engine, const lathe_tensor *source,
                                          const lathe_target *target, lathe_tensor *result,
                                          lathe_convert_stats *stats);

LATHE_END_DECLS

#endif
