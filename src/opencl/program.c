/* SPDX-License-Identifier: Apache-2.0 */
/* Programs: built or loaded when they are first needed. */
#include "opencl/program.h"

#include "core/error.h"
#include "opencl/kernel_sources.h"
#include "opencl/program_cache.h"
#include "opencl/release.h"
#include "pool/pool.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Of a context, which may be the caller's. */
enum { MAX_DEVICES = 64 };

/* A build log or a binary that is larger is not looked at. */
#define MAX_INFO_BYTES ((size_t)64 << 20)

/* Not every driver can compile on two threads at once, whatever engine they belong to. Forks do not
 * wait for it: a driver may fork to compile. */
static pthread_mutex_t compiler = PTHREAD_MUTEX_INITIALIZER;

const char *lt_cl_kernel_name(lt_cl_kernel kernel) {
    static const char *const names[LT_CL_KERNEL_COUNT] = {
        [LT_CL_STREAM] = "lathe_stream",
        [LT_CL_BLOCK] = "lathe_block",
        [LT_CL_LINEAR] = "lathe_linear",
        [LT_CL_STATS] = "lathe_stats",
        [LT_CL_RECODE] = "lathe_recode_parts",
        [LT_CL_RECODE_REGULAR] = "lathe_recode_regular",
        [LT_CL_RECODE_WHOLE] = "lathe_recode_whole",
        [LT_CL_RECODE_ODD] = "lathe_recode_odd",
        [LT_CL_RECODE_ROWS] = "lathe_recode_rows",
        [LT_CL_RECODE_MANY] = "lathe_recode_many",
        [LT_CL_RECODE_STATS] = "lathe_recode_stats",
        [LT_CL_PLAIN] = "lathe_plain",
        [LT_CL_AGAIN] = "lathe_again",
        [LT_CL_OWN_GROUPS] = "lathe_own_groups",
        [LT_CL_OWN_WHOLE] = "lathe_own_whole",
        [LT_CL_TRITS] = "lathe_trits",
        [LT_CL_ROWS_FEW] = "lathe_rows_few",
        [LT_CL_ROWS_MANY] = "lathe_rows_many",
        [LT_CL_ROWS_MOST] = "lathe_rows_most",
        [LT_CL_ROWS_LONG] = "lathe_rows_long",
        [LT_CL_FLAT] = "lathe_flat_blocks",
        [LT_CL_FLAT_AGAIN] = "lathe_flat_again",
        [LT_CL_FLAT_ROWS] = "lathe_flat_rows",
    };
    return names[kernel];
}

