/* SPDX-License-Identifier: Apache-2.0 */
/* Convert passes in the source's own memory. */
#ifndef LT_OPENCL_IN_PLACE_H
#define LT_OPENCL_IN_PLACE_H

#include "opencl/queue.h"

/* As lt_backend_ops says. */
lathe_status lt_cl_submit_in_place(lt_backend *backend, lt_queue *queue, const lt_work *work);

#endif
