/* SPDX-License-Identifier: Apache-2.0 */
/* The yardsticks of the bench on an OpenCL device: its own copies, and plain reads. */
#include "cl.h"
#include "cli.h"
#include "core/error.h"
#include <stdbool.h>
#include <string.h>

/* What is transferred at a time, and the pinned memory: enough to keep the bus busy. */
#define PART_BYTES (UINT64_C(64) << 20)

/* Work-items of a group, and how many times each reads, or writes, 16 bytes. */
enum { GROUP_ITEMS = 256, READ_STEPS = 16 };

/* A work-item's loads lie a group apart, so that a group reads whole stretches of memory. Integers:
 * no value slows an addition down. */
static const char sources[] =
    "__kernel void bench_read(__global const uint4 *src, ulong n, __global uint *sums) {\n"
    "    __local uint parts[GROUP_ITEMS];\n"
    "    const uint item = (uint)get_local_id(0);\n"
    "    const ulong first = (ulong)get_group_id(0) * GROUP_ITEMS * READ_STEPS + item;\n"
    "    uint4 sum = (uint4)(0u);\n"
    "    if (first - item + GROUP_ITEMS * READ_STEPS <= n) {\n"
    "        for (uint i = 0; i < READ_STEPS; i++) {\n"
    "            sum += src[first + i * GROUP_ITEMS];\n"
    "        }\n"
    "    } else {\n"
    "        for (ulong at = first; at < n; at += GROUP_ITEMS) {\n"
    "            sum += src[at];\n"
    "        }\n"
    "    }\n"
    "    parts[item] = sum.x + sum.y + sum.z + sum.w;\n"
    "    for (uint half_size = GROUP_ITEMS / 2; half_size > 0; half_size /= 2) {\n"
    "        barrier(CLK_LOCAL_MEM_FENCE);\n"
    "        if (item < half_size) {\n"
    "            parts[item] += parts[item + half_size];\n"
    "        }\n"
    "    }\n"
    "    if (item == 0) {\n"
    "        sums[get_group_id(0)] = parts[0];\n"
    "    }\n"
    "}\n"
    "__kernel void bench_fill(__global uint4 *dst, ulong n) {\n"
    "    const ulong first = (ulong)get_group_id(0) * GROUP_ITEMS * READ_STEPS + get_local_id(0);\n"
    "    for (uint i = 0; i < READ_STEPS; i++) {\n"
    "        if (first + i * GROUP_ITEMS < n) {\n"
    "            dst[first + i * GROUP_ITEMS] = (uint4)(i);\n"
    "        }\n"
    "    }\n"
    "}\n";

static lathe_status check(cl_int error, const char *function) {
    return error == CL_SUCCESS
               ? LATHE_OK
               : lt_fail(LATHE_DEVICE, "the bench's own %s failed with OpenCL error %d", function,
                         (int)error);
}

lathe_status bench_cl_open(bench_cl *cl, lathe_engine *engine) {
    cl_int error = CL_SUCCESS;
    lathe_status status = lathe_opencl_device_of(engine, &cl->context, &cl->device);
    if (status == LATHE_OK) {
        cl->queue = clCreateCommandQueue(cl->context, cl->device, 0, &error);
        status = check(error, "clCreateCommandQueue");
    }
    return status;
}

void bench_cl_close(bench_cl *cl) {
    for (int i = 0; i < 2; i++) {
        if (cl->pinned_host[i] != NULL) {
            clEnqueueUnmapMemObject(cl->queue, cl->pinned[i], cl->pinned_host[i], 0, NULL, NULL);
            clFinish(cl->queue);
        }
    }
    const cl_mem memory[] = {cl->buffers[0], cl->buffers[1], cl->sums, cl->pinned[0],
                             cl->pinned[1]};
    for (size_t i = 0; i < sizeof(memory) / sizeof(memory[0]); i++) {
        if (memory[i] != NULL) {
            clReleaseMemObject(memory[i]);
        }
    }
    if (cl->read != NULL) {
        clReleaseKernel(cl->read);
    }
    if (cl->fill != NULL) {
        clReleaseKernel(cl->fill);
    }
    if (cl->program != NULL) {
        clReleaseProgram(cl->program);
    }
    if (cl->queue != NULL) {
        clReleaseCommandQueue(cl->queue);
    }
    if (cl->back != NULL) {
        clReleaseCommandQueue(cl->back);
    }
}

