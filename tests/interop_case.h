/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of lathe/opencl.h share: the caller's side of OpenCL, and conversions in buffers
 * of the caller's with the result that they should have. Built with TEST_OPENCL. */
#ifndef TESTS_INTEROP_CASE_H
#define TESTS_INTEROP_CASE_H

#include "check.h"
#include "opencl_support.h"
#include "support.h"
#include <lathe/opencl.h>
#include <time.h>

#define MS UINT64_C(1000000)
#define SECONDS (1000 * MS)

enum { ROWS = 13, COLS = 517, N_ELEMS = ROWS * COLS, GUARD = 64, GUARD_BYTE = 0xa5 };
static const uint64_t shape[] = {ROWS, COLS};

/* The caller's side, and engines on it and on the CPU. */
static const test_cl_layer *layer;
static cl_device_id device;
static cl_context context;
static lathe_engine *engine;
static lathe_engine *cpu;

static bool find_device(void) {
    cl_platform_id platform;
    return clGetPlatformIDs(1, &platform, NULL) == CL_SUCCESS &&
           clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL) == CL_SUCCESS;
}

static cl_uint references(cl_context of) {
    cl_uint n = 0;
    CHECK(clGetContextInfo(of, CL_CONTEXT_REFERENCE_COUNT, sizeof n, &n, NULL) == CL_SUCCESS,
          "clGetContextInfo");
    return n;
}

static lathe_engine *engine_on(cl_context of) {
    const struct lathe_opencl_device ours = {of, device};
    lathe_config config = test_opencl_config();
    lathe_engine *made = NULL;
    config.device = NULL;
    config.opencl_device = &ours;
    config.require_device = 0;
    CHECK_OK(lathe_engine_create(&config, &made));
    return made;
}

static void setup(void) {
    cl_int error;
    layer = test_cl_layer_find();
    if (!find_device()) {
        cr_skip_test("no OpenCL device");
    }
    context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
    CHECK(error == CL_SUCCESS, "clCreateContext");
    engine = engine_on(context);
    CHECK_OK(lathe_engine_create(NULL, &cpu));
}

static void teardown(void) {
    lathe_engine_free(engine);
    lathe_engine_free(cpu);
    CHECK(references(context) == 1, "the engine keeps the context");
    CHECK(clReleaseContext(context) == CL_SUCCESS, "clReleaseContext");
    if (layer != NULL) {
        const char *left = test_cl_leftovers(layer);
        CHECK(left == NULL, "%s", left);
    }
}

static cl_command_queue queue_of(cl_command_queue_properties properties) {
    cl_int error;
    cl_command_queue queue = clCreateCommandQueue(context, device, properties, &error);
    return error == CL_SUCCESS ? queue : NULL;
}

static void finish(cl_command_queue queue) {
    CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
    CHECK(clReleaseCommandQueue(queue) == CL_SUCCESS, "clReleaseCommandQueue");
}

static lathe_target target_of(lathe_dtype dtype, lathe_granularity granularity) {
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = dtype,
                          .granularity = granularity,
                          .group_size = granularity == LATHE_PER_GROUP ? 64 : 0};
}

static lathe_tensor_desc desc_of(const lathe_target *target) {
    lathe_tensor_desc desc;
    CHECK_OK(lathe_target_desc(target, 2, shape, &desc));
    return desc;
}

static void pause_ms(long ms) {
    const struct timespec pause = {0, ms * 1000000};
    (void)nanosleep(&pause, NULL);
}

/* ---- a tensor in a buffer of the caller's, with its scales behind it and guards around both */

typedef struct side {
    cl_mem memory;
    size_t n_bytes; /* of the buffer */
    size_t data_offset;
    size_t data_bytes;
    size_t scale_offset;
    size_t scale_bytes;
    uint8_t *host; /* what the buffer should hold, or holds */
    lathe_tensor *tensor;
} side;