static uint64_t now_ns(void) {
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

enum { OPTIONS_TEXT = 256 };

/* The options that the kernels of a pair are built with. Returns text. */
static const char *options_of(const lt_cl_programs *programs, lathe_dtype src, lathe_dtype dst,
                              char text[OPTIONS_TEXT]) {
    const lt_cl_device *device = programs->device;
    const char *more = programs->options;
    (void)snprintf(text, OPTIONS_TEXT,
                   "-cl-std=CL1.2 -w -DLT_SRC=%d -DLT_DST=%d -DLT_GROUP=%u%s%s%s%s", (int)src,
                   (int)dst, (unsigned)device->group_size, device->lacks_ptx ? " -DLT_NO_PTX" : "",
                   device->has_ptx_90 ? " -DLT_PTX_90" : "", device->is_small ? " -DLT_SMALL" : "",
                   more != NULL ? more : "");
    return text;
}

static lathe_status fail(const lt_cl_programs *programs, const char *function, cl_int error) {
    lt_count(&programs->counters->n_device_errors, 1);
    return lt_cl_fail(programs->device, function, error);
}

/* For a call whose failure has a way around it: only counts it. */
static bool works(const lt_cl_programs *programs, cl_int error) {
    lt_count(&programs->counters->n_device_errors, error != CL_SUCCESS);
    return error == CL_SUCCESS;
}

/* A text as a block of the pool; NULL on failure. */
static char *copy_text(lathe_pool *pool, const char *text) {
    size_t n_bytes = strlen(text) + 1;
    char *copy = lt_pool_new(pool, n_bytes);
    return copy == NULL ? NULL : memcpy(copy, text, n_bytes);
}

lathe_status lt_cl_programs_init(lt_cl_programs *programs, const lt_cl_device *device,
                                 lathe_pool *pool, lt_counters *counters, const char *cache_dir) {
    *programs = (lt_cl_programs){.device = device, .pool = pool, .counters = counters};
    if (cache_dir != NULL && cache_dir[0] != '\0') {
        programs->cache_dir = copy_text(pool, cache_dir);
        if (programs->cache_dir == NULL) {
            return lt_error()->status;
        }
    }
    if (pthread_mutex_init(&programs->mutex, NULL) != 0) {
        lt_pool_delete(pool, programs->cache_dir);
        return lt_fail(LATHE_INSUFFICIENT_MEMORY, "cannot make a mutex");
    }
    return LATHE_OK;
}

void lt_cl_programs_destroy(lt_cl_programs *programs) {
    for (size_t src = 0; src <= LATHE_DTYPE_LAST; src++) {
        for (size_t dst = 0; dst <= LATHE_DTYPE_LAST; dst++) {
            lt_cl_program *pair = &programs->pairs[src][dst];
            cl_program program = atomic_load(&pair->program);
            if (program != NULL) {
                lt_cl_release_program(program);
            }
            lt_pool_delete(programs->pool, pair->refusal);
        }
    }
    lt_pool_delete(programs->pool, programs->cache_dir);
    (void)pthread_mutex_destroy(&programs->mutex);
}

static cl_int compile(const lt_cl_programs *programs, cl_program program, const char *options) {
    (void)pthread_mutex_lock(&compiler);
    cl_int error = clBuildProgram(program, 1, &programs->device->id, options, NULL, NULL);
    (void)pthread_mutex_unlock(&compiler);
    return error;
}

/* The build log, a block of the pool; NULL where there is none. */
static char *build_log(const lt_cl_programs *programs, cl_program program) {
    cl_device_id id = programs->device->id;
    size_t n_bytes = 0;
    cl_int error = clGetProgramBuildInfo(program, id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n_bytes);
    if (!works(programs, error) || n_bytes == 0 || n_bytes > MAX_INFO_BYTES) {
        return NULL;
    }
    char *log = lt_pool_new(programs->pool, n_bytes + 1);
    if (log == NULL) {
        return NULL;
    }
    error = clGetProgramBuildInfo(program, id, CL_PROGRAM_BUILD_LOG, n_bytes, log, NULL);
    if (!works(programs, error)) {
        lt_pool_delete(programs->pool, log);
        return NULL;
    }
    return log;
}

/* Cuts the log down to its first line that speaks of an error, else to the first with a word. */
static const char *line_that_matters(char *log) {
    const char *first = NULL;
    char *rest = log;
    for (char *line; (line = strtok_r(rest, "\r\n", &rest)) != NULL;) {
        line += strspn(line, " \t");
        if (strcasestr(line, "error") != NULL) {
            return line;
        }
        if (first == NULL && line[0] != '\0') {
            first = line;
        }
    }
    return first == NULL ? "the compiler does not say why" : first;
}

/* The compiler would not build the sources: that is for good, so it is kept. */
static lathe_status refuse(lt_cl_programs *programs, cl_program program, lathe_dtype src,
                           lathe_dtype dst) {
    lt_cl_program *pair = &programs->pairs[src][dst];
    char *log = build_log(programs, program);
    lathe_status status =
        lt_fail(LATHE_DEVICE, "%s: cannot build the kernels from %s to %s: %s",
                programs->device->info.name, lathe_dtype_name(src), lathe_dtype_name(dst),
                log == NULL ? "the compiler does not say why" : line_that_matters(log));
    lt_pool_delete(programs->pool, log);
    const lathe_error error = *lt_error();
    pair->refusal = copy_text(programs->pool, error.message); /* NULL: it is asked again */
    *lt_error() = error;
    return status;
}

static lathe_status build_source(lt_cl_programs *programs, lathe_dtype src, lathe_dtype dst,
                                 const char *options, cl_program *built) {
    cl_int error = CL_SUCCESS;
    cl_program program =
        clCreateProgramWithSource(programs->device->context, (cl_uint)lt_n_kernel_sources,
                                  (const char **)lt_kernel_sources, NULL, &error);
    if (program == NULL || error != CL_SUCCESS) {
        return fail(programs, "clCreateProgramWithSource", error);
    }
    error = compile(programs, program, options);
    if (error == CL_SUCCESS) {
        *built = program;
        return LATHE_OK;
    }
    lathe_status status = fail(programs, "clBuildProgram", error);
    if (error == CL_BUILD_PROGRAM_FAILURE) {
        status = refuse(programs, program, src, dst);
    }
    lt_cl_release_program(program);
    return status;
}

/* Hands a binary, which has been verified, to the driver; NULL if that does not want it. */
static cl_program build_binary(const lt_cl_programs *programs, const char *options,
                               const void *binary, size_t n_bytes) {
    const unsigned char *bytes = binary;
    cl_int status = CL_SUCCESS;
    cl_int error = CL_SUCCESS;
    cl_program program = clCreateProgramWithBinary(
        programs->device->context, 1, &programs->device->id, &n_bytes, &bytes, &status, &error);
    if (!works(programs, error) || program == NULL) {
        return NULL;
    }
    if (status != CL_SUCCESS || !works(programs, compile(programs, program, options))) {
        lt_cl_release_program(program);
        return NULL;
    }
    return program;
}

static cl_program load(const lt_cl_programs *programs, const char *options) {
    lt_cl_cache_key key;
    void *binary = NULL;
    size_t n_bytes = 0;
    if (programs->cache_dir == NULL || !lt_cl_cache_key_of(programs->device, options, &key) ||
        !lt_cl_cache_load(programs->pool, programs->cache_dir, &key, &binary, &n_bytes)) {
        return NULL;
    }
    cl_program program = build_binary(programs, options, binary, n_bytes);
    lt_pool_delete(programs->pool, binary);
    return program;
}

/* From disk, else from source. The mutex is held. */
static lathe_status make(lt_cl_programs *programs, lathe_dtype src, lathe_dtype dst) {
    lt_cl_program *pair = &programs->pairs[src][dst];
    lt_counters *counters = programs->counters;
    char text[OPTIONS_TEXT];
    const char *options = options_of(programs, src, dst, text);
    uint64_t start = now_ns();
    cl_program program = load(programs, options);
    pair->from_disk = program != NULL;
    if (pair->from_disk) {
        atomic_store(&pair->trust, LT_CL_TRUSTED);
        lt_count(&counters->n_programs_loaded, 1);
        lt_count(&counters->program_load_ns, now_ns() - start);
    } else {
        start = now_ns();
        lathe_status status = build_source(programs, src, dst, options, &program);
        if (status != LATHE_OK) {
            return status;
        }
        atomic_store(&pair->trust, LT_CL_UNTESTED);
        lt_count(&counters->n_programs_built, 1);
        lt_count(&counters->program_build_ns, now_ns() - start);
    }
    atomic_store(&pair->program, program);
    return LATHE_OK;
}

lathe_status lt_cl_programs_get(lt_cl_programs *programs, lathe_dtype src, lathe_dtype dst,
                                lt_cl_program **program) {
    lt_cl_program *pair = &programs->pairs[src][dst];
    lathe_status status = LATHE_OK;
    if (atomic_load(&pair->program) == NULL) {
        (void)pthread_mutex_lock(&programs->mutex);
        if (pair->refusal != NULL) {
            status = lt_fail(LATHE_DEVICE, "%s", pair->refusal);
        } else if (atomic_load(&pair->program) == NULL) {
            status = make(programs, src, dst);
        }
        (void)pthread_mutex_unlock(&programs->mutex);
    }
    if (status == LATHE_OK) {
        *program = pair;
    }
    return status;
}

/* Which of the program's devices ours is; a program of the caller's context has all of its. Returns
 * false where it cannot be said. */
static bool place_of(const lt_cl_programs *programs, cl_program program, size_t *place,
                     size_t *count) {
    cl_device_id ids[MAX_DEVICES];
    size_t n_bytes = 0;
    cl_int error = clGetProgramInfo(program, CL_PROGRAM_DEVICES, sizeof ids, ids, &n_bytes);
    if (!works(programs, error)) {
        return false;
    }
    *count = n_bytes / sizeof ids[0];
    for (*place = 0; *place < *count; (*place)++) {
        if (ids[*place] == programs->device->id) {
            return true;
        }
    }
    return false;
}

/* A program's binary as a block of the pool; NULL where there is none. */
static void *binary_of(const lt_cl_programs *programs, cl_program program, size_t *n_bytes) {
    size_t place = 0;
    size_t count = 0;
    size_t sizes[MAX_DEVICES] = {0};
    unsigned char *binaries[MAX_DEVICES] = {NULL};
    if (!place_of(programs, program, &place, &count)) {
        return NULL;
    }
    cl_int error =
        clGetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, count * sizeof sizes[0], sizes, NULL);
    if (!works(programs, error) || sizes[place] == 0 || sizes[place] > MAX_INFO_BYTES) {
        return NULL;
    }
    binaries[place] = lt_pool_new(programs->pool, sizes[place]);
    if (binaries[place] == NULL) {
        return NULL;
    }
    error =
        clGetProgramInfo(program, CL_PROGRAM_BINARIES, count * sizeof binaries[0], binaries, NULL);
    if (!works(programs, error)) {
        lt_pool_delete(programs->pool, binaries[place]);
        return NULL;
    }
    *n_bytes = sizes[place];
    return binaries[place];
}

