/* SPDX-License-Identifier: Apache-2.0 */
/* An inference runtime's own OpenCL queue, with conversions in the middle of it: one kernel makes
 * activations, Lathe quantizes them to I8 with a scale for each row and decodes them again, another
 * kernel finds the greatest error that this made. The host waits only once, at the end. Prints what
 * came of it, or that there is no OpenCL device. */
#include <lathe/opencl.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 64, COLS = 1000, N_ELEMS = ROWS * COLS };

static const char *const source_text =
    "__kernel void activate(__global float *x) {\n"
    "    const uint i = get_global_id(0);\n"
    "    x[i] = 0.01f * (float)((int)(i * 7919u % 2003u) - 1001);\n"
    "}\n"
    "__kernel void error_of_row(__global const float *x, __global const float *y,\n"
    "                           __global float *worst, uint n_cols) {\n"
    "    const uint row = get_global_id(0);\n"
    "    float greatest = 0.0f;\n"
    "    for (uint col = 0; col < n_cols; col++) {\n"
    "        const uint i = row * n_cols + col;\n"
    "        greatest = fmax(greatest, fabs(x[i] - y[i]));\n"
    "    }\n"
    "    worst[row] = greatest;\n"
    "}\n";

/* What the runtime has of its own. */
typedef struct runtime {
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    cl_program program;
    cl_kernel activate;
    cl_kernel error_of_row;
    cl_mem activations;
    cl_mem decoded;
    cl_mem errors;
} runtime;

/* Ends the program after a failure. */
static void require(int good, const char *what) {
    if (!good) {
        fprintf(stderr, "opencl_queue: %s failed (%s)\n", what, lathe_last_error()->message);
        exit(1);
    }
}

static int find_device(cl_device_id *device) {
    cl_platform_id platforms[16];
    cl_uint n_platforms = 0;
    if (clGetPlatformIDs(16, platforms, &n_platforms) != CL_SUCCESS) {
        return 0;
    }
    for (cl_uint i = 0; i < n_platforms && i < 16; i++) {
        if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 1, device, NULL) == CL_SUCCESS) {
            return 1;
        }
    }
    return 0;
}

static cl_mem new_buffer(const runtime *r, size_t n_bytes) {
    cl_int error;
    cl_mem made = clCreateBuffer(r->context, CL_MEM_READ_WRITE, n_bytes, NULL, &error);
    require(error == CL_SUCCESS, "clCreateBuffer");
    return made;
}

static void start_runtime(runtime *r) {
    cl_int error;
    const char *text = source_text;
    r->context = clCreateContext(NULL, 1, &r->device, NULL, NULL, &error);
    require(error == CL_SUCCESS, "clCreateContext");
    r->queue = clCreateCommandQueue(r->context, r->device, 0, &error);
    require(error == CL_SUCCESS, "clCreateCommandQueue");
    r->program = clCreateProgramWithSource(r->context, 1, &text, NULL, &error);
    require(error == CL_SUCCESS, "clCreateProgramWithSource");
    require(clBuildProgram(r->program, 1, &r->device, NULL, NULL, NULL) == CL_SUCCESS,
            "clBuildProgram");
    r->activate = clCreateKernel(r->program, "activate", &error);
    require(error == CL_SUCCESS, "clCreateKernel");
    r->error_of_row = clCreateKernel(r->program, "error_of_row", &error);
    require(error == CL_SUCCESS, "clCreateKernel");
    r->activations = new_buffer(r, N_ELEMS * sizeof(float));
    r->decoded = new_buffer(r, N_ELEMS * sizeof(float));
    r->errors = new_buffer(r, ROWS * sizeof(float));
}

static void stop_runtime(runtime *r) {
    (void)clReleaseMemObject(r->errors);
    (void)clReleaseMemObject(r->decoded);
    (void)clReleaseMemObject(r->activations);
    (void)clReleaseKernel(r->error_of_row);
    (void)clReleaseKernel(r->activate);
    (void)clReleaseProgram(r->program);
    (void)clReleaseCommandQueue(r->queue);
    (void)clReleaseContext(r->context);
}

static void enqueue_activate(const runtime *r) {
    const size_t n = N_ELEMS;
    require(clSetKernelArg(r->activate, 0, sizeof(cl_mem), &r->activations) == CL_SUCCESS &&
                clEnqueueNDRangeKernel(r->queue, r->activate, 1, NULL, &n, NULL, 0, NULL, NULL) ==
                    CL_SUCCESS,
            "activate");
}

