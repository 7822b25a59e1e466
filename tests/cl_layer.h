/* SPDX-License-Identifier: Apache-2.0 */
/* What a test tells, and asks, the fault layer that the OpenCL loader puts between the library and
 * the driver (cl_fault_layer.c). The loader ignores a layer that it cannot load, so every test
 * begins by finding it. */
#ifndef TESTS_CL_LAYER_H
#define TESTS_CL_LAYER_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* Kinds of handles. */
typedef enum test_cl_kind {
    TEST_CL_CONTEXT,
    TEST_CL_QUEUE,
    TEST_CL_MEMORY,
    TEST_CL_PROGRAM,
    TEST_CL_KERNEL,
    TEST_CL_EVENT,
    TEST_CL_KINDS
} test_cl_kind;

/* Ways in which bytes cross the bus. */
typedef enum test_cl_transfer {
    TEST_CL_READ,
    TEST_CL_WRITE,
    TEST_CL_COPY,
    TEST_CL_TRANSFERS
} test_cl_transfer;

typedef struct test_cl_faults {
    uint64_t at;          /* this call fails, counted from 1 since reset; 0: none */
    bool ever_after;      /* and every later one too */
    cl_int error;         /* 0: CL_OUT_OF_RESOURCES */
    const char *function; /* only calls of this function count; NULL: all. A literal. */
} test_cl_faults;

/* A device's answers; zero means its own. */
typedef struct test_cl_device {
    uint64_t max_alloc_bytes;   /* larger buffers are refused as well */
    bool has_own_memory;        /* a GPU that does not share the host's memory, nor has doubles */
    const char *driver_version; /* a literal */
    uint64_t memory_bytes;      /* what fits into all live buffers; more fails to allocate */
    uint64_t kernel_items;      /* of work-groups of kernels that do not say their size */
} test_cl_device;

typedef struct test_cl_layer {
    /* No faults, no overrides, counts from 0 again. Live handles stay known. */
    void (*reset)(void);
    void (*set_faults)(const test_cl_faults *faults); /* and counts calls from 0 */
    test_cl_faults (*get_faults)(void);
    void (*stop_faults)(void); /* no more faults; the counts stay */
    void (*set_device)(const test_cl_device *device);
    /* Kernels of this name (NULL: none) store one wrong bit each from now on. A literal. */
    void (*set_liar)(const char *kernel);

    uint64_t (*n_calls)(void); /* that counted, since the faults were set */
    uint64_t (*n_failed)(void);
    const char *(*first_failed)(void); /* the function that failed first; NULL: none */

    int64_t (*n_live)(test_cl_kind kind);           /* references */
    int64_t (*n_mapped)(void);                      /* maps that have not been undone */
    uint64_t (*live_bytes)(void);                   /* in buffers that are not the host's memory */
    uint64_t (*peak_bytes)(void);                   /* since reset */
    uint64_t (*n_buffers)(bool of_host_memory);     /* created since reset */
    uint64_t (*n_bytes)(test_cl_transfer transfer); /* since reset, */
    uint64_t (*largest)(test_cl_transfer transfer); /* and in one call */
    void *(*last_mapped)(void);
    uint64_t (*n_misuses)(void);       /* handles used that were not live, limits exceeded */
    const char *(*first_misuse)(void); /* NULL: none */
} test_cl_layer;

/* The layer, if the loader has it; NULL otherwise. */
static inline const test_cl_layer *test_cl_layer_find(void) {
    typedef const test_cl_layer *find_fn(void);
    const char *path = getenv("OPENCL_LAYERS");
    cl_uint n_platforms = 0;
    (void)clGetPlatformIDs(0, NULL, &n_platforms); /* the loader loads it now */
    void *library = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    if (library == NULL) {
        return NULL;
    }
    find_fn *find = NULL;
    *(void **)&find = dlsym(library, "test_cl_layer_get");
    (void)dlclose(library); /* the loader's reference stays */
    return find == NULL ? NULL : find();
}

#endif