static side side_of(lathe_engine *on, const lathe_tensor_desc *desc, size_t data_offset,
                    uint32_t flags) {
    uint64_t n_bytes;
    uint64_t n_scales;
    cl_int error;
    CHECK_OK(lathe_tensor_desc_sizes(desc, NULL, &n_bytes, &n_scales));
    side s = {.data_offset = data_offset,
              .data_bytes = (size_t)n_bytes,
              .scale_offset = (data_offset + (size_t)n_bytes + GUARD + 3) / 4 * 4,
              .scale_bytes = (size_t)n_scales * sizeof(float)};
    s.n_bytes = s.scale_offset + s.scale_bytes + GUARD;
    s.host = malloc(s.n_bytes);
    CHECK(s.host != NULL, "memory");
    memset(s.host, GUARD_BYTE, s.n_bytes);
    s.memory = clCreateBuffer(context, CL_MEM_READ_WRITE, s.n_bytes, NULL, &error);
    CHECK(error == CL_SUCCESS, "clCreateBuffer");
    CHECK_OK(lathe_opencl_tensor_wrap(on, desc, (lathe_opencl_memory){s.memory, s.data_offset},
                                      (lathe_opencl_memory){s.memory, s.scale_offset}, flags,
                                      &s.tensor));
    return s;
}

/* Mesa's rusticl keeps what a kernel was last called with until it is called with something else,
 * or released; OpenCL says that a kernel keeps nothing. */
static bool keeps_arguments(void) {
    cl_platform_id platform = NULL;
    char name[64] = "";
    return clGetDeviceInfo(device, CL_DEVICE_PLATFORM, sizeof platform, (void *)&platform, NULL) ==
               CL_SUCCESS &&
           clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name, name, NULL) == CL_SUCCESS &&
           strcmp(name, "rusticl") == 0;
}

static void side_free(side *s) {
    lathe_tensor_release(s->tensor);
    const bool is_kept = keeps_arguments();
    cl_uint n = 0;
    for (int i = 0; i < (is_kept ? 1 : 2000) && n != 1; i++) { /* drivers let go a little later */
        CHECK(clGetMemObjectInfo(s->memory, CL_MEM_REFERENCE_COUNT, sizeof n, &n, NULL) ==
                  CL_SUCCESS,
              "clGetMemObjectInfo");
        if (n != 1) {
            pause_ms(1);
        }
    }
    CHECK(n == 1 || is_kept, "the buffer has %u references", n);
    CHECK(clReleaseMemObject(s->memory) == CL_SUCCESS, "clReleaseMemObject");
    free(s->host);
}

/* Puts the bytes of the host into the buffer, without waiting. */
static void write_side(cl_command_queue queue, const side *s, cl_event *event) {
    CHECK(clEnqueueWriteBuffer(queue, s->memory, CL_FALSE, 0, s->n_bytes, s->host, 0, NULL,
                               event) == CL_SUCCESS,
          "clEnqueueWriteBuffer");
}

static void read_side(cl_command_queue queue, side *s, cl_uint n_wait, const cl_event *wait_list) {
    CHECK(clEnqueueReadBuffer(queue, s->memory, CL_FALSE, 0, s->n_bytes, s->host, n_wait, wait_list,
                              NULL) == CL_SUCCESS,
          "clEnqueueReadBuffer");
}

static bool is_guard(const side *s, size_t from, size_t to) {
    for (size_t i = from; i < to; i++) {
        if (s->host[i] != GUARD_BYTE) {
            return false;
        }
    }
    return true;
}

/* A conversion, and what the CPU makes of it. */
typedef struct trial {
    lathe_target target;
    side from;
    side to;
    lathe_tensor *source; /* on the host */
    lathe_tensor *expected;
} trial;

