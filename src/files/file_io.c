/* SPDX-License-Identifier: Apache-2.0 */
/* Reading regular files. */
#include "files/file_io.h"

#include "core/error.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux transfers at most this much a call. */
#define MOST_BYTES_A_CALL ((size_t)0x7ffff000)

/* The continuation bytes of UTF-8: a cut before one would split a character. */
static int splits_character(char c) {
    return ((unsigned char)c & 0xc0) == 0x80;
}

lt_short_text lt_name_text(const char *name) {
    lt_short_text out;
    size_t length = strlen(name);
    if (length < sizeof out.text) {
        memcpy(out.text, name, length + 1);
        return out;
    }
    size_t kept = sizeof out.text - 4;
    while (kept > 0 && splits_character(name[kept])) {
        kept--;
    }
    memcpy(out.text, name, kept);
    memcpy(out.text + kept, "...", 4);
    return out;
}

lt_short_text lt_path_text(const char *path) {
    lt_short_text out;
    size_t length = strlen(path);
    if (length < sizeof out.text) {
        memcpy(out.text, path, length + 1);
        return out;
    }
    size_t start = length - (sizeof out.text - 4);
    while (start < length && splits_character(path[start])) {
        start++;
    }
    memcpy(out.text, "...", 3);
    memcpy(out.text + 3, path + start, length - start + 1);
    return out;
}

lt_short_text lt_errno_text(int error) {
    lt_short_text out;
    char buffer[sizeof out.text];
    (void)snprintf(out.text, sizeof out.text, "%s", strerror_r(error, buffer, sizeof buffer));
    return out;
}

lathe_status lt_file_fail(const char *path, const char *action, int error) {
    return lt_fail(LATHE_IO, "%s: cannot %s: %s", lt_path_text(path).text, action,
                   lt_errno_text(error).text);
}

lathe_status lt_file_fail_open(const char *path, int error) {
    return lt_fail(error == ENOENT || error == ENOTDIR ? LATHE_NOT_FOUND : LATHE_IO,
                   "%s: cannot open: %s", lt_path_text(path).text, lt_errno_text(error).text);
}

lathe_status lt_file_check_path(const char *path) {
    return path != NULL && path[0] != '\0'
               ? LATHE_OK
               : lt_fail(LATHE_INVALID_ARGUMENT, "the path of the input is empty");
}

lathe_status lt_file_size(int fd, const char *path, uint64_t *n_bytes) {
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return lt_file_fail(path, "stat", errno);
    }
    if (!S_ISREG(info.st_mode)) {
        return lt_fail(LATHE_IO, "%s: is %s", lt_path_text(path).text,
                       S_ISDIR(info.st_mode) ? "a directory" : "not a regular file");
    }
    *n_bytes = (uint64_t)info.st_size;
    return LATHE_OK;
}

lathe_status lt_file_open(const char *path, int *fd, uint64_t *n_bytes) {
    lathe_status status = lt_file_check_path(path);
    if (status != LATHE_OK) {
        return status;
    }
    int opened = open(path, LT_FILE_READ_FLAGS | O_CLOEXEC);
    if (opened < 0) {
        return lt_file_fail_open(path, errno);
    }
    status = lt_file_size(opened, path, n_bytes);
    if (status != LATHE_OK) {
        (void)close(opened);
        return status;
    }
    *fd = opened;
    return LATHE_OK;
}

lathe_status lt_file_read(int fd, uint64_t offset, void *buffer, size_t n_bytes) {
    char *out = buffer;
    while (n_bytes > 0) {
        size_t wanted = n_bytes < MOST_BYTES_A_CALL ? n_bytes : MOST_BYTES_A_CALL;
        ssize_t n = pread(fd, out, wanted, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return lt_fail(LATHE_IO, "cannot read at byte %" PRIu64 ": %s", offset,
                           lt_errno_text(errno).text);
        }
        if (n == 0) {
            return lt_fail(LATHE_IO,
                           "the file has no byte %" PRIu64 " any more: it shrank while it was read",
                           offset);
        }
        out += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return LATHE_OK;
}
