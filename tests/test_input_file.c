/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of files, of which some are open at a time; reading in turn; and written files of a set. */
#include "checkpoint_files.h"
#include "files/atomic_file.h"
#include "files/input_file.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

enum { N_FILES = 3 * LT_FILE_SET_MOST };

static const char *name_of(const test_folder *folder, size_t i) {
    return test_path(folder, test_text("f%zu", i));
}

static size_t count_open(void) {
    const test_folder self = {.path = "/proc/self/fd"};
    return test_folder_count(&self);
}

/* Files that each hold their number, and the paths that the set keeps. */
static char **make_files(const test_folder *folder) {
    char **paths = calloc(N_FILES, sizeof *paths);
    CHECK(paths != NULL, "memory");
    for (size_t i = 0; i < N_FILES; i++) {
        paths[i] = strdup(name_of(folder, i));
        test_write_file(paths[i], &i, sizeof i);
    }
    return paths;
}

static void free_paths(char **paths) {
    for (size_t i = 0; i < N_FILES; i++) {
        free(paths[i]);
    }
    free(paths);
}

static void open_all(lt_input_set *set, lt_input_file *files, char **paths) {
    for (size_t i = 0; i < N_FILES; i++) {
        CHECK_OK(lt_input_open(set, &files[i], paths[i]));
        CHECK(files[i].n_bytes == sizeof i, "size");
        lt_set_file_give(&set->files, &files[i].file);
    }
}

Test(input_file, few_are_open) {
    static lt_input_file files[N_FILES];
    test_folder folder = test_folder_new();
    char **paths = make_files(&folder);
    const size_t before = count_open();
    lt_input_set set;
    lt_input_set_init(&set);
    open_all(&set, files, paths);
    for (size_t i = 0; i < 4 * N_FILES; i++) {
        const size_t k = i * 7 % N_FILES;
        size_t value = SIZE_MAX;
        CHECK_OK(lt_input_read(&set, &files[k], 0, &value, sizeof value));
        CHECK(value == k, "file %zu holds %zu", k, value);
    }
    CHECK(count_open() == before + lt_file_set_most(), "%zu are open", count_open() - before);

    /* One that is closed is not opened again if another has its name. */
    test_write_file(test_path(&folder, "new"), "another", 8);
    CHECK(rename(test_path(&folder, "new"), paths[0]) == 0, "rename");
    for (size_t i = 1; i <= LT_FILE_SET_MOST; i++) {
        char byte = 0;
        CHECK_OK(lt_input_read(&set, &files[i], 0, &byte, 1));
    }
    char byte = 0;
    CHECK_STATUS(lt_input_read(&set, &files[0], 0, &byte, 1), LATHE_IO);
    CHECK(strstr(lathe_last_error()->message, strerror(ESTALE)) != NULL, "%s",
          lathe_last_error()->message);
    lt_input_set_destroy(&set);
    CHECK(count_open() == before, "left open");
    free_paths(paths);
    test_folder_free(&folder);
}

/* A process that may have fewer files open than a set would like. */
Test(input_file, limit_of_the_process) {
    static lt_input_file files[N_FILES];
    test_folder folder = test_folder_new();
    char **paths = make_files(&folder);
    const struct rlimit few = {.rlim_cur = count_open() + 4, .rlim_max = count_open() + 4};
    lt_input_set set;
    lt_input_set_init(&set);
    CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0, "setrlimit");
    open_all(&set, files, paths);
    for (size_t i = 0; i < N_FILES; i++) {
        size_t value = SIZE_MAX;
        CHECK_OK(lt_input_read(&set, &files[i], 0, &value, sizeof value));
        CHECK(value == i, "file %zu holds %zu", i, value);
    }
    lt_input_set_destroy(&set);
    free_paths(paths);
    test_folder_free(&folder);
}

/* ---- many threads */

enum { N_THREADS = 8, PIECE_WORDS = 4096, N_PIECES = 2048 };

typedef struct reading {
    lt_input_set *set;
    lt_input_file *files;
    size_t n_files;
    size_t n_pieces;
    atomic_size_t next;
    atomic_size_t n_wrong;
} reading;

/* Piece p is the words p * PIECE_WORDS and up, of file p mod n_files. */
static void *read_pieces(void *ctx) {
    reading *r = ctx;
    uint32_t *words = malloc(PIECE_WORDS * sizeof *words);
    for (size_t p; (p = atomic_fetch_add(&r->next, 1)) < r->n_pieces;) {
        const size_t n_bytes = PIECE_WORDS * sizeof *words;
        const uint64_t at = p / r->n_files * n_bytes;
        bool is_right = lt_input_read_in_turn(r->set, &r->files[p % r->n_files], at, words,
                                              n_bytes) == LATHE_OK;
        for (size_t i = 0; i < PIECE_WORDS && is_right; i++) {
            is_right = words[i] == (uint32_t)(at / sizeof *words + i);
        }
        (void)atomic_fetch_add(&r->n_wrong, !is_right);
    }
    free(words);
    return NULL;
}

static void run_readers(reading *r) {
    pthread_t threads[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, read_pieces, r) == 0, "pthread_create");
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0, "pthread_join");
    }
    CHECK(atomic_load(&r->n_wrong) == 0, "%zu pieces are wrong", atomic_load(&r->n_wrong));
}

