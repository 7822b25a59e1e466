/* SPDX-License-Identifier: Apache-2.0 */
/* Chains in which no value needs more than ordinary numbers do: launches of kernels that find the
 * scales on the way. Those of short scopes read the source once; where each step has one scale, it
 * is read twice, without a wait in between. */
#include "chain.h"
#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "lathe_chain.h"
#include "opencl/chain_kernel.h"
#include "opencl/release.h"
#include "opencl/reports.h"

/* The elements of a launch: whole blocks. */
#define MOST_ELEMS (LATHE_CL_MAX_ELEMS / LATHE_CL_CHAIN_BLOCK * LATHE_CL_CHAIN_BLOCK)

/* Both sides begin with what work-items load and store at once. */
enum { ALIGNMENT = 32 };

static bool is_power(uint64_t n) {
    return (n & (n - 1)) == 0;
}

/* Whether the kernels do for a chain, scopes apart. */
static bool is_ordinary(const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    const lt_layout *last = &chain->steps[chain->n_steps - 1].pass.dst;
    if (work->n_steps != chain->n_steps || chain->n_steps < 2 ||
        chain->n_steps > LATHE_CL_CHAIN_STEPS + 1 || chain->src.n_scales != 0 ||
        !lt_layout_is_dense(&chain->src) || !lt_layout_is_dense(last) ||
        work->src.data_offset % ALIGNMENT != 0 || work->dst.data_offset % ALIGNMENT != 0) {
        return false;
    }
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_pass *pass = &chain->steps[i].pass;
        const bool is_absmax = pass->quality == LATHE_BALANCED &&
                               lt_dtype_traits_of(pass->dst.dtype)->rule == LT_RULE_ABSMAX;
        if (pass->strict || (pass->dst.n_scales > 0 && !is_absmax)) {
            return false;
        }
    }
    return true;
}

/* Elements of the scopes of all steps that have scales; 0: none has, or the kernel that finds them
 * does not do for them. */
static uint64_t scope_of(const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    uint64_t scope = 0;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_layout *dst = &chain->steps[i].pass.dst;
        const uint64_t own = dst->scale_elems;
        if (dst->n_scales == 0) {
            continue;
        }
        if (!is_power(own) || own < LATHE_CL_CHAIN_LEAST || own > LATHE_CL_CHAIN_BLOCK ||
            dst->row_elems % own != 0 || (scope != 0 && own != scope)) {
            return 0;
        }
        scope = own;
    }
    return is_ordinary(work) ? scope : 0;
}

static uint64_t unit_of(const lt_chain *chain) {
    return LATHE_CL_UNIT((int)chain->src.dtype,
                         (int)chain->steps[chain->n_steps - 1].pass.dst.dtype);
}

/* A step with a scale; there is one. */
static const lt_pass *scaled_pass(const lt_chain *chain) {
    uint32_t i = 0;
    while (chain->steps[i].pass.dst.n_scales == 0) {
        i++;
    }
    return &chain->steps[i].pass;
}

/* True if one scale is for all elements in each step that has scales, and one launch finds what
 * they follow from. */
static bool has_one_scale(const lt_backend *backend, const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    bool is_any = false;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_layout *dst = &chain->steps[i].pass.dst;
        if (dst->n_scales > 0 && dst->scale_elems != 0) {
            return false;
        }
        is_any = is_any || dst->n_scales > 0;
    }
    return is_any && is_ordinary(work) && chain->src.n_elems % unit_of(chain) == 0 &&
           scaled_pass(chain)->tiling.n_tiles <= backend->stats_window;
}

/* What launches have in common. */
typedef struct scaled {
    lt_queue *queue;
    const lt_chain_work *work;
    uint64_t scope;    /* elements that share scales */
    cl_mem scales;     /* of the result; or of all steps, for one scale */
    cl_mem dst_scales; /* of the result */
} scaled;

static lathe_launch launch_of(const scaled *s, uint64_t elem, uint64_t n_elems) {
    const lt_chain *chain = s->work->chain;
    const lt_layout *dst = &chain->steps[chain->n_steps - 1].pass.dst;
    const lt_span *from = &s->work->src;
    const lt_span *to = &s->work->dst;
    return (lathe_launch){
        .src.data_offset = from->data_offset - from->first_byte + elem * chain->src.unit_bytes,
        .dst.data_offset =
            to->data_offset - to->first_byte + elem / dst->unit_elems * dst->unit_bytes,
        .dst.scale_offset =
            dst->n_scales > 0 ? to->scale_offset - to->first_scale + elem / s->scope : 0,
        .fault_base = elem,
        .n_units = n_elems / unit_of(chain),
        .scope_elems = s->scope,
        .report = s->queue->n_launches,
        .sums = lt_cl_sum_at(s->queue),
    };
}

