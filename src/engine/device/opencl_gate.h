/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that run when an OpenCL event is complete, without a thread that stands and waits. */
#ifndef LT_ENGINE_OPENCL_GATE_H
#define LT_ENGINE_OPENCL_GATE_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include "engine/async/async.h"
#include <CL/cl.h>
#include <stdbool.h>

/* The caller's memory, zeroed but for the first three fields, until the job runs. */
typedef struct lt_gate {
    lt_async *async; /* held with lt_gates_poll; dropped with the job's submission */
    lt_job *job;
    cl_event event; /* NULL: nothing to wait for. The caller's reference. */
    cl_int status;  /* when the job runs: CL_COMPLETE, or the error that the event ended with */

    struct lt_gate *next;        /* all gates of the process */
    struct lt_gate *next_polled; /* those that a thread is looking at */
    uintptr_t id;
    uint32_t n_failed; /* attempts to look at the event */
    bool is_polled;
    bool is_told; /* the driver has told the status */
} lt_gate;

/* Submits the job once the event has ended, well or badly. */
void lt_gate_wait(lt_gate *gate);

/* Looks at the events of all gates of these workers: for lt_async_hold. */
void lt_gates_poll(lt_async *async);

#endif
