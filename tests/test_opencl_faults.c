/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program that fails the Nth OpenCL call, for every N of every scenario, alone or with all
 * later ones: the bytes are right or the error is the device's, the next conversion works, and
 * nothing is left in the driver. Prints what went wrong; exits 0 if nothing did.
 * Usage: test_opencl_faults [SCENARIO [N]] */
#include "opencl_support.h"
#include <dirent.h>
#include <lathe/opencl.h>
#include <lathe/pipeline.h>
#include <unistd.h>

enum { ROWS = 60, COLS = 301 };

typedef struct attempt attempt;

typedef struct scenario {
    const char *name;
    /* What is under test: returns its status, and says nothing was wrong with what it gave. */
    lathe_status (*run)(attempt *a);
    lathe_dtype from; /* 0: F32 */
    lathe_dtype to;
    lathe_granularity granularity;
    lathe_quality quality;
    bool has_own_memory;      /* the device says that it does not share the host's */
    bool is_cold;             /* the faults begin before the engine is made */
    bool builds;              /* programs come from source, into an empty cache */
    bool uses_device_tensors; /* which may fail even where the CPU could convert */
    uint64_t n_rows;          /* 0: a few */
    uint64_t budget_bytes;
    uint64_t stride; /* 0: every N in every mode; 4: every N in one of the four; more: some N */
} scenario;

struct attempt {
    const scenario *s;
    bool required;
    lathe_engine *engine;
    lathe_target target;
    lathe_tensor *source;
    lathe_tensor *expected;
    bool is_wrong; /* OK came back with other bytes */
};

static const test_cl_layer *layer;
static lathe_engine *cpu;
static test_executor executor;
static char folder[256];
static int n_failures;
static char running[256]; /* what is being tried, for messages */

static const char *path_of(const char *name) {
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void empty_folder(const char *path) {
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2) {
            (void)unlink(test_text("%s/%s", path, entry->d_name));
        }
    }
    (void)closedir(dir);
    (void)rmdir(path);
}

static void complain(const char *what) {
    const char *failed = layer->first_failed();
    (void)fprintf(stderr, "test_opencl_faults: %s: %s (%s failed first; %s)\n", running, what,
                  failed == NULL ? "nothing" : failed, lathe_last_error()->message);
    n_failures++;
    if (n_failures >= 50) {
        (void)fprintf(stderr, "test_opencl_faults: too many failures\n");
        exit(1);
    }
}

static void must(bool holds, const char *what) {
    if (!holds) {
        complain(what);
        exit(1);
    }
}

static lathe_dtype source_dtype(const scenario *s) {
    return s->from != 0 ? s->from : LATHE_F32;
}

/* ---- scenarios */

