/* SPDX-License-Identifier: Apache-2.0 */
/* What quality reports are made of: launches over both sides of what has been converted
 * (kernels/quality.cl). */
#include "opencl/measure.h"

#include "core/checked.h"
#include "core/quality.h"
#include "opencl/family.h"
#include "opencl/reports.h"
#include <string.h>

/* Work-groups add at most 2^15 to a word, which has 31 bits. */
enum { MAX_GROUPS = 32768 };

/* Makes the words, and sets them to 0 for an outcome that is not being measured for yet. */
static lathe_status prepare(lt_queue *queue, lt_outcome *outcome) {
    lt_cl_memory *memory = &queue->backend->memory;
    lt_cl_measured *measured = &queue->measured;
    const cl_uint zero = 0;
    cl_event event = NULL;
    lathe_status status = LATHE_OK;
    if (measured->outcome == outcome) {
        return LATHE_OK;
    }
    if (measured->outcome != NULL) {
        status = lt_cl_finish(&queue->backend->base, queue);
    }
    if (status != LATHE_OK) {
        return status;
    }
    if (measured->words.n_bytes == 0) {
        status =
            lt_cl_buffer_create(memory, LT_MEMORY_DEVICE, LT_CL_MEASURED_BYTES, &measured->words);
    }
    if (status == LATHE_OK && measured->landing.n_bytes == 0) {
        status =
            lt_cl_buffer_create(memory, LT_MEMORY_PINNED, LT_CL_MEASURED_BYTES, &measured->landing);
    }
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    cl_int error = clEnqueueFillBuffer(queue->commands, measured->words.device, &zero, sizeof zero,
                                       0, LT_CL_MEASURED_BYTES, lt_cl_n_wait(queue),
                                       lt_cl_wait_list(queue), &event);
    status = lt_cl_queue_chain(queue, "clEnqueueFillBuffer", error, event);
    if (status == LATHE_OK) {
        measured->outcome = outcome;
        measured->n_elems = 0;
    }
    return status;
}

static uint32_t limit_bits(lathe_dtype dtype) {
    const float limit = lt_quality_limit(dtype, 1);
    uint32_t bits;
    memcpy(&bits, &limit, sizeof bits);
    return bits;
}

static cl_int set_args(cl_kernel kernel, const lt_queue *queue, const lt_work *work,
                       const lathe_launch *launch, const lathe_measure *measure) {
    cl_mem none = queue->reports.device;
    const cl_mem buffers[] = {
        work->src.data->device,       work->src.scales != NULL ? work->src.scales->device : none,
        work->dst.data->device,       work->dst.scales != NULL ? work->dst.scales->device : none,
        queue->measured.words.device,
    };
    const cl_uint n_buffers = sizeof buffers / sizeof buffers[0];
    cl_int error = CL_SUCCESS;
    for (cl_uint i = 0; error == CL_SUCCESS && i < n_buffers; i++) {
        error = clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]);
    }
    if (error == CL_SUCCESS) {
        error = clSetKernelArg(kernel, n_buffers, sizeof *launch, launch);
    }
    return error == CL_SUCCESS ? clSetKernelArg(kernel, n_buffers + 1, sizeof *measure, measure)
                               : error;
}

static lathe_status enqueue(lt_queue *queue, cl_kernel kernel, const lt_work *work, uint64_t elem,
                            uint64_t n_elems) {
    const uint64_t local = queue->backend->device.group_size;
    const lathe_launch launch = lt_cl_launch_pairs(work, elem, n_elems);
    const lathe_measure measure = {
        .src_dtype = work->pass->src.dtype,
        .dst_dtype = work->pass->dst.dtype,
        .n_elems = n_elems,
        .limit = limit_bits(work->pass->dst.dtype),
    };
    cl_int error = set_args(kernel, queue, work, &launch, &measure);
    if (error != CL_SUCCESS) {
        return lt_cl_queue_fail(queue, "clSetKernelArg", error);
    }
    size_t size = (size_t)local;
    size_t global = (size_t)(lt_ceil_div(n_elems, local * LATHE_CL_MEASURE_STEPS) * local);
    cl_event event = NULL;
    error = clEnqueueNDRangeKernel(queue->commands, kernel, 1, NULL, &global, &size,
                                   lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    lathe_status status = lt_cl_queue_chain(queue, "clEnqueueNDRangeKernel", error, event);
    if (status == LATHE_OK) {
        queue->measured.n_elems += n_elems;
        lt_count(&queue->backend->counters->n_launches, 1);
    }
    return status;
}

lathe_status lt_cl_measure(lt_queue *queue, const lt_work *work, const lt_range *range) {
    const uint64_t group_elems =
        (uint64_t)queue->backend->device.group_size * LATHE_CL_MEASURE_STEPS;
    const uint64_t most = group_elems * MAX_GROUPS;
    const uint64_t first = range->row * work->pass->dst.row_elems + range->col;
    const uint64_t n_elems = range->n_rows * range->n_cols;
    lt_cl_program *program = NULL;
    cl_kernel kernel = NULL;
    lathe_status status = lt_cl_family_program(queue, LT_CL_FAMILY_MEASURE, work, &program);
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    status = lt_cl_family_kernel(queue, LT_CL_FAMILY_MEASURE, 0, work, program, &kernel);
    for (uint64_t done = 0; status == LATHE_OK && done < n_elems; done += most) {
        const uint64_t count = lt_min(most, n_elems - done);
        const bool is_full =
            queue->measured.outcome != NULL && queue->measured.n_elems + count > most;
        if (is_full) {
            status = lt_cl_finish(&queue->backend->base, queue);
        }
        if (status == LATHE_OK) {
            status = prepare(queue, work->outcome);
        }
        if (status == LATHE_OK) {
            status = enqueue(queue, kernel, work, first + done, count);
        }
    }
    return status;
}
