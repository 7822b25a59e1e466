/* SPDX-License-Identifier: Apache-2.0 */
/* The scenarios of test_opencl_faults: each runs one operation, and says whether what it gave is
 * right. */
#include "faults_case.h"
#include <unistd.h>

static lathe_status run_convert(attempt *a) {
    lathe_tensor *const untouched = (lathe_tensor *)(void *)a;
    lathe_tensor *result = untouched;
    lathe_status status = lathe_convert(a->engine, a->source, &a->target, &result, NULL);
    if (status == LATHE_OK) {
        a->is_wrong = !test_same(result, a->expected);
        lathe_tensor_release(result);
    } else {
        a->is_wrong = result != untouched;
    }
    return status;
}

/* Into memory that no device can use in place. */
static lathe_status convert_into(attempt *a, const lathe_convert_stats *asked) {
    lathe_tensor_desc desc;
    lathe_tensor *result = NULL;
    size_t n_bytes = (size_t)lathe_tensor_n_bytes(a->expected);
    size_t n_scales = (size_t)lathe_tensor_n_scales(a->expected);
    uint8_t *bytes = malloc(n_bytes + 1);
    float *scales = malloc((n_scales + 1) * sizeof *scales);
    faults_must(bytes != NULL && scales != NULL, "memory");
    faults_must(lathe_target_desc(&a->target, lathe_tensor_n_dims(a->source),
                                  lathe_tensor_shape(a->source), &desc) == LATHE_OK &&
                    lathe_tensor_wrap(lathe_engine_pool(faults_cpu), &desc, bytes + 1, scales, 0,
                                      NULL, NULL, &result) == LATHE_OK,
                "no result");
    lathe_convert_stats stats = *asked;
    lathe_status status = lathe_convert_into(a->engine, a->source, &a->target, result, &stats);
    a->is_wrong = status == LATHE_OK && !test_same(result, a->expected);
    lathe_tensor_release(result);
    memset(bytes, 0xee, n_bytes + 1); /* a command that still ran would be seen to write */
    free(bytes);
    free(scales);
    return status;
}

static lathe_status run_into(attempt *a) {
    const lathe_convert_stats stats = {.struct_size = sizeof stats};
    return convert_into(a, &stats);
}

/* The CPU's report on what is expected. */
static lathe_quality_report expected_report(const attempt *a) {
    lathe_quality_report report = {.struct_size = sizeof report};
    faults_must(lathe_tensor_compare(faults_cpu, a->source, a->expected, &report) == LATHE_OK,
                "no report");
    return report;
}

/* The same with a report, of each chunk after its codes. */
static lathe_status run_into_report(attempt *a) {
    const lathe_quality_report expected = expected_report(a);
    lathe_quality_report report = {.struct_size = sizeof report};
    const lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &report};
    const lathe_status status = convert_into(a, &stats);
    a->is_wrong =
        a->is_wrong || (status == LATHE_OK && memcmp(&report, &expected, sizeof report) != 0);
    return status;
}

static lathe_status run_self_check(attempt *a) {
    return lathe_engine_self_check(a->engine);
}

static lathe_status run_async(attempt *a) {
    lathe_event *event = NULL;
    lathe_status status = lathe_convert_async(a->engine, a->source, &a->target, &event);
    if (status != LATHE_OK) {
        return status;
    }
    status = lathe_event_status(event);
    lathe_tensor *result = lathe_event_result(event);
    a->is_wrong =
        status == LATHE_OK ? result == NULL || !test_same(result, a->expected) : result != NULL;
    lathe_tensor_release(result);
    lathe_event_release(event);
    return status;
}

/* Makes device tensors for the source and the result. */
static lathe_status make_pair(attempt *a, lathe_memory memory, lathe_tensor **source,
                              lathe_tensor **result) {
    lathe_tensor_desc from = {.struct_size = sizeof from,
                              .dtype = source_dtype(a->s),
                              .n_dims = lathe_tensor_n_dims(a->source),
                              .shape = lathe_tensor_shape(a->source)};
    lathe_tensor_desc to;
    lathe_status status = lathe_target_desc(&a->target, from.n_dims, from.shape, &to);
    faults_must(status == LATHE_OK, "no description");
    status = lathe_engine_tensor_create(a->engine, memory, &from, source);
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(a->engine, memory, &to, result);
    }
    return status;
}

