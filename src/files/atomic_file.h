/* SPDX-License-Identifier: Apache-2.0 */
/* Atomic file: one that appears under its name only when it is complete and synced. */
#ifndef LT_FILES_ATOMIC_FILE_H
#define LT_FILES_ATOMIC_FILE_H

#include "files/file_set.h"
#include "files/input_file.h"
#include "pool/pool.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Begun as a file without a name in the target's folder, or under a hidden one; given its name by
 * lt_atomic_publish. */
typedef struct lt_atomic_file lt_atomic_file;

/* Begins a file that will appear at `path`. It gets the mode that open(2) with 0666 would give, or
 * that of the file it replaces. Errors: those of lt_output_path_of, EXISTS (unless overwrite),
 * INSUFFICIENT_MEMORY. */
lathe_status lt_atomic_create(lathe_pool *pool, const char *path, bool overwrite,
                              lt_atomic_file **file);

/* The same for one of many files, which the set, that outlives it, may close in between. Such a
 * file has a hidden name from the beginning. NULL: as above. */
lathe_status lt_atomic_create_in(lathe_pool *pool, lt_file_set *set, const char *path,
                                 bool overwrite, lt_atomic_file **file);

/* Leaves the disk to an input, which outlives the file, while that is read from it: writing behind
 * is for other disks, and for input that is in memory. `device` is the input's. */
void lt_atomic_yield_to(lt_atomic_file *file, const lt_input_set *input, dev_t device);

/* Gives the file its final size and, where the file system can, its disk space. Errors: IO. */
lathe_status lt_atomic_reserve(lt_atomic_file *file, uint64_t n_bytes);

/* Writes all of n_bytes at offset. Thread-safe. Errors: IO. */
lathe_status lt_atomic_write(lt_atomic_file *file, uint64_t offset, const void *bytes,
                             size_t n_bytes);

/* Waits until the contents are on disk and closes the file to writing. Errors: IO. */
lathe_status lt_atomic_sync(lt_atomic_file *file);

/* Gives the synced file its name; without `overwrite`, a file that has appeared there meanwhile is
 * left alone. Errors: EXISTS, IO. */
lathe_status lt_atomic_name(lt_atomic_file *file);

/* Waits until the file's name is on disk, and with it those of other files in its folder. Errors:
 * IO. */
lathe_status lt_atomic_sync_name(const lt_atomic_file *file);

/* True if both lie in one folder. */
bool lt_atomic_is_beside(const lt_atomic_file *a, const lt_atomic_file *b);

/* Names it and waits for that; on failure it has no name. Errors: those of the two. */
lathe_status lt_atomic_publish(lt_atomic_file *file);

/* Takes away the file that this one will replace, if there is one. Errors: IO. */
lathe_status lt_atomic_remove_old(const lt_atomic_file *file);

/* Takes a published file away again, if it replaced none. */
void lt_atomic_retract(lt_atomic_file *file);

/* The path as it was given. */
const char *lt_atomic_path(const lt_atomic_file *file);

/* Frees the handle; a file that was not published is removed. NULL is legal. */
void lt_atomic_close(lt_atomic_file *file);

#endif
