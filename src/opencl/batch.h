/* SPDX-License-Identifier: Apache-2.0 */
/* Passes over many small tensors in one launch. */
#ifndef LT_OPENCL_BATCH_H
#define LT_OPENCL_BATCH_H

#include "opencl/queue.h"

/* As lt_backend_ops says. */
lathe_status lt_cl_submit_many(lt_backend *backend, lt_queue *queue, const lt_work *works,
                               size_t n_works);

#endif
