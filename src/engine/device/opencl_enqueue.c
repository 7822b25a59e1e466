/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions in the middle of the caller's own OpenCL queue. Those that are a single launch whose
 * reports nobody needs go straight into it. For the others, a marker in the queue says when the
 * conversion may begin; a worker then runs it, and completes user events for which the queue and
 * the caller wait. */
#include <lathe/opencl.h>

#include "core/error.h"
#include "engine/async/async.h"
#include "engine/async/event.h"
#include "engine/check_result.h"
#include "engine/device/device_tensor.h"
#include "engine/device/opencl_gate.h"
#include "engine/engine.h"
#include "engine/plan/plan.h"
#include "opencl/enqueue.h"
#include "opencl/opencl.h"
#include "opencl/release.h"
#include "pool/pool.h"
#include <string.h>

typedef struct enqueued {
    lt_job job;
    lathe_engine *engine;
    lathe_tensor *source;
    lathe_tensor *result;
    lathe_target target;
    lt_gate gate;       /* what the job waits for */
    bool is_straight;   /* that is the conversion's own kernel */
    lt_buffer reports;  /* of that kernel */
    cl_event over;      /* for the commands that come after; NULL in an out-of-order queue */
    cl_event barrier;   /* that makes them wait; kept because POCL 3.1 loses it otherwise, where
                           the gate fails */
    cl_event done;      /* for the caller, who may want none */
    lathe_event *event; /* likewise */
    uint64_t start_ns;
} enqueued;

/* ---- what a worker does */

static const lt_cl_device *device_of(const enqueued *e) {
    return lt_cl_backend_device(e->engine->device);
}

/* Completes a user event, on which others depend: a failure is tried again. NULL is legal. */
static void complete(cl_event event, cl_int status) {
    for (int i = 0; event != NULL && i < LT_CL_TRIES; i++) {
        if (clSetUserEventStatus(event, status) == CL_SUCCESS) {
            break;
        }
    }
}

/* The execution status by which OpenCL says what a status of ours says. */
static cl_int execution_status(lathe_status status) {
    switch (status) {
    case LATHE_OK:
        return CL_COMPLETE;
    case LATHE_DEVICE:
        return CL_OUT_OF_RESOURCES;
    case LATHE_INSUFFICIENT_MEMORY:
        return CL_OUT_OF_HOST_MEMORY;
    default:
        return CL_INVALID_VALUE;
    }
}

static void release_tensors(enqueued *e) {
    lathe_tensor_release(e->source);
    lathe_tensor_release(e->result);
    e->source = e->result = NULL;
}

/* Releases what the conversion holds, all but the lathe_event. */
static void destroy(enqueued *e) {
    lt_backend *backend = e->engine->device;
    release_tensors(e);
    backend->ops->buffer_destroy(backend, &e->reports);
    lt_cl_release_event(e->gate.event);
    lt_cl_release_event(e->barrier);
    lt_cl_release_event(e->over);
    lt_cl_release_event(e->done);
    lt_pool_delete(e->engine->pool, e);
}

static lathe_status check_gate(const enqueued *e) {
    if (e->gate.status == CL_COMPLETE) {
        return LATHE_OK;
    }
    (void)lt_cl_fail(device_of(e),
                     e->is_straight ? "the kernel" : "a command before the conversion",
                     e->gate.status);
    lathe_error *error = lt_error();
    error->status = LATHE_DEVICE;
    error->from = e->source->layout.dtype;
    error->to = e->target.dtype;
    error->stage = "convert";
    return LATHE_DEVICE;
}

static uint64_t bytes_of(const lathe_tensor *tensor) {
    return tensor->layout.n_bytes + tensor->layout.n_scales * sizeof(float);
}

/* Counts a conversion that was over before any other function could: its time is all that it spent
 * in the caller's queue. */
