/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenCL backend. */
#ifndef LT_OPENCL_OPENCL_H
#define LT_OPENCL_OPENCL_H

#include "backend.h"
#include "metrics/counters.h"
#include "opencl/launch.h"
#include "opencl/memory.h"
#include "opencl/program.h"

/* Compares a pair's kernels on the device with the reference. Called once for each pair whose
 * program was built from source, before its first use, with no lock held; the works that it submits
 * are trials. OK: they agree; DEVICE: they do not, or the device failed. */
typedef lathe_status lt_cl_check_fn(void *ctx, lathe_dtype src, lathe_dtype dst);

/* Kernels that are in programs of their own. */
typedef enum lt_cl_family_id {
    LT_CL_FAMILY_PAIRS,       /* ordinary passes */
    LT_CL_FAMILY_MANY,        /* many tensors in one launch */
    LT_CL_FAMILY_IN_PLACE,    /* a tensor in its own memory */
    LT_CL_FAMILY_EXTRA_CODES, /* PRECISE to I4 and I2: one more code below 0 */
    LT_CL_FAMILY_SEARCH,      /* PRECISE scales. One program for all pairs */
    LT_CL_FAMILY_MEASURE,     /* what a quality report is made of. Likewise */
    LT_CL_FAMILY_COUNT
} lt_cl_family_id;

/* The same for the kernels of chains through n_types types, the first of them the source's. */
typedef lathe_status lt_cl_check_chain_fn(void *ctx, uint32_t n_types, const lathe_dtype *types);

/* What an OpenCL backend is made of. */
typedef struct lt_cl_options_in {
    const lt_cl_found *found;
    cl_context context;    /* the caller's; NULL: one of our own */
    const char *cache_dir; /* of programs; NULL: none */
    bool pageable_staging; /* no pinned memory */
    lathe_pool *pool;
    lt_counters *counters; /* outlives the backend */
    lt_backend *host;      /* the CPU backend: its threads run parallel_for. Retained. */
    lt_cl_check_fn *check[LT_CL_FAMILY_COUNT];
    lt_cl_check_chain_fn *check_chain;
    lt_cl_check_chain_fn *check_rounded; /* the same for kernels of pairs that round first */
    void *check_ctx;
} lt_cl_options_in;

/* Errors: DEVICE, NOT_SUPPORTED, INSUFFICIENT_MEMORY. */
lathe_status lt_cl_backend_create(const lt_cl_options_in *options, lt_backend **backend);

/* The device that an OpenCL backend runs on. */
const lt_cl_device *lt_cl_backend_device(const lt_backend *backend);

#endif
