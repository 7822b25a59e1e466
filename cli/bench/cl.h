/* SPDX-License-Identifier: Apache-2.0 */
/* The yardsticks of the bench on an OpenCL device: its own copies, and plain reads. */
#ifndef LATHE_CLI_BENCH_CL_H
#define LATHE_CLI_BENCH_CL_H

#include <lathe/opencl.h>

/* Zero-initialised, then bench_cl_open. Buffers are made when they are first needed. */
typedef struct bench_cl {
    cl_context context;
    cl_device_id device;
    cl_command_queue queue;
    cl_mem buffers[2]; /* n_bytes each */
    uint64_t n_bytes[2];
    cl_mem sums;
    uint64_t n_sum_bytes;
    cl_program program;
    cl_kernel read;
    cl_kernel fill;
    size_t group_size;
    cl_command_queue back; /* for transfers to the host beside those from it */
    cl_mem pinned[2];      /* from and to the host */
    void *pinned_host[2];
} bench_cl;

/* A queue of its own in the engine's context. Errors: NOT_SUPPORTED, DEVICE. */
lathe_status bench_cl_open(bench_cl *cl, lathe_engine *engine);

/* Legal after a failed bench_cl_open. */
void bench_cl_close(bench_cl *cl);

/* Makes what transfers of n_bytes within the device need, half of them in each of two buffers, and
 * touches it. Errors: DEVICE. */
lathe_status bench_cl_prepare(bench_cl *cl, uint64_t n_bytes);

/* The same for transfers from and to the host. */
lathe_status bench_cl_prepare_transfer(bench_cl *cl);

/* Reads half of n_bytes and writes half of them: copies one buffer of the device to the other, and
 * waits. Errors: DEVICE. */
lathe_status bench_cl_copy(bench_cl *cl, uint64_t n_bytes);

/* Reads n_bytes of the device's memory and adds them up, and waits. Errors: DEVICE. */
lathe_status bench_cl_read(bench_cl *cl, uint64_t n_bytes);

/* The same, and fetches a number that has come of it into pinned memory, which
 * bench_cl_prepare_transfer has made: what a statistic of as many bytes takes at least. */
lathe_status bench_cl_sum(bench_cl *cl, uint64_t n_bytes);

/* Fills n_bytes of the device's memory, and waits. Errors: DEVICE. */
lathe_status bench_cl_fill(bench_cl *cl, uint64_t n_bytes);

/* One direction of a transfer: bytes of `host`, or, where that is NULL, of pinned memory, over and
 * over the same part of it. */
typedef struct bench_cl_part {
    void *host;
    uint64_t n_bytes; /* 0: nothing goes this way */
} bench_cl_part;

/* Writes into the device's memory and reads from it, both at once, and waits. Errors: DEVICE. */
lathe_status bench_cl_transfer(bench_cl *cl, bench_cl_part up, bench_cl_part down);

#endif
