/* SPDX-License-Identifier: Apache-2.0 */
/* Programs that may be used: none is before its results have been compared with the reference. */
#ifndef LT_OPENCL_TRUST_H
#define LT_OPENCL_TRUST_H

#include "opencl/queue.h"

/* The family's program through n_types types, the first the source's and the last the target's, if
 * it may be used: it has passed its check, now or before, there is none, or this is a trial of that
 * check's. One thread checks, the others wait. Nothing is put into a queue. Errors: DEVICE,
 * INSUFFICIENT_MEMORY. */
lathe_status lt_cl_trusted_program(lt_cl_backend *backend, lt_cl_family *family, uint32_t n_types,
                                   const lathe_dtype *types, bool is_trial,
                                   lt_cl_program **program);

/* Checks once more whether a pair may be used. Errors: DEVICE, INSUFFICIENT_MEMORY. */
lathe_status lt_cl_check_again(lt_cl_backend *backend, lt_cl_family *family, lathe_dtype src,
                               lathe_dtype dst);

/* Makes a kernel object of a program. After an error the queue is empty. */
lathe_status lt_cl_make_kernel(lt_queue *queue, const lt_cl_program *program, const char *name,
                               cl_kernel *kernel);

#endif
