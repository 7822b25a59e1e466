/* SPDX-License-Identifier: Apache-2.0 */
/* The program cache: what is stored and loaded, by many threads and processes, and what cannot be
 * stored or built. */
#include "program_cache_case.h"
#include <pthread.h>
#include <sys/wait.h>

Test(program_cache, store_and_load) {
    rig r = rig_new();
    session s;
    struct stat info;
    (void)lt_fail(LATHE_CANCELLED, "what went before");
    session_begin(&s, &r, r.cache);
    check_built(&r, &s);
    CHECK(!test_file_exists(test_path(&r.folder, "a")), "stored before it is trusted");
    lt_cl_programs_judge(&s.programs, SRC, DST, true);
    CHECK(get(&s)->trust == LT_CL_TRUSTED && !get(&s)->from_disk, "not trusted");
    const char *path = only_file(&r);
    CHECK(stat(r.cache, &info) == 0 && (info.st_mode & 0777) == 0700, "mode of the folder");
    CHECK(s.counters.n_programs_built == 1, "built again");
    CHECK(s.counters.n_device_errors == 0, "device errors");
    session_end(&s);

    session_begin(&s, &r, r.cache);
    check_loaded(&r, &s);
    CHECK(stat(path, &info) == 0, "stat");
    const struct timespec written = info.st_mtim;
    const ino_t inode = info.st_ino;
    lt_cl_programs_judge(&s.programs, SRC, DST, true);
    CHECK(stat(only_file(&r), &info) == 0 && info.st_ino == inode &&
              memcmp(&info.st_mtim, &written, sizeof written) == 0,
          "written again");
    session_end(&s);
    CHECK(lathe_last_error()->status == LATHE_CANCELLED, "the last error is another");
    rig_free(&r);
}

/* Without a folder, nothing is stored. */
Test(program_cache, none) {
    rig r = rig_new();
    static const char *const folders[] = {NULL, ""};
    for (size_t i = 0; i < 2; i++) {
        session s;
        session_begin(&s, &r, folders[i]);
        check_built(&r, &s);
        lt_cl_programs_judge(&s.programs, SRC, DST, true);
        CHECK(get(&s)->trust == LT_CL_TRUSTED, "not trusted");
        session_end(&s);
    }
    CHECK(test_folder_count(&r.folder) == 1, "something was stored");
    rig_free(&r);
}

/* A program that fails its self-check is not stored, and not kept on disk either. */
Test(program_cache, wrong_results) {
    rig r = rig_new();
    session s;
    session_begin(&s, &r, r.cache);
    (void)get(&s);
    lt_cl_programs_judge(&s.programs, SRC, DST, false);
    CHECK(get(&s)->trust == LT_CL_WRONG, "trusted");
    CHECK(!test_file_exists(r.cache), "stored");
    session_end(&s);

    fill_cache(&r);
    session_begin(&s, &r, r.cache);
    check_loaded(&r, &s);
    lt_cl_programs_judge(&s.programs, SRC, DST, false);
    CHECK(get(&s)->trust == LT_CL_WRONG, "trusted");
    CHECK(count_files(r.cache) == 0, "still on disk");
    session_end(&s);
    rig_free(&r);
}

/* Others' files are not trusted; only root can make one to test that. */
Test(program_cache, owner) {
    if (geteuid() != 0) {
        cr_skip_test("not root");
    }
    rig r = rig_new();
    session s;
    fill_cache(&r);
    CHECK(chown(only_file(&r), 12345, (gid_t)-1) == 0, "chown");
    session_begin(&s, &r, r.cache);
    check_built(&r, &s);
    lt_cl_programs_judge(&s.programs, SRC, DST, true);
    session_end(&s);
    session_begin(&s, &r, r.cache);
    check_loaded(&r, &s);
    session_end(&s);
    rig_free(&r);
}

/* Folders that cannot be made or written. */
Test(program_cache, no_folder) {
    rig r = rig_new();
    char long_path[5000];
    memset(long_path, 'x', sizeof long_path - 1);
    long_path[0] = '/';
    long_path[sizeof long_path - 1] = '\0';
    const char *file = test_path(&r.folder, "file");
    const char *sealed = test_path(&r.folder, "sealed");
    test_write_file(file, "x", 1);
    CHECK(mkdir(sealed, 0500) == 0, "mkdir"); /* to root it is open */
    const char *const folders[] = {
        file, test_path(&r.folder, "file/below"), "/proc/none", "/dev/null", long_path, sealed};
    size_t n_folders = sizeof folders / sizeof folders[0];
    for (size_t i = 0; i < n_folders - (geteuid() == 0); i++) {
        session s;
        (void)lt_fail(LATHE_CANCELLED, "what went before");
        session_begin(&s, &r, folders[i]);
        check_built(&r, &s);
        lt_cl_programs_judge(&s.programs, SRC, DST, true);
        CHECK(get(&s)->trust == LT_CL_TRUSTED, "not trusted");
        CHECK(lathe_last_error()->status == LATHE_CANCELLED, "the last error is another");
        session_end(&s);
    }
    CHECK(test_folder_count(&r.folder) == 3, "something was stored");
    rig_free(&r);
}

