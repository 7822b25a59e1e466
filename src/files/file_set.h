/* SPDX-License-Identifier: Apache-2.0 */
/* Files of which only so many are open at a time: a checkpoint may have thousands of shards. */
#ifndef LT_FILES_FILE_SET_H
#define LT_FILES_FILE_SET_H

#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

/* So many of a set are open at most; fewer where the process may not open many files. */
enum { LT_FILE_SET_MOST = 64 };
uint32_t lt_file_set_most(void);

/* A file of a set. Its fields are the set's. */
typedef struct lt_set_file {
    const char *path; /* lives as long as the file */
    int flags;        /* for open(2), when it is opened again */
    int fd;           /* -1: it is closed at the moment */
    uint32_t n_takers;
    uint64_t given_at; /* when it was last given back, by the set's clock */
    dev_t device;      /* it must be the same file still */
    ino_t inode;
} lt_set_file;

typedef struct lt_file_set {
    pthread_mutex_t mutex; /* guards everything, the files' fields too */
    pthread_cond_t given;
    lt_set_file *open[LT_FILE_SET_MOST];
    uint32_t n_open;
    uint32_t most; /* may be open */
    uint64_t clock;
} lt_file_set;

void lt_file_set_init(lt_file_set *set);

/* Closes what is open. */
void lt_file_set_destroy(lt_file_set *set);

/* Opens a file for the first time, as open(2) does; flags such as O_CREAT hold for this time only.
 * It is taken then. Returns 0 or what errno would be. */
int lt_set_file_open(lt_file_set *set, lt_set_file *file, const char *path, int flags);

/* The file is open, as file->fd, until it is given back. A thread takes one file of a set at a
 * time. Thread-safe. Returns 0 or what errno would be; ESTALE: another file has its name now. */
int lt_set_file_take(lt_file_set *set, lt_set_file *file);
void lt_set_file_give(lt_file_set *set, lt_set_file *file);

/* Closes a file that nobody has taken. Returns 0 or what errno would be. */
int lt_set_file_close(lt_file_set *set, lt_set_file *file);

#endif
