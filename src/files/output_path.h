/* SPDX-License-Identifier: Apache-2.0 */
/* What the path of an output leads to. */
#ifndef LT_FILES_OUTPUT_PATH_H
#define LT_FILES_OUTPUT_PATH_H

#include <lathe/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* What a path to be written leads to. */
typedef struct lt_output_path {
    char target[4096]; /* symbolic links in its last component followed, so that they stay */
    bool exists;
    struct stat info; /* if it exists */
} lt_output_path;

/* Errors: INVALID_ARGUMENT (empty, too long, a folder, a device), IO. */
lathe_status lt_output_path_of(const char *path, lt_output_path *out);

/* Bytes of the path up to and with the last slash. */
size_t lt_folder_length(const char *path);

#endif