/* Makes *buffer at least n_bytes long. */
static lathe_status make_buffer(bench_cl *cl, cl_mem *buffer, uint64_t *have, uint64_t n_bytes) {
    const cl_uint fill = 1;
    cl_int error = CL_SUCCESS;
    n_bytes = (n_bytes + 15) / 16 * 16;
    if (n_bytes <= *have) {
        return LATHE_OK;
    }
    if (*buffer != NULL) {
        clReleaseMemObject(*buffer);
    }
    *have = 0;
    *buffer = clCreateBuffer(cl->context, CL_MEM_READ_WRITE, (size_t)n_bytes, NULL, &error);
    if (error != CL_SUCCESS) {
        return check(error, "clCreateBuffer");
    }
    *have = n_bytes;
    error = clEnqueueFillBuffer(cl->queue, *buffer, &fill, sizeof(fill), 0, (size_t)n_bytes, 0,
                                NULL, NULL);
    return check(error == CL_SUCCESS ? clFinish(cl->queue) : error, "clEnqueueFillBuffer");
}

/* The group's size is a power of two that the device can run. */
static lathe_status build_kernels(bench_cl *cl) {
    char options[96];
    const char *source = sources;
    size_t most = 1;
    cl_int error =
        clGetDeviceInfo(cl->device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof(most), &most, NULL);
    for (cl->group_size = GROUP_ITEMS; cl->group_size > most; cl->group_size /= 2) {
    }
    snprintf(options, sizeof(options), "-cl-std=CL1.2 -DGROUP_ITEMS=%u -DREAD_STEPS=%d",
             (unsigned)cl->group_size, (int)READ_STEPS);
    if (error == CL_SUCCESS) {
        cl->program = clCreateProgramWithSource(cl->context, 1, &source, NULL, &error);
    }
    if (error == CL_SUCCESS) {
        error = clBuildProgram(cl->program, 1, &cl->device, options, NULL, NULL);
    }
    if (error == CL_SUCCESS) {
        cl->read = clCreateKernel(cl->program, "bench_read", &error);
    }
    if (error == CL_SUCCESS) {
        cl->fill = clCreateKernel(cl->program, "bench_fill", &error);
    }
    return check(error, "kernel");
}

/* Half of the bytes, in whole units of a load. */
static uint64_t half_of(uint64_t n_bytes) {
    return (n_bytes / 2 + 15) / 16 * 16;
}

static size_t groups_of(const bench_cl *cl, uint64_t n_bytes) {
    uint64_t group_bytes = (uint64_t)cl->group_size * READ_STEPS * 16;
    return (size_t)((n_bytes + group_bytes - 1) / group_bytes);
}

lathe_status bench_cl_prepare(bench_cl *cl, uint64_t n_bytes) {
    const uint64_t half = half_of(n_bytes);
    lathe_status status = cl->fill == NULL ? build_kernels(cl) : LATHE_OK;
    for (int i = 0; i < 2 && status == LATHE_OK; i++) {
        status = make_buffer(cl, &cl->buffers[i], &cl->n_bytes[i], half);
    }
    if (status == LATHE_OK) {
        status = make_buffer(cl, &cl->sums, &cl->n_sum_bytes,
                             (uint64_t)groups_of(cl, half) * sizeof(cl_uint));
    }
    return status;
}

lathe_status bench_cl_copy(bench_cl *cl, uint64_t n_bytes) {
    cl_int error = clEnqueueCopyBuffer(cl->queue, cl->buffers[0], cl->buffers[1], 0, 0,
                                       (size_t)half_of(n_bytes), 0, NULL, NULL);
    return check(error == CL_SUCCESS ? clFinish(cl->queue) : error, "clEnqueueCopyBuffer");
}

/* Runs a kernel over n_bytes of a buffer; does not wait. */
static cl_int launch(bench_cl *cl, cl_kernel kernel, const cl_mem *buffer, uint64_t n_bytes) {
    const cl_ulong n = n_bytes / 16;
    const size_t n_items = groups_of(cl, n_bytes) * cl->group_size;
    cl_int error = clSetKernelArg(kernel, 0, sizeof(cl_mem), buffer);
    if (error == CL_SUCCESS) {
        error = clSetKernelArg(kernel, 1, sizeof(n), &n);
    }
    if (error == CL_SUCCESS && kernel == cl->read) {
        error = clSetKernelArg(kernel, 2, sizeof(cl_mem), &cl->sums);
    }
    return error == CL_SUCCESS ? clEnqueueNDRangeKernel(cl->queue, kernel, 1, NULL, &n_items,
                                                        &cl->group_size, 0, NULL, NULL)
                               : error;
}

static cl_int enqueue_both(bench_cl *cl, cl_kernel kernel, uint64_t n_bytes) {
    cl_int error = CL_SUCCESS;
    for (int i = 0; i < 2 && error == CL_SUCCESS; i++) {
        error = launch(cl, kernel, &cl->buffers[i], half_of(n_bytes));
    }
    return error;
}