/* Makes n tensors of the device's that hold what the source does. What failed is NULL. */
static lathe_status make_sources(attempt *a, size_t n, lathe_tensor **sources) {
    const lathe_tensor_desc desc = {.struct_size = sizeof desc,
                                    .dtype = source_dtype(a->s),
                                    .n_dims = lathe_tensor_n_dims(a->source),
                                    .shape = lathe_tensor_shape(a->source)};
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < n; i++) {
        sources[i] = NULL;
        if (status == LATHE_OK) {
            status = lathe_engine_tensor_create(a->engine, LATHE_MEMORY_DEVICE, &desc, &sources[i]);
        }
        if (status == LATHE_OK) {
            status = lathe_tensor_copy(a->engine, a->source, sources[i]);
        }
    }
    return status;
}

/* What a mapped tensor holds is compared in place. */
static lathe_status check_mapped(attempt *a, lathe_tensor *result) {
    lathe_status status = lathe_tensor_map(a->engine, result, false);
    if (status == LATHE_OK) {
        a->is_wrong = a->is_wrong || !test_same(result, a->expected);
        status = lathe_tensor_unmap(a->engine, result);
    }
    return status;
}

/* What another tensor holds, in the host's memory. */
static lathe_status check_copied(attempt *a, lathe_tensor *result, const lathe_tensor *expected) {
    lathe_tensor *host = NULL;
    lathe_tensor_desc desc;
    faults_must(lathe_target_desc(&a->target, lathe_tensor_n_dims(result),
                                  lathe_tensor_shape(result), &desc) == LATHE_OK &&
                    lathe_tensor_create(lathe_engine_pool(faults_cpu), &desc, &host) == LATHE_OK,
                "no host tensor");
    const lathe_status status = lathe_tensor_copy(a->engine, result, host);
    a->is_wrong = a->is_wrong || (status == LATHE_OK && !test_same(host, expected));
    lathe_tensor_release(host);
    return status;
}

static lathe_status run_tensors(attempt *a, lathe_memory memory) {
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    lathe_tensor *back = NULL;
    lathe_status status = make_pair(a, memory, &source, &result);
    if (status == LATHE_OK) {
        status = lathe_tensor_copy(a->engine, a->source, source);
    }
    if (status == LATHE_OK) {
        status = lathe_convert_into(a->engine, source, &a->target, result, NULL);
    }
    if (status == LATHE_OK) {
        status = check_mapped(a, result);
    }
    if (status == LATHE_OK) {
        status = lathe_convert(a->engine, source, &a->target, &back, NULL);
    }
    if (status == LATHE_OK) {
        status = check_copied(a, back, a->expected);
    }
    lathe_tensor_release(back);
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    return status;
}

static lathe_status run_device_tensors(attempt *a) {
    return run_tensors(a, LATHE_MEMORY_DEVICE);
}

/* A report on the same: the CPU's, to the last bit. */
static lathe_status run_report(attempt *a) {
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    const lathe_quality_report expected = expected_report(a);
    lathe_quality_report report = {.struct_size = sizeof report};
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &report};
    lathe_status status = make_pair(a, LATHE_MEMORY_DEVICE, &source, &result);
    if (status == LATHE_OK) {
        status = lathe_tensor_copy(a->engine, a->source, source);
    }
    if (status == LATHE_OK) {
        status = lathe_convert_into(a->engine, source, &a->target, result, &stats);
    }
    if (status == LATHE_OK) {
        a->is_wrong = memcmp(&report, &expected, sizeof report) != 0;
        status = check_mapped(a, result);
    }
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    return status;
}

static lathe_status run_pinned_tensors(attempt *a) {
    return run_tensors(a, LATHE_MEMORY_PINNED);
}

