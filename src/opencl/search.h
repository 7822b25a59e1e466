/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE scales on a device. */
#ifndef LT_OPENCL_SEARCH_H
#define LT_OPENCL_SEARCH_H

#include "opencl/queue.h"

/* As lt_backend_ops says. */
lathe_status lt_cl_submit_scales(lt_backend *backend, lt_queue *queue, const lt_work *work);

#endif
