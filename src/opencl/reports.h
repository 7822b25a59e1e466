/* SPDX-License-Identifier: Apache-2.0 */
/* What comes back from the device: reports of launches, statistics, measurements. */
#ifndef LT_OPENCL_REPORTS_H
#define LT_OPENCL_REPORTS_H

#include "lathe_search.h"
#include "opencl/queue.h"

/* Of what is measured for a quality report. */
enum { LT_CL_MEASURED_BYTES = LATHE_CL_MEASURE_WORDS * (int)sizeof(uint32_t) };

/* Readies what launches report to, if need be, and makes room for one more; before each launch that
 * reports. */
lathe_status lt_cl_ready_report(lt_queue *queue);

/* Puts a read of a buffer's first n_bytes into the queue. */
lathe_status lt_cl_land(lt_queue *queue, const lt_buffer *from, uint64_t n_bytes, void *to);

/* Makes room for n_floats of statistics on the device, and for n_landing where they land; before
 * the launch that finds them (submit.c). */
lathe_status lt_cl_prepare_stats(lt_queue *queue, uint64_t n_floats, uint64_t n_landing);

/* Puts a read of them, the first n_tiles, into the queue, which are handed over as `stats`. */
lathe_status lt_cl_expect_stats(lt_queue *queue, double *stats, uint64_t n_tiles);

/* The word of the reports at which the newest sum lies. */
static inline size_t lt_cl_sum_at(const lt_queue *queue) {
    return LT_CL_SUMS_AT + queue->sum_place * (size_t)LATHE_CL_SUM_WORDS;
}

/* As lt_backend_ops says. */
lathe_status lt_cl_finish(lt_backend *backend, lt_queue *queue);
lathe_status lt_cl_fetch_stats(lt_backend *backend, lt_queue *queue, const lt_work *work);

#endif
