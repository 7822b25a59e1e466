/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the program cache share: a device with a cache folder of its own, and the cache
 * as a new process finds it. */
#ifndef TESTS_PROGRAM_CACHE_CASE_H
#define TESTS_PROGRAM_CACHE_CASE_H

#include "checkpoint_files.h"
#include "core/error.h"
#include "lathe_launch.h"
#include "opencl/program.h"
#include "opencl/program_cache.h"
#include "pool/pool.h"

#include <ftw.h>

static const lathe_dtype SRC = LATHE_F32;
static const lathe_dtype DST = LATHE_F16;

enum { HEADER_BYTES = 56 };

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

/* A device with a cache folder of its own, which is not made yet, and POCL's beside it. */
typedef struct rig {
    test_folder folder;
    char cache[256];
    lathe_pool *pool;
    lt_cl_device device;
} rig;

static rig rig_new(void) {
    rig r = {.folder = test_folder_new()};
    lt_cl_found found;
    (void)snprintf(r.cache, sizeof r.cache, "%s/a/b/cache", r.folder.path);
    const char *pocl = test_path(&r.folder, "pocl");
    CHECK(mkdir(pocl, 0700) == 0, "POCL's cache");
    /* One that POCL has filled already, and that nobody else uses meanwhile, saves minutes. */
    const char *filled = getenv("LATHE_TEST_POCL");
    CHECK(setenv("POCL_CACHE_DIR", filled != NULL ? filled : pocl, 1) == 0, "setenv");
    if (lt_cl_device_select("", &found) != LATHE_OK) {
        CHECK(rmdir(pocl) == 0, "rmdir");
        test_folder_free(&r.folder);
        cr_skip_test("no OpenCL device");
    }
    CHECK_OK(lt_cl_device_open(&found, NULL, &r.device));
    CHECK_OK(lathe_pool_create(NULL, &r.pool));
    return r;
}

static void rig_free(rig *r) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(r->pool, &stats));
    CHECK(stats.n_live == 0, "%u blocks left", (unsigned)stats.n_live);
    lathe_pool_release(r->pool);
    lt_cl_device_close(&r->device);
    CHECK(nftw(r->folder.path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0, "cannot clean up");
}

/* A new process as far as programs are concerned. */
typedef struct session {
    lt_counters counters;
    lt_cl_programs programs;
} session;

static void session_begin(session *s, const rig *r, const char *cache) {
    memset(s, 0, sizeof *s);
    CHECK_OK(lt_cl_programs_init(&s->programs, &r->device, r->pool, &s->counters, cache));
}

static void session_end(session *s) {
    lt_cl_programs_destroy(&s->programs);
}

static lt_cl_program *get(session *s) {
    lt_cl_program *pair = NULL;
    CHECK_OK(lt_cl_programs_get(&s->programs, SRC, DST, &pair));
    CHECK(pair != NULL && pair->program != NULL, "no program");
    return pair;
}

static cl_mem make_buffer(const rig *r) {
    cl_int error = CL_SUCCESS;
    cl_mem memory = clCreateBuffer(r->device.context, CL_MEM_READ_WRITE, 4096, NULL, &error);
    CHECK(error == CL_SUCCESS, "clCreateBuffer: %d", (int)error);
    return memory;
}

/* Launches the kernel with nothing to do: it must get to the device and back. */
static void launch_stream(const rig *r, cl_kernel kernel) {
    enum { N_BUFFERS = 5 };
    lathe_launch launch; /* all zero: no rows */
    cl_mem buffers[N_BUFFERS];
    cl_int error = CL_SUCCESS;
    const size_t size = r->device.group_size;
    cl_command_queue queue = clCreateCommandQueue(r->device.context, r->device.id, 0, &error);
    CHECK(error == CL_SUCCESS, "clCreateCommandQueue: %d", (int)error);
    memset(&launch, 0, sizeof launch);
    for (cl_uint i = 0; i < N_BUFFERS; i++) {
        buffers[i] = make_buffer(r);
        error |= clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]);
    }
    error |= clSetKernelArg(kernel, N_BUFFERS, sizeof launch, &launch);
    CHECK(error == CL_SUCCESS, "clSetKernelArg");
    error = clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &size, &size, 0, NULL, NULL);
    CHECK(error == CL_SUCCESS, "clEnqueueNDRangeKernel: %d", (int)error);
    CHECK(clFinish(queue) == CL_SUCCESS, "clFinish");
    for (cl_uint i = 0; i < N_BUFFERS; i++) {
        (void)clReleaseMemObject(buffers[i]);
    }
    (void)clReleaseCommandQueue(queue);
}

/* All kernels are there, and one of them runs. */
static void check_works(const rig *r, const lt_cl_program *pair) {
    for (int i = 0; i < LT_CL_KERNEL_COUNT; i++) {
        const char *name = lt_cl_kernel_name((lt_cl_kernel)i);
        cl_int error = CL_SUCCESS;
        if (i != LT_CL_STREAM && i != LT_CL_BLOCK && i != LT_CL_STATS) {
            continue; /* not every pair has it */
        }
        cl_kernel kernel = clCreateKernel(pair->program, name, &error);
        CHECK(error == CL_SUCCESS, "%s: %d", name, (int)error);
        if (i == LT_CL_STREAM) {
            launch_stream(r, kernel);
        }
        (void)clReleaseKernel(kernel);
    }
}

static void check_built(const rig *r, session *s) {
    const lt_cl_program *pair = get(s);
    CHECK(!pair->from_disk && pair->trust == LT_CL_UNTESTED, "not built from source");
    CHECK(s->counters.n_programs_built == 1 && s->counters.n_programs_loaded == 0, "counters");
    CHECK(s->counters.program_build_ns > 0 && s->counters.program_load_ns == 0, "times");
    check_works(r, pair);
}

static void check_loaded(const rig *r, session *s) {
    const lt_cl_program *pair = get(s);
    CHECK(pair->from_disk && pair->trust == LT_CL_TRUSTED, "not loaded from disk");
    CHECK(s->counters.n_programs_built == 0 && s->counters.n_programs_loaded == 1, "counters");
    CHECK(s->counters.program_build_ns == 0 && s->counters.program_load_ns > 0, "times");
    check_works(r, pair);
}

/* Builds the pair and stores it. */
static void fill_cache(const rig *r) {
    session s;
    session_begin(&s, r, r->cache);
    (void)get(&s);
    lt_cl_programs_judge(&s.programs, SRC, DST, true);
    session_end(&s);
}

static size_t count_files(const char *path) {
    test_folder folder;
    size_t n_bytes = strlen(path) + 1;
    CHECK(n_bytes <= sizeof folder.path, "%s is too long", path);
    memcpy(folder.path, path, n_bytes);
    return test_folder_count(&folder);
}

/* The path of the only file in the cache. */
static const char *only_file(const rig *r) {
    const char *found = NULL;
    DIR *dir = opendir(r->cache);
    CHECK(dir != NULL, "no folder %s", r->cache);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2) {
            CHECK(found == NULL, "more than one file: %s", entry->d_name);
            CHECK(strlen(entry->d_name) == 38 && strcmp(entry->d_name + 32, ".clbin") == 0, "%s",
                  entry->d_name);
            found = test_path(&r->folder, test_text("a/b/cache/%s", entry->d_name));
        }
    }
    (void)closedir(dir);
    CHECK(found != NULL, "no file in the cache");
    return found;
}

#endif
