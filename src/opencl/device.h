/* SPDX-License-Identifier: Apache-2.0 */
/* OpenCL devices: finding them, choosing one, and what the backend knows about the one it uses. */
#ifndef LT_OPENCL_DEVICE_H
#define LT_OPENCL_DEVICE_H

#include "opencl/cl.h"
#include <lathe/device.h>
#include <lathe/pool.h>
#include <stdbool.h>
#include <stdint.h>

/* A device that the ICD loader offers. Devices are numbered in the loader's order, over all
 * platforms; a platform or device that does not answer is left out. */
typedef struct lt_cl_found {
    cl_platform_id platform;
    cl_device_id id;
    size_t index; /* LT_CL_NO_INDEX: the caller's own, such as a part of a device */
} lt_cl_found;

#define LT_CL_NO_INDEX SIZE_MAX

/* What an open device is and can do. */
typedef struct lt_cl_device {
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;        /* a reference of our own */
    lathe_device_info info;    /* as lathe_device_at gives it */
    uint64_t max_alloc_bytes;  /* of one buffer */
    uint64_t base_align_bytes; /* of a buffer's start */
    uint32_t group_size;       /* work-items of a group: LATHE_CL_GROUP, or less where it must be */
    bool is_cpu;
    bool lacks_ptx;     /* an NVIDIA device before compute capability 8.0: kernels/floats.cl */
    bool has_ptx_90;    /* and one from 9.0 on */
    bool lacks_doubles; /* or does not round them to nearest: kernels/doubles.cl */
    bool is_small;      /* in work-groups or local memory: kernels/rows.cl, recode_team.cl */
    bool cuts_loops;    /* after some rounds, so that no work-group can wait for others */
    bool shares_memory; /* host pointers can be used without a copy */
} lt_cl_device;

/* How many devices there are. */
size_t lt_cl_device_count(void);

/* Finds device `index`. Errors: NOT_FOUND. */
lathe_status lt_cl_device_find(size_t index, lt_cl_found *found);

/* Chooses a device. `selector` is what follows "opencl" in a device's name: "" (a GPU before an
 * accelerator before anything else), ":N", ":gpu", ":cpu", ":accelerator", or ":TEXT", part of its
 * name or its platform's in any case. Where several fit, it is the first that the kernels can run
 * on. Errors: NOT_FOUND, whose message lists what there is. */
lathe_status lt_cl_device_select(const char *selector, lt_cl_found *found);

/* Finds the device that the caller has an id of. Errors: DEVICE. */
lathe_status lt_cl_device_of(cl_device_id id, lt_cl_found *found);

/* Describes a device, all of it but struct_size and self_check. What it does not answer is 0 or "".
 */
void lt_cl_device_describe(const lt_cl_found *found, lathe_device_info *info);

/* Opens a device: a context of its own, or the caller's `context` (NULL: none), which is retained.
 * Errors: DEVICE, INSUFFICIENT_MEMORY, INVALID_ARGUMENT (a context of other devices), NOT_SUPPORTED
 * (a device that lacks what the kernels need: OpenCL C 1.2, a compiler,
 * little-endian, 32 KiB of local memory, groups of 64 work-items). *device is then left alone. */
lathe_status lt_cl_device_open(const lt_cl_found *found, cl_context context, lt_cl_device *device);

/* A zeroed device is legal. */
void lt_cl_device_close(lt_cl_device *device);

/* Fails with DEVICE, or with INSUFFICIENT_MEMORY where that is what the error code says. The
 * message names the function and the code. */
lathe_status lt_cl_fail(const lt_cl_device *device, const char *function, cl_int error);

#endif
