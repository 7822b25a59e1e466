/* SPDX-License-Identifier: Apache-2.0 */
/* A layer for the OpenCL loader (cl_khr_icd, OPENCL_LAYERS) that fails chosen calls, keeps count of
 * every handle and of every byte that is copied, makes a device look like another, and can make
 * kernels lie. cl_layer.h is how tests talk to it.
 *
 * A call that fails does not reach the driver, with these exceptions, which reach it and then
 * return the error: releases and clSetUserEventStatus, after whose failure nothing better could be
 * done; and, where every later call fails too, clFinish, clFlush and clWaitForEvents: a device that
 * is lost has no command running. A single failing wait does not wait. A caller that tries a failed
 * release again at once does not release twice. */
#include "cl_layer_state.h"
#include <CL/cl_layer.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

static const cl_icd_dispatch *driver; /* what comes after this layer */

enum { KERNEL_RESULT_ARG = 2, KERNEL_REPORTS_ARG = 3 };

static const char *const kernel_names[] = {"lathe_stream", "lathe_block", "lathe_stats"};

/* ---- functions that only pass the call on */

#define PASS(name, parameters, ...)                                                                \
    static cl_int CL_API_CALL fault_##name parameters {                                            \
        const cl_int error = layer_enter(#name);                                                   \
        return error != CL_SUCCESS ? error : driver->name(__VA_ARGS__);                            \
    }

#define PASS_INFO(name, object, info)                                                              \
    PASS(name, (object o, info i, size_t n, void *value, size_t *size), o, i, n, value, size)

PASS(clGetPlatformIDs, (cl_uint n, cl_platform_id *ids, cl_uint *count), n, ids, count)
PASS_INFO(clGetPlatformInfo, cl_platform_id, cl_platform_info)
PASS(clRetainDevice, (cl_device_id device), device)
PASS(clReleaseDevice, (cl_device_id device), device)
PASS_INFO(clGetContextInfo, cl_context, cl_context_info)
PASS_INFO(clGetCommandQueueInfo, cl_command_queue, cl_command_queue_info)
PASS_INFO(clGetMemObjectInfo, cl_mem, cl_mem_info)
PASS_INFO(clGetProgramInfo, cl_program, cl_program_info)
PASS_INFO(clGetKernelInfo, cl_kernel, cl_kernel_info)
PASS_INFO(clGetEventInfo, cl_event, cl_event_info)
PASS_INFO(clGetEventProfilingInfo, cl_event, cl_profiling_info)
PASS(clGetProgramBuildInfo,
     (cl_program p, cl_device_id d, cl_program_build_info i, size_t n, void *value, size_t *size),
     p, d, i, n, value, size)
PASS(clBuildProgram,
     (cl_program p, cl_uint n, const cl_device_id *devices, const char *options,
      void(CL_CALLBACK *notify)(cl_program, void *), void *ctx),
     p, n, devices, options, notify, ctx)
PASS(clUnloadPlatformCompiler, (cl_platform_id platform), platform)
PASS(clSetMemObjectDestructorCallback,
     (cl_mem m, void(CL_CALLBACK *notify)(cl_mem, void *), void *ctx), m, notify, ctx)
PASS(clSetEventCallback,
     (cl_event e, cl_int type, void(CL_CALLBACK *notify)(cl_event, cl_int, void *), void *ctx), e,
     type, notify, ctx)

/* ---- devices */

static cl_int CL_API_CALL fault_clGetDeviceIDs(cl_platform_id platform, cl_device_type type,
                                               cl_uint n, cl_device_id *ids, cl_uint *count) {
    const cl_int error = layer_enter("clGetDeviceIDs");
    return error != CL_SUCCESS ? error : driver->clGetDeviceIDs(platform, type, n, ids, count);
}

static cl_int give(const void *value, size_t value_bytes, size_t n, void *out, size_t *size) {
    if (out != NULL && n < value_bytes) {
        return CL_INVALID_VALUE;
    }
    if (out != NULL) {
        memcpy(out, value, value_bytes);
    }
    if (size != NULL) {
        *size = value_bytes;
    }
    return CL_SUCCESS;
}