/* Writes consecutive numbers. */
static void write_words(const char *path, size_t n_words) {
    uint32_t *words = malloc(n_words * sizeof *words);
    CHECK(words != NULL, "memory");
    for (size_t i = 0; i < n_words; i++) {
        words[i] = (uint32_t)i;
    }
    test_write_file(path, words, n_words * sizeof *words);
    free(words);
}

/* Data that is in memory, that is not, and that is partly. */
Test(input_file, in_turn) {
    test_folder folder = test_folder_new();
    const char *path = test_path(&folder, "words");
    write_words(path, (size_t)N_PIECES * PIECE_WORDS);
    for (int round = 0; round < 4; round++) {
        lt_input_set set;
        lt_input_file file;
        lt_input_set_init(&set);
        CHECK_OK(lt_input_open(&set, &file, path));
        (void)fsync(file.file.fd);
        /* Advice, which a file system in memory does not take: the data is right in any case. */
        (void)posix_fadvise(file.file.fd, round % 2 * (1 << 20), round < 3 ? 0 : 8 << 20,
                            POSIX_FADV_DONTNEED);
        lt_set_file_give(&set.files, &file.file);
        reading r = {.set = &set, .files = &file, .n_files = 1, .n_pieces = N_PIECES};
        run_readers(&r);
        atomic_store(&r.next, 0);
        run_readers(&r);
        char byte = 0;
        CHECK_STATUS(lt_input_read_in_turn(&set, &file, file.n_bytes, &byte, 1), LATHE_IO);
        CHECK(strstr(lathe_last_error()->message, "shrank") != NULL, "%s",
              lathe_last_error()->message);
        lt_input_set_destroy(&set);
    }
    test_folder_free(&folder);
}

/* More files than can be open, all of them wanted at once. */
Test(input_file, threads_share_a_set) {
    static lt_input_file files[N_FILES];
    test_folder folder = test_folder_new();
    char **paths = calloc(N_FILES, sizeof *paths);
    CHECK(paths != NULL, "memory");
    for (size_t i = 0; i < N_FILES; i++) {
        paths[i] = strdup(name_of(&folder, i));
        write_words(paths[i], PIECE_WORDS);
    }
    const rlim_t few = count_open() + 4;
    const struct rlimit limit = {.rlim_cur = few, .rlim_max = few};
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
    lt_input_set set;
    lt_input_set_init(&set);
    for (size_t i = 0; i < N_FILES; i++) {
        CHECK_OK(lt_input_open(&set, &files[i], paths[i]));
        lt_set_file_give(&set.files, &files[i].file);
    }
    for (int round = 0; round < 4; round++) {
        reading r = {.set = &set, .files = files, .n_files = N_FILES, .n_pieces = N_FILES};
        run_readers(&r);
    }
    lt_input_set_destroy(&set);
    free_paths(paths);
    test_folder_free(&folder);
}

/* ---- writing */

/* Files of a set appear complete, although they were closed while they were written. */
Test(input_file, written_files) {
    test_folder folder = test_folder_new();
    const size_t before = count_open();
    lathe_pool *pool = NULL;
    lt_file_set set;
    static lt_atomic_file *files[N_FILES];
    CHECK_OK(lathe_pool_create(NULL, &pool));
    lt_file_set_init(&set);
    for (size_t i = 0; i < N_FILES; i++) {
        CHECK_OK(lt_atomic_create_in(pool, &set, name_of(&folder, i), false, &files[i]));
        CHECK_OK(lt_atomic_reserve(files[i], 16));
    }
    for (size_t half = 0; half < 2; half++) {
        for (size_t i = 0; i < N_FILES; i++) {
            CHECK_OK(lt_atomic_write(files[i], 8 * half, &i, sizeof i));
        }
    }
    CHECK(count_open() == before + lt_file_set_most(), "%zu are open", count_open() - before);
    CHECK(!test_file_exists(name_of(&folder, 0)), "too early");
    for (size_t i = 0; i < N_FILES; i++) {
        CHECK_OK(lt_atomic_sync(files[i]));
        if (i % 2 == 0) {
            CHECK_OK(lt_atomic_publish(files[i]));
        }
        lt_atomic_close(files[i]);
    }
    CHECK(count_open() == before, "left open");
    CHECK(test_folder_count(&folder) == (N_FILES + 1) / 2, "what was not published stayed");
    for (size_t i = 0; i < N_FILES; i += 2) {
        size_t n_bytes = 0;
        char *bytes = test_read_file(name_of(&folder, i), &n_bytes);
        CHECK(n_bytes == 16 && memcmp(bytes, &i, 8) == 0 && memcmp(bytes + 8, &i, 8) == 0,
              "file %zu", i);
        free(bytes);
    }

    /* A temporary file that somebody replaces is not written to. */
    CHECK_OK(lt_atomic_create_in(pool, &set, test_path(&folder, "g"), false, &files[0]));
    lt_file_set_destroy(&set);
    lt_file_set_init(&set);
    DIR *dir = opendir(folder.path);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.' && entry->d_name[1] == 'g') {
            test_write_file(test_path(&folder, "h"), "h", 1);
            CHECK(rename(test_path(&folder, "h"), test_path(&folder, entry->d_name)) == 0,
                  "rename");
        }
    }
    (void)closedir(dir);
    CHECK_STATUS(lt_atomic_write(files[0], 0, "x", 1), LATHE_IO);
    lt_atomic_close(files[0]);
    lt_file_set_destroy(&set);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}