static void record(const enqueued *e, lathe_status status) {
    lt_metric metric = {
        .strategy = LATHE_STRATEGY_DIRECT,
        .on_device = true,
        .from = e->source->layout.dtype,
        .to = e->target.dtype,
        .src_bytes = bytes_of(e->source),
        .dst_bytes = bytes_of(e->result),
        .status = status,
    };
    lt_metrics_record_since(e->engine->metrics, &metric, e->start_ns);
}

static void run_enqueued(void *ctx) {
    enqueued *e = ctx;
    lathe_event *event = e->event;
    lathe_convert_stats stats = {.struct_size = sizeof stats};
    lathe_status status = check_gate(e);
    if (status != LATHE_OK || e->is_straight) {
        record(e, status);
    } else {
        status = lathe_convert_into(e->engine, e->source, &e->target, e->result, &stats);
    }
    const lathe_error error = *lt_error();
    lathe_tensor *result =
        status == LATHE_OK && event != NULL ? lathe_tensor_retain(e->result) : NULL;
    release_tensors(e); /* those who wait may look at what is left */
    complete(e->over, CL_COMPLETE);
    complete(e->done, execution_status(status));
    destroy(e);
    if (event != NULL) {
        lt_event_complete(event, status == LATHE_OK ? NULL : &error, result, &stats);
        lathe_event_release(event);
    }
}

/* ---- straight into the caller's queue */

/* True if nothing that the kernel could find in the data is an error, or counted. */
static bool finds_nothing(const lt_pass *pass) {
    return !pass->strict && !lathe_dtype_is_quantized(pass->dst.dtype) &&
           pass->src.dtype != LATHE_BITNET158;
}

/* A flush that fails is left to the caller's next one. */
static void flush(cl_command_queue queue) {
    for (int i = 0; i < LT_CL_TRIES && clFlush(queue) != CL_SUCCESS; i++) {
    }
}

/* False if it cannot be done so; the queue is then as it was. */
static bool go_straight(enqueued *e, cl_command_queue queue, cl_uint n_wait,
                        const cl_event *wait_list) {
    lt_backend *backend = e->engine->device;
    const lt_plan plan = lt_plan_make(backend, &e->source->layout, &e->result->layout, &e->target,
                                      backend->max_own_scope_elems);
    const lt_layout *dst = &plan.pass.dst;
    if (plan.is_copy || !finds_nothing(&plan.pass) || dst->n_elems == 0 ||
        dst->n_elems > LATHE_CL_MAX_ELEMS) {
        return false;
    }
    const lt_range whole = {.n_rows = dst->n_rows, .n_cols = dst->row_elems};
    const lathe_error before = *lt_error();
    lt_outcome outcome;
    lt_outcome_init(&outcome);
    const lt_work work = {
        .pass = &plan.pass,
        .src = lt_device_tensor_span(e->source),
        .dst = lt_device_tensor_span(e->result),
        .outcome = &outcome,
    };
    e->is_straight = lt_cl_enqueue_convert(backend, queue, &work, &whole, n_wait, wait_list,
                                           &e->reports, &e->gate.event) == LATHE_OK;
    if (!e->is_straight) {
        *lt_error() = before; /* there is another way */
        return false;
    }
    flush(queue);
    return true;
}

/* Gives the caller a reference to the kernel's event. Where there is none to be had it gets ours,
 * and the conversion has failed: its device is in no state to go on. */
static cl_event share_gate(enqueued *e) {
    cl_event shared = e->gate.event;
    for (int i = 0; i < LT_CL_TRIES; i++) {
        e->gate.status = clRetainEvent(shared);
        if (e->gate.status == CL_SUCCESS) {
            return shared;
        }
    }
    e->gate.event = NULL;
    return shared;
}

/* ---- beside it */

/* A failure of a call that may have been handed the caller's own objects. */
static lathe_status fail_call(const enqueued *e, const char *function, cl_int error) {
    (void)lt_cl_fail(device_of(e), function, error);
    if (error == CL_INVALID_CONTEXT || error == CL_INVALID_EVENT_WAIT_LIST ||
        error == CL_INVALID_EVENT) {
        lt_error()->status = LATHE_INVALID_ARGUMENT;
    } else {
        lt_count(&e->engine->cpu->counters->n_device_errors, 1);
    }
    return lt_error()->status;
}