typedef struct getter {
    session *s;
    lathe_dtype dst;
    pthread_t thread;
    lathe_status status;
    cl_program program;
} getter;

static void *get_on_thread(void *ctx) {
    getter *g = ctx;
    lt_cl_program *pair = NULL;
    g->status = lt_cl_programs_get(&g->s->programs, SRC, g->dst, &pair);
    g->program = g->status == LATHE_OK ? pair->program : NULL;
    if (g->status == LATHE_OK) {
        lt_cl_programs_judge(&g->s->programs, SRC, g->dst, true);
    }
    return NULL;
}

/* However many threads want a program, it is built, or loaded, once. */
Test(program_cache, threads) {
    enum { N = 8 };
    rig r = rig_new();
    for (int round = 0; round < 2; round++) {
        session s;
        getter getters[N];
        session_begin(&s, &r, r.cache);
        for (size_t i = 0; i < N; i++) {
            getters[i] = (getter){.s = &s, .dst = i % 2 == 0 ? LATHE_F16 : LATHE_BF16};
            CHECK(pthread_create(&getters[i].thread, NULL, get_on_thread, &getters[i]) == 0,
                  "thread");
        }
        for (size_t i = 0; i < N; i++) {
            CHECK(pthread_join(getters[i].thread, NULL) == 0, "join");
            CHECK(getters[i].status == LATHE_OK, "thread %zu", i);
            CHECK(getters[i].program == getters[i % 2].program, "thread %zu", i);
        }
        CHECK(s.counters.n_programs_built == (round == 0 ? 2 : 0), "built");
        CHECK(s.counters.n_programs_loaded == (round == 0 ? 0 : 2), "loaded");
        check_works(&r, get(&s));
        CHECK(count_files(r.cache) == 2, "%zu files", count_files(r.cache));
        session_end(&s);
    }
    rig_free(&r);
}

/* What each process does; CHECK is of no use in it. */
static int child(const char *folder, const char *cache, int number) {
    char pocl[512];
    session s = {.counters = {0}};
    lt_cl_device device;
    lt_cl_found found;
    lathe_pool *pool = NULL;
    lt_cl_program *pair = NULL;
    (void)snprintf(pocl, sizeof pocl, "%s/pocl%d", folder, number);
    if (mkdir(pocl, 0700) != 0 || setenv("POCL_CACHE_DIR", pocl, 1) != 0) {
        return 1;
    }
    if (lt_cl_device_select("", &found) != LATHE_OK) {
        return 77;
    }
    if (lt_cl_device_open(&found, NULL, &device) != LATHE_OK ||
        lathe_pool_create(NULL, &pool) != LATHE_OK) {
        return 2;
    }
    for (int i = 0; i < 4; i++) {
        if (lt_cl_programs_init(&s.programs, &device, pool, &s.counters, cache) != LATHE_OK ||
            lt_cl_programs_get(&s.programs, SRC, DST, &pair) != LATHE_OK) {
            return 3;
        }
        lt_cl_programs_judge(&s.programs, SRC, DST, true);
        lt_cl_programs_destroy(&s.programs);
    }
    /* The first round may find nothing; the later ones find what was stored. */
    if (s.counters.n_programs_built > 1 || s.counters.n_device_errors != 0) {
        return 4;
    }
    lathe_pool_release(pool);
    lt_cl_device_close(&device);
    return 0;
}

/* Several processes fill and use one cache. They are forked before OpenCL is used here. */
Test(program_cache, processes) {
    enum { N = 3 };
    const test_folder folder = test_folder_new();
    char cache[256];
    (void)snprintf(cache, sizeof cache, "%s/cache", folder.path);
    pid_t pids[N];
    for (int i = 0; i < N; i++) {
        pids[i] = fork();
        CHECK(pids[i] >= 0, "fork");
        if (pids[i] == 0) {
            _exit(child(folder.path, cache, i));
        }
    }
    bool skipped = false;
    for (int i = 0; i < N; i++) {
        int status = 0;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && WIFEXITED(status), "process %d", i);
        skipped = WEXITSTATUS(status) == 77;
        CHECK(skipped || WEXITSTATUS(status) == 0, "process %d fails with %d", i,
              WEXITSTATUS(status));
    }
    if (!skipped) {
        CHECK(count_files(cache) == 1, "%zu files", count_files(cache));
    }
    CHECK(nftw(folder.path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0, "cannot clean up");
    if (skipped) {
        cr_skip_test("no OpenCL device");
    }
}