/* A chain, of which nothing is stored on the way, of tensors of the host's or the device's. */
static lathe_status run_pipeline(attempt *a) {
    lathe_pipeline_stage stages[] = {
        {.struct_size = sizeof stages[0],
         .target = {.struct_size = sizeof(lathe_target), .dtype = LATHE_F16}},
        {.struct_size = sizeof stages[0],
         .target = {.struct_size = sizeof(lathe_target),
                    .dtype = LATHE_I8,
                    .granularity = a->target.granularity,
                    .group_size = a->target.group_size}},
        {.struct_size = sizeof stages[0], .target = a->target},
    };
    const bool is_rounded = a->target.dtype == LATHE_BITNET158; /* without codes on the way */
    lathe_pipeline *pipeline = NULL;
    lathe_tensor *expected = NULL;
    lathe_tensor *source = lathe_tensor_retain(a->source);
    lathe_tensor *result = NULL;
    lathe_status status = LATHE_OK;
    stages[1] = is_rounded ? stages[2] : stages[1];
    faults_must(lathe_pipeline_create(lathe_engine_pool(faults_cpu), is_rounded ? 2 : 3, stages,
                                      NULL, &pipeline) == LATHE_OK &&
                    lathe_pipeline_run(faults_cpu, pipeline, a->source, &expected, NULL) ==
                        LATHE_OK,
                "no expectation");
    if (a->s->uses_device_tensors) {
        lathe_tensor_release(source);
        status = make_sources(a, 1, &source);
    }
    if (status == LATHE_OK) {
        status = lathe_pipeline_run(a->engine, pipeline, source, &result, NULL);
        a->is_wrong = (status == LATHE_OK) != (result != NULL);
    }
    if (status == LATHE_OK) {
        status = check_copied(a, result, expected);
    }
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    lathe_tensor_release(expected);
    lathe_pipeline_free(pipeline);
    return status;
}

/* Small tensors of the device's, which share launches. */
static lathe_status run_batch(attempt *a) {
    enum { N = 5 };
    lathe_tensor *sources[N] = {NULL};
    lathe_tensor *results[N] = {NULL};
    lathe_status status = make_sources(a, N, sources);
    if (status == LATHE_OK) {
        status =
            lathe_convert_batch(a->engine, N, sources, &a->target, 1, NULL, results, NULL, NULL);
    }
    for (size_t i = 0; i < N; i++) {
        a->is_wrong = a->is_wrong || (status == LATHE_OK && results[i] == NULL);
        if (results[i] != NULL) {
            const lathe_status copied = check_copied(a, results[i], a->expected);
            status = status == LATHE_OK ? copied : status;
        }
        lathe_tensor_release(results[i]);
        lathe_tensor_release(sources[i]);
    }
    return status;
}

/* The caller's queue: its own calls do not fail, the library's do. */
static lathe_status run_interop(attempt *a) {
    const test_cl_layer *layer = test_cl_layer_find();
    const test_cl_faults none = {.at = 0};
    test_cl_faults faults = layer->get_faults();
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    lathe_event *event = NULL;
    cl_event done = NULL;
    cl_context context = NULL;
    cl_device_id device = NULL;
    cl_int error = CL_SUCCESS;
    layer->set_faults(&none);
    lathe_status status = lathe_opencl_device_of(a->engine, &context, &device);
    if (status == LATHE_NOT_SUPPORTED) {
        return LATHE_DEVICE; /* the engine fell back before */
    }
    faults_must(status == LATHE_OK, "no context");
    cl_command_queue queue = clCreateCommandQueue(context, device, 0, &error);
    faults_must(queue != NULL, "no queue");
    faults_must(make_pair(a, LATHE_MEMORY_DEVICE, &source, &result) == LATHE_OK &&
                    lathe_tensor_copy(a->engine, a->source, source) == LATHE_OK,
                "no device tensors");
    layer->set_faults(&faults);
    status = lathe_opencl_enqueue_convert(a->engine, queue, source, &a->target, result, 0, NULL,
                                          &done, &event);
    if (status == LATHE_OK) {
        faults_must(lathe_event_wait(event, 20000000000u), "the event never came");
        status = lathe_event_status(event);
    }
    layer->stop_faults();
    if (done != NULL) {
        cl_int state = CL_QUEUED;
        const cl_int waited = clWaitForEvents(1, &done);
        (void)clGetEventInfo(done, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof state, &state, NULL);
        /* A device that is lost may fail after the kernel is through: nobody can ask it then. */
        a->is_wrong = status == LATHE_OK ? waited != CL_SUCCESS || state != CL_COMPLETE
                                         : state >= CL_COMPLETE && !faults.ever_after;
        (void)clReleaseEvent(done);
    }
    if (status == LATHE_OK) {
        faults_must(check_mapped(a, result) == LATHE_OK, "no map");
    }
    lathe_event_release(event);
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    (void)clFinish(queue);
    (void)clReleaseCommandQueue(queue);
    return status;
}

