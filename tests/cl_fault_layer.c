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
#include "cl_layer.h"
#include "lathe_launch.h"
#include <CL/cl_layer.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT const test_cl_layer *test_cl_layer_get(void);

static const cl_icd_dispatch *driver; /* what comes after this layer */

/* ---- live handles */

typedef struct handle {
    const void *key; /* NULL: a free slot */
    test_cl_kind kind;
    int64_t n_references;
    uint64_t n_bytes; /* memory */
    int64_t n_mapped; /* memory: maps that have not been undone */
    const char *name; /* kernels */
    cl_mem result;    /* kernels: their third argument */
    lathe_launch launch;
} handle;

enum { SLOTS = 1 << 14, KERNEL_RESULT_ARG = 2, KERNEL_LAUNCH_ARG = 5 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static handle handles[SLOTS];
static const char *const kernel_names[] = {"lathe_stream", "lathe_block", "lathe_stats"};

static struct {
    test_cl_faults faults;
    test_cl_device device;
    const char *liar;
    uint64_t n_calls;
    uint64_t n_failed;
    const char *first_failed;
    int64_t n_live[TEST_CL_KINDS];
    int64_t n_mapped;
    uint64_t live_bytes;
    uint64_t peak_bytes;
    uint64_t n_buffers[2];
    uint64_t n_bytes[TEST_CL_TRANSFERS];
    uint64_t largest[TEST_CL_TRANSFERS];
    void *last_mapped;
    uint64_t n_misuses;
    const char *first_misuse;
} state;

static size_t home_of(const void *key) {
    return (size_t)(((uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15u) >> 50) % SLOTS;
}

/* The slot of the handle, or the free one where it would go. */
static handle *slot_of(const void *key) {
    size_t i = home_of(key);
    while (handles[i].key != NULL && handles[i].key != key) {
        i = (i + 1) % SLOTS;
    }
    return &handles[i];
}

static void forget(handle *gone) {
    size_t hole = (size_t)(gone - handles);
    for (size_t i = (hole + 1) % SLOTS; handles[i].key != NULL; i = (i + 1) % SLOTS) {
        size_t home = home_of(handles[i].key);
        if ((i - home) % SLOTS >= (i - hole) % SLOTS) {
            handles[hole] = handles[i];
            hole = i;
        }
    }
    memset(&handles[hole], 0, sizeof handles[hole]);
}

static void misuse(const char *what) {
    state.n_misuses++;
    state.first_misuse = state.first_misuse == NULL ? what : state.first_misuse;
}

/* With the lock held. */
static void add_live(const void *key, test_cl_kind kind, uint64_t n_bytes) {
    handle *slot = slot_of(key);
    if (slot->key == NULL) {
        *slot = (handle){.key = key, .kind = kind, .n_bytes = n_bytes};
        state.live_bytes += n_bytes;
        if (state.live_bytes > state.peak_bytes) {
            state.peak_bytes = state.live_bytes;
        }
    }
    slot->n_references++;
    state.n_live[kind]++;
}

static void created(const void *key, test_cl_kind kind) {
    if (key != NULL) {
        (void)pthread_mutex_lock(&lock);
        add_live(key, kind, 0);
        (void)pthread_mutex_unlock(&lock);
    }
}

/* Notes a use of a handle that must be live. */
static void use(const void *key, test_cl_kind kind, const char *function) {
    (void)pthread_mutex_lock(&lock);
    const handle *slot = slot_of(key);
    if (key == NULL || slot->key == NULL || slot->kind != kind) {
        misuse(function);
    }
    (void)pthread_mutex_unlock(&lock);
}

static void released(const void *key, test_cl_kind kind, const char *function) {
    (void)pthread_mutex_lock(&lock);
    handle *slot = slot_of(key);
    if (key == NULL || slot->key == NULL || slot->kind != kind) {
        misuse(function);
    } else {
        state.n_live[kind]--;
        if (--slot->n_references == 0) {
            state.live_bytes -= slot->n_bytes;
            state.n_mapped -= slot->n_mapped;
            if (slot->n_mapped != 0 && state.n_failed == 0) {
                misuse("clReleaseMemObject: mapped");
            }
            forget(slot);
        }
    }
    (void)pthread_mutex_unlock(&lock);
}

static void transferred(test_cl_transfer transfer, uint64_t n_bytes) {
    (void)pthread_mutex_lock(&lock);
    state.n_bytes[transfer] += n_bytes;
    if (n_bytes > state.largest[transfer]) {
        state.largest[transfer] = n_bytes;
    }
    (void)pthread_mutex_unlock(&lock);
}

static void mapped(const void *memory, void *host) {
    (void)pthread_mutex_lock(&lock);
    state.n_mapped++;
    slot_of(memory)->n_mapped++;
    state.last_mapped = host;
    (void)pthread_mutex_unlock(&lock);
}

static void unmapped(const void *memory) {
    (void)pthread_mutex_lock(&lock);
    state.n_mapped--;
    slot_of(memory)->n_mapped--;
    (void)pthread_mutex_unlock(&lock);
}

/* ---- faults */

/* What the calling thread's last call was about, if that was a release that failed. */
static _Thread_local const void *failed_release;

/* Counts a call: the error with which it has to fail, or CL_SUCCESS. */
static cl_int enter(const char *function) {
    cl_int error = CL_SUCCESS;
    failed_release = NULL;
    (void)pthread_mutex_lock(&lock);
    const test_cl_faults *faults = &state.faults;
    if (faults->function == NULL || strcmp(faults->function, function) == 0) {
        state.n_calls++;
        if (faults->at != 0 &&
            (faults->ever_after ? state.n_calls >= faults->at : state.n_calls == faults->at)) {
            error = faults->error != 0 ? faults->error : CL_OUT_OF_RESOURCES;
            state.n_failed++;
            state.first_failed = state.first_failed == NULL ? function : state.first_failed;
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return error;
}

static bool device_is_lost(void) {
    (void)pthread_mutex_lock(&lock);
    bool lost = state.faults.ever_after && state.n_failed > 0;
    (void)pthread_mutex_unlock(&lock);
    return lost;
}

/* ---- functions that only pass the call on */

#define PASS(name, parameters, ...)                                                                \
    static cl_int CL_API_CALL fault_##name parameters {                                            \
        const cl_int error = enter(#name);                                                         \
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
PASS(clGetKernelWorkGroupInfo,
     (cl_kernel k, cl_device_id d, cl_kernel_work_group_info i, size_t n, void *value,
      size_t *size),
     k, d, i, n, value, size)
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
    const cl_int error = enter("clGetDeviceIDs");
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
    const cl_int error = enter("clGetDeviceInfo");
    if (error != CL_SUCCESS) {
        return error;
    }
    (void)pthread_mutex_lock(&lock);
    const test_cl_device device = state.device;
    (void)pthread_mutex_unlock(&lock);
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
        const cl_int error = enter(#name);                                                         \
        if (error != CL_SUCCESS) {                                                                 \
            if ((error_ret) != NULL) {                                                             \
                *(error_ret) = error;                                                              \
            }                                                                                      \
            return NULL;                                                                           \
        }                                                                                          \
        type made = driver->name(__VA_ARGS__);                                                     \
        created(made, kind);                                                                       \
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
    cl_int error = enter("clCreateKernel");
    use(program, TEST_CL_PROGRAM, "clCreateKernel");
    cl_kernel kernel = error != CL_SUCCESS ? NULL : driver->clCreateKernel(program, name, &error);
    if (error_ret != NULL) {
        *error_ret = error;
    }
    created(kernel, TEST_CL_KERNEL);
    for (size_t i = 0; kernel != NULL && i < sizeof kernel_names / sizeof kernel_names[0]; i++) {
        if (strcmp(name, kernel_names[i]) == 0) {
            (void)pthread_mutex_lock(&lock);
            slot_of(kernel)->name = kernel_names[i];
            (void)pthread_mutex_unlock(&lock);
        }
    }
    return kernel;
}

static cl_int CL_API_CALL fault_clCreateKernelsInProgram(cl_program program, cl_uint n,
                                                         cl_kernel *kernels, cl_uint *count) {
    cl_int error = enter("clCreateKernelsInProgram");
    cl_uint made = 0;
    if (error == CL_SUCCESS) {
        error = driver->clCreateKernelsInProgram(program, n, kernels, &made);
    }
    for (cl_uint i = 0; error == CL_SUCCESS && kernels != NULL && i < made; i++) {
        created(kernels[i], TEST_CL_KERNEL);
    }
    if (error == CL_SUCCESS && count != NULL) {
        *count = made;
    }
    return error;
}

/* Takes the bytes of a buffer; the error with which making it has to fail. */
static cl_int take_memory(size_t n_bytes, bool of_host_memory) {
    cl_int error = CL_SUCCESS;
    (void)pthread_mutex_lock(&lock);
    const test_cl_device *device = &state.device;
    if (device->max_alloc_bytes != 0 && n_bytes > device->max_alloc_bytes) {
        misuse("clCreateBuffer: larger than CL_DEVICE_MAX_MEM_ALLOC_SIZE");
        error = CL_INVALID_BUFFER_SIZE;
    } else if (!of_host_memory && device->memory_bytes != 0 &&
               state.live_bytes + n_bytes > device->memory_bytes) {
        error = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    }
    (void)pthread_mutex_unlock(&lock);
    return error;
}

static cl_mem CL_API_CALL fault_clCreateBuffer(cl_context context, cl_mem_flags flags, size_t n,
                                               void *host, cl_int *error_ret) {
    const bool of_host_memory = (flags & CL_MEM_USE_HOST_PTR) != 0;
    cl_int error = enter("clCreateBuffer");
    use(context, TEST_CL_CONTEXT, "clCreateBuffer");
    error = error == CL_SUCCESS ? take_memory(n, of_host_memory) : error;
    cl_mem memory =
        error != CL_SUCCESS ? NULL : driver->clCreateBuffer(context, flags, n, host, &error);
    if (memory != NULL) {
        (void)pthread_mutex_lock(&lock);
        add_live(memory, TEST_CL_MEMORY, of_host_memory ? 0 : n);
        state.n_buffers[of_host_memory]++;
        (void)pthread_mutex_unlock(&lock);
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
        const cl_int error = enter("clRetain" #object);                                            \
        use(o, kind, "clRetain" #object);                                                          \
        if (error != CL_SUCCESS) {                                                                 \
            return error;                                                                          \
        }                                                                                          \
        created(o, kind);                                                                          \
        return driver->clRetain##object(o);                                                        \
    }                                                                                              \
    static cl_int CL_API_CALL fault_clRelease##object(type o) {                                    \
        const bool again = o != NULL && failed_release == o;                                       \
        const cl_int error = enter("clRelease" #object);                                           \
        failed_release = error != CL_SUCCESS ? o : NULL;                                           \
        if (again) {                                                                               \
            return error;                                                                          \
        }                                                                                          \
        released(o, kind, "clRelease" #object);                                                    \
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
        const cl_int error = enter(#name);                                                         \
        if (error != CL_SUCCESS && !device_is_lost()) {                                            \
            return error;                                                                          \
        }                                                                                          \
        const cl_int result = driver->name(__VA_ARGS__);                                           \
        return error != CL_SUCCESS ? error : result;                                               \
    }

WAIT(clFinish, (cl_command_queue queue), queue)
WAIT(clFlush, (cl_command_queue queue), queue)
WAIT(clWaitForEvents, (cl_uint n, const cl_event *events), n, events)

static cl_int CL_API_CALL fault_clSetUserEventStatus(cl_event event, cl_int status) {
    const cl_int error = enter("clSetUserEventStatus");
    use(event, TEST_CL_EVENT, "clSetUserEventStatus");
    const cl_int result = driver->clSetUserEventStatus(event, status);
    return error != CL_SUCCESS ? error : result;
}

/* ---- commands */

/* The event that a command gives, if it was asked for and succeeded. */
static cl_int given(cl_int result, const cl_event *event) {
    if (result == CL_SUCCESS && event != NULL) {
        created(*event, TEST_CL_EVENT);
    }
    return result;
}

#define COMMAND(name, parameters, uses, ...)                                                       \
    static cl_int CL_API_CALL fault_##name parameters {                                            \
        static const char function[] = #name;                                                      \
        const cl_int error = enter(function);                                                      \
        use(q, TEST_CL_QUEUE, function);                                                           \
        uses;                                                                                      \
        return error != CL_SUCCESS                                                                 \
                   ? error                                                                         \
                   : given(driver->name(q, __VA_ARGS__, n_wait, wait, event), event);              \
    }

#define WAIT_LIST cl_uint n_wait, const cl_event *wait, cl_event *event

COMMAND(clEnqueueReadBuffer,
        (cl_command_queue q, cl_mem m, cl_bool b, size_t at, size_t n, void *host, WAIT_LIST),
        (use(m, TEST_CL_MEMORY, function), transferred(TEST_CL_READ, n)), m, b, at, n, host)
COMMAND(clEnqueueWriteBuffer,
        (cl_command_queue q, cl_mem m, cl_bool b, size_t at, size_t n, const void *host, WAIT_LIST),
        (use(m, TEST_CL_MEMORY, function), transferred(TEST_CL_WRITE, n)), m, b, at, n, host)
COMMAND(clEnqueueReadBufferRect,
        (cl_command_queue q, cl_mem m, cl_bool b, const size_t *o, const size_t *p, const size_t *r,
         size_t brp, size_t bsp, size_t hrp, size_t hsp, void *host, WAIT_LIST),
        (use(m, TEST_CL_MEMORY, function), transferred(TEST_CL_READ, r[0] * r[1] * r[2])), m, b, o,
        p, r, brp, bsp, hrp, hsp, host)
COMMAND(clEnqueueWriteBufferRect,
        (cl_command_queue q, cl_mem m, cl_bool b, const size_t *o, const size_t *p, const size_t *r,
         size_t brp, size_t bsp, size_t hrp, size_t hsp, const void *host, WAIT_LIST),
        (use(m, TEST_CL_MEMORY, function), transferred(TEST_CL_WRITE, r[0] * r[1] * r[2])), m, b, o,
        p, r, brp, bsp, hrp, hsp, host)
COMMAND(clEnqueueCopyBuffer,
        (cl_command_queue q, cl_mem from, cl_mem to, size_t from_at, size_t to_at, size_t n,
         WAIT_LIST),
        (use(from, TEST_CL_MEMORY, function), use(to, TEST_CL_MEMORY, function),
         transferred(TEST_CL_COPY, n)),
        from, to, from_at, to_at, n)
COMMAND(clEnqueueFillBuffer,
        (cl_command_queue q, cl_mem m, const void *pattern, size_t pattern_bytes, size_t at,
         size_t n, WAIT_LIST),
        use(m, TEST_CL_MEMORY, function), m, pattern, pattern_bytes, at, n)
COMMAND(clEnqueueMigrateMemObjects,
        (cl_command_queue q, cl_uint n, const cl_mem *m, cl_mem_migration_flags flags, WAIT_LIST),
        (void)0, n, m, flags)
COMMAND(clEnqueueTask, (cl_command_queue q, cl_kernel k, WAIT_LIST),
        use(k, TEST_CL_KERNEL, function), k)

#define MARKER(name)                                                                               \
    static cl_int CL_API_CALL fault_##name(cl_command_queue q, WAIT_LIST) {                        \
        const cl_int error = enter(#name);                                                         \
        use(q, TEST_CL_QUEUE, #name);                                                              \
        return error != CL_SUCCESS ? error : given(driver->name(q, n_wait, wait, event), event);   \
    }

MARKER(clEnqueueMarkerWithWaitList)
MARKER(clEnqueueBarrierWithWaitList)

static void *CL_API_CALL fault_clEnqueueMapBuffer(cl_command_queue q, cl_mem m, cl_bool blocking,
                                                  cl_map_flags flags, size_t at, size_t n,
                                                  WAIT_LIST, cl_int *error_ret) {
    cl_int error = enter("clEnqueueMapBuffer");
    use(q, TEST_CL_QUEUE, "clEnqueueMapBuffer");
    use(m, TEST_CL_MEMORY, "clEnqueueMapBuffer");
    void *host = NULL;
    if (error == CL_SUCCESS) {
        host =
            driver->clEnqueueMapBuffer(q, m, blocking, flags, at, n, n_wait, wait, event, &error);
    }
    if (error == CL_SUCCESS) {
        (void)given(error, event);
        mapped(m, host);
    }
    if (error_ret != NULL) {
        *error_ret = error;
    }
    return host;
}

static cl_int CL_API_CALL fault_clEnqueueUnmapMemObject(cl_command_queue q, cl_mem m, void *host,
                                                        WAIT_LIST) {
    const cl_int error = enter("clEnqueueUnmapMemObject");
    use(q, TEST_CL_QUEUE, "clEnqueueUnmapMemObject");
    use(m, TEST_CL_MEMORY, "clEnqueueUnmapMemObject");
    if (error != CL_SUCCESS) {
        return error;
    }
    unmapped(m);
    return given(driver->clEnqueueUnmapMemObject(q, m, host, n_wait, wait, event), event);
}

/* ---- kernels */

static cl_int CL_API_CALL fault_clSetKernelArg(cl_kernel kernel, cl_uint index, size_t n,
                                               const void *value) {
    const cl_int error = enter("clSetKernelArg");
    use(kernel, TEST_CL_KERNEL, "clSetKernelArg");
    if (error != CL_SUCCESS) {
        return error;
    }
    (void)pthread_mutex_lock(&lock);
    handle *slot = slot_of(kernel);
    if (slot->key != NULL && slot->name != NULL && value != NULL) {
        if (index == KERNEL_RESULT_ARG && n == sizeof(cl_mem)) {
            memcpy(&slot->result, value, n);
        } else if (index == KERNEL_LAUNCH_ARG && n == sizeof(lathe_launch)) {
            memcpy(&slot->launch, value, n);
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return driver->clSetKernelArg(kernel, index, n, value);
}

/* Flips a bit of the first byte that the kernel stored. */
static void lie(cl_command_queue q, cl_kernel kernel) {
    (void)pthread_mutex_lock(&lock);
    const handle told = *slot_of(kernel);
    const bool lies = told.name != NULL && state.liar != NULL && strcmp(told.name, state.liar) == 0;
    (void)pthread_mutex_unlock(&lock);
    if (!lies || told.launch.dst.first_col != 0) {
        return; /* where a row's middle lies depends on the dtype */
    }
    const size_t at = strcmp(told.name, "lathe_stats") == 0
                          ? 2 /* of the first float: a bit that matters */
                          : (size_t)told.launch.dst.data_offset;
    uint8_t byte = 0;
    if (driver->clEnqueueReadBuffer(q, told.result, CL_TRUE, at, 1, &byte, 0, NULL, NULL) ==
        CL_SUCCESS) {
        byte ^= 1;
        (void)driver->clEnqueueWriteBuffer(q, told.result, CL_TRUE, at, 1, &byte, 0, NULL, NULL);
    }
}

static cl_int CL_API_CALL fault_clEnqueueNDRangeKernel(cl_command_queue q, cl_kernel kernel,
                                                       cl_uint dims, const size_t *offset,
                                                       const size_t *global, const size_t *local,
                                                       WAIT_LIST) {
    cl_int error = enter("clEnqueueNDRangeKernel");
    use(q, TEST_CL_QUEUE, "clEnqueueNDRangeKernel");
    use(kernel, TEST_CL_KERNEL, "clEnqueueNDRangeKernel");
    if (error != CL_SUCCESS) {
        return error;
    }
    error = given(
        driver->clEnqueueNDRangeKernel(q, kernel, dims, offset, global, local, n_wait, wait, event),
        event);
    if (error == CL_SUCCESS) {
        lie(q, kernel);
    }
    return error;
}

/* ---- what tests call */

static void reset(void) {
    (void)pthread_mutex_lock(&lock);
    memset(&state.faults, 0, sizeof state.faults);
    memset(&state.device, 0, sizeof state.device);
    state.liar = NULL;
    state.n_calls = 0;
    state.n_failed = 0;
    state.first_failed = NULL;
    state.peak_bytes = state.live_bytes;
    memset(state.n_buffers, 0, sizeof state.n_buffers);
    memset(state.n_bytes, 0, sizeof state.n_bytes);
    memset(state.largest, 0, sizeof state.largest);
    state.last_mapped = NULL;
    state.n_misuses = 0;
    state.first_misuse = NULL;
    (void)pthread_mutex_unlock(&lock);
}

static void set_faults(const test_cl_faults *faults) {
    (void)pthread_mutex_lock(&lock);
    state.faults = *faults;
    state.n_calls = 0;
    state.n_failed = 0;
    state.first_failed = NULL;
    (void)pthread_mutex_unlock(&lock);
}

static test_cl_faults get_faults(void) {
    (void)pthread_mutex_lock(&lock);
    const test_cl_faults faults = state.faults;
    (void)pthread_mutex_unlock(&lock);
    return faults;
}

static void stop_faults(void) {
    (void)pthread_mutex_lock(&lock);
    memset(&state.faults, 0, sizeof state.faults);
    (void)pthread_mutex_unlock(&lock);
}

static void set_device(const test_cl_device *device) {
    (void)pthread_mutex_lock(&lock);
    state.device = *device;
    (void)pthread_mutex_unlock(&lock);
}

static void set_liar(const char *kernel) {
    (void)pthread_mutex_lock(&lock);
    state.liar = kernel;
    (void)pthread_mutex_unlock(&lock);
}

#define ASK(type, name, parameters, expression)                                                    \
    static type name parameters {                                                                  \
        (void)pthread_mutex_lock(&lock);                                                           \
        type answer = (expression);                                                                \
        (void)pthread_mutex_unlock(&lock);                                                         \
        return answer;                                                                             \
    }

ASK(uint64_t, n_calls, (void), state.n_calls)
ASK(uint64_t, n_failed, (void), state.n_failed)
ASK(const char *, first_failed, (void), state.first_failed)
ASK(int64_t, n_live, (test_cl_kind kind), state.n_live[kind])
ASK(int64_t, n_mapped, (void), state.n_mapped)
ASK(uint64_t, live_bytes, (void), state.live_bytes)
ASK(uint64_t, peak_bytes, (void), state.peak_bytes)
ASK(uint64_t, n_buffers, (bool of_host_memory), state.n_buffers[of_host_memory])
ASK(uint64_t, n_bytes, (test_cl_transfer transfer), state.n_bytes[transfer])
ASK(uint64_t, largest, (test_cl_transfer transfer), state.largest[transfer])
ASK(void *, last_mapped, (void), state.last_mapped)
ASK(uint64_t, n_misuses, (void), state.n_misuses)
ASK(const char *, first_misuse, (void), state.first_misuse)

const test_cl_layer *test_cl_layer_get(void) {
    static const test_cl_layer layer = {
        .reset = reset,
        .set_faults = set_faults,
        .get_faults = get_faults,
        .stop_faults = stop_faults,
        .set_device = set_device,
        .set_liar = set_liar,
        .n_calls = n_calls,
        .n_failed = n_failed,
        .first_failed = first_failed,
        .n_live = n_live,
        .n_mapped = n_mapped,
        .live_bytes = live_bytes,
        .peak_bytes = peak_bytes,
        .n_buffers = n_buffers,
        .n_bytes = n_bytes,
        .largest = largest,
        .last_mapped = last_mapped,
        .n_misuses = n_misuses,
        .first_misuse = first_misuse,
    };
    return &layer;
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
