/* SPDX-License-Identifier: Apache-2.0 */
/* Reading regular files, and putting names of files and tensors, and errno, into messages. */
#ifndef LT_FILES_FILE_IO_H
#define LT_FILES_FILE_IO_H

#include <fcntl.h>
#include <lathe/status.h>
#include <stddef.h>
#include <stdint.h>

/* Texts cut to a length that leaves room in a message. Used as lt_name_text(name).text within one
 * call. */
typedef struct lt_short_text {
    char text[160];
} lt_short_text;

/* A tensor's name or another piece of a file: its beginning. */
lt_short_text lt_name_text(const char *name);

/* A path: its end. */
lt_short_text lt_path_text(const char *path);

/* What errno means. */
lt_short_text lt_errno_text(int error);

/* Fails with IO: "PATH: cannot ACTION: what errno means". */
lathe_status lt_file_fail(const char *path, const char *action, int error);

/* Opening for reading never waits, for a writer of a FIFO say. */
#define LT_FILE_READ_FLAGS (O_RDONLY | O_NONBLOCK)

/* Opening in steps: the path may be NULL; open(2) has failed with an errno; the size of what has
 * been opened, which must be a regular file. */
lathe_status lt_file_check_path(const char *path);
lathe_status lt_file_fail_open(const char *path, int error);
lathe_status lt_file_size(int fd, const char *path, uint64_t *n_bytes);

/* Opens a regular file for reading; never waits, whatever the path is. Errors: INVALID_ARGUMENT (no
 * path), NOT_FOUND, IO (not permitted, or not a regular file). */
lathe_status lt_file_open(const char *path, int *fd, uint64_t *n_bytes);

/* Reads exactly n_bytes from offset on. The message does not name the file. Thread-safe. Errors:
 * IO.
 */
lathe_status lt_file_read(int fd, uint64_t offset, void *buffer, size_t n_bytes);

#endif
