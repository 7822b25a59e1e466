/* SPDX-License-Identifier: Apache-2.0 */
/* Convert passes in the source's own memory: one launch, whose work-groups take turns
 * (kernels/in_place.cl). */
#include "opencl/in_place.h"

#include "core/checked.h"
#include "core/error.h"
#include "lathe_in_place.h"
#include "opencl/family.h"
#include "opencl/reports.h"

/* The words are made for so many tiles at least. */
enum { LEAST_TILES = 4096 - LATHE_CL_IN_PLACE_TILES };

/* A processor runs the work-items of a group one after another, slowly where barriers part a
 * kernel: for more elements than these, waves of the other kernels are up to three times as fast.
 */
enum { MOST_CPU_ELEMS = 128 * 1024 };

/* Makes the words of n_tiles tiles, as they are before the first launch. */
static lathe_status prepare(lt_queue *queue, uint64_t n_tiles) {
    const cl_uint zero = 0;
    uint64_t n_bytes = (lt_max(n_tiles, LEAST_TILES) + LATHE_CL_IN_PLACE_TILES) * sizeof(cl_uint);
    bool is_worn = queue->n_turns == UINT32_MAX; /* a launch has a number of its own, not 0 */
    cl_event event = NULL;
    lathe_status status = LATHE_OK;
    if (queue->turns.n_bytes >= n_bytes && !is_worn) {
        return LATHE_OK;
    }
    if (queue->turns.n_bytes < n_bytes) {
        if (queue->turns.n_bytes > 0) {
            status = lt_cl_finish(&queue->backend->base, queue);
        }
        if (status != LATHE_OK) {
            return status;
        }
        lt_cl_buffer_destroy(&queue->backend->memory, &queue->turns);
        status =
            lt_cl_buffer_create(&queue->backend->memory, LT_MEMORY_DEVICE, n_bytes, &queue->turns);
    }
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    queue->n_turns = 0;
    queue->n_tickets = 0;
    cl_int error =
        clEnqueueFillBuffer(queue->commands, queue->turns.device, &zero, sizeof zero, 0,
                            (size_t)n_bytes, lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    return lt_cl_queue_chain(queue, "clEnqueueFillBuffer", error, event);
}

/* Elements that each work-item takes. */
static uint32_t item_elems(const lt_pass *pass) {
    const int src = (int)pass->src.dtype;
    const int dst = (int)pass->dst.dtype;
    return (uint32_t)(LATHE_CL_IN_PLACE_STEPS(src, dst) * LATHE_CL_UNIT(src, dst));
}

static uint64_t start_of(const lathe_side *side, const lt_layout *layout) {
    return side->data_offset + lt_layout_col_bytes(layout, side->first_col);
}

/* Describes the launch. False for what the kernel does not do, or other ways do faster. */
static bool make_launch(const lt_cl_device *device, const lt_work *work, lt_cl_launch *launch,
                        uint64_t *lead) {
    const lt_pass *pass = work->pass;
    const uint64_t asked = LATHE_CL_STRICT | LATHE_CL_SURVEY | LATHE_CL_OWN_SCALES;
    const lt_range range = lt_ranges_at(work->ranges, work->first_range);
    const uint64_t most_elems = device->is_cpu ? MOST_CPU_ELEMS : LATHE_CL_MAX_ELEMS;
    if (device->cuts_loops || pass->src.dtype == LATHE_BITNET158 || work->n_ranges != 1 ||
        work->src.data->device != work->dst.data->device ||
        range.n_rows * range.n_cols > most_elems) {
        return false;
    }
    *launch = lt_cl_launch_convert(work, &range);
    const lathe_launch *args = &launch->args;
    *lead = start_of(&args->src, &pass->src) - start_of(&args->dst, &pass->dst);
    return launch->kernel == LT_CL_STREAM && args->n_rows == 1 &&
           args->n_cols == range.n_rows * range.n_cols &&
           (args->flags & LATHE_CL_DST_VECTOR) != 0 && (args->flags & asked) == 0 &&
           *lead < UINT64_MAX / 2;
}

static cl_int set_args(cl_kernel kernel, const lt_queue *queue, const lt_work *work,
                       const lathe_launch *launch, const lathe_in_place *how) {
    cl_mem none = queue->reports.device;
    const cl_mem buffers[] = {
        work->src.data->device, work->src.scales != NULL ? work->src.scales->device : none,
        work->dst.data->device, work->dst.scales != NULL ? work->dst.scales->device : none,
        queue->turns.device,
    };
    const cl_uint n_buffers = sizeof buffers / sizeof buffers[0];
    cl_int error = CL_SUCCESS;
    for (cl_uint i = 0; error == CL_SUCCESS && i < n_buffers; i++) {
        error = clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]);
    }
    if (error == CL_SUCCESS) {
        error = clSetKernelArg(kernel, n_buffers, sizeof *launch, launch);
    }
    return error == CL_SUCCESS ? clSetKernelArg(kernel, n_buffers + 1, sizeof *how, how) : error;
}

static lathe_status enqueue(lt_queue *queue, cl_kernel kernel, const lt_work *work,
                            const lt_cl_launch *launch, uint64_t lead, uint64_t n_tiles) {
    const lathe_in_place how = {
        .lead = lead, .n_tickets = queue->n_tickets, .number = (uint64_t)queue->n_turns + 1};
    cl_int error = set_args(kernel, queue, work, &launch->args, &how);
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    size_t local = queue->backend->device.group_size;
    size_t global = (size_t)n_tiles * local;
    cl_event event = NULL;
    error = clEnqueueNDRangeKernel(queue->commands, kernel, 1, NULL, &global, &local,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    lathe_status status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status != LATHE_OK) {
        return status;
    }
    queue->n_turns++;
    queue->n_tickets += (uint32_t)n_tiles;
    lt_count(&queue->backend->counters->n_launches, 1);
    return LATHE_OK;
}

lathe_status lt_cl_submit_in_place(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    (void)backend;
    const uint32_t group_size = queue->backend->device.group_size;
    const uint64_t tile = (uint64_t)group_size * item_elems(work->pass);
    lt_cl_program *program = NULL;
    lt_cl_launch launch;
    uint64_t lead;
    cl_kernel kernel = NULL;
    lathe_status status = lt_cl_queue_check(queue);
    if (status != LATHE_OK) {
        return status;
    }
    /* A kernel that cannot be had, or has failed its check, leaves other ways. */
    if (!make_launch(&queue->backend->device, work, &launch, &lead) ||
        lt_cl_family_program(queue, LT_CL_FAMILY_IN_PLACE, work, &program) != LATHE_OK) {
        return lt_fail(LATHE_NOT_SUPPORTED, "no kernel for that in place");
    }
    const uint64_t n_tiles = lt_ceil_div(launch.args.n_cols, tile);
    status = lt_cl_family_kernel(queue, LT_CL_FAMILY_IN_PLACE, 0, work, program, &kernel);
    if (status == LATHE_OK) {
        status = prepare(queue, n_tiles);
    }
    if (status == LATHE_OK) {
        status = enqueue(queue, kernel, work, &launch, lead, n_tiles);
    }
    return status;
}
