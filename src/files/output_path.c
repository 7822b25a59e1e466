/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at where a file would be written, before anything is. */
#include "files/output_path.h"

#include "core/error.h"
#include "files/file_io.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LINKS = 40 }; /* as the kernel follows */

size_t lt_folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* Replaces the symbolic link out->target by what it says. */
static lathe_status follow_link(const char *path, lt_output_path *out) {
    char link[sizeof out->target];
    ssize_t length = readlink(out->target, link, sizeof link);
    if (length < 0) {
        return lt_file_fail(path, "read the symbolic link", errno);
    }
    size_t folder = link[0] == '/' ? 0 : lt_folder_length(out->target);
    if (folder + (size_t)length >= sizeof out->target) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "%s: the symbolic link is too long",
                       lt_path_text(path).text);
    }
    memcpy(out->target + folder, link, (size_t)length);
    out->target[folder + (size_t)length] = '\0';
    return LATHE_OK;
}

/* The folder that a new file at `path` would be in must be there. */
static lathe_status check_folder(const char *path, lt_output_path *out) {
    struct stat info;
    const size_t length = lt_folder_length(out->target);
    const char after = out->target[length];
    lathe_status status = LATHE_OK;
    out->target[length] = '\0';
    if (length > 0 && stat(out->target, &info) != 0) {
        status = errno == ENOENT ? lt_fail(LATHE_IO, "%s: there is no folder \"%s\"",
                                           lt_path_text(path).text, lt_path_text(out->target).text)
                                 : lt_file_fail(path, "look at its folder", errno);
    }
    out->target[length] = after;
    return status;
}

/* What is there, or would have to be, is a regular file. */
static lathe_status check_kind(const char *path, const lt_output_path *out) {
    if (out->exists ? S_ISDIR(out->info.st_mode)
                    : out->target[lt_folder_length(out->target)] == '\0') {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       out->exists ? "%s: is a folder; the output needs a file's name"
                                   : "%s: ends in a slash; the output needs a file's name",
                       lt_path_text(path).text);
    }
    if (out->exists && !S_ISREG(out->info.st_mode)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "%s: is there and is not a regular file",
                       lt_path_text(path).text);
    }
    return LATHE_OK;
}

lathe_status lt_output_path_of(const char *path, lt_output_path *out) {
    size_t length = path == NULL ? 0 : strlen(path);
    if (length == 0 || length >= sizeof out->target) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the path of the output is %s",
                       length == 0 ? "empty" : "too long");
    }
    memcpy(out->target, path, length + 1);
    for (int links = 0;; links++) {
        out->exists = lstat(out->target, &out->info) == 0;
        if (!out->exists && errno != ENOENT) {
            return lt_file_fail(path, "look at it", errno);
        }
        if (!out->exists || !S_ISLNK(out->info.st_mode)) {
            break;
        }
        if (links == MOST_LINKS) {
            return lt_file_fail(path, "follow the symbolic link", ELOOP);
        }
        lathe_status status = follow_link(path, out);
        if (status != LATHE_OK) {
            return status;
        }
    }
    lathe_status status = check_kind(path, out);
    return status == LATHE_OK && !out->exists ? check_folder(path, out) : status;
}