/* A user event for others to wait for. */
static lathe_status make_user_event(const enqueued *e, cl_event *event) {
    cl_int error = CL_SUCCESS;
    cl_event made = clCreateUserEvent(device_of(e)->context, &error);
    if (error != CL_SUCCESS) {
        return fail_call(e, "clCreateUserEvent", error);
    }
    *event = made;
    return LATHE_OK;
}

/* Puts the gate into the queue, and in an in-order queue a barrier behind it. After a failure there
 * is no more than a marker in it, for which nobody waits. */
static lathe_status put_into_queue(enqueued *e, cl_command_queue queue, bool in_order,
                                   cl_uint n_wait, const cl_event *wait_list) {
    cl_int error;
    if (in_order || n_wait > 0) {
        error = clEnqueueMarkerWithWaitList(queue, n_wait, wait_list, &e->gate.event);
        if (error != CL_SUCCESS) {
            e->gate.event = NULL;
            return fail_call(e, "clEnqueueMarkerWithWaitList", error);
        }
        error = clFlush(queue); /* or nobody might: the gate is waited for from outside */
        if (error != CL_SUCCESS) {
            return fail_call(e, "clFlush", error);
        }
    }
    if (in_order) {
        error = clEnqueueBarrierWithWaitList(queue, 1, &e->over, &e->barrier);
        if (error != CL_SUCCESS) {
            e->barrier = NULL;
            return fail_call(e, "clEnqueueBarrierWithWaitList", error);
        }
    }
    return LATHE_OK;
}

/* ---- the call */

/* What is to be known about the caller's queue. */
typedef struct queue_facts {
    cl_context context;
    cl_device_id device;
    cl_command_queue_properties properties;
} queue_facts;

static cl_int ask(cl_command_queue queue, queue_facts *facts) {
    cl_int error = clGetCommandQueueInfo(queue, CL_QUEUE_CONTEXT, sizeof facts->context,
                                         &facts->context, NULL);
    if (error == CL_SUCCESS) {
        error = clGetCommandQueueInfo(queue, CL_QUEUE_DEVICE, sizeof facts->device, &facts->device,
                                      NULL);
    }
    if (error == CL_SUCCESS) {
        error = clGetCommandQueueInfo(queue, CL_QUEUE_PROPERTIES, sizeof facts->properties,
                                      &facts->properties, NULL);
    }
    return error;
}

static lathe_status check_queue(const lathe_engine *engine, cl_command_queue queue,
                                queue_facts *facts) {
    const lt_cl_device *device = lt_cl_backend_device(engine->device);
    cl_int error = ask(queue, facts);
    if (error == CL_INVALID_COMMAND_QUEUE) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the queue is none");
    }
    if (error != CL_SUCCESS) {
        return lt_cl_fail(device, "clGetCommandQueueInfo", error);
    }
    return facts->context == device->context
               ? LATHE_OK
               : lt_fail(LATHE_INVALID_ARGUMENT, "the queue's context is not the engine's");
}

static bool is_ours(const lathe_engine *engine, const lathe_tensor *tensor) {
    return tensor->memory == LATHE_MEMORY_DEVICE && tensor->on_device->backend == engine->device;
}

static lathe_status check_conversion(const lathe_engine *engine, const lathe_tensor *source,
                                     const lathe_target *target, const lathe_tensor *result) {
    if (engine == NULL || source == NULL || result == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "engine, source or result is NULL");
    }
    if (engine->device == NULL) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the engine runs on the CPU, not on an OpenCL device");
    }
    if (!is_ours(engine, source) || !is_ours(engine, result)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "the source or the result is no device tensor of the engine");
    }
    return lt_check_result(source, target, result);
}

