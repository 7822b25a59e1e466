/* SPDX-License-Identifier: Apache-2.0 */
/* The program cache: what is stored and loaded, and every way in which a cached file can be wrong,
 * after each of which a program is built from source that works. */
#include "checkpoint_files.h"
#include "core/error.h"
#include "lathe_launch.h"
#include "opencl/program.h"
#include "opencl/program_cache.h"
#include "pool/pool.h"

#include <ftw.h>
#include <pthread.h>
#include <sys/wait.h>

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
        if (i == LT_CL_LINEAR) {
            continue; /* for quantized types */
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

/* Ways to spoil a file. */
typedef enum damage {
    DAMAGE_EMPTY,
    DAMAGE_MAGIC,
    DAMAGE_VERSION,
    DAMAGE_KEY,
    DAMAGE_LENGTH,
    DAMAGE_HASH,
    DAMAGE_FIRST_BYTE,
    DAMAGE_LAST_BYTE,
    DAMAGE_CUT_IN_HEADER,
    DAMAGE_CUT_AT_HEADER,
    DAMAGE_CUT,
    DAMAGE_LONGER,
    DAMAGE_LARGE,
    DAMAGE_HUGE,
    DAMAGE_OTHER_PAIR,
    DAMAGE_LINK,
    DAMAGE_DANGLING_LINK,
    DAMAGE_PIPE,
    DAMAGE_DIRECTORY,
    DAMAGE_COUNT
} damage;

static void write_at(const char *path, long offset, const void *bytes, size_t n_bytes) {
    FILE *file = fopen(path, "r+b");
    CHECK(file != NULL && fseek(file, offset, SEEK_SET) == 0, "cannot open %s", path);
    CHECK(fwrite(bytes, 1, n_bytes, file) == n_bytes && fclose(file) == 0, "cannot write");
}

static void flip(const char *path, const char *good, long offset) {
    const char byte = (char)(good[offset] ^ 0x10);
    write_at(path, offset, &byte, 1);
}

/* `good` is what the file holds, n_bytes of it. */
static void damage_bytes(const char *path, const char *good, size_t n_bytes, damage what) {
    static const long offsets[] = {
        [DAMAGE_MAGIC] = 0,   [DAMAGE_VERSION] = 8, [DAMAGE_KEY] = 20,
        [DAMAGE_LENGTH] = 32, [DAMAGE_HASH] = 55,   [DAMAGE_FIRST_BYTE] = HEADER_BYTES,
    };
    static const off_t lengths[DAMAGE_COUNT] = {
        [DAMAGE_CUT_IN_HEADER] = 10,
        [DAMAGE_CUT_AT_HEADER] = HEADER_BYTES,
        [DAMAGE_LARGE] = (off_t)64 << 20,
        [DAMAGE_HUGE] = (off_t)1 << 40,
    };
    if (what >= DAMAGE_MAGIC && what <= DAMAGE_FIRST_BYTE) {
        flip(path, good, offsets[what]);
    } else if (what == DAMAGE_LAST_BYTE) {
        flip(path, good, (long)n_bytes - 1);
    } else {
        off_t length = what == DAMAGE_CUT      ? (off_t)n_bytes - 1
                       : what == DAMAGE_LONGER ? (off_t)n_bytes + 1
                                               : lengths[what];
        CHECK(truncate(path, length) == 0, "cannot truncate to %lld", (long long)length);
    }
}

/* Puts something else under the file's name. */
static void damage_name(const rig *r, const char *path, const char *good, size_t n_bytes,
                        damage what) {
    const char *target = test_path(&r->folder, "target");
    CHECK(unlink(path) == 0, "unlink");
    if (what == DAMAGE_DIRECTORY) {
        CHECK(mkdir(path, 0700) == 0, "mkdir");
    } else if (what == DAMAGE_PIPE) {
        CHECK(mkfifo(path, 0600) == 0, "mkfifo");
    } else {
        if (what == DAMAGE_LINK) {
            test_write_file(target, good, n_bytes);
        }
        CHECK(symlink(target, path) == 0, "symlink");
    }
}

/* A whole file, but of another pair. */
static void replace_by_other_pair(const rig *r, const char *path) {
    session s;
    lt_cl_program *pair = NULL;
    const char *kept = test_path(&r->folder, "kept");
    CHECK(rename(path, kept) == 0, "rename");
    session_begin(&s, r, r->cache);
    CHECK_OK(lt_cl_programs_get(&s.programs, LATHE_F32, LATHE_BF16, &pair));
    lt_cl_programs_judge(&s.programs, LATHE_F32, LATHE_BF16, true);
    session_end(&s);
    CHECK(rename(only_file(r), path) == 0 && unlink(kept) == 0, "rename");
}

/* The cache is empty or, from the last time, whole again; and so it is left. */
static void check_damage(const rig *r, damage what) {
    session s;
    if (!test_file_exists(r->cache) || count_files(r->cache) == 0) {
        fill_cache(r);
    }
    const char *path = only_file(r);
    size_t n_bytes = 0;
    char *good = test_read_file(path, &n_bytes);
    if (what == DAMAGE_OTHER_PAIR) {
        replace_by_other_pair(r, path);
    } else if (what >= DAMAGE_LINK) {
        damage_name(r, path, good, n_bytes, what);
    } else {
        damage_bytes(path, good, n_bytes, what);
    }

    session_begin(&s, r, r->cache);
    check_built(r, &s);
    CHECK(s.counters.n_device_errors == 0, "damage %d reaches the driver", (int)what);
    lt_cl_programs_judge(&s.programs, SRC, DST, true);
    session_end(&s);

    struct stat info;
    CHECK(lstat(path, &info) == 0, "lstat");
    if (what == DAMAGE_DIRECTORY) {
        CHECK(S_ISDIR(info.st_mode) && count_files(r->cache) == 1, "directory");
        CHECK(rmdir(path) == 0, "rmdir");
    } else {
        CHECK(S_ISREG(info.st_mode), "damage %d is not repaired", (int)what);
        session_begin(&s, r, r->cache);
        check_loaded(r, &s);
        session_end(&s);
        (void)only_file(r);
    }
    if (what == DAMAGE_LINK) {
        size_t left = 0;
        char *bytes = test_read_file(test_path(&r->folder, "target"), &left);
        CHECK(left == n_bytes && memcmp(bytes, good, left) == 0, "written through the link");
        CHECK(unlink(test_path(&r->folder, "target")) == 0, "unlink");
        free(bytes);
    } else {
        CHECK(!test_file_exists(test_path(&r->folder, "target")), "written through the link");
    }
    free(good);
}

Test(program_cache, damaged_contents) {
    rig r = rig_new();
    for (int what = DAMAGE_EMPTY; what < DAMAGE_CUT_IN_HEADER; what++) {
        check_damage(&r, (damage)what);
    }
    rig_free(&r);
}

Test(program_cache, wrong_files) {
    rig r = rig_new();
    for (int what = DAMAGE_CUT_IN_HEADER; what < DAMAGE_COUNT; what++) {
        check_damage(&r, (damage)what);
    }
    rig_free(&r);
}

static lt_cl_cache_key key_with(const rig *r, const char *options) {
    lt_cl_cache_key key;
    CHECK(lt_cl_cache_key_of(&r->device, options, &key), "no key");
    return key;
}

/* A binary that is whole but that the driver refuses. */
Test(program_cache, binary_of_another_driver) {
    rig r = rig_new();
    session s;
    fill_cache(&r);
    const char *path = only_file(&r);
    lt_cl_cache_key key;
    size_t n_bytes = 0;
    char *good = test_read_file(path, &n_bytes);
    memcpy(&key, good + 16, sizeof key);
    lt_cl_cache_store(r.pool, r.cache, &key, "no program at all, only text", 28);
    free(good);
    session_begin(&s, &r, r.cache);
    check_built(&r, &s);
    CHECK(s.counters.n_device_errors == 1, "%u errors", (unsigned)s.counters.n_device_errors);
    lt_cl_programs_judge(&s.programs, SRC, DST, true);
    session_end(&s);
    session_begin(&s, &r, r.cache);
    check_loaded(&r, &s);
    session_end(&s);
    rig_free(&r);
}

/* Every byte of a file matters, and so does its end. */
Test(program_cache, every_byte) {
    rig r = rig_new();
    const lt_cl_cache_key key = key_with(&r, "-DA");
    static const char binary[] = "0123456789";
    void *loaded = NULL;
    size_t n_bytes = 0;
    lt_cl_cache_store(r.pool, r.cache, &key, binary, sizeof binary);
    const char *path = only_file(&r);
    char *good = test_read_file(path, &n_bytes);
    CHECK(n_bytes == HEADER_BYTES + sizeof binary, "%zu bytes", n_bytes);
    for (size_t i = 0; i < n_bytes; i++) {
        size_t left = 7;
        flip(path, good, (long)i);
        CHECK(!lt_cl_cache_load(r.pool, r.cache, &key, &loaded, &left), "byte %zu", i);
        write_at(path, (long)i, good + i, 1);
        CHECK(loaded == NULL && left == 7, "the outputs of a failed call are changed");
    }
    for (size_t i = 0; i < n_bytes; i++) {
        test_write_file(path, good, i);
        CHECK(!lt_cl_cache_load(r.pool, r.cache, &key, &loaded, &n_bytes), "length %zu", i);
    }
    test_write_file(path, good, n_bytes);
    CHECK(lt_cl_cache_load(r.pool, r.cache, &key, &loaded, &n_bytes), "not loaded");
    CHECK(n_bytes == sizeof binary && memcmp(loaded, binary, n_bytes) == 0, "other contents");
    lt_pool_delete(r.pool, loaded);

    /* Another name, or another key. */
    const lt_cl_cache_key other = key_with(&r, "-DB");
    CHECK(memcmp(&key, &other, sizeof key) != 0, "options do not matter");
    CHECK(!lt_cl_cache_load(r.pool, r.cache, &other, &loaded, &n_bytes), "loaded");
    lt_cl_cache_remove(r.cache, &other);
    CHECK(count_files(r.cache) == 1, "removed another file");
    lt_cl_cache_remove(r.cache, &key);
    CHECK(count_files(r.cache) == 0, "not removed");
    free(good);
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
