/* SPDX-License-Identifier: Apache-2.0 */
/* Regular files that are read together, some of them open at a time. */
#ifndef LT_FILES_INPUT_FILE_H
#define LT_FILES_INPUT_FILE_H

#include "files/file_set.h"
#include <lathe/status.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct lt_input_file {
    lt_set_file file;
    uint64_t n_bytes;
} lt_input_file;

typedef struct lt_input_turn lt_input_turn;

typedef struct lt_input_set {
    lt_file_set files;
    _Atomic uint64_t in_memory; /* bytes that were there without waiting, since some were not */
    atomic_bool cannot_tell;    /* the file system does not say whether they are */
    pthread_mutex_t mutex;      /* guards what follows */
    pthread_cond_t changed;
    lt_input_turn *waiting; /* for their turn to read; by offset */
    bool is_reading;
} lt_input_set;

void lt_input_set_init(lt_input_set *set);

/* Closes what is open. */
void lt_input_set_destroy(lt_input_set *set);

/* Opens a file, whose path lives as long as it; it is taken then. Errors: those of lt_file_open. */
lathe_status lt_input_open(lt_input_set *set, lt_input_file *input, const char *path);

/* True if data has lately come from a disk, as far as the file system says so. Thread-safe. */
bool lt_input_is_on_disk(const lt_input_set *set);

/* Reads exactly n_bytes from offset on. The message does not name the file. Thread-safe. Errors:
 * IO. */
lathe_status lt_input_read(lt_input_set *set, lt_input_file *input, uint64_t offset, void *buffer,
                           size_t n_bytes);

/* The same for threads that together read whole files, in about their order: as long as the data
 * comes from a disk, one thread reads at a time, so that the system sees one sequence to read
 * ahead of. */
lathe_status lt_input_read_in_turn(lt_input_set *set, lt_input_file *input, uint64_t offset,
                                   void *buffer, size_t n_bytes);

#endif