/* Sources that the compiler refuses: a group of no work-items. It is asked once. */
Test(program_cache, build_failure) {
    rig r = rig_new();
    session s;
    lt_cl_program *pair = NULL;
    r.device.group_size = 0;
    session_begin(&s, &r, r.cache);
    CHECK_STATUS(lt_cl_programs_get(&s.programs, SRC, DST, &pair), LATHE_DEVICE);
    CHECK(strstr(lathe_last_error()->message, "cannot build the kernels from f32 to f16: ") != NULL,
          "%s", lathe_last_error()->message);
    CHECK(strstr(lathe_last_error()->message, "error") != NULL, "%s", lathe_last_error()->message);
    CHECK(s.counters.n_device_errors == 1 && s.counters.n_programs_built == 0, "counters");
    char message[512];
    memcpy(message, lathe_last_error()->message, sizeof message);
    (void)lt_fail(LATHE_CANCELLED, "what went before");
    CHECK_STATUS(lt_cl_programs_get(&s.programs, SRC, DST, &pair), LATHE_DEVICE);
    CHECK(strcmp(lathe_last_error()->message, message) == 0, "%s", lathe_last_error()->message);
    CHECK(s.counters.n_device_errors == 1, "compiled again");
    lt_cl_programs_judge(&s.programs, SRC, DST, true);
    CHECK(!test_file_exists(r.cache) && pair == NULL, "stored");
    session_end(&s);
    rig_free(&r);
}

/* Memory that runs out at any point: the program comes all the same, or the error says so. */
Test(program_cache, no_memory) {
    rig r = rig_new();
    test_allocator allocator;
    test_allocator_init(&allocator);
    const lathe_pool_config config = {.struct_size = sizeof config,
                                      .allocator = &allocator.interface};
    bool failed = true;
    for (uint64_t n = 0; failed; n++) {
        lathe_pool *pool = NULL;
        lt_counters counters = {0};
        lt_cl_programs programs;
        lt_cl_program *pair = NULL;
        CHECK(n < 100, "allocates for ever");
        test_allocator_reset(&allocator, UINT64_MAX);
        CHECK_OK(lathe_pool_create(&config, &pool));
        test_allocator_reset(&allocator, n);
        lathe_status status = lt_cl_programs_init(&programs, &r.device, pool, &counters, r.cache);
        if (status == LATHE_OK) {
            status = lt_cl_programs_get(&programs, SRC, DST, &pair);
            if (status == LATHE_OK) {
                check_works(&r, pair);
                lt_cl_programs_judge(&programs, SRC, DST, true);
            }
            lt_cl_programs_destroy(&programs);
        }
        CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "%s",
              lathe_last_error()->message);
        failed = allocator.n_calls > n;
        lathe_pool_release(pool);
        CHECK(allocator.n_live == 0 && !allocator.misused, "allocation %u", (unsigned)n);
    }
    rig_free(&r);
}

/* A context of two devices: each has its own binary, and both are loaded again. */
Test(program_cache, shared_context) {
    CHECK(setenv("POCL_DEVICES", "pthread pthread", 1) == 0, "setenv");
    rig r = rig_new();
    lt_cl_found founds[2];
    if (lt_cl_device_select(":portable", &founds[0]) != LATHE_OK ||
        lt_cl_device_find(founds[0].index + 1, &founds[1]) != LATHE_OK) {
        rig_free(&r);
        cr_skip_test("no POCL");
    }
    const cl_device_id ids[2] = {founds[0].id, founds[1].id};
    cl_int error = CL_SUCCESS;
    cl_context context = clCreateContext(NULL, 2, ids, NULL, NULL, &error);
    CHECK(error == CL_SUCCESS, "clCreateContext: %d", (int)error);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 2; i++) {
            session s;
            lt_cl_device_close(&r.device);
            CHECK_OK(lt_cl_device_open(&founds[i], context, &r.device));
            session_begin(&s, &r, r.cache);
            if (round == 0 && i == 0) {
                check_built(&r, &s);
            } else {
                check_works(&r, get(&s)); /* like devices may share a file */
            }
            lt_cl_programs_judge(&s.programs, SRC, DST, true);
            CHECK(round == 0 || get(&s)->from_disk, "device %zu is built again", i);
            CHECK(s.counters.n_device_errors == 0, "device errors");
            session_end(&s);
        }
    }
    (void)clReleaseContext(context);
    rig_free(&r);
}
