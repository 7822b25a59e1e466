/* SPDX-License-Identifier: Apache-2.0 */
/* Atomic files: nothing under the name before the end, the mode, links, and full disks. */
#include "checkpoint_files.h"
#include "files/atomic_file.h"
#include "formats/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* Syncs of folders, which the library's calls are counted by. */
static unsigned n_folder_syncs;

/* Writes that were sent on to the disk. */
static unsigned n_sent;

int sync_file_range(int fd, off_t offset, off_t n_bytes, unsigned flags) {
    n_sent++;
    return (int)syscall(SYS_sync_file_range, fd, offset, n_bytes, flags);
}

int fsync(int fd) {
    struct stat info;
    n_folder_syncs += fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
    return (int)syscall(SYS_fsync, fd);
}

static lathe_pool *make_pool(void) {
    lathe_pool *pool = NULL;
    CHECK_OK(lathe_pool_create(NULL, &pool));
    return pool;
}

/* Writes a whole file; returns the first failure. */
static lathe_status put(lathe_pool *pool, const char *path, bool overwrite, const char *text) {
    lt_atomic_file *file = NULL;
    lathe_status status = lt_atomic_create(pool, path, overwrite, &file);
    status = status == LATHE_OK ? lt_atomic_reserve(file, strlen(text)) : status;
    status = status == LATHE_OK ? lt_atomic_write(file, 0, text, strlen(text)) : status;
    status = status == LATHE_OK ? lt_atomic_sync(file) : status;
    status = status == LATHE_OK ? lt_atomic_publish(file) : status;
    lt_atomic_close(file);
    return status;
}

static void check_contents(const char *path, const char *expected) {
    size_t n_bytes = 0;
    char *text = test_read_file(path, &n_bytes);
    CHECK(strcmp(text, expected) == 0, "%s holds \"%s\"", path, text);
    free(text);
}

static mode_t mode_of(const char *path) {
    struct stat info;
    CHECK(stat(path, &info) == 0, "stat %s", path);
    return info.st_mode & 07777;
}

Test(atomic_file, appears_at_the_end) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    const char *path = test_path(&folder, "f");
    lt_atomic_file *file = NULL;
    CHECK_OK(lt_atomic_create(pool, path, false, &file));
    CHECK_OK(lt_atomic_reserve(file, 6));
    CHECK_OK(lt_atomic_write(file, 3, "def", 3));
    CHECK_OK(lt_atomic_write(file, 0, "abc", 3));
    CHECK(!test_file_exists(path), "too early");
    bool is_hidden = test_folder_count(&folder) == 0; /* where the file system can */
    CHECK_OK(lt_atomic_sync(file));
    CHECK(!test_file_exists(path), "too early");
    CHECK(is_hidden == test_has_unnamed_files(&folder), "a name before its time");
    CHECK_OK(lt_atomic_publish(file));
    lt_atomic_close(file);
    check_contents(path, "abcdef");
    CHECK(test_folder_count(&folder) == 1, "the temporary stayed");

    CHECK_STATUS(put(pool, path, false, "x"), LATHE_EXISTS);
    CHECK_OK(put(pool, path, true, "xyz"));
    check_contents(path, "xyz");
    CHECK_OK(put(pool, path, true, ""));
    check_contents(path, "");

    /* Given up at each stage. */
    for (int stage = 0; stage < 4; stage++) {
        CHECK_OK(lt_atomic_create(pool, path, true, &file));
        if (stage >= 1) {
            CHECK_OK(lt_atomic_reserve(file, 1));
        }
        if (stage >= 2) {
            CHECK_OK(lt_atomic_write(file, 0, "!", 1));
        }
        if (stage >= 3) {
            CHECK_OK(lt_atomic_sync(file));
        }
        lt_atomic_close(file);
        CHECK(test_folder_count(&folder) == 1, "stage %d leaves a temporary", stage);
        check_contents(path, "");
    }
    lt_atomic_close(NULL);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* A file that comes into being while the new one is written is not replaced unless asked for. */