/* Enqueues a kernel whose parameters are some buffers, then the launch. */
static lathe_status enqueue(lt_queue *queue, cl_kernel kernel, const cl_mem *buffers,
                            cl_uint n_buffers, const lathe_launch *launch, size_t n_groups,
                            size_t group_size) {
    const size_t n_items = n_groups * group_size;
    cl_event event = NULL;
    cl_int error = CL_SUCCESS;
    for (cl_uint i = 0; error == CL_SUCCESS && i < n_buffers; i++) {
        error = clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]);
    }
    if (error == CL_SUCCESS) {
        error = clSetKernelArg(kernel, n_buffers, sizeof *launch, launch);
    }
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    error = clEnqueueNDRangeKernel(queue->commands, kernel, 1, NULL, &n_items, &group_size,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    const lathe_status status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status == LATHE_OK) {
        lt_count(&queue->backend->counters->n_launches, 1);
    }
    return status;
}

static void expect_report(const scaled *s, const lathe_launch *launch) {
    s->queue->launches[s->queue->n_launches++] =
        (lt_cl_pending){.args = *launch, .outcome = s->work->outcome};
}

/* Finds the source's greatest magnitude, and with it the scales of all steps. */
static lathe_status find_scales(scaled *s) {
    lt_queue *queue = s->queue;
    const lt_chain_work *work = s->work;
    lt_pass pass = *scaled_pass(work->chain);
    cl_kernel kernel = NULL;
    pass.src = work->chain->src;
    pass.nonfinite = LATHE_NONFINITE_ERROR;
    const lt_work stats = {
        .pass = &pass,
        .src = work->src,
        .sum = work->top,
        .n_tiles = pass.tiling.n_tiles,
        .outcome = work->outcome,
        .is_trial = work->is_trial,
    };
    lathe_status status = lt_cl_submit_stats(&queue->backend->base, queue, &stats);
    if (status == LATHE_OK) {
        status = lt_cl_chain_kernel(queue, work, "lathe_chain_top", &kernel);
    }
    if (status == LATHE_OK) {
        /* Over the tiles' statistics, which nobody wants any more. */
        s->scales = queue->stats.device;
        const lathe_launch launch = launch_of(s, 0, work->n_elems);
        const cl_mem buffers[] = {s->scales, s->dst_scales, queue->reports.device};
        status = enqueue(queue, kernel, buffers, 3, &launch, 1, 1);
        if (status == LATHE_OK) {
            expect_report(s, &launch);
        }
    }
    if (kernel != NULL) {
        lt_cl_release_kernel(kernel);
    }
    return status;
}

/* The values of some elements, which are reported where their scales are found with them. */
static lathe_status convert(const scaled *s, cl_kernel kernel, bool reports, uint64_t elem,
                            uint64_t n_elems) {
    lt_queue *queue = s->queue;
    lathe_status status = reports ? lt_cl_ready_report(queue) : LATHE_OK;
    if (status != LATHE_OK) {
        return status;
    }
    const lathe_launch launch = launch_of(s, elem, n_elems);
    const cl_mem buffers[] = {s->work->src.data->device, s->work->dst.data->device, s->scales,
                              queue->reports.device};
    status = enqueue(queue, kernel, buffers, 4, &launch,
                     (size_t)lt_ceil_div(n_elems, LATHE_CL_CHAIN_BLOCK),
                     queue->backend->device.group_size);
    if (status == LATHE_OK && reports) {
        expect_report(s, &launch);
    }
    return status;
}

bool lt_cl_takes_scaled_chain(const lt_backend *backend, const lt_chain_work *work) {
    return scope_of(work) != 0 || has_one_scale(backend, work);
}

lathe_status lt_cl_submit_scaled_chain(lt_queue *queue, const lt_chain_work *work) {
    const uint64_t end = work->first_elem + work->n_elems;
    const uint64_t scope = scope_of(work);
    const bool has_one = scope == 0;
    scaled s = {.queue = queue, .work = work, .scope = has_one ? work->chain->src.n_elems : scope};
    cl_kernel kernel = NULL;
    if (!lt_cl_takes_scaled_chain(&queue->backend->base, work)) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the device finds no scales on the way of this chain");
    }
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK) {
        status = lt_cl_chain_kernel(queue, work,
                                    has_one ? "lathe_near_chain" : "lathe_scaled_chain", &kernel);
    }
    s.dst_scales = work->dst.scales != NULL ? work->dst.scales->device : queue->reports.device;
    s.scales = s.dst_scales;
    if (status == LATHE_OK && has_one) {
        status = find_scales(&s);
    }
    for (uint64_t elem = work->first_elem; status == LATHE_OK && elem < end; elem += MOST_ELEMS) {
        status = convert(&s, kernel, !has_one, elem, lt_min(MOST_ELEMS, end - elem));
    }
    if (kernel != NULL) {
        lt_cl_release_kernel(kernel);
    }
    return status == LATHE_OK ? lt_cl_queue_flush(queue) : status;
}
