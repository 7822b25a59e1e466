/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels that have programs of their own, and a check of their own before they are used. */
#ifndef LT_OPENCL_FAMILY_H
#define LT_OPENCL_FAMILY_H

#include "opencl/queue.h"

/* Initialises all families of the backend, or none. Errors: INSUFFICIENT_MEMORY. */
lathe_status lt_cl_families_init(lt_cl_backend *backend, const lt_cl_options_in *options);

/* Nothing uses their programs any more. */
void lt_cl_families_destroy(lt_cl_backend *backend);

/* OK, if the family's program for the work's pair may be used: it has passed its check, now or
 * before, or the work is a trial. Nothing is put into the queue. Errors: DEVICE,
 * INSUFFICIENT_MEMORY; what is in the queue goes on. */
lathe_status lt_cl_family_program(lt_queue *queue, lt_cl_family_id which, const lt_work *work,
                                  lt_cl_program **program);

/* The queue's own kernel object of that program, which no other thread uses: of the family's kernel
 * of that number, an lt_cl_kernel or what family.c lists. After an error the queue is empty. */
lathe_status lt_cl_family_kernel(lt_queue *queue, lt_cl_family_id which, uint32_t number,
                                 const lt_work *work, const lt_cl_program *program,
                                 cl_kernel *kernel);

/* As lt_backend_ops says. */
lathe_status lt_cl_self_check(lt_backend *base, lathe_dtype src, lathe_dtype dst);

#endif