/* Makes the user events. *done, if the caller wants it, receives a reference of its own. */
static lathe_status make_user_events(enqueued *e, bool in_order, cl_event *done) {
    lathe_status status = in_order ? make_user_event(e, &e->over) : LATHE_OK;
    if (status != LATHE_OK || done == NULL) {
        return status;
    }
    status = make_user_event(e, &e->done);
    if (status != LATHE_OK) {
        return status;
    }
    cl_int error = clRetainEvent(e->done);
    if (error != CL_SUCCESS) {
        return fail_call(e, "clRetainEvent", error);
    }
    *done = e->done;
    return LATHE_OK;
}

static lathe_status go_beside(enqueued *e, cl_command_queue queue, bool in_order, cl_uint n_wait,
                              const cl_event *wait_list, cl_event *done) {
    cl_event given = NULL;
    lathe_status status = make_user_events(e, in_order, done != NULL ? &given : NULL);
    if (status == LATHE_OK) {
        status = put_into_queue(e, queue, in_order, n_wait, wait_list);
    }
    if (status != LATHE_OK) {
        complete(e->over, CL_COMPLETE); /* no command may be left waiting */
        complete(e->done, CL_INVALID_OPERATION);
        lt_cl_release_event(given);
    } else if (done != NULL) {
        *done = given;
    }
    return status;
}

/* Puts the conversion into the queue one way or the other. */
static lathe_status enqueue(enqueued *e, cl_command_queue queue, const queue_facts *facts,
                            cl_uint n_wait, const cl_event *wait_list, cl_event *done) {
    bool in_order = (facts->properties & CL_QUEUE_OUT_OF_ORDER_EXEC_MODE_ENABLE) == 0;
    if (facts->device != device_of(e)->id || !go_straight(e, queue, n_wait, wait_list)) {
        return go_beside(e, queue, in_order, n_wait, wait_list, done);
    }
    if (done != NULL) {
        *done = share_gate(e);
    }
    return LATHE_OK;
}

/* An object with all that does not depend on the way; NULL on failure. */
static enqueued *new_enqueued(lathe_engine *engine, lathe_tensor *source,
                              const lathe_target *target, lathe_tensor *result, bool wants_event) {
    enqueued *made = lt_pool_new(engine->pool, sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    lathe_event *event = wants_event ? lt_event_new(engine->pool) : NULL;
    if (wants_event && event == NULL) {
        lt_pool_delete(engine->pool, made);
        return NULL;
    }
    *made = (enqueued){
        .job = {.run = run_enqueued, .ctx = made},
        .gate = {.async = engine->async, .job = &made->job},
        .engine = engine,
        .source = lathe_tensor_retain(source),
        .result = lathe_tensor_retain(result),
        .target = *target,
        .event = event,
        .start_ns = lt_now_ns(),
    };
    return made;
}

lathe_status lathe_opencl_enqueue_convert(lathe_engine *engine, cl_command_queue queue,
                                          lathe_tensor *source, const lathe_target *target,
                                          lathe_tensor *result, cl_uint n_wait,
                                          const cl_event *wait_list, cl_event *done,
                                          lathe_event **event) {
    queue_facts facts = {0};
    lathe_status status = check_conversion(engine, source, target, result);
    if (status == LATHE_OK) {
        status = check_queue(engine, queue, &facts);
    }
    if (status == LATHE_OK) {
        status = lt_async_hold(engine->async, lt_gates_poll);
    }
    if (status != LATHE_OK) {
        return status;
    }
    enqueued *e = new_enqueued(engine, source, target, result, event != NULL);
    status = e == NULL ? lt_error()->status : enqueue(e, queue, &facts, n_wait, wait_list, done);
    if (status != LATHE_OK) {
        if (e != NULL) {
            lathe_event_release(e->event);
            destroy(e);
        }
        lt_async_drop(engine->async);
        return status;
    }
    if (event != NULL) {
        *event = lathe_event_retain(e->event);
    }
    lt_gate_wait(&e->gate); /* from here on nothing can fail */
    return LATHE_OK;
}