static void enqueue_error(const runtime *r) {
    const size_t n = ROWS;
    const cl_uint n_cols = COLS;
    require(clSetKernelArg(r->error_of_row, 0, sizeof(cl_mem), &r->activations) == CL_SUCCESS &&
                clSetKernelArg(r->error_of_row, 1, sizeof(cl_mem), &r->decoded) == CL_SUCCESS &&
                clSetKernelArg(r->error_of_row, 2, sizeof(cl_mem), &r->errors) == CL_SUCCESS &&
                clSetKernelArg(r->error_of_row, 3, sizeof n_cols, &n_cols) == CL_SUCCESS &&
                clEnqueueNDRangeKernel(r->queue, r->error_of_row, 1, NULL, &n, NULL, 0, NULL,
                                       NULL) == CL_SUCCESS,
            "error_of_row");
}

static lathe_engine *new_engine(const runtime *r) {
    const struct lathe_opencl_device device = {r->context, r->device};
    const lathe_config config = {.struct_size = sizeof config, .opencl_device = &device};
    lathe_engine *engine = NULL;
    require(lathe_engine_create(&config, &engine) == LATHE_OK, "lathe_engine_create");
    return engine;
}

static lathe_tensor *wrap(lathe_engine *engine, const lathe_tensor_desc *desc, cl_mem memory) {
    const lathe_opencl_memory data = {memory, 0};
    const lathe_opencl_memory none = {NULL, 0};
    lathe_tensor *tensor = NULL;
    require(lathe_opencl_tensor_wrap(engine, desc, data, none, 0, &tensor) == LATHE_OK,
            "lathe_opencl_tensor_wrap");
    return tensor;
}

static void run(const runtime *r, lathe_engine *engine) {
    const uint64_t shape[] = {ROWS, COLS};
    const lathe_target i8 = {
        .struct_size = sizeof i8, .dtype = LATHE_I8, .granularity = LATHE_PER_ROW};
    const lathe_target f32 = {.struct_size = sizeof f32, .dtype = LATHE_F32};
    lathe_tensor_desc floats;
    lathe_tensor_desc codes;
    lathe_tensor *packed = NULL;
    lathe_event *packing = NULL;
    lathe_event *decoding = NULL;
    float errors[ROWS];
    float worst = 0.0F;
    require(lathe_target_desc(&f32, 2, shape, &floats) == LATHE_OK &&
                lathe_target_desc(&i8, 2, shape, &codes) == LATHE_OK,
            "lathe_target_desc");
    lathe_tensor *activations = wrap(engine, &floats, r->activations);
    lathe_tensor *decoded = wrap(engine, &floats, r->decoded);
    require(lathe_engine_tensor_create(engine, LATHE_MEMORY_DEVICE, &codes, &packed) == LATHE_OK,
            "lathe_engine_tensor_create");

    enqueue_activate(r);
    require(lathe_opencl_enqueue_convert(engine, r->queue, activations, &i8, packed, 0, NULL, NULL,
                                         &packing) == LATHE_OK,
            "quantizing");
    require(lathe_opencl_enqueue_convert(engine, r->queue, packed, &f32, decoded, 0, NULL, NULL,
                                         &decoding) == LATHE_OK,
            "decoding");
    enqueue_error(r);
    require(clEnqueueReadBuffer(r->queue, r->errors, CL_TRUE, 0, sizeof errors, errors, 0, NULL,
                                NULL) == CL_SUCCESS,
            "clEnqueueReadBuffer");

    require(lathe_event_status(packing) == LATHE_OK, "quantizing");
    require(lathe_event_status(decoding) == LATHE_OK, "decoding");
    for (int row = 0; row < ROWS; row++) {
        worst = errors[row] > worst ? errors[row] : worst;
    }
    printf("%d activations became %llu bytes; the greatest error is %.4f\n", N_ELEMS,
           (unsigned long long)lathe_tensor_n_bytes(packed), (double)worst);
    require(worst > 0.0F && worst < 0.05F, "the result"); /* half of 10.01 / 127 at most */
    lathe_event_release(decoding);
    lathe_event_release(packing);
    lathe_tensor_release(packed);
    lathe_tensor_release(decoded);
    lathe_tensor_release(activations);
}

int main(void) {
    runtime r = {0};
    if (!find_device(&r.device)) {
        printf("There is no OpenCL device here.\n");
        return 0;
    }
    start_runtime(&r);
    lathe_engine *engine = new_engine(&r);
    run(&r, engine);
    lathe_engine_free(engine);
    stop_runtime(&r);
    return 0;
}