Test(atomic_file, late_rival) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    const char *path = test_path(&folder, "f");
    lt_atomic_file *file = NULL;
    CHECK_OK(lt_atomic_create(pool, path, false, &file));
    CHECK_OK(lt_atomic_sync(file));
    test_write_file(path, "rival", 5);
    CHECK_STATUS(lt_atomic_publish(file), LATHE_EXISTS);
    lt_atomic_retract(file);
    lt_atomic_close(file);
    check_contents(path, "rival");
    CHECK(test_folder_count(&folder) == 1, "the temporary stayed");

    /* Taking back: only what replaced nothing. */
    CHECK_OK(lt_atomic_create(pool, path, true, &file));
    CHECK_OK(lt_atomic_sync(file));
    CHECK_OK(lt_atomic_publish(file));
    lt_atomic_retract(file);
    lt_atomic_close(file);
    check_contents(path, "");
    CHECK(unlink(path) == 0, "unlink");
    CHECK_OK(lt_atomic_create(pool, path, true, &file));
    CHECK_OK(lt_atomic_sync(file));
    CHECK_OK(lt_atomic_publish(file));
    lt_atomic_retract(file);
    lt_atomic_close(file);
    CHECK(test_folder_count(&folder) == 0, "not taken back");
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

Test(atomic_file, mode) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    const char *path = test_path(&folder, "f");
    mode_t old = umask(027);
    CHECK_OK(put(pool, path, false, "a"));
    CHECK(mode_of(path) == 0640, "mode %o", (unsigned)mode_of(path));
    CHECK(chmod(path, 0604) == 0, "chmod");
    CHECK_OK(put(pool, path, true, "b"));
    CHECK(mode_of(path) == 0604, "mode %o", (unsigned)mode_of(path));
    (void)umask(old);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