static bool same_files(const char *a, const char *b) {
    char buffers[2][4096];
    FILE *files[2] = {fopen(a, "rb"), fopen(b, "rb")};
    bool same = files[0] != NULL && files[1] != NULL;
    for (size_t n = 1; same && n > 0;) {
        n = fread(buffers[0], 1, sizeof buffers[0], files[0]);
        same = fread(buffers[1], 1, sizeof buffers[1], files[1]) == n &&
               memcmp(buffers[0], buffers[1], n) == 0;
    }
    for (size_t i = 0; i < 2; i++) {
        if (files[i] != NULL) {
            (void)fclose(files[i]);
        }
    }
    return same;
}

lathe_status faults_convert_checkpoint(lathe_engine *engine, const lathe_target *target,
                                       const char *output) {
    const lathe_checkpoint_options options = {
        .struct_size = sizeof options, .target = *target, .memory_bytes = 1 << 20, .overwrite = 1};
    return lathe_checkpoint_convert(engine, faults_path("in.safetensors"), output, &options, NULL);
}

static lathe_status run_checkpoint(attempt *a) {
    lathe_status status =
        faults_convert_checkpoint(a->engine, &a->target, faults_path("out.safetensors"));
    const bool exists = access(faults_path("out.safetensors"), F_OK) == 0;
    a->is_wrong = status == LATHE_OK
                      ? !same_files(faults_path("out.safetensors"),
                                    faults_path(test_text("expected-%s.safetensors",
                                                          lathe_dtype_name(a->s->to))))
                      : exists;
    (void)unlink(faults_path("out.safetensors"));
    return status;
}

