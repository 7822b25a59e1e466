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

/* Both sides begin with what work-items load and store at once. */
enum { ALIGNMENT = 32 };

static uint64_t block_of(const lt_chain *chain) {
    return LATHE_CL_CHAIN_BLOCK((int)chain->src.dtype);
}

/* The elements of a launch, at most: whole blocks. */
static uint64_t most_elems(const lt_chain *chain) {
    return LATHE_CL_MAX_ELEMS / block_of(chain) * block_of(chain);
}

static bool is_power(uint64_t n) {
    return (n & (n - 1)) == 0;
}

/* Whether the device has the kernels, and they do for a chain, scopes apart. */
static bool is_ordinary(const lt_cl_device *device, const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    const lt_layout *last = &chain->steps[chain->n_steps - 1].pass.dst;
    if (work->n_steps != chain->n_steps || chain->n_steps < 2 ||
        chain->n_steps > LATHE_CL_CHAIN_STEPS + 1 || device->group_size != LATHE_CL_GROUP ||
        chain->src.n_scales != 0 || !lt_layout_is_dense(&chain->src) || !lt_layout_is_dense(last) ||
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
static uint64_t scope_of(const lt_cl_device *device, const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    uint64_t scope = 0;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_layout *dst = &chain->steps[i].pass.dst;
        const uint64_t own = dst->scale_elems;
        if (dst->n_scales == 0) {
            continue;
        }
        if (!is_power(own) || own < LATHE_CL_CHAIN_LEAST || own > block_of(chain) ||
            dst->row_elems % own != 0 || (scope != 0 && own != scope)) {
            return 0;
        }
        scope = own;
    }
    return is_ordinary(device, work) ? scope : 0;
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
static bool has_one_scale(const lt_cl_backend *backend, const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    bool is_any = false;
    for (uint32_t i = 0; i < chain->n_steps; i++) {
        const lt_layout *dst = &chain->steps[i].pass.dst;
        if (dst->n_scales > 0 && dst->scale_elems != 0) {
            return false;
        }
        is_any = is_any || dst->n_scales > 0;
    }
    return is_any && is_ordinary(&backend->device, work) &&
           chain->src.n_elems % unit_of(chain) == 0 &&
           scaled_pass(chain)->tiling.n_tiles <= backend->base.stats_window;
}

/* What launches have in common. */
typedef struct scaled {
    lt_queue *queue;
    const lt_chain_work *work;
    uint64_t scope; /* elements that share scales */
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

/* Gathers the source's greatest magnitude. */
static lathe_status find_top(const scaled *s) {
    lt_queue *queue = s->queue;
    const lt_chain_work *work = s->work;
    lt_pass pass = *scaled_pass(work->chain);
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
    return lt_cl_submit_stats(&queue->backend->base, queue, &stats);
}

/* The values of some elements, and their scales. */
static lathe_status convert(const scaled *s, cl_kernel kernel, uint64_t elem, uint64_t n_elems) {
    lt_queue *queue = s->queue;
    const lt_chain_work *work = s->work;
    const size_t group_size = queue->backend->device.group_size;
    const size_t n_items = (size_t)lt_ceil_div(n_elems, block_of(work->chain)) * group_size;
    lathe_status status = lt_cl_ready_report(queue);
    if (status != LATHE_OK) {
        return status;
    }
    const lathe_launch launch = launch_of(s, elem, n_elems);
    const cl_mem buffers[] = {
        work->src.data->device,
        work->dst.data->device,
        work->dst.scales != NULL ? work->dst.scales->device : queue->reports.device,
        queue->reports.device,
    };
    enum { N_BUFFERS = sizeof buffers / sizeof buffers[0] };
    cl_event event = NULL;
    cl_int error = CL_SUCCESS;
    for (cl_uint i = 0; error == CL_SUCCESS && i < N_BUFFERS; i++) {
        error = clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]);
    }
    if (error == CL_SUCCESS) {
        error = clSetKernelArg(kernel, N_BUFFERS, sizeof launch, &launch);
    }
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    error = clEnqueueNDRangeKernel(queue->commands, kernel, 1, NULL, &n_items, &group_size,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status == LATHE_OK) {
        lt_count(&queue->backend->counters->n_launches, 1);
        queue->launches[queue->n_launches++] =
            (lt_cl_pending){.args = launch, .outcome = work->outcome};
    }
    return status;
}

bool lt_cl_takes_scaled_chain(const lt_backend *backend, const lt_chain_work *work) {
    const lt_cl_backend *own = (const lt_cl_backend *)backend;
    return scope_of(&own->device, work) != 0 || has_one_scale(own, work);
}

lathe_status lt_cl_submit_scaled_chain(lt_queue *queue, const lt_chain_work *work) {
    const uint64_t end = work->first_elem + work->n_elems;
    const uint64_t most = most_elems(work->chain);
    const uint64_t scope = scope_of(&queue->backend->device, work);
    const bool has_one = scope == 0;
    const scaled s = {
        .queue = queue, .work = work, .scope = has_one ? work->chain->src.n_elems : scope};
    cl_kernel kernel = NULL;
    if (!lt_cl_takes_scaled_chain(&queue->backend->base, work)) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the device finds no scales on the way of this chain");
    }
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK) {
        status = lt_cl_chain_kernel(queue, work,
                                    has_one ? "lathe_near_chain" : "lathe_scaled_chain", &kernel);
    }
    if (status == LATHE_OK && has_one) {
        status = find_top(&s);
    }
    for (uint64_t elem = work->first_elem; status == LATHE_OK && elem < end; elem += most) {
        status = convert(&s, kernel, elem, lt_min(most, end - elem));
    }
    if (kernel != NULL) {
        lt_cl_release_kernel(kernel);
    }
    return status == LATHE_OK ? lt_cl_queue_flush(queue) : status;
}
