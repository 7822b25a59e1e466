/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program that fails the Nth OpenCL call, for every N of every scenario, alone or with all
 * later ones: the bytes are right or the error is the device's, the next conversion works, and
 * nothing is left in the driver. Prints what went wrong; exits 0 if nothing did.
 * Usage: test_opencl_faults [SCENARIO [N]] */
#include "faults_case.h"
#include <dirent.h>
#include <unistd.h>

static const test_cl_layer *layer;
lathe_engine *faults_cpu;
static test_executor executor;
static char folder[256];
static int n_failures;
static char running[256]; /* what is being tried, for messages */

const char *faults_path(const char *name) {
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

void faults_must(bool holds, const char *what) {
    if (!holds) {
        complain(what);
        exit(1);
    }
}

/* ---- one attempt */

static lathe_status make_engine(attempt *a) {
    lathe_config config = test_opencl_config();
    config.require_device = a->required;
    config.memory_budget_bytes = a->s->budget_bytes;
    config.n_threads = 0; /* starting pthreadpool's threads takes long: many engines are made */
    config.executor = &executor.interface;
    if (a->s->builds) {
        config.program_cache_dir = faults_path("cache");
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
        empty_folder(faults_path("cache"));
    }
    if (a->engine == NULL && !a->s->is_cold) {
        faults_must(make_engine(a) == LATHE_OK, "no engine");
        if (!a->s->builds) {
            faults_must(a->s->run(a) == LATHE_OK && !a->is_wrong, "it does not work at all");
            faults_must(test_engine_stats(a->engine).n_fallbacks == 0,
                        "it does not work on the device");
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
    const uint64_t shape[] = {s->n_rows != 0 ? s->n_rows : ROWS, s->n_cols != 0 ? s->n_cols : COLS};
    attempt a = {.s = s,
                 .target = {.struct_size = sizeof(lathe_target),
                            .dtype = s->to,
                            .granularity = s->granularity,
                            .group_size = s->granularity == LATHE_PER_GROUP ? 64 : 0,
                            .quality = s->quality}};
    lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = source_dtype(s), .n_dims = 2, .shape = shape};
    test_rng rng = {3};
    faults_must(lathe_tensor_create(lathe_engine_pool(faults_cpu), &desc, &a.source) == LATHE_OK,
                "no source");
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(a.source),
                     lathe_tensor_mutable_scales(a.source));
    faults_must(lathe_convert(faults_cpu, a.source, &a.target, &a.expected, NULL) == LATHE_OK,
                "no expectation");
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
    bool ok = lathe_writer_create(lathe_engine_pool(faults_cpu), faults_path("in.safetensors"), 1,
                                  &writer) == LATHE_OK;
    for (size_t i = 0; ok && i < 2; i++) {
        const lathe_tensor_desc desc = {.struct_size = sizeof desc,
                                        .dtype = i == 0 ? LATHE_F32 : LATHE_BF16,
                                        .n_dims = 2,
                                        .shape = shape};
        size_t index = 0;
        ok = lathe_tensor_create(lathe_engine_pool(faults_cpu), &desc, &tensors[i]) == LATHE_OK &&
             lathe_writer_add(writer, i == 0 ? "a" : "b", &desc, &index) == LATHE_OK;
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(tensors[i]),
                         NULL);
    }
    for (size_t i = 0; ok && i < 2; i++) {
        ok = lathe_writer_write(writer, i, 0, lathe_tensor_data(tensors[i]),
                                (size_t)lathe_tensor_n_bytes(tensors[i])) == LATHE_OK;
        lathe_tensor_release(tensors[i]);
    }
    faults_must(ok && lathe_writer_finish(writer) == LATHE_OK, "no checkpoint");
    static const lathe_dtype targets[] = {LATHE_F16, LATHE_I8};
    for (size_t i = 0; i < 2; i++) {
        const lathe_target target = {.struct_size = sizeof target, .dtype = targets[i]};
        faults_must(faults_convert_checkpoint(
                        faults_cpu, &target,
                        faults_path(test_text("expected-%s.safetensors",
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
    faults_must(mkdtemp(folder) != NULL, "no folder");
    faults_must(lathe_engine_create(&host, &faults_cpu) == LATHE_OK, "no CPU engine");
    test_executor_init(&executor, 3);
    make_checkpoint();
    for (size_t i = 0; i < faults_n_scenarios; i++) {
        if (argc < 2 || strcmp(argv[1], faults_scenarios[i].name) == 0) {
            try_all(&faults_scenarios[i], argc > 2 ? strtoull(argv[2], NULL, 10) : 0);
        }
    }
    lathe_engine_free(faults_cpu);
    empty_folder(faults_path("cache"));
    empty_folder(folder);
    return n_failures == 0 ? 0 : 1;
}