/* Puts the outcome on disk; the mutex is not held, as syncing a file takes its time. */
static void keep(const lt_cl_programs *programs, lathe_dtype src, lathe_dtype dst,
                 const void *binary, size_t n_bytes) {
    char text[OPTIONS_TEXT];
    lt_cl_cache_key key;
    const char *options = options_of(programs, src, dst, text);
    if (lt_cl_cache_key_of(programs->device, options, &key)) {
        if (binary != NULL) {
            lt_cl_cache_store(programs->pool, programs->cache_dir, &key, binary, n_bytes);
        } else {
            lt_cl_cache_remove(programs->cache_dir, &key);
        }
    }
}

void lt_cl_programs_judge(lt_cl_programs *programs, lathe_dtype src, lathe_dtype dst, bool passed) {
    lt_cl_program *pair = &programs->pairs[src][dst];
    const lathe_error before = *lt_error();
    void *binary = NULL;
    size_t n_bytes = 0;
    (void)pthread_mutex_lock(&programs->mutex);
    cl_program program = atomic_load(&pair->program);
    bool is_new = atomic_load(&pair->trust) == LT_CL_UNTESTED;
    if (passed && is_new && program != NULL && programs->cache_dir != NULL) {
        /* Before others use the program: some drivers finish compiling only now. */
        (void)pthread_mutex_lock(&compiler);
        binary = binary_of(programs, program, &n_bytes);
        (void)pthread_mutex_unlock(&compiler);
    }
    bool is_bad_file = !passed && pair->from_disk && programs->cache_dir != NULL;
    atomic_store(&pair->trust, passed ? LT_CL_TRUSTED : LT_CL_WRONG);
    (void)pthread_mutex_unlock(&programs->mutex);
    if (binary != NULL || is_bad_file) {
        keep(programs, src, dst, binary, n_bytes);
    }
    lt_pool_delete(programs->pool, binary);
    *lt_error() = before;
}
