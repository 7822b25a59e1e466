/* SPDX-License-Identifier: Apache-2.0 */
/* Chains on a device: from a chain to launches of the chain kernel, and its programs. */
#include "opencl/chain_kernel.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "lathe_chain.h"
#include "opencl/release.h"
#include "opencl/reports.h"

/* ---- launches */

/* What a launch needs to know. */
typedef struct chain_launch {
    const lt_chain_work *work;
    lt_queue *queue;
    lt_pass pass; /* from the source to the target */
    cl_kernel kernel;
} chain_launch;

static bool is_supported(const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    const lt_pass *last = &chain->steps[chain->n_steps - 1].pass;
    if (work->n_steps != chain->n_steps || chain->n_steps < 2 ||
        chain->n_steps > LATHE_CL_CHAIN_STEPS + 1 || last->dst.dtype == LATHE_BITNET158) {
        return false;
    }
    for (uint32_t i = 0; i + 1 < chain->n_steps; i++) {
        const lt_pass *pass = &chain->steps[i].pass;
        bool surveys = pass->quality == LATHE_FAST && pass->dst.n_scales > 0;
        if (pass->strict || surveys) {
            return false;
        }
    }
    /* All faults of a launch belong to one step. */
    return chain->src.dtype != LATHE_BITNET158 || (!last->strict && last->quality != LATHE_FAST);
}

/* Where the scales of step `index` lie in the launch's rows: what a source in its place would be
 * told. False if the rows do not lie alike. */
static bool place_step(const chain_launch *c, uint32_t index, uint64_t first_scale,
                       const lt_range *part, const lathe_launch *args, lathe_side *side) {
    const lt_chain_step *step = &c->work->chain->steps[index];
    const lt_buffer none = {0};
    lt_pass pass = c->pass;
    pass.src = step->held;
    if (step->pass.dst.dtype == LATHE_I1) { /* held as what it decodes to, without its scales */
        pass.src = step->pass.dst;
        pass.src.dtype = LATHE_I8;
        pass.src.unit_elems = 1;
        pass.src.row_bytes = pass.src.row_elems;
        pass.src.n_bytes = pass.src.n_elems;
    }
    const lt_work like = {
        .pass = &pass,
        .src = {.data = &none,
                .first_byte = c->work->first_elem * pass.src.unit_bytes,
                .scales = &none,
                .scale_offset = first_scale},
        .dst = c->work->dst,
    };
    const lt_cl_launch launch = lt_cl_launch_convert(&like, part);
    *side = launch.args.src;
    return pass.src.n_scales == 0 ||
           (launch.kernel == LT_CL_STREAM && launch.args.n_rows == args->n_rows &&
            launch.args.n_cols == args->n_cols);
}

static cl_mem scales_of(const lt_queue *queue, const lt_span *span) {
    return span->scales != NULL ? span->scales->device : queue->reports.device;
}

static cl_int set_args(const chain_launch *c, const lathe_launch *launch,
                       const lathe_chain *chain) {
    const lt_chain_work *work = c->work;
    const cl_mem buffers[] = {
        work->src.data->device,          scales_of(c->queue, &work->src), work->dst.data->device,
        scales_of(c->queue, &work->dst), work->step_scales->device,       c->queue->reports.device,
    };
    const cl_uint n_buffers = sizeof buffers / sizeof buffers[0];
    cl_int error = CL_SUCCESS;
    for (cl_uint i = 0; error == CL_SUCCESS && i < n_buffers; i++) {
        error = clSetKernelArg(c->kernel, i, sizeof buffers[i], &buffers[i]);
    }
    if (error == CL_SUCCESS) {
        error = clSetKernelArg(c->kernel, n_buffers, sizeof *launch, launch);
    }
    return error == CL_SUCCESS ? clSetKernelArg(c->kernel, n_buffers + 1, sizeof *chain, chain)
                               : error;
}

/* The launch of a part of the target; NOT_SUPPORTED if its rows do not lie alike. */
static lathe_status make_launch(const chain_launch *c, const lt_range *part, lathe_launch *args,
                                lathe_chain *sides) {
    const lt_chain *chain = c->work->chain;
    const lt_work work = {.pass = &c->pass, .src = c->work->src, .dst = c->work->dst};
    const lt_cl_launch launch = lt_cl_launch_convert(&work, part);
    bool alike = launch.kernel == LT_CL_STREAM;
    uint64_t first_scale = 0;
    *args = launch.args;
    for (uint32_t i = 0; alike && i + 1 < chain->n_steps; i++) {
        alike = place_step(c, i, first_scale, part, args, &sides->steps[i]);
        first_scale += chain->steps[i].pass.dst.n_scales;
    }
    return alike ? LATHE_OK
                 : lt_fail(LATHE_NOT_SUPPORTED, "the rows of the chain do not lie alike");
}