const scenario faults_scenarios[] = {
    {.name = "create", .run = run_convert, .to = LATHE_I8, .is_cold = true},
    {.name = "create, own memory",
     .run = run_convert,
     .to = LATHE_F16,
     .is_cold = true,
     .has_own_memory = true},
    {.name = "build", .run = run_convert, .to = LATHE_BF16, .builds = true, .stride = 4},
    {.name = "build quantized",
     .run = run_convert,
     .to = LATHE_I8,
     .builds = true,
     .is_cold = true,
     .stride = 4},
    {.name = "direct", .run = run_convert, .to = LATHE_F16},
    {.name = "direct, own memory", .run = run_convert, .to = LATHE_F16, .has_own_memory = true},
    {.name = "into", .run = run_into, .to = LATHE_I8, .granularity = LATHE_PER_ROW},
    {.name = "into, own memory",
     .run = run_into,
     .to = LATHE_I4,
     .granularity = LATHE_PER_GROUP,
     .has_own_memory = true},
    {.name = "statistics", .run = run_convert, .to = LATHE_I8},
    {.name = "statistics, own memory",
     .run = run_convert,
     .from = LATHE_F16,
     .to = LATHE_BITNET158,
     .has_own_memory = true},
    {.name = "fast", .run = run_convert, .to = LATHE_I4, .quality = LATHE_FAST},
    {.name = "rows", .run = run_convert, .to = LATHE_I8, .granularity = LATHE_PER_ROW},
    {.name = "groups, own memory",
     .run = run_convert,
     .to = LATHE_I2,
     .granularity = LATHE_PER_GROUP,
     .has_own_memory = true},
    {.name = "decode, own memory",
     .run = run_convert,
     .from = LATHE_I8,
     .to = LATHE_F32,
     .has_own_memory = true},
    {.name = "a small budget",
     .run = run_into,
     .to = LATHE_F16,
     .has_own_memory = true,
     .n_rows = 900,
     .budget_bytes = 3 << 20},
    {.name = "a small budget, statistics",
     .run = run_into,
     .to = LATHE_I8,
     .has_own_memory = true,
     .n_rows = 900,
     .budget_bytes = 3 << 20},
    {.name = "a small budget, precise rows",
     .run = run_into,
     .to = LATHE_I4,
     .granularity = LATHE_PER_ROW,
     .quality = LATHE_PRECISE,
     .has_own_memory = true,
     .n_rows = 900,
     .budget_bytes = 3 << 20,
     .stride = 4},
    {.name = "a small budget, precise rows, a report",
     .run = run_into_report,
     .to = LATHE_I8,
     .granularity = LATHE_PER_ROW,
     .quality = LATHE_PRECISE,
     .has_own_memory = true,
     .n_rows = 900,
     .budget_bytes = 3 << 20,
     .stride = 4},
    {.name = "device tensors",
     .run = run_device_tensors,
     .to = LATHE_I8,
     .uses_device_tensors = true},
    {.name = "device tensors, long rows",
     .run = run_device_tensors,
     .to = LATHE_BITNET158,
     .granularity = LATHE_PER_ROW,
     .uses_device_tensors = true,
     .n_rows = 3,
     .n_cols = 11008},
    {.name = "device tensors, long rows anyhow",
     .run = run_device_tensors,
     .from = LATHE_F16,
     .to = LATHE_I4,
     .granularity = LATHE_PER_ROW,
     .uses_device_tensors = true,
     .n_rows = 3,
     .n_cols = 5001},
    {.name = "device tensors, codes",
     .run = run_device_tensors,
     .from = LATHE_I8,
     .to = LATHE_I2,
     .uses_device_tensors = true,
     .n_cols = 1024},
    {.name = "device tensors, codes by groups",
     .run = run_device_tensors,
     .from = LATHE_I4,
     .to = LATHE_BITNET158,
     .granularity = LATHE_PER_GROUP,
     .uses_device_tensors = true,
     .n_cols = 1024},
    {.name = "device tensors, own memory",
     .run = run_device_tensors,
     .to = LATHE_I8,
     .granularity = LATHE_PER_ROW,
     .uses_device_tensors = true,
     .has_own_memory = true},
    {.name = "device tensors, precise rows",
     .run = run_device_tensors,
     .to = LATHE_I4,
     .granularity = LATHE_PER_ROW,
     .quality = LATHE_PRECISE,
     .uses_device_tensors = true},
    {.name = "device tensors, precise",
     .run = run_device_tensors,
     .to = LATHE_I8,
     .quality = LATHE_PRECISE,
     .uses_device_tensors = true,
     .has_own_memory = true},
    {.name = "device tensors, a report",
     .run = run_report,
     .to = LATHE_F16,
     .uses_device_tensors = true},
    {.name = "pinned tensors",
     .run = run_pinned_tensors,
     .to = LATHE_BITNET158,
     .uses_device_tensors = true,
     .has_own_memory = true},
    {.name = "checkpoint", .run = run_checkpoint, .to = LATHE_F16},
    {.name = "checkpoint, own memory",
     .run = run_checkpoint,
     .to = LATHE_I8,
     .has_own_memory = true},
    {.name = "async", .run = run_async, .to = LATHE_I8},
    {.name = "interop", .run = run_interop, .to = LATHE_I8, .uses_device_tensors = true},
    {.name = "interop, rows",
     .run = run_interop,
     .to = LATHE_F16,
     .uses_device_tensors = true,
     .has_own_memory = true},
    {.name = "pipeline", .run = run_pipeline, .to = LATHE_I4},
    {.name = "pipeline, own memory",
     .run = run_pipeline,
     .to = LATHE_I4,
     .granularity = LATHE_PER_ROW,
     .has_own_memory = true},
    {.name = "pipeline of roundings",
     .run = run_pipeline,
     .to = LATHE_BITNET158,
     .uses_device_tensors = true},
    {.name = "pipeline of roundings, own memory",
     .run = run_pipeline,
     .to = LATHE_BITNET158,
     .granularity = LATHE_PER_ROW,
     .has_own_memory = true},
    {.name = "pipeline, a small budget",
     .run = run_pipeline,
     .to = LATHE_I4,
     .granularity = LATHE_PER_ROW,
     .has_own_memory = true,
     .n_rows = 500,
     .n_cols = 512,
     .budget_bytes = 3 << 20},
    {.name = "pipeline, device tensors",
     .run = run_pipeline,
     .to = LATHE_I4,
     .uses_device_tensors = true,
     .n_cols = 512},
    {.name = "pipeline, device tensors by groups",
     .run = run_pipeline,
     .to = LATHE_I2,
     .granularity = LATHE_PER_GROUP,
     .uses_device_tensors = true,
     .has_own_memory = true,
     .n_cols = 512},
    {.name = "batch, device tensors",
     .run = run_batch,
     .to = LATHE_I8,
     .uses_device_tensors = true,
     .has_own_memory = true},
    {.name = "batch, device tensors by rows",
     .run = run_batch,
     .to = LATHE_BITNET158,
     .granularity = LATHE_PER_ROW,
     .uses_device_tensors = true,
     .n_rows = 7},
    {.name = "self-check",
     .run = run_self_check,
     .to = LATHE_F16,
     .uses_device_tensors = true,
     .stride = 800},
};

const size_t faults_n_scenarios = sizeof faults_scenarios / sizeof faults_scenarios[0];
