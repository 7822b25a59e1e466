/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs that run when an OpenCL event is complete. The driver tells by a callback; but some call
 * none when a command fails, and asking for it can fail, so events are looked at now and then as
 * well. A callback may therefore come when its gate is gone: it is given a number, not a pointer.
 */
#include "engine/device/opencl_gate.h"

#include "core/process_lock.h"
#include "opencl/release.h"

/* Under LT_LOCK_GATES, with which no OpenCL call is made: a driver may hold locks of its own while
 * it calls back. */
static lt_gate *gates;
static uintptr_t last_id;

/* With the lock held. */
static void unlink_gate(lt_gate *gate) {
    lt_gate **link = &gates;
    while (*link != gate) {
        link = &(*link)->next;
    }
    *link = gate->next;
}

/* The gate is nobody else's any more. The job may free it. */
static void pass(lt_gate *gate) {
    lt_async *async = gate->async;
    lt_async_submit(async, gate->job);
    lt_async_drop(async);
}

/* Called by the driver. */
static void CL_CALLBACK tell(cl_event event, cl_int status, void *id) {
    (void)event;
    lt_lock_process(LT_LOCK_GATES);
    lt_gate *gate = gates;
    while (gate != NULL && gate->id != (uintptr_t)id) {
        gate = gate->next;
    }
    bool is_mine = false;
    if (gate != NULL) {
        gate->status = status;
        gate->is_told = true;
        is_mine = !gate->is_polled; /* else who is looking at it will see */
        if (is_mine) {
            unlink_gate(gate);
        }
    }
    lt_unlock_process(LT_LOCK_GATES);
    if (is_mine) {
        pass(gate);
    }
}

/* Looks at the event of a gate that is marked as polled. An event that cannot be looked at has
 * ended: its device is in no state to go on. */
static void look(lt_gate *gate) {
    cl_int status = CL_QUEUED;
    cl_int error = clGetEventInfo(gate->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status,
                                  &status, NULL);
    gate->n_failed = error == CL_SUCCESS ? 0 : gate->n_failed + 1;
    if (gate->n_failed == LT_CL_TRIES) {
        status = error;
    }
    lt_lock_process(LT_LOCK_GATES);
    bool is_over = gate->is_told || status <= CL_COMPLETE;
    gate->is_polled = false;
    if (is_over) {
        gate->status = gate->is_told ? gate->status : status;
        unlink_gate(gate);
    }
    lt_unlock_process(LT_LOCK_GATES);
    if (is_over) {
        pass(gate);
    }
}

void lt_gate_wait(lt_gate *gate) {
    if (gate->event == NULL) {
        pass(gate);
        return;
    }
    lt_lock_process(LT_LOCK_GATES);
    gate->id = ++last_id;
    gate->is_polled = true; /* by this thread: it stays while the callback is being added */
    gate->next = gates;
    gates = gate;
    lt_unlock_process(LT_LOCK_GATES);
    (void)clSetEventCallback(gate->event, CL_COMPLETE, tell, (void *)gate->id);
    look(gate);
}

void lt_gates_poll(lt_async *async) {
    lt_gate *polled = NULL;
    lt_lock_process(LT_LOCK_GATES);
    for (lt_gate *gate = gates; gate != NULL; gate = gate->next) {
        if (gate->async == async && !gate->is_polled) {
            gate->is_polled = true;
            gate->next_polled = polled;
            polled = gate;
        }
    }
    lt_unlock_process(LT_LOCK_GATES);
    while (polled != NULL) {
        lt_gate *gate = polled;
        polled = gate->next_polled;
        look(gate);
    }
}