static cl_int CL_API_CALL fault_clGetDeviceInfo(cl_device_id id, cl_device_info info, size_t n,
                                                void *value, size_t *size) {
    const cl_int error = layer_enter("clGetDeviceInfo");
    if (error != CL_SUCCESS) {
        return error;
    }
    (void)pthread_mutex_lock(&layer_lock);
    const test_cl_device device = layer_state.device;
    (void)pthread_mutex_unlock(&layer_lock);
    if (info == CL_DEVICE_MAX_MEM_ALLOC_SIZE && device.max_alloc_bytes != 0) {
        const cl_ulong bytes = device.max_alloc_bytes;
        return give(&bytes, sizeof bytes, n, value, size);
    }
    if (info == CL_DEVICE_GLOBAL_MEM_SIZE && device.memory_bytes != 0) {
        const cl_ulong bytes = device.memory_bytes;
        return give(&bytes, sizeof bytes, n, value, size);
    }
    if (info == CL_DEVICE_HOST_UNIFIED_MEMORY && device.has_own_memory) {
        const cl_bool unified = CL_FALSE;
        return give(&unified, sizeof unified, n, value, size);
    }
    if (info == CL_DEVICE_DOUBLE_FP_CONFIG && device.has_own_memory) {
        const cl_device_fp_config none = 0;
        return give(&none, sizeof none, n, value, size);
    }
    if (info == CL_DEVICE_TYPE && device.has_own_memory) {
        const cl_device_type type = CL_DEVICE_TYPE_GPU;
        return give(&type, sizeof type, n, value, size);
    }
    if (info == CL_DRIVER_VERSION && device.driver_version != NULL) {
        return give(device.driver_version, strlen(device.driver_version) + 1, n, value, size);
    }
    return driver->clGetDeviceInfo(id, info, n, value, size);
}

/* ---- functions that make a handle */

#define MAKE(type, kind, name, parameters, error_ret, ...)                                         \
    static type CL_API_CALL fault_##name parameters {                                              \
        const cl_int error = layer_enter(#name);                                                   \
        if (error != CL_SUCCESS) {                                                                 \
            if ((error_ret) != NULL) {                                                             \
                *(error_ret) = error;                                                              \
            }                                                                                      \
            return NULL;                                                                           \
        }                                                                                          \
        type made = driver->name(__VA_ARGS__);                                                     \
        layer_created(made, kind);                                                                 \
        return made;                                                                               \
    }

MAKE(cl_context, TEST_CL_CONTEXT, clCreateContext,
     (const cl_context_properties *p, cl_uint n, const cl_device_id *devices,
      void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *ctx, cl_int *e),
     e, p, n, devices, notify, ctx, e)
MAKE(cl_context, TEST_CL_CONTEXT, clCreateContextFromType,
     (const cl_context_properties *p, cl_device_type t,
      void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *ctx, cl_int *e),
     e, p, t, notify, ctx, e)
MAKE(cl_command_queue, TEST_CL_QUEUE, clCreateCommandQueue,
     (cl_context c, cl_device_id d, cl_command_queue_properties p, cl_int *e), e, c, d, p, e)
MAKE(cl_program, TEST_CL_PROGRAM, clCreateProgramWithSource,
     (cl_context c, cl_uint n, const char **texts, const size_t *sizes, cl_int *e), e, c, n, texts,
     sizes, e)
MAKE(cl_program, TEST_CL_PROGRAM, clCreateProgramWithBinary,
     (cl_context c, cl_uint n, const cl_device_id *devices, const size_t *sizes,
      const unsigned char **binaries, cl_int *status, cl_int *e),
     e, c, n, devices, sizes, binaries, status, e)
MAKE(cl_event, TEST_CL_EVENT, clCreateUserEvent, (cl_context c, cl_int *e), e, c, e)

static cl_kernel CL_API_CALL fault_clCreateKernel(cl_program program, const char *name,
                                                  cl_int *error_ret) {
    cl_int error = layer_enter("clCreateKernel");
    layer_use(program, TEST_CL_PROGRAM, "clCreateKernel");
    cl_kernel kernel = error != CL_SUCCESS ? NULL : driver->clCreateKernel(program, name, &error);
    if (error_ret != NULL) {
        *error_ret = error;
    }
    layer_created(kernel, TEST_CL_KERNEL);
    for (size_t i = 0; kernel != NULL && i < sizeof kernel_names / sizeof kernel_names[0]; i++) {
        if (strcmp(name, kernel_names[i]) == 0) {
            (void)pthread_mutex_lock(&layer_lock);
            layer_slot_of(kernel)->name = kernel_names[i];
            (void)pthread_mutex_unlock(&layer_lock);
        }
    }
    return kernel;
}

