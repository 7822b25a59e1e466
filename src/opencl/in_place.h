/* SPDX-License-Identifier: Apache-2.0 */
/* Convert passes in the source's own memory. */
#ifndef LT_OPENCL_IN_PLACE_H
#define LT_OPENCL_IN_PLACE_H

#include "opencl/queue.h"

/* As lt_backend_ops says. */
lathe_status lt_cl_submit_in_place(lt_backend *backend, lt_queue *queue, const lt_work *work);

/* Frees what the work-groups of such launches share, if it is not worth keeping, or if `all` is
 * set. Nothing in the queue uses it. */
void lt_cl_drop_turns(lt_queue *queue, bool all);

#endif