static lathe_status launch_part(const chain_launch *c, const lt_range *part) {
    lt_queue *queue = c->queue;
    lathe_chain sides = {0};
    lathe_status status = lt_cl_ready_report(queue);
    if (status != LATHE_OK) {
        return status;
    }
    lt_cl_pending *pending = &queue->launches[queue->n_launches];
    *pending = (lt_cl_pending){.outcome = c->work->outcome};
    status = make_launch(c, part, &pending->args, &sides);
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    pending->args.report = queue->n_launches;
    cl_int error = set_args(c, &pending->args, &sides);
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    size_t local = queue->backend->device.group_size;
    size_t global = (size_t)lt_ceil_div(pending->args.n_units, local) * local;
    cl_event event = NULL;
    error = clEnqueueNDRangeKernel(queue->commands, c->kernel, 1, NULL, &global, &local,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status == LATHE_OK) {
        queue->n_launches++;
        lt_count(&queue->backend->counters->n_launches, 1);
    }
    return status;
}

/* The work's elements as rows and columns of the target. */
static lt_range range_of(const chain_launch *c) {
    const lt_chain_work *work = c->work;
    const uint64_t row_elems = c->pass.dst.row_elems;
    return (lt_range){
        .row = work->first_elem / row_elems,
        .n_rows = lt_ceil_div(work->n_elems, row_elems),
        .col = work->first_elem % row_elems,
        .n_cols = lt_min(work->n_elems, row_elems),
    };
}

static lathe_status launch_all(const chain_launch *c) {
    const lt_layout *dst = &c->pass.dst;
    const lt_range all = range_of(c);
    uint64_t max_rows = lt_max(LATHE_CL_MAX_ELEMS / dst->row_elems, 1);
    uint64_t max_cols = dst->row_elems <= LATHE_CL_MAX_ELEMS
                            ? dst->row_elems
                            : LATHE_CL_MAX_ELEMS / LT_COLUMN_QUANTUM * LT_COLUMN_QUANTUM;
    lathe_status status = LATHE_OK;
    for (uint64_t row = 0; row < all.n_rows; row += max_rows) {
        for (uint64_t col = 0; status == LATHE_OK && col < all.n_cols; col += max_cols) {
            const lt_range part = {
                .row = all.row + row,
                .n_rows = lt_min(max_rows, all.n_rows - row),
                .col = all.col + col,
                .n_cols = lt_min(max_cols, all.n_cols - col),
            };
            status = launch_part(c, &part);
        }
    }
    return status;
}

bool lt_cl_takes_chain(const lt_backend *backend, const lt_chain_work *work) {
    const lt_chain *chain = work->chain;
    if (work->own_scales) {
        return lt_cl_takes_scaled_chain(backend, work);
    }
    /* Statistics of values on the way, which means and samples need, have no kernel. */
    for (uint32_t i = 1; i < chain->n_steps; i++) {
        const lt_pass *pass = &chain->steps[i].pass;
        bool is_derived = pass->quality == LATHE_BALANCED &&
                          lt_dtype_traits_of(pass->dst.dtype)->rule == LT_RULE_ABSMAX;
        if (pass->dst.n_scales > 0 && !is_derived) {
            return false;
        }
    }
    return is_supported(work);
}

lathe_status lt_cl_submit_chain(lt_backend *backend, lt_queue *queue, const lt_chain_work *work) {
    (void)backend;
    if (work->own_scales) {
        return lt_cl_submit_scaled_chain(queue, work);
    }
    if (!is_supported(work)) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the device has no kernel for this chain");
    }
    const lt_chain *chain = work->chain;
    chain_launch c = {.work = work, .queue = queue, .pass = chain->steps[chain->n_steps - 1].pass};
    lathe_launch args;
    lathe_chain sides;
    c.pass.src = chain->src;
    lt_range first = range_of(&c);
    first.n_rows = 1;
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK) { /* before a program is built */
        status = make_launch(&c, &first, &args, &sides);
    }
    if (status == LATHE_OK) {
        status = lt_cl_chain_kernel(queue, work, "lathe_chain_kernel", &c.kernel);
    }
    if (status == LATHE_OK) {
        status = launch_all(&c);
    }
    if (c.kernel != NULL) {
        lt_cl_release_kernel(c.kernel);
    }
    return status == LATHE_OK ? lt_cl_queue_flush(queue) : status;
}

lathe_status lt_cl_submit_chain_stats(lt_backend *backend, lt_queue *queue,
                                      const lt_chain_work *work) {
    (void)backend;
    (void)queue;
    (void)work;
    return lt_fail(LATHE_NOT_SUPPORTED, "the device has no kernel for statistics along a chain");
}
