/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels straight in a caller's command queue. */
#include "opencl/enqueue.h"

#include "core/error.h"
#include "opencl/queue.h"
#include "opencl/release.h"

static lathe_status failed(lt_cl_backend *backend, const char *function, cl_int error) {
    lt_count(&backend->counters->n_device_errors, 1);
    return lt_cl_fail(&backend->device, function, error);
}

/* The program of a pair that has been used before and may be used again; NULL: not so. */
static cl_program ready_program(const lt_cl_backend *backend, const lt_pass *pass) {
    const lt_cl_family *family = lt_cl_pairs(backend);
    const lt_cl_program *pair = &family->programs.pairs[pass->src.dtype][pass->dst.dtype];
    bool is_trusted = !lt_cl_has_check(family) || atomic_load(&pair->trust) == LT_CL_TRUSTED;
    return is_trusted ? atomic_load(&pair->program) : NULL;
}

/* A kernel object of this call's own: kernels are not for two threads. */
static lathe_status make_kernel(lt_cl_backend *backend, cl_program program, const lt_work *work,
                                const lt_cl_launch *launch, cl_mem reports, cl_kernel *kernel) {
    const cl_mem buffers[] = {
        work->src.data->device,
        work->src.scales != NULL ? work->src.scales->device : reports,
        work->dst.data->device,
        work->dst.scales != NULL ? work->dst.scales->device : reports,
        reports,
    };
    const cl_uint n_buffers = sizeof buffers / sizeof buffers[0];
    cl_int error = CL_SUCCESS;
    (void)pthread_mutex_lock(&backend->mutex);
    cl_kernel made = clCreateKernel(program, lt_cl_kernel_name(launch->kernel), &error);
    (void)pthread_mutex_unlock(&backend->mutex);
    if (error != CL_SUCCESS) {
        return failed(backend, "clCreateKernel", error);
    }
    for (cl_uint i = 0; i < n_buffers && error == CL_SUCCESS; i++) {
        error = clSetKernelArg(made, i, sizeof(cl_mem), &buffers[i]);
    }
    if (error == CL_SUCCESS) {
        error = clSetKernelArg(made, n_buffers, sizeof launch->args, &launch->args);
    }
    if (error != CL_SUCCESS) {
        lt_cl_release_kernel(made);
        return failed(backend, "clSetKernelArg", error);
    }
    *kernel = made;
    return LATHE_OK;
}

static lathe_status enqueue(lt_cl_backend *backend, cl_command_queue queue, cl_kernel kernel,
                            const lt_cl_launch *launch, cl_uint n_wait, const cl_event *wait_list,
                            cl_event *event) {
    size_t local = backend->device.group_size;
    size_t global = (size_t)launch->n_groups * local;
    cl_event made = NULL;
    cl_int error =
        clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &global, &local, n_wait, wait_list, &made);
    if (error != CL_SUCCESS) {
        return failed(backend, "clEnqueueNDRangeKernel", error);
    }
    lt_count(&backend->counters->n_launches, 1);
    *event = made;
    return LATHE_OK;
}

lathe_status lt_cl_enqueue_convert(lt_backend *base, cl_command_queue queue, const lt_work *work,
                                   const lt_range *range, cl_uint n_wait, const cl_event *wait_list,
                                   lt_buffer *reports, cl_event *event) {
    lt_cl_backend *backend = lt_cl_of(base);
    cl_program program = ready_program(backend, work->pass);
    const lt_cl_launch launch = lt_cl_launch_convert(work, range);
    if (program == NULL || launch.n_groups == 0) {
        return lt_fail(LATHE_NOT_SUPPORTED, "the kernels are not ready");
    }
    lt_buffer made = {0};
    cl_kernel kernel = NULL;
    lathe_status status = lt_cl_buffer_create(&backend->memory, LT_MEMORY_DEVICE,
                                              LATHE_CL_REPORT_WORDS * sizeof(uint32_t), &made);
    if (status == LATHE_OK) {
        status = make_kernel(backend, program, work, &launch, made.device, &kernel);
    }
    if (status == LATHE_OK) {
        status = enqueue(backend, queue, kernel, &launch, n_wait, wait_list, event);
    }
    lt_cl_release_kernel(kernel); /* the command keeps it */
    if (status != LATHE_OK) {
        lt_cl_buffer_destroy(&backend->memory, &made);
        return status;
    }
    *reports = made;
    return LATHE_OK;
}