static lathe_status run_convert(attempt *a) {
    lathe_tensor *const untouched = (lathe_tensor *)(void *)&layer;
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
static lathe_status run_into(attempt *a) {
    lathe_tensor_desc desc;
    lathe_tensor *result = NULL;
    size_t n_bytes = (size_t)lathe_tensor_n_bytes(a->expected);
    size_t n_scales = (size_t)lathe_tensor_n_scales(a->expected);
    uint8_t *bytes = malloc(n_bytes + 1);
    float *scales = malloc((n_scales + 1) * sizeof *scales);
    must(bytes != NULL && scales != NULL, "memory");
    must(lathe_target_desc(&a->target, lathe_tensor_n_dims(a->source),
                           lathe_tensor_shape(a->source), &desc) == LATHE_OK &&
             lathe_tensor_wrap(lathe_engine_pool(cpu), &desc, bytes + 1, scales, 0, NULL, NULL,
                               &result) == LATHE_OK,
         "no result");
    lathe_status status = lathe_convert_into(a->engine, a->source, &a->target, result, NULL);
    a->is_wrong = status == LATHE_OK && !test_same(result, a->expected);
    lathe_tensor_release(result);
    memset(bytes, 0xee, n_bytes + 1); /* a command that still ran would be seen to write */
    free(bytes);
    free(scales);
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
    must(status == LATHE_OK, "no description");
    status = lathe_engine_tensor_create(a->engine, memory, &from, source);
    if (status == LATHE_OK) {
        status = lathe_engine_tensor_create(a->engine, memory, &to, result);
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
        lathe_tensor *host = NULL;
        lathe_tensor_desc desc;
        must(lathe_target_desc(&a->target, lathe_tensor_n_dims(source), lathe_tensor_shape(source),
                               &desc) == LATHE_OK &&
                 lathe_tensor_create(lathe_engine_pool(cpu), &desc, &host) == LATHE_OK,
             "no host tensor");
        status = lathe_tensor_copy(a->engine, back, host);
        a->is_wrong = a->is_wrong || (status == LATHE_OK && !test_same(host, a->expected));
        lathe_tensor_release(host);
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
    lathe_quality_report expected = {.struct_size = sizeof expected};
    lathe_quality_report report = {.struct_size = sizeof report};
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = &report};
    lathe_status status = make_pair(a, LATHE_MEMORY_DEVICE, &source, &result);
    must(lathe_tensor_compare(cpu, a->source, a->expected, &expected) == LATHE_OK, "no report");
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

/* A chain, of which nothing is stored on the way. */
static lathe_status run_pipeline(attempt *a) {
    lathe_pipeline_stage stages[] = {
        {.struct_size = sizeof stages[0],
         .target = {.struct_size = sizeof(lathe_target), .dtype = LATHE_F16}},
        {.struct_size = sizeof stages[0],
         .target = {.struct_size = sizeof(lathe_target), .dtype = LATHE_I8}},
        {.struct_size = sizeof stages[0], .target = a->target},
    };
    lathe_pipeline *pipeline = NULL;
    lathe_tensor *expected = NULL;
    lathe_tensor *result = NULL;
    must(lathe_pipeline_create(lathe_engine_pool(cpu), 3, stages, NULL, &pipeline) == LATHE_OK &&
             lathe_pipeline_run(cpu, pipeline, a->source, &expected, NULL) == LATHE_OK,
         "no expectation");
    lathe_status status = lathe_pipeline_run(a->engine, pipeline, a->source, &result, NULL);
    a->is_wrong = status == LATHE_OK ? !test_same(result, expected) : result != NULL;
    lathe_tensor_release(result);
    lathe_tensor_release(expected);
    lathe_pipeline_free(pipeline);
    return status;
}

/* The caller's queue: its own calls do not fail, the library's do. */
static lathe_status run_interop(attempt *a) {
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
    must(status == LATHE_OK, "no context");
    cl_command_queue queue = clCreateCommandQueue(context, device, 0, &error);
    must(queue != NULL, "no queue");
    must(make_pair(a, LATHE_MEMORY_DEVICE, &source, &result) == LATHE_OK &&
             lathe_tensor_copy(a->engine, a->source, source) == LATHE_OK,
         "no device tensors");
    layer->set_faults(&faults);
    status = lathe_opencl_enqueue_convert(a->engine, queue, source, &a->target, result, 0, NULL,
                                          &done, &event);
    if (status == LATHE_OK) {
        must(lathe_event_wait(event, 20000000000u), "the event never came");
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
        must(check_mapped(a, result) == LATHE_OK, "no map");
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

static lathe_status convert_checkpoint(lathe_engine *engine, const lathe_target *target,
                                       const char *output) {
    const lathe_checkpoint_options options = {
        .struct_size = sizeof options, .target = *target, .memory_bytes = 1 << 20, .overwrite = 1};
    return lathe_checkpoint_convert(engine, path_of("in.safetensors"), output, &options, NULL);
}

static lathe_status run_checkpoint(attempt *a) {
    lathe_status status = convert_checkpoint(a->engine, &a->target, path_of("out.safetensors"));
    const bool exists = access(path_of("out.safetensors"), F_OK) == 0;
    a->is_wrong =
        status == LATHE_OK
            ? !same_files(path_of("out.safetensors"),
                          path_of(test_text("expected-%s.safetensors", lathe_dtype_name(a->s->to))))
            : exists;
    (void)unlink(path_of("out.safetensors"));
    return status;
}

static const scenario scenarios[] = {
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
    {.name = "device tensors",
     .run = run_device_tensors,
     .to = LATHE_I8,
     .uses_device_tensors = true},
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
    {.name = "self-check",
     .run = run_self_check,
     .to = LATHE_F16,
     .uses_device_tensors = true,
     .stride = 800},
};

/* ---- one attempt */

static lathe_status make_engine(attempt *a) {
    lathe_config config = test_opencl_config();
    config.require_device = a->required;
    config.memory_budget_bytes = a->s->budget_bytes;
    config.n_threads = 0; /* pthreadpool's threads spin when they are new: many engines are made */
    config.executor = &executor.interface;
    if (a->s->builds) {
        config.program_cache_dir = path_of("cache");
    }
    return lathe_engine_create(&config, &a->engine);
}

static bool is_allowed(const attempt *a, lathe_status status) {
    if (status == LATHE_OK) {
        return true;
    }
    return (a->required || a->s->uses_device_tensors) &&
           (status == LATHE_DEVICE || status == LATHE_INSUFFICIENT_MEMORY ||
            (status == LATHE_NOT_FOUND && a->engine == NULL));
}

static void check_counts(const attempt *a) {
    lathe_device_info info = {.struct_size = sizeof info};
    const lathe_engine_stats stats = test_engine_stats(a->engine);
    if (lathe_engine_device(a->engine, &info) != LATHE_OK) {
        complain("the device has no description");
    } else if (a->required || strcmp(info.selector, "cpu") == 0 || a->s->uses_device_tensors) {
        return;
    } else if (stats.n_on_device + stats.n_fallbacks != stats.n_conversions) {
        complain(test_text("%d on the device and %d fallbacks, of %d", (int)stats.n_on_device,
                           (int)stats.n_fallbacks, (int)stats.n_conversions));
    } else if (stats.n_fallbacks > 0 && stats.n_device_errors == 0 && a->s->budget_bytes == 0) {
        complain("fallbacks without an error");
    }
}

/* With the faults over, the same works, on the device again. */
static void try_again(attempt *a) {
    if (a->engine == NULL && make_engine(a) != LATHE_OK) {
        complain("afterwards there is no engine");
        return;
    }
    const lathe_engine_stats before = test_engine_stats(a->engine);
    a->is_wrong = false;
    const lathe_status status = a->s->run(a);
    const lathe_engine_stats after = test_engine_stats(a->engine);
    lathe_device_info info = {.struct_size = sizeof info};
    if (status != LATHE_OK || a->is_wrong) {
        complain(test_text("the next one gives %s%s", lathe_status_name(status),
                           a->is_wrong ? " and other bytes" : ""));
    } else if (lathe_engine_device(a->engine, &info) != LATHE_OK) {
        complain("the device has no description");
    } else if (strcmp(info.selector, "cpu") != 0 && after.n_fallbacks != before.n_fallbacks) {
        complain("the next one falls back");
    }
    check_counts(a);
}

/* Frees the engine; then nothing is left. */
static void finish(attempt *a) {
    lathe_engine_free(a->engine);
    a->engine = NULL;
    const char *left = test_cl_leftovers(layer);
    if (left != NULL) {
        complain(left);
        exit(1); /* it would be found again in all that follows */
    }
}

/* Returns how many calls failed. The engine stays, unless its making is part of the scenario. */
static uint64_t try_once(attempt *a, const test_cl_faults *faults) {
    lathe_status status = LATHE_OK;
    a->is_wrong = false;
    if (a->s->builds) {
        empty_folder(path_of("cache"));
    }
    if (a->engine == NULL && !a->s->is_cold) {
        must(make_engine(a) == LATHE_OK, "no engine");
        if (!a->s->builds) {
            must(a->s->run(a) == LATHE_OK && !a->is_wrong, "it does not work at all");
            must(test_engine_stats(a->engine).n_fallbacks == 0, "it does not work on the device");
        }
    }
    layer->set_faults(faults);
    if (a->engine == NULL) {
        status = make_engine(a);
    }
    if (status == LATHE_OK) {
        status = a->s->run(a);
    }
    const uint64_t n_failed = layer->n_failed();
    layer->stop_faults();
    if (!is_allowed(a, status)) {
        complain(test_text("the status is %s", lathe_status_name(status)));
    }
    if (a->is_wrong) {
        complain(status == LATHE_OK ? "other bytes" : "an error, and a result");
    }
    try_again(a);
    if (a->s->is_cold || a->s->builds) {
        finish(a);
    }
    return n_failed;
}

static void try_all(const scenario *s, uint64_t only) {
    static const cl_int errors[] = {CL_OUT_OF_RESOURCES, CL_MEM_OBJECT_ALLOCATION_FAILURE,
                                    CL_OUT_OF_HOST_MEMORY, CL_DEVICE_NOT_AVAILABLE};
    const uint64_t shape[] = {s->n_rows != 0 ? s->n_rows : ROWS, COLS};
    attempt a = {.s = s,
                 .target = {.struct_size = sizeof(lathe_target),
                            .dtype = s->to,
                            .granularity = s->granularity,
                            .group_size = s->granularity == LATHE_PER_GROUP ? 64 : 0,
                            .quality = s->quality}};
    lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = source_dtype(s), .n_dims = 2, .shape = shape};
    test_rng rng = {3};
    must(lathe_tensor_create(lathe_engine_pool(cpu), &desc, &a.source) == LATHE_OK, "no source");
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(a.source),
                     lathe_tensor_mutable_scales(a.source));
    must(lathe_convert(cpu, a.source, &a.target, &a.expected, NULL) == LATHE_OK, "no expectation");
    uint64_t last = 0;
    for (int mode = 0; mode < 4; mode++) {
        const uint64_t step = (s->stride == 0 ? 1 : s->stride) * (TEST_SANITIZED ? 3 : 1);
        const test_cl_device own = {.has_own_memory = s->has_own_memory};
        layer->reset();
        layer->set_device(&own);
        a.required = mode >= 2;
        for (uint64_t at = only != 0 ? only : 1 + step * (uint64_t)mode / 4;; at += step) {
            const test_cl_faults faults = {
                .at = at, .ever_after = mode % 2 != 0, .error = errors[(at + (uint64_t)mode) % 4]};
            (void)snprintf(running, sizeof running, "%s, call %d%s%s", s->name, (int)at,
                           faults.ever_after ? " and later" : "", a.required ? ", required" : "");
            if (try_once(&a, &faults) == 0 || only != 0) {
                last = at;
                break;
            }
        }
        finish(&a);
    }
    (void)printf("test_opencl_faults: %s: %d calls\n", s->name, (int)last - 1);
    (void)fflush(stdout);
    lathe_tensor_release(a.source);
    lathe_tensor_release(a.expected);
}

/* ---- checkpoints to convert */

static void make_checkpoint(void) {
    static const uint64_t shape[] = {ROWS, COLS};
    test_rng rng = {4};
    lathe_writer *writer = NULL;
    lathe_tensor *tensors[2];
    bool ok = lathe_writer_create(lathe_engine_pool(cpu), path_of("in.safetensors"), 1, &writer) ==
              LATHE_OK;
    for (size_t i = 0; ok && i < 2; i++) {
        const lathe_tensor_desc desc = {.struct_size = sizeof desc,
                                        .dtype = i == 0 ? LATHE_F32 : LATHE_BF16,
                                        .n_dims = 2,
                                        .shape = shape};
        size_t index = 0;
        ok = lathe_tensor_create(lathe_engine_pool(cpu), &desc, &tensors[i]) == LATHE_OK &&
             lathe_writer_add(writer, i == 0 ? "a" : "b", &desc, &index) == LATHE_OK;
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(tensors[i]),
                         NULL);
    }
    for (size_t i = 0; ok && i < 2; i++) {
        ok = lathe_writer_write(writer, i, 0, lathe_tensor_data(tensors[i]),
                                (size_t)lathe_tensor_n_bytes(tensors[i])) == LATHE_OK;
        lathe_tensor_release(tensors[i]);
    }
    must(ok && lathe_writer_finish(writer) == LATHE_OK, "no checkpoint");
    static const lathe_dtype targets[] = {LATHE_F16, LATHE_I8};
    for (size_t i = 0; i < 2; i++) {
        const lathe_target target = {.struct_size = sizeof target, .dtype = targets[i]};
        must(convert_checkpoint(cpu, &target,
                                path_of(test_text("expected-%s.safetensors",
                                                  lathe_dtype_name(targets[i])))) == LATHE_OK,
             "no expected checkpoint");
    }
}

int main(int argc, char **argv) {
    const lathe_config host = {.struct_size = sizeof host, .n_threads = 1};
    const char *where = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/lathe-faults-XXXXXX",
                   where != NULL && strlen(where) < 200 ? where : P_tmpdir);
    layer = test_cl_layer_find();
    if (layer == NULL) {
        (void)fprintf(stderr, "test_opencl_faults: the fault layer was not loaded\n");
        return 1;
    }
    must(mkdtemp(folder) != NULL, "no folder");
    must(lathe_engine_create(&host, &cpu) == LATHE_OK, "no CPU engine");
    test_executor_init(&executor, 3);
    make_checkpoint();
    for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
        if (argc < 2 || strcmp(argv[1], scenarios[i].name) == 0) {
            try_all(&scenarios[i], argc > 2 ? strtoull(argv[2], NULL, 10) : 0);
        }
    }
    lathe_engine_free(cpu);
    empty_folder(path_of("cache"));
    empty_folder(folder);
    return n_failures == 0 ? 0 : 1;
}
