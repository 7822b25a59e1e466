/* SPDX-License-Identifier: Apache-2.0 */
/* What quality reports are made of, on a device. */
#ifndef LT_OPENCL_MEASURE_H
#define LT_OPENCL_MEASURE_H

#include "opencl/queue.h"

/* Adds what a range of the work has become to the work's outcome, when the queue is finished. */
lathe_status lt_cl_measure(lt_queue *queue, const lt_work *work, const lt_range *range);

#endif
