/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions in the middle of the caller's own OpenCL work: its context, its queues, its memory
 * and its events. The only header that needs CL/cl.h; lathe/lathe.h does not include it. A build
 * without OpenCL has neither this header nor its functions. */
#ifndef LATHE_OPENCL_H
#define LATHE_OPENCL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>
#include <lathe/async.h>
#include <lathe/engine.h>

LATHE_BEGIN_DECLS

/* The caller's context, for lathe_config.opencl_device. It is retained by the engine. */
struct lathe_opencl_device {
    cl_context context;
    cl_device_id device; /* one of the context's */
};

/* The context and the device that the engine converts on; the engine keeps its references. Either
 * output may be NULL. Errors: INVALID_ARGUMENT, NOT_SUPPORTED (the engine runs on the CPU). */
LATHE_API lathe_status lathe_opencl_device_of(lathe_engine *engine, cl_context *context,
                                              cl_device_id *device);

/* A part of a cl_mem: `offset` bytes into it. */
typedef struct lathe_opencl_memory {
    cl_mem memory; /* NULL: none */
    size_t offset; /* bytes; any for data, a multiple of 4 for scales */
} lathe_opencl_memory;

/* Makes a device tensor of the caller's memory objects, of the engine's context, without a copy.
 * They hold, from their offsets on, what lathe_tensor_desc_sizes says; `scales` is for quantized
 * dtypes. Both are retained until the tensor's last reference goes. Data at an offset that is a
 * multiple of 16 converts faster. `flags` is 0 or LATHE_WRAP_READ_ONLY.
 * Errors: INVALID_ARGUMENT, SIZE_OVERFLOW, INSUFFICIENT_MEMORY, NOT_SUPPORTED, DEVICE; *tensor is
 * then left alone. Thread-safe. */
LATHE_API lathe_status lathe_opencl_tensor_wrap(lathe_engine *engine, const lathe_tensor_desc *desc,
                                                lathe_opencl_memory data,
                                                lathe_opencl_memory scales, uint32_t flags,
                                                lathe_tensor **tensor);

/* The memory objects of a device tensor, which keeps its references. Small tensors share objects:
 * only the tensor's part of one, which begins at the offset, is the caller's to use, and no such
 * object is to be mapped or migrated. Whoever writes there says so by lathe_tensor_touch. Either
 * output may be NULL.
 * Errors: INVALID_ARGUMENT (not a device tensor). */
LATHE_API lathe_status lathe_opencl_tensor_memory(const lathe_tensor *tensor,
                                                  lathe_opencl_memory *data,
                                                  lathe_opencl_memory *scales);

/* Puts the conversion of one device tensor into another, as lathe_convert_into does it, into the
 * caller's queue: it begins when the events of the wait list, and in an in-order queue the commands
 * before it, are complete, and returns at once.
 *
 * *done, which may be NULL, receives an event that the caller releases: it completes with the
 * conversion, with a negative execution status if that failed. *event, which may be NULL, receives
 * the same as a lathe_event, which has the details. In an in-order queue the commands after it wait
 * for it, and go on if it failed. Both tensors are retained until then; the queue's context must be
 * the engine's. Where the conversion is one kernel that can find no fault in the data, and the pair
 * has been converted before, that kernel goes into the queue itself.
 *
 * Errors, before anything is enqueued: INVALID_ARGUMENT and the others of lathe_convert_into,
 * NOT_SUPPORTED, DEVICE. */
LATHE_API lathe_status lathe_opencl_enqueue_convert(lathe_engine *engine, cl_command_queue queue,
                                                    lathe_tensor *source,
                                                    const lathe_target *target,
                                                    lathe_tensor *result, cl_uint n_wait,
                                                    const cl_event *wait_list, cl_event *done,
                                                    lathe_event **event);

LATHE_END_DECLS

#endif
