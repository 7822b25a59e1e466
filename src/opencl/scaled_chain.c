/* SPDX-License-Identifier: Apache-2.0 */
/* Chains whose scales are found on the way: launches of a kernel that reads the source once. */
#include "chain.h"
#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "lathe_chain.h"
#include "opencl/chain_kernel.h"
#include "opencl/release.h"

/* The elements of a launch: whole blocks. */
#define MOST_ELEMS (LATHE_CL_MAX_ELEMS / LATHE_CL_CHAIN_BLOCK * LATHE_CL_CHAIN_BLOCK)

/* Both sides begin with what work-items load and store at once. */
enum { ALIGNMENT = 32 };

static bool is_power(uint64_t n) {
    return (n & (n - 1)) == 0;
}

/* Whether a step can find its scales, in scopes of `scope` elements, 0 if none has been seen yet,
 * which then become the step's. */
static bool suits(const lt_pass *pass, uint64_t *scope) {
    const lt_layout *dst = &pass->dst;
    if (pass->strict) {
        return false;
    }
    if (dst->n_scales == 0) {
        return true;
    }
    const uint64_t own = dst->scale_elems;
    const bool is_same = *scope == 0 || own == *scope;
    *scope = own;
    return is_same && is_power(own) && own >= LATHE_CL_CHAIN_LEAST && own <= LATHE_CL_CHAIN_BLOCK &&
           dst->row_elems % own == 0 && pass->quality == LATHE_BALANCED &&
           lt_dtype_traits_of(dst->dtype)->rule == LT_RULE_ABSMAX;
}

/* Elements of a scope; 0: the kernel does not do for the chain. */
static uint64_t scope_of(const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    const lt_layout *last = &chain->steps[chain->n_steps - 1].pass.dst;
    uint64_t scope = 0;
    if (work->n_steps != chain->n_steps || chain->n_steps < 2 ||
        chain->n_steps > LATHE_CL_CHAIN_STEPS + 1 || chain->src.n_scales != 0 ||
        !lt_layout_is_dense(&chain->src) || !lt_layout_is_dense(last) ||
        work->src.data_offset % ALIGNMENT != 0 || work->dst.data_offset % ALIGNMENT != 0) {
        return 0;
    }
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        if (!suits(&chain->steps[i].pass, &scope)) {
            return 0;
        }
    }
    return scope;
}

/* What launches have in common. */
typedef struct scaled {
    lt_queue *queue;
    const lt_chain_work *work;
    cl_kernel kernel;
    uint64_t scope;
    lt_outcome outcome; /* of values that are not finite, wherever they are */
} scaled;

static lathe_launch launch_of(const scaled *s, uint64_t elem, uint64_t n_elems) {
    const lt_chain *chain = s->work->chain;
    const lt_layout *dst = &chain->steps[chain->n_steps - 1].pass.dst;
    const uint64_t unit = LATHE_CL_UNIT((int)chain->src.dtype, (int)dst->dtype);
    return (lathe_launch){
        .src.data_offset = s->work->src.data_offset + elem * chain->src.unit_bytes,
        .dst.data_offset = s->work->dst.data_offset + elem / dst->unit_elems * dst->unit_bytes,
        .dst.scale_offset = s->work->dst.scale_offset + (dst->n_scales > 0 ? elem / s->scope : 0),
        .fault_base = elem,
        .n_units = n_elems / unit,
        .scope_elems = s->scope,
        .report = s->queue->n_launches,
    };
}

static cl_int set_args(const scaled *s, const lathe_launch *launch) {
    const lt_chain_work *work = s->work;
    const cl_mem reports = s->queue->reports.device;
    const cl_mem buffers[] = {
        work->src.data->device,
        work->dst.data->device,
        work->dst.scales != NULL ? work->dst.scales->device : reports,
        reports,
    };
    const cl_uint n_buffers = sizeof buffers / sizeof buffers[0];
    cl_int error = CL_SUCCESS;
    for (cl_uint i = 0; error == CL_SUCCESS && i < n_buffers; i++) {
        error = clSetKernelArg(s->kernel, i, sizeof buffers[i], &buffers[i]);
    }
    return error == CL_SUCCESS ? clSetKernelArg(s->kernel, n_buffers, sizeof *launch, launch)
                               : error;
}

static lathe_status enqueue(scaled *s, uint64_t elem, uint64_t n_elems) {
    lt_queue *queue = s->queue;
    lathe_status status = lt_cl_ready_report(queue);
    if (status != LATHE_OK) {
        return status;
    }
    const lathe_launch launch = launch_of(s, elem, n_elems);
    cl_int error = set_args(s, &launch);
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    size_t local = queue->backend->device.group_size;
    size_t global = (size_t)lt_ceil_div(n_elems, LATHE_CL_CHAIN_BLOCK) * local;
    cl_event event = NULL;
    error = clEnqueueNDRangeKernel(queue->commands, s->kernel, 1, NULL, &global, &local,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status == LATHE_OK) {
        queue->launches[queue->n_launches++] =
            (lt_cl_pending){.args = launch, .outcome = &s->outcome};
        lt_count(&queue->backend->counters->n_launches, 1);
    }
    return status;
}

lathe_status lt_cl_convert_chain(lt_backend *backend, lt_queue *queue, const lt_chain_work *work) {
    const uint64_t n_elems = work->chain->src.n_elems;
    scaled s = {.queue = queue, .work = work, .scope = scope_of(work)};
    if (s.scope == 0) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the device finds no scales on the way of this chain");
    }
    lt_outcome_init(&s.outcome);
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK) {
        status = lt_cl_chain_kernel(queue, work, "lathe_scaled_chain", &s.kernel);
    }
    for (uint64_t elem = 0; status == LATHE_OK && elem < n_elems; elem += MOST_ELEMS) {
        status = enqueue(&s, elem, lt_min(MOST_ELEMS, n_elems - elem));
    }
    if (status == LATHE_OK) { /* while the outcome is there */
        status = lt_cl_finish(backend, queue);
    }
    if (s.kernel != NULL) {
        lt_cl_release_kernel(s.kernel);
    }
    if (status == LATHE_OK && lt_outcome_element(&s.outcome) != LATHE_NO_ELEMENT) {
        status = lt_fail(LATHE_NOT_SUPPORTED, "a value on the way of the chain is not finite");
    }
    return status;
}