static cl_int CL_API_CALL fault_clCreateKernelsInProgram(cl_program program, cl_uint n,
                                                         cl_kernel *kernels, cl_uint *count) {
    cl_int error = layer_enter("clCreateKernelsInProgram");
    cl_uint made = 0;
    if (error == CL_SUCCESS) {
        error = driver->clCreateKernelsInProgram(program, n, kernels, &made);
    }
    for (cl_uint i = 0; error == CL_SUCCESS && kernels != NULL && i < made; i++) {
        layer_created(kernels[i], TEST_CL_KERNEL);
    }
    if (error == CL_SUCCESS && count != NULL) {
        *count = made;
    }
    return error;
}

/* Takes the bytes of a buffer; the error with which making it has to fail. */
static cl_int take_memory(size_t n_bytes, bool of_host_memory) {
    cl_int error = CL_SUCCESS;
    (void)pthread_mutex_lock(&layer_lock);
    const test_cl_device *device = &layer_state.device;
    if (device->max_alloc_bytes != 0 && n_bytes > device->max_alloc_bytes) {
        layer_misuse("clCreateBuffer: larger than CL_DEVICE_MAX_MEM_ALLOC_SIZE");
        error = CL_INVALID_BUFFER_SIZE;
    } else if (!of_host_memory && device->memory_bytes != 0 &&
               layer_state.live_bytes + n_bytes > device->memory_bytes) {
        error = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    }
    (void)pthread_mutex_unlock(&layer_lock);
    return error;
}

static cl_mem CL_API_CALL fault_clCreateBuffer(cl_context context, cl_mem_flags flags, size_t n,
                                               void *host, cl_int *error_ret) {
    const bool of_host_memory = (flags & CL_MEM_USE_HOST_PTR) != 0;
    cl_int error = layer_enter("clCreateBuffer");
    layer_use(context, TEST_CL_CONTEXT, "clCreateBuffer");
    error = error == CL_SUCCESS ? take_memory(n, of_host_memory) : error;
    cl_mem memory =
        error != CL_SUCCESS ? NULL : driver->clCreateBuffer(context, flags, n, host, &error);
    if (memory != NULL) {
        (void)pthread_mutex_lock(&layer_lock);
        layer_add_live(memory, TEST_CL_MEMORY, of_host_memory ? 0 : n);
        layer_state.n_buffers[of_host_memory]++;
        (void)pthread_mutex_unlock(&layer_lock);
    }
    if (error_ret != NULL) {
        *error_ret = error;
    }
    return memory;
}

MAKE(cl_mem, TEST_CL_MEMORY, clCreateSubBuffer,
     (cl_mem m, cl_mem_flags flags, cl_buffer_create_type type, const void *info, cl_int *e), e, m,
     flags, type, info, e)

/* ---- references */

