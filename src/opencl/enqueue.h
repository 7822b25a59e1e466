/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels straight in a caller's command queue. */
#ifndef LT_OPENCL_ENQUEUE_H
#define LT_OPENCL_ENQUEUE_H

#include "opencl/opencl.h"

/* Puts one range of a convert pass, of at most LATHE_CL_MAX_ELEMS elements, into a command queue of
 * the device's, behind the events of the wait list. The pass can find no fault in the data, so that
 * nobody has to look at its reports. When *event is complete the caller releases it, and destroys
 * *reports. Thread-safe.
 * Errors, after which nothing has been enqueued: NOT_SUPPORTED (the pair's kernels have not been
 * used and checked yet: the caller must not be kept waiting for that), DEVICE,
 * INSUFFICIENT_MEMORY. */
lathe_status lt_cl_enqueue_convert(lt_backend *base, cl_command_queue queue, const lt_work *work,
                                   const lt_range *range, cl_uint n_wait, const cl_event *wait_list,
                                   lt_buffer *reports, cl_event *event);

#endif