/* Waits, also after an error: of what is in the queue before it. */
static lathe_status finish(bench_cl *cl, cl_int error, const char *function) {
    const cl_int finished = clFinish(cl->queue);
    return check(error == CL_SUCCESS ? finished : error, function);
}

static lathe_status launch_both(bench_cl *cl, cl_kernel kernel, uint64_t n_bytes) {
    return finish(cl, enqueue_both(cl, kernel, n_bytes), "clEnqueueNDRangeKernel");
}

lathe_status bench_cl_read(bench_cl *cl, uint64_t n_bytes) {
    return launch_both(cl, cl->read, n_bytes);
}

lathe_status bench_cl_sum(bench_cl *cl, uint64_t n_bytes) {
    cl_int error = enqueue_both(cl, cl->read, n_bytes);
    if (error == CL_SUCCESS) {
        error = clEnqueueReadBuffer(cl->queue, cl->sums, CL_FALSE, 0, sizeof(cl_uint),
                                    cl->pinned_host[1], 0, NULL, NULL);
    }
    return finish(cl, error, "clEnqueueReadBuffer");
}

lathe_status bench_cl_fill(bench_cl *cl, uint64_t n_bytes) {
    return launch_both(cl, cl->fill, n_bytes);
}

/* Makes the pinned memory of one direction. */
static lathe_status make_pinned(bench_cl *cl, int which) {
    cl_int error = CL_SUCCESS;
    lathe_status status = make_buffer(cl, &cl->buffers[which], &cl->n_bytes[which], PART_BYTES);
    if (status != LATHE_OK || cl->pinned_host[which] != NULL) {
        return status;
    }
    if (cl->pinned[which] == NULL) {
        cl->pinned[which] = clCreateBuffer(cl->context, CL_MEM_READ_WRITE | CL_MEM_ALLOC_HOST_PTR,
                                           (size_t)PART_BYTES, NULL, &error);
    }
    if (error == CL_SUCCESS) {
        cl->pinned_host[which] =
            clEnqueueMapBuffer(cl->queue, cl->pinned[which], CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0,
                               (size_t)PART_BYTES, 0, NULL, NULL, &error);
    }
    if (error != CL_SUCCESS) {
        return check(error, "pinned memory");
    }
    memset(cl->pinned_host[which], 1, (size_t)PART_BYTES);
    return LATHE_OK;
}

lathe_status bench_cl_prepare_transfer(bench_cl *cl) {
    cl_int error = CL_SUCCESS;
    lathe_status status = LATHE_OK;
    if (cl->back == NULL) {
        cl->back = clCreateCommandQueue(cl->context, cl->device, 0, &error);
        status = check(error, "clCreateCommandQueue");
    }
    for (int i = 0; i < 2 && status == LATHE_OK; i++) {
        status = make_pinned(cl, i);
    }
    return status;
}

/* Enqueues the part of a transfer that begins at byte `at`, if there is one. */
static cl_int enqueue_part(const bench_cl *cl, bool is_up, bench_cl_part part, uint64_t at) {
    const uint64_t left = part.n_bytes > at ? part.n_bytes - at : 0;
    const size_t n = (size_t)(left < PART_BYTES ? left : PART_BYTES);
    unsigned char *host =
        part.host != NULL ? (unsigned char *)part.host + at : cl->pinned_host[is_up ? 0 : 1];
    if (n == 0) {
        return CL_SUCCESS;
    }
    return is_up
               ? clEnqueueWriteBuffer(cl->queue, cl->buffers[0], CL_FALSE, 0, n, host, 0, NULL,
                                      NULL)
               : clEnqueueReadBuffer(cl->back, cl->buffers[1], CL_FALSE, 0, n, host, 0, NULL, NULL);
}

lathe_status bench_cl_transfer(bench_cl *cl, bench_cl_part up, bench_cl_part down) {
    const uint64_t n_bytes = up.n_bytes > down.n_bytes ? up.n_bytes : down.n_bytes;
    cl_int error = CL_SUCCESS;
    for (uint64_t at = 0; at < n_bytes && error == CL_SUCCESS; at += PART_BYTES) {
        error = enqueue_part(cl, true, up, at);
        if (error == CL_SUCCESS) {
            error = enqueue_part(cl, false, down, at);
        }
        if (error == CL_SUCCESS && at == 0) { /* both are to begin */
            error = clFlush(cl->queue);
            error = error == CL_SUCCESS ? clFlush(cl->back) : error;
        }
    }
    /* Also after a failure: the host's memory is in use. */
    const cl_int finished[] = {clFinish(cl->queue), clFinish(cl->back)};
    error = error == CL_SUCCESS ? finished[0] : error;
    return check(error == CL_SUCCESS ? finished[1] : error, "transfer");
}