Test(atomic_file, links) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    const char *path = test_path(&folder, "file");
    const char *link = test_path(&folder, "link");
    const char *far = test_path(&folder, "far");
    struct stat info;
    /* A link that leads to nothing yet, through another one. */
    CHECK(symlink("file", link) == 0 && symlink(link, far) == 0, "symlink");
    CHECK_OK(put(pool, far, false, "a"));
    check_contents(path, "a");
    CHECK_STATUS(put(pool, far, false, "b"), LATHE_EXISTS);
    CHECK_OK(put(pool, far, true, "b"));
    check_contents(path, "b");
    CHECK(lstat(far, &info) == 0 && S_ISLNK(info.st_mode), "the link is gone");
    CHECK(lstat(link, &info) == 0 && S_ISLNK(info.st_mode), "the link is gone");
    CHECK(lstat(path, &info) == 0 && S_ISREG(info.st_mode), "the file is gone");
    /* A second name of the file keeps the old contents. */
    const char *hard = test_path(&folder, "hard");
    CHECK(linkat(AT_FDCWD, path, AT_FDCWD, hard, 0) == 0, "link");
    CHECK_OK(put(pool, path, true, "c"));
    check_contents(hard, "b");
    /* Loops, folders, pipes. */
    CHECK(symlink("loop", test_path(&folder, "loop")) == 0, "symlink");
    CHECK_STATUS(put(pool, test_path(&folder, "loop"), true, "x"), LATHE_IO);
    CHECK_STATUS(put(pool, folder.path, true, "x"), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(put(pool, test_path(&folder, ""), true, "x"), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(put(pool, "/dev/null", true, "x"), LATHE_INVALID_ARGUMENT);
    CHECK(mkfifo(test_path(&folder, "fifo"), 0600) == 0, "mkfifo");
    CHECK_STATUS(put(pool, test_path(&folder, "fifo"), true, "x"), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(put(pool, test_path(&folder, "none/f"), true, "x"), LATHE_IO);
    CHECK_STATUS(put(pool, "", true, "x"), LATHE_INVALID_ARGUMENT);
    CHECK(test_folder_count(&folder) == 6, "%zu entries", test_folder_count(&folder));
    /* The longest name that the file system takes still leaves room for a temporary. */
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    CHECK_OK(put(pool, test_path(&folder, name), false, "x"));
    char *long_path = malloc(5000);
    CHECK(long_path != NULL, "memory");
    memset(long_path, 'x', 4999);
    long_path[4999] = '\0';
    CHECK_STATUS(put(pool, long_path, true, "x"), LATHE_INVALID_ARGUMENT);
    free(long_path);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* Files that get their names together wait once for those of a folder, all of them before the end.
 */
Test(atomic_file, one_sync_for_a_folder) {
    enum { N_WRITERS = 5 };
    test_folder folder = test_folder_new();
    test_folder other = test_folder_new();
    lathe_pool *pool = make_pool();
    lathe_writer *writers[N_WRITERS] = {0};
    CHECK(symlink(test_path(&other, "last"), test_path(&folder, "4")) == 0, "symlink");
    for (size_t i = 0; i < N_WRITERS; i++) {
        const char *path = test_path(&folder, test_text("%zu", i));
        CHECK_OK(lathe_writer_create(pool, path, 0, &writers[i]));
        CHECK_OK(lt_writer_sync(writers[i]));
    }
    n_folder_syncs = 0;
    CHECK_OK(lt_writers_publish(writers, N_WRITERS));
    CHECK(n_folder_syncs == 2, "%u syncs for two folders", n_folder_syncs);
    CHECK(test_file_exists(test_path(&folder, "0")) && test_file_exists(test_path(&folder, "3")) &&
              test_file_exists(test_path(&other, "last")),
          "a file is missing");
    for (size_t i = 0; i < N_WRITERS; i++) {
        lathe_writer_abort(writers[i]);
    }

    /* One that cannot be named takes the others away again. */
    CHECK_OK(lathe_writer_create(pool, test_path(&folder, "a"), 0, &writers[0]));
    CHECK_OK(lathe_writer_create(pool, test_path(&folder, "b"), 0, &writers[1]));
    CHECK_OK(lt_writer_sync(writers[0]));
    CHECK_OK(lt_writer_sync(writers[1]));
    test_write_file(test_path(&folder, "b"), "rival", 5);
    CHECK_STATUS(lt_writers_publish(writers, 2), LATHE_EXISTS);
    CHECK(!test_file_exists(test_path(&folder, "a")), "a is left");
    check_contents(test_path(&folder, "b"), "rival");
    lathe_writer_abort(writers[0]);
    lathe_writer_abort(writers[1]);
    lathe_pool_release(pool);
    test_folder_free(&folder);
    test_folder_free(&other);
}

/* Large writes begin their way to the disk at once, but not where the input comes from there. */
Test(atomic_file, yields_to_input) {
    enum { PIECE = 128 << 10 };
    static const char zeros[PIECE];
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    struct stat info;
    CHECK(stat(folder.path, &info) == 0, "stat");
    const struct {
        bool has_input;
        bool is_on_disk;
        dev_t device;
        unsigned sent;
    } cases[] = {
        {false, false, info.st_dev, 1},
        {true, false, info.st_dev, 1},
        {true, true, info.st_dev, 0},
        {true, true, info.st_dev + 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lt_input_set set;
        lt_atomic_file *file = NULL;
        lt_input_set_init(&set);
        if (cases[i].is_on_disk) {
            atomic_store(&set.in_memory, 0);
        }
        CHECK_OK(lt_atomic_create(pool, test_path(&folder, "f"), false, &file));
        if (cases[i].has_input) {
            lt_atomic_yield_to(file, &set, cases[i].device);
        }
        n_sent = 0;
        CHECK_OK(lt_atomic_write(file, 0, zeros, PIECE));
        CHECK(n_sent == cases[i].sent, "case %zu: %u", i, n_sent);
        lt_atomic_close(file);
        lt_input_set_destroy(&set);
    }
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* A limit on file sizes stands in for a full disk: the error comes before any data is written. */
Test(atomic_file, no_space) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    const char *path = test_path(&folder, "f");
    struct rlimit old;
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0, "getrlimit");
    const struct rlimit limit = {.rlim_cur = 65536, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    CHECK_OK(put(pool, path, false, "old"));
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
    lt_atomic_file *file = NULL;
    CHECK_OK(lt_atomic_create(pool, path, true, &file));
    lathe_status status = lt_atomic_reserve(file, 65537);
    const lathe_error error = *lathe_last_error();
    lt_atomic_close(file);
    CHECK_OK(lt_atomic_create(pool, path, true, &file));
    lathe_status huge = lt_atomic_reserve(file, UINT64_MAX);
    lathe_status written = lt_atomic_write(file, 65536, "x", 1);
    lt_atomic_close(file);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0, "setrlimit"); /* Criterion reports through files */
    CHECK(status == LATHE_IO && error.required_bytes == 65537, "%s", lathe_status_name(status));
    CHECK(strstr(error.message, "cannot reserve 65537 bytes") != NULL, "%s", error.message);
    CHECK(huge == LATHE_IO && written == LATHE_IO, "%s", lathe_status_name(written));
    CHECK(test_folder_count(&folder) == 1, "the temporary stayed");
    check_contents(path, "old");
    lathe_pool_release(pool);
    test_folder_free(&folder);
}
