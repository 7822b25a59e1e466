/* SPDX-License-Identifier: Apache-2.0 */
/* Tensors to and from other libraries, without a copy, by DLPack (https://dmlc.github.io/dlpack):
 * its versioned struct, and the older one. This header needs no dlpack.h and does no harm to one:
 * it only names the two structs. */
#ifndef LATHE_DLPACK_H
#define LATHE_DLPACK_H

#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

struct DLManagedTensor;          /* DLPack before 1.0 */
struct DLManagedTensorVersioned; /* DLPack 1.0 and later: what is written here is version 1.1 */

/* Which part of a tensor is exported. */
typedef enum lathe_dlpack_part {
    LATHE_DLPACK_VALUES = 0, /* F32 and F16 as kDLFloat, BF16 as kDLBfloat */
    LATHE_DLPACK_CODES = 1,  /* I8, I4 and I2 without their scales, as kDLInt of 8, 4 and 2 bits */
    LATHE_DLPACK_SCALES = 2, /* a quantized tensor's scales: F32, in one dimension */
} lathe_dlpack_part;

/* Exports a tensor: a struct that shows its memory, and holds a reference to it until the consumer
 * calls the struct's deleter, on any thread. Host tensors are kDLCPU, an OpenCL device's kDLOpenCL,
 * whose data is the cl_mem and device_id 0. A read-only tensor sets the read-only flag. Strides are
 * always given. While the export lives the tensor is shared (lathe_tensor_is_shared). Exporting a
 * tensor that is not read-only counts as a change of its contents, as the consumer may write to it;
 * after what that writes later, lathe_tensor_touch says so.
 *
 * Codes of less than a byte are packed as DLPack does it, the first element in the lowest bits, and
 * without unused bits between rows; DLPack has no type for I1 and BITNET158.
 *
 * Errors: INVALID_ARGUMENT; INCOMPATIBLE_TYPES (a part that the tensor does not have, or that
 * DLPack has no type or layout for), SIZE_OVERFLOW (an extent beyond 63 bits), INSUFFICIENT_MEMORY;
 * *managed is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_dlpack_export(lathe_tensor *tensor, lathe_dlpack_part part,
                                           struct DLManagedTensorVersioned **managed);

/* The same as the older struct, which cannot say that memory is read-only: READ_ONLY for a tensor
 * that is. */
LATHE_API lathe_status lathe_dlpack_export_legacy(lathe_tensor *tensor, lathe_dlpack_part part,
                                                  struct DLManagedTensor **managed);

/* What DLPack cannot say about a tensor. Begins with struct_size; zero means default. */
typedef struct lathe_dlpack_options {
    size_t struct_size;
    uint32_t flags;                /* LATHE_WRAP_READ_ONLY, whatever the struct says; or 0 */
    lathe_granularity granularity; /* of integers, which are taken as I8, I4 and I2 codes */
    uint64_t group_size;
    uint32_t row_dims; /* trailing dimensions that make a row; 0 means 1 */
    /* Of integers, required: the scales, which are copied, and their number, as
     * lathe_tensor_desc_sizes gives it. */
    const float *scales;
    uint64_t n_scales;
} lathe_dlpack_options;

/* Imports a tensor. On success *tensor, which the caller releases, shows the struct's memory and
 * owns the struct: it calls the deleter when its last reference goes, on the thread that drops it.
 * The memory is its producer's still: what is written to the tensor, in place too, he sees.
 * On failure the struct stays the caller's.
 *
 * Memory must be the host's (kDLCPU, kDLCUDAHost, kDLROCMHost) or a buffer of the engine's OpenCL
 * context (kDLOpenCL), and contiguous in row-major order: strides NULL, or those. The types are
 * F32, F16, BF16, and signed integers of 8, 4 and 2 bits with one lane, which take options->scales;
 * rows of integers of less than a byte must be whole bytes. What flags say read-only is. `options`
 * may be NULL.
 *
 * Errors: INVALID_ARGUMENT (the struct, or scales that are missing), INCOMPATIBLE_TYPES (type,
 * strides, padding), SIZE_OVERFLOW, NOT_SUPPORTED (another major version, another kind of memory),
 * INSUFFICIENT_MEMORY, DEVICE; *tensor is then left alone. Thread-safe. */
LATHE_API lathe_status lathe_dlpack_import(lathe_engine *engine,
                                           struct DLManagedTensorVersioned *managed,
                                           const lathe_dlpack_options *options,
                                           lathe_tensor **tensor);

/* The same of the older struct, whose memory counts as writable. */
LATHE_API lathe_status lathe_dlpack_import_legacy(lathe_engine *engine,
                                                  struct DLManagedTensor *managed,
                                                  const lathe_dlpack_options *options,
                                                  lathe_tensor **tensor);

LATHE_END_DECLS

#endif