static trial trial_of(const lathe_target *from, const lathe_target *to, size_t from_offset,
                      size_t to_offset) {
    trial t = {.target = *to};
    lathe_tensor_desc source = desc_of(from);
    lathe_tensor_desc result = desc_of(to);
    test_rng rng = {from_offset + 1};
    t.from = side_of(engine, &source, from_offset, LATHE_WRAP_READ_ONLY);
    t.to = side_of(engine, &result, to_offset, 0);
    test_fill_tensor(&rng, &source, TEST_DATA_NORMAL, t.from.host + t.from.data_offset,
                     (float *)(void *)(t.from.host + t.from.scale_offset));
    CHECK_OK(lathe_tensor_wrap(lathe_engine_pool(cpu), &source, t.from.host + t.from.data_offset,
                               (float *)(void *)(t.from.host + t.from.scale_offset), 0, NULL, NULL,
                               &t.source));
    CHECK_OK(lathe_convert(cpu, t.source, to, &t.expected, NULL));
    return t;
}

static void trial_free(trial *t) {
    lathe_tensor_release(t->expected);
    lathe_tensor_release(t->source);
    side_free(&t->from);
    side_free(&t->to);
}

/* Nothing of an earlier result is left. */
static void trial_again(trial *t, cl_command_queue queue) {
    memset(t->to.host, GUARD_BYTE, t->to.n_bytes);
    write_side(queue, &t->to, NULL);
    CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
}

/* What was read back is what the CPU makes, and nothing around it was touched. */
static void check_result(const trial *t) {
    const side *s = &t->to;
    CHECK(memcmp(s->host + s->data_offset, lathe_tensor_data(t->expected), s->data_bytes) == 0,
          "%s to %s at %zu: data", lathe_dtype_name(lathe_tensor_dtype(t->source)),
          lathe_dtype_name(t->target.dtype), s->data_offset);
    CHECK(s->scale_bytes == 0 || memcmp(s->host + s->scale_offset, lathe_tensor_scales(t->expected),
                                        s->scale_bytes) == 0,
          "scales");
    CHECK(is_guard(s, 0, s->data_offset), "before the data");
    CHECK(is_guard(s, s->data_offset + s->data_bytes, s->scale_offset), "behind the data");
    CHECK(is_guard(s, s->scale_offset + s->scale_bytes, s->n_bytes), "behind the scales");
}

static cl_int execution_status(cl_event event) {
    cl_int status = CL_QUEUED;
    CHECK(clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL) ==
              CL_SUCCESS,
          "clGetEventInfo");
    return status;
}

/* True if the conversion was one kernel in the caller's queue. */
static bool went_straight(cl_event event) {
    cl_command_type type = 0;
    CHECK(clGetEventInfo(event, CL_EVENT_COMMAND_TYPE, sizeof type, &type, NULL) == CL_SUCCESS,
          "clGetEventInfo");
    return type == CL_COMMAND_NDRANGE_KERNEL;
}

/* From, to, and whether it can be one kernel once the pair's program is there. */
static const struct {
    lathe_dtype from;
    lathe_dtype to;
    lathe_granularity granularity;
    bool is_straight;
} pairs[] = {
    {LATHE_F32, LATHE_F16, LATHE_PER_TENSOR, true},
    {LATHE_F32, LATHE_I8, LATHE_PER_TENSOR, false},
    {LATHE_F16, LATHE_I4, LATHE_PER_GROUP, false},
    {LATHE_I8, LATHE_F32, LATHE_PER_ROW, true},
    {LATHE_I1, LATHE_BF16, LATHE_PER_TENSOR, true},
    {LATHE_BITNET158, LATHE_F32, LATHE_PER_TENSOR, false},
    {LATHE_F32, LATHE_BITNET158, LATHE_PER_ROW, false},
    {LATHE_I4, LATHE_I4, LATHE_PER_ROW, false},
};
enum { N_PAIRS = sizeof pairs / sizeof pairs[0] };

static trial trial_at(size_t i, size_t from_offset, size_t to_offset) {
    const lathe_target from = target_of(pairs[i].from, pairs[i].granularity);
    const lathe_target to = target_of(pairs[i].to, pairs[i].granularity);
    return trial_of(&from, &to, from_offset, to_offset);
}

#endif