#define REFERENCES(object, type, kind)                                                             \
    static cl_int CL_API_CALL fault_clRetain##object(type o) {                                     \
        const cl_int error = layer_enter("clRetain" #object);                                      \
        layer_use(o, kind, "clRetain" #object);                                                    \
        if (error != CL_SUCCESS) {                                                                 \
            return error;                                                                          \
        }                                                                                          \
        layer_created(o, kind);                                                                    \
        return driver->clRetain##object(o);                                                        \
    }                                                                                              \
    static cl_int CL_API_CALL fault_clRelease##object(type o) {                                    \
        const bool again = o != NULL && layer_failed_release == o;                                 \
        const cl_int error = layer_enter("clRelease" #object);                                     \
        layer_failed_release = error != CL_SUCCESS ? o : NULL;                                     \
        if (again) {                                                                               \
            return error;                                                                          \
        }                                                                                          \
        layer_released(o, kind, "clRelease" #object);                                              \
        const cl_int result = driver->clRelease##object(o);                                        \
        return error != CL_SUCCESS ? error : result;                                               \
    }

REFERENCES(Context, cl_context, TEST_CL_CONTEXT)
REFERENCES(CommandQueue, cl_command_queue, TEST_CL_QUEUE)
REFERENCES(MemObject, cl_mem, TEST_CL_MEMORY)
REFERENCES(Program, cl_program, TEST_CL_PROGRAM)
REFERENCES(Kernel, cl_kernel, TEST_CL_KERNEL)
REFERENCES(Event, cl_event, TEST_CL_EVENT)

/* ---- waiting */

#define WAIT(name, parameters, ...)                                                                \
    static cl_int CL_API_CALL fault_##name parameters {                                            \
        const cl_int error = layer_enter(#name);                                                   \
        if (error != CL_SUCCESS && !layer_device_is_lost()) {                                      \
            return error;                                                                          \
        }                                                                                          \
        const cl_int result = driver->name(__VA_ARGS__);                                           \
        return error != CL_SUCCESS ? error : result;                                               \
    }

WAIT(clFinish, (cl_command_queue queue), queue)
WAIT(clFlush, (cl_command_queue queue), queue)
WAIT(clWaitForEvents, (cl_uint n, const cl_event *events), n, events)

static cl_int CL_API_CALL fault_clSetUserEventStatus(cl_event event, cl_int status) {
    const cl_int error = layer_enter("clSetUserEventStatus");
    layer_use(event, TEST_CL_EVENT, "clSetUserEventStatus");
    const cl_int result = driver->clSetUserEventStatus(event, status);
    return error != CL_SUCCESS ? error : result;
}

/* ---- commands */

/* The event that a command gives, if it was asked for and succeeded. */
static cl_int given(cl_int result, const cl_event *event) {
    if (result == CL_SUCCESS && event != NULL) {
        layer_created(*event, TEST_CL_EVENT);
    }
    return result;
}

#define COMMAND(name, parameters, uses, ...)                                                       \
    static cl_int CL_API_CALL fault_##name parameters {                                            \
        static const char function[] = #name;                                                      \
        const cl_int error = layer_enter(function);                                                \
        layer_use(q, TEST_CL_QUEUE, function);                                                     \
        uses;                                                                                      \
        return error != CL_SUCCESS                                                                 \
                   ? error                                                                         \
                   : given(driver->name(q, __VA_ARGS__, n_wait, wait, event), event);              \
    }

#define WAIT_LIST cl_uint n_wait, const cl_event *wait, cl_event *event

COMMAND(clEnqueueReadBuffer,
        (cl_command_queue q, cl_mem m, cl_bool b, size_t at, size_t n, void *host, WAIT_LIST),
        (layer_use(m, TEST_CL_MEMORY, function), layer_transferred(TEST_CL_READ, n)), m, b, at, n,
        host)
COMMAND(clEnqueueWriteBuffer,
        (cl_command_queue q, cl_mem m, cl_bool b, size_t at, size_t n, const void *host, WAIT_LIST),
        (layer_use(m, TEST_CL_MEMORY, function), layer_transferred(TEST_CL_WRITE, n)), m, b, at, n,
        host)
COMMAND(clEnqueueReadBufferRect,
        (cl_command_queue q, cl_mem m, cl_bool b, const size_t *o, const size_t *p, const size_t *r,
         size_t brp, size_t bsp, size_t hrp, size_t hsp, void *host, WAIT_LIST),
        (layer_use(m, TEST_CL_MEMORY, function),
         layer_transferred(TEST_CL_READ, r[0] * r[1] * r[2])),
        m, b, o, p, r, brp, bsp, hrp, hsp, host)
COMMAND(clEnqueueWriteBufferRect,
        (cl_command_queue q, cl_mem m, cl_bool b, const size_t *o, const size_t *p, const size_t *r,
         size_t brp, size_t bsp, size_t hrp, size_t hsp, const void *host, WAIT_LIST),
        (layer_use(m, TEST_CL_MEMORY, function),
         layer_transferred(TEST_CL_WRITE, r[0] * r[1] * r[2])),
        m, b, o, p, r, brp, bsp, hrp, hsp, host)
COMMAND(clEnqueueCopyBuffer,
        (cl_command_queue q, cl_mem from, cl_mem to, size_t from_at, size_t to_at, size_t n,
         WAIT_LIST),
        (layer_use(from, TEST_CL_MEMORY, function), layer_use(to, TEST_CL_MEMORY, function),
         layer_transferred(TEST_CL_COPY, n)),
        from, to, from_at, to_at, n)
COMMAND(clEnqueueFillBuffer,
        (cl_command_queue q, cl_mem m, const void *pattern, size_t pattern_bytes, size_t at,
         size_t n, WAIT_LIST),
        layer_use(m, TEST_CL_MEMORY, function), m, pattern, pattern_bytes, at, n)
COMMAND(clEnqueueMigrateMemObjects,
        (cl_command_queue q, cl_uint n, const cl_mem *m, cl_mem_migration_flags flags, WAIT_LIST),
        (void)0, n, m, flags)
COMMAND(clEnqueueTask, (cl_command_queue q, cl_kernel k, WAIT_LIST),
        layer_use(k, TEST_CL_KERNEL, function), k)

#define MARKER(name)                                                                               \
    static cl_int CL_API_CALL fault_##name(cl_command_queue q, WAIT_LIST) {                        \
        const cl_int error = layer_enter(#name);                                                   \
        layer_use(q, TEST_CL_QUEUE, #name);                                                        \
        return error != CL_SUCCESS ? error : given(driver->name(q, n_wait, wait, event), event);   \
    }

MARKER(clEnqueueMarkerWithWaitList)
MARKER(clEnqueueBarrierWithWaitList)

static void *CL_API_CALL fault_clEnqueueMapBuffer(cl_command_queue q, cl_mem m, cl_bool blocking,
                                                  cl_map_flags flags, size_t at, size_t n,
                                                  WAIT_LIST, cl_int *error_ret) {
    cl_int error = layer_enter("clEnqueueMapBuffer");
    layer_use(q, TEST_CL_QUEUE, "clEnqueueMapBuffer");
    layer_use(m, TEST_CL_MEMORY, "clEnqueueMapBuffer");
    void *host = NULL;
    if (error == CL_SUCCESS) {
        host =
            driver->clEnqueueMapBuffer(q, m, blocking, flags, at, n, n_wait, wait, event, &error);
    }
    if (error == CL_SUCCESS) {
        (void)given(error, event);
        layer_mapped(m, host);
    }
    if (error_ret != NULL) {
        *error_ret = error;
    }
    return host;
}

static cl_int CL_API_CALL fault_clEnqueueUnmapMemObject(cl_command_queue q, cl_mem m, void *host,
                                                        WAIT_LIST) {
    const cl_int error = layer_enter("clEnqueueUnmapMemObject");
    layer_use(q, TEST_CL_QUEUE, "clEnqueueUnmapMemObject");
    layer_use(m, TEST_CL_MEMORY, "clEnqueueUnmapMemObject");
    if (error != CL_SUCCESS) {
        return error;
    }
    layer_unmapped(m);
    return given(driver->clEnqueueUnmapMemObject(q, m, host, n_wait, wait, event), event);
}

/* ---- kernels */

static cl_int CL_API_CALL fault_clSetKernelArg(cl_kernel kernel, cl_uint index, size_t n,
                                               const void *value) {
    const cl_int error = layer_enter("clSetKernelArg");
    layer_use(kernel, TEST_CL_KERNEL, "clSetKernelArg");
    if (error != CL_SUCCESS) {
        return error;
    }
    (void)pthread_mutex_lock(&layer_lock);
    layer_handle *slot = layer_slot_of(kernel);
    if (slot->key != NULL && slot->name != NULL && value != NULL) {
        if (index == KERNEL_RESULT_ARG && n == sizeof(cl_mem)) {
            memcpy(&slot->result, value, n);
        } else if (index == KERNEL_REPORTS_ARG && n == sizeof(cl_mem)) {
            memcpy(&slot->reports, value, n);
        } else if (n == sizeof(lathe_launch)) {
            memcpy(&slot->launch, value, n);
        }
    }
    (void)pthread_mutex_unlock(&layer_lock);
    return driver->clSetKernelArg(kernel, index, n, value);
}

/* The place of the gathered word that says most (kernels/fold.cl): that of a maximum, which is the
 * first, or of a mean, for which that one is 0, the top of its greatest bucket. */
static size_t gathered_at(cl_command_queue q, const layer_handle *told) {
    cl_uint words[LATHE_CL_SUM_WORDS] = {0};
    const size_t first = (size_t)told->launch.sums * sizeof words[0];
    size_t last = LATHE_CL_SUM_WORDS - 1;
    if (driver->clEnqueueReadBuffer(q, told->reports, CL_TRUE, first, sizeof words, words, 0, NULL,
                                    NULL) == CL_SUCCESS) {
        while (last > 0 && words[last] == 0) {
            last--;
        }
    }
    return first + last * sizeof words[0];
}

/* Flips a bit of the first that the kernel stored. */
static void lie(cl_command_queue q, cl_kernel kernel) {
    (void)pthread_mutex_lock(&layer_lock);
    const layer_handle told = *layer_slot_of(kernel);
    const bool lies =
        told.name != NULL && layer_state.liar != NULL && strcmp(told.name, layer_state.liar) == 0;
    (void)pthread_mutex_unlock(&layer_lock);
    if (!lies || told.launch.dst.first_col != 0) {
        return; /* where a row's middle lies depends on the dtype */
    }
    /* Of statistics: a bit of a float that matters, of the first tile's or of all tiles'. */
    const bool is_stat = strcmp(told.name, "lathe_stats") == 0;
    const bool is_gathered = is_stat && (told.launch.flags & LATHE_CL_GATHER) != 0;
    const cl_mem stored = is_gathered ? told.reports : told.result;
    const size_t first = is_gathered ? gathered_at(q, &told) : 0;
    const size_t at = is_stat ? first + 2 : (size_t)told.launch.dst.data_offset;
    uint8_t byte = 0;
    if (driver->clEnqueueReadBuffer(q, stored, CL_TRUE, at, 1, &byte, 0, NULL, NULL) ==
        CL_SUCCESS) {
        byte ^= 1;
        (void)driver->clEnqueueWriteBuffer(q, stored, CL_TRUE, at, 1, &byte, 0, NULL, NULL);
    }
}

/* 0: as many as there are. */
static size_t kernel_items(void) {
    (void)pthread_mutex_lock(&layer_lock);
    const size_t n_items = (size_t)layer_state.device.kernel_items;
    (void)pthread_mutex_unlock(&layer_lock);
    return n_items;
}

static cl_int CL_API_CALL fault_clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id id,
                                                         cl_kernel_work_group_info info, size_t n,
                                                         void *value, size_t *size) {
    const size_t n_items = kernel_items();
    return info == CL_KERNEL_WORK_GROUP_SIZE && n_items != 0
               ? give(&n_items, sizeof n_items, n, value, size)
               : driver->clGetKernelWorkGroupInfo(kernel, id, info, n, value, size);
}

/* Whether the kernel's source says how large its work-groups are, which a driver must heed. */
static bool says_size(cl_kernel kernel) {
    size_t sizes[3] = {0, 0, 0};
    cl_device_id id = NULL;
    cl_program program = NULL;
    return driver->clGetKernelInfo(kernel, CL_KERNEL_PROGRAM, sizeof program, &program, NULL) ==
               CL_SUCCESS &&
           driver->clGetProgramInfo(program, CL_PROGRAM_DEVICES, sizeof id, &id, NULL) ==
               CL_SUCCESS &&
           driver->clGetKernelWorkGroupInfo(kernel, id, CL_KERNEL_COMPILE_WORK_GROUP_SIZE,
                                            sizeof sizes, sizes, NULL) == CL_SUCCESS &&
           sizes[0] != 0;
}

static cl_int CL_API_CALL fault_clEnqueueNDRangeKernel(cl_command_queue q, cl_kernel kernel,
                                                       cl_uint dims, const size_t *offset,
                                                       const size_t *global, const size_t *local,
                                                       WAIT_LIST) {
    cl_int error = layer_enter("clEnqueueNDRangeKernel");
    layer_use(q, TEST_CL_QUEUE, "clEnqueueNDRangeKernel");
    layer_use(kernel, TEST_CL_KERNEL, "clEnqueueNDRangeKernel");
    if (error != CL_SUCCESS) {
        return error;
    }
    if (local != NULL && kernel_items() != 0 && local[0] > kernel_items() && !says_size(kernel)) {
        return CL_INVALID_WORK_GROUP_SIZE;
    }
    error = given(
        driver->clEnqueueNDRangeKernel(q, kernel, dims, offset, global, local, n_wait, wait, event),
        event);
    if (error == CL_SUCCESS) {
        lie(q, kernel);
    }
    return error;
}

/* ---- what the loader calls */

EXPORT cl_int CL_API_CALL clGetLayerInfo(cl_layer_info param_name, size_t param_value_size,
                                         void *param_value, size_t *param_value_size_ret) {
    static const char name[] = "lathe test faults";
    const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    switch (param_name) {
    case CL_LAYER_API_VERSION:
        return give(&version, sizeof version, param_value_size, param_value, param_value_size_ret);
    case CL_LAYER_NAME:
        return give(name, sizeof name, param_value_size, param_value, param_value_size_ret);
    default:
        return CL_INVALID_VALUE;
    }
}

#define FUNCTIONS(X)                                                                               \
    X(clGetPlatformIDs)                                                                            \
    X(clGetPlatformInfo)                                                                           \
    X(clGetDeviceIDs)                                                                              \
    X(clGetDeviceInfo)                                                                             \
    X(clRetainDevice)                                                                              \
    X(clReleaseDevice)                                                                             \
    X(clCreateContext)                                                                             \
    X(clCreateContextFromType)                                                                     \
    X(clRetainContext)                                                                             \
    X(clReleaseContext)                                                                            \
    X(clGetContextInfo)                                                                            \
    X(clCreateCommandQueue)                                                                        \
    X(clRetainCommandQueue)                                                                        \
    X(clReleaseCommandQueue)                                                                       \
    X(clGetCommandQueueInfo)                                                                       \
    X(clCreateBuffer)                                                                              \
    X(clCreateSubBuffer)                                                                           \
    X(clRetainMemObject)                                                                           \
    X(clReleaseMemObject)                                                                          \
    X(clGetMemObjectInfo)                                                                          \
    X(clSetMemObjectDestructorCallback)                                                            \
    X(clCreateProgramWithSource)                                                                   \
    X(clCreateProgramWithBinary)                                                                   \
    X(clRetainProgram)                                                                             \
    X(clReleaseProgram)                                                                            \
    X(clBuildProgram)                                                                              \
    X(clUnloadPlatformCompiler)                                                                    \
    X(clGetProgramInfo)                                                                            \
    X(clGetProgramBuildInfo)                                                                       \
    X(clCreateKernel)                                                                              \
    X(clCreateKernelsInProgram)                                                                    \
    X(clRetainKernel)                                                                              \
    X(clReleaseKernel)                                                                             \
    X(clSetKernelArg)                                                                              \
    X(clGetKernelInfo)                                                                             \
    X(clGetKernelWorkGroupInfo)                                                                    \
    X(clWaitForEvents)                                                                             \
    X(clGetEventInfo)                                                                              \
    X(clCreateUserEvent)                                                                           \
    X(clRetainEvent)                                                                               \
    X(clReleaseEvent)                                                                              \
    X(clSetUserEventStatus)                                                                        \
    X(clSetEventCallback)                                                                          \
    X(clGetEventProfilingInfo)                                                                     \
    X(clFlush)                                                                                     \
    X(clFinish)                                                                                    \
    X(clEnqueueReadBuffer)                                                                         \
    X(clEnqueueWriteBuffer)                                                                        \
    X(clEnqueueReadBufferRect)                                                                     \
    X(clEnqueueWriteBufferRect)                                                                    \
    X(clEnqueueCopyBuffer)                                                                         \
    X(clEnqueueFillBuffer)                                                                         \
    X(clEnqueueMapBuffer)                                                                          \
    X(clEnqueueUnmapMemObject)                                                                     \
    X(clEnqueueMigrateMemObjects)                                                                  \
    X(clEnqueueNDRangeKernel)                                                                      \
    X(clEnqueueTask)                                                                               \
    X(clEnqueueMarkerWithWaitList)                                                                 \
    X(clEnqueueBarrierWithWaitList)

EXPORT cl_int CL_API_CALL clInitLayer(cl_uint num_entries, const cl_icd_dispatch *target_dispatch,
                                      cl_uint *num_entries_ret,
                                      const cl_icd_dispatch **layer_dispatch_ret) {
    static cl_icd_dispatch layer;
    const size_t n_bytes = (size_t)num_entries * sizeof(void *);
    if (num_entries_ret == NULL || layer_dispatch_ret == NULL || n_bytes > sizeof layer) {
        return CL_INVALID_VALUE;
    }
    memcpy(&layer, target_dispatch, n_bytes);
    driver = target_dispatch;
#define OVERRIDE(name) layer.name = fault_##name;
    FUNCTIONS(OVERRIDE)
#undef OVERRIDE
    *num_entries_ret = num_entries;
    *layer_dispatch_ret = &layer;
    return CL_SUCCESS;
}
