/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of checkpoints share: a scratch folder, and files made by hand. */
#ifndef TESTS_CHECKPOINT_FILES_H
#define TESTS_CHECKPOINT_FILES_H

#include "check.h"
#include "support.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An entry of a header. */
#define ENTRY(name, dtype, shape, begin, end)                                                      \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" #begin        \
    "," #end "]}"

typedef struct test_folder {
    char path[192];
} test_folder;

/* A new empty folder in TMPDIR, or where the system keeps such. */
static inline test_folder test_folder_new(void) {
    test_folder folder;
    const char *where = getenv("TMPDIR");
    (void)snprintf(folder.path, sizeof folder.path, "%s/lathe-test-XXXXXX",
                   where != NULL && strlen(where) < 128 ? where : P_tmpdir);
    CHECK(mkdtemp(folder.path) != NULL, "mkdtemp");
    return folder;
}

/* The path of a file in the folder; 64 calls may be in use at once. */
static inline const char *test_path(const test_folder *folder, const char *name) {
    static char paths[64][512];
    static unsigned next;
    char *path = paths[next++ % 64];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder->path, name);
    return path;
}

/* How many entries the folder has, hidden ones included. */
static inline size_t test_folder_count(const test_folder *folder) {
    size_t count = 0;
    DIR *dir = opendir(folder->path);
    CHECK(dir != NULL, "opendir %s", folder->path);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    (void)closedir(dir);
    return count;
}

/* Removes the folder with the files and links in it. */
static inline void test_folder_free(const test_folder *folder) {
    DIR *dir = opendir(folder->path);
    CHECK(dir != NULL, "opendir %s", folder->path);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[512];
        (void)snprintf(path, sizeof path, "%s/%.255s", folder->path, entry->d_name);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            remove(path) != 0) {
            CHECK(false, "cannot remove %s", path);
        }
    }
    (void)closedir(dir);
    CHECK(rmdir(folder->path) == 0, "cannot remove %s", folder->path);
}

/* True if the file system can make files that have no name. */
static inline bool test_has_unnamed_files(const test_folder *folder) {
    int fd = open(folder->path, O_TMPFILE | O_RDWR, 0600);
    if (fd >= 0) {
        (void)close(fd);
    }
    return fd >= 0;
}

static inline void test_write_file(const char *path, const void *bytes, size_t n_bytes) {
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL, "cannot create %s", path);
    CHECK(fwrite(bytes, 1, n_bytes, file) == n_bytes, "cannot write %s", path);
    CHECK(fclose(file) == 0, "cannot close %s", path);
}

/* The whole file, for free(). */
static inline char *test_read_file(const char *path, size_t *n_bytes) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL, "cannot open %s", path);
    CHECK(fseek(file, 0, SEEK_END) == 0, "cannot seek %s", path);
    *n_bytes = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*n_bytes + 1);
    CHECK(bytes != NULL && fread(bytes, 1, *n_bytes, file) == *n_bytes, "cannot read %s", path);
    bytes[*n_bytes] = '\0';
    (void)fclose(file);
    return bytes;
}

static inline bool test_file_exists(const char *path) {
    struct stat info;
    return lstat(path, &info) == 0;
}

/* Writes a safetensors file: the length (as claimed, whatever it really is), the header, the data.
 */
static inline void test_write_container(const char *path, uint64_t claimed, const void *header,
                                        size_t header_bytes, const void *data, size_t data_bytes) {
    char *bytes = calloc(1, 8 + header_bytes + data_bytes);
    CHECK(bytes != NULL, "memory");
    for (unsigned i = 0; i < 8; i++) {
        bytes[i] = (char)(claimed >> 8 * i & 0xff);
    }
    memcpy(bytes + 8, header, header_bytes);
    if (data != NULL) {
        memcpy(bytes + 8 + header_bytes, data, data_bytes);
    }
    test_write_file(path, bytes, 8 + header_bytes + data_bytes);
    free(bytes);
}

/* The same with a header that is a text and data that is all zero. */
static inline void test_write_header(const char *path, const char *header, size_t data_bytes) {
    test_write_container(path, strlen(header), header, strlen(header), NULL, data_bytes);
}

#endif
