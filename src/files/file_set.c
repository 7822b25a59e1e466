/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of files. What has been given back longest ago is closed for what is opened. */
#include "files/file_set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Flags that make a file, which is there when it is opened again. */
#define MAKING_FLAGS (O_CREAT | O_EXCL | O_TRUNC)

/* All functions named locked_* are called with the set's mutex held. */

uint32_t lt_file_set_most(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
        return LT_FILE_SET_MOST;
    }
    /* A conversion has two sets, and the process other files. */
    const rlim_t share = limit.rlim_cur / 4;
    return share < 1 ? 1 : share < LT_FILE_SET_MOST ? (uint32_t)share : LT_FILE_SET_MOST;
}

void lt_file_set_init(lt_file_set *set) {
    *set = (lt_file_set){.most = lt_file_set_most()};
    (void)pthread_mutex_init(&set->mutex, NULL);
    (void)pthread_cond_init(&set->given, NULL);
}

static int locked_close(lt_file_set *set, lt_set_file *file) {
    int error = close(file->fd) == 0 || errno == EINTR ? 0 : errno;
    uint32_t i = 0;
    while (set->open[i] != file) {
        i++;
    }
    set->open[i] = set->open[--set->n_open];
    file->fd = -1;
    return error;
}

void lt_file_set_destroy(lt_file_set *set) {
    while (set->n_open > 0) {
        (void)locked_close(set, set->open[0]);
    }
    (void)pthread_mutex_destroy(&set->mutex);
    (void)pthread_cond_destroy(&set->given);
}

/* Closes the file that nobody has used for longest, or waits until somebody gives one back. False:
 * there is none to wait for. */
static bool locked_make_room(lt_file_set *set) {
    lt_set_file *oldest = NULL;
    for (uint32_t i = 0; i < set->n_open; i++) {
        lt_set_file *file = set->open[i];
        if (file->n_takers == 0 && (oldest == NULL || file->given_at < oldest->given_at)) {
            oldest = file;
        }
    }
    if (oldest != NULL) {
        /* What could not be written is told to who syncs the file, even if he opens it anew. */
        (void)locked_close(set, oldest);
    } else if (set->n_open > 0) {
        (void)pthread_cond_wait(&set->given, &set->mutex);
    }
    return oldest != NULL || set->n_open > 0;
}

/* Opens the file, if nobody else has meanwhile, and notes it. */
static int locked_open(lt_file_set *set, lt_set_file *file, int flags) {
    while (file->fd < 0) {
        if (set->n_open == set->most) {
            (void)locked_make_room(set);
            continue;
        }
        file->fd = open(file->path, flags | O_CLOEXEC, 0666);
        const int error = errno;
        if (file->fd >= 0) {
            set->open[set->n_open++] = file;
        } else if ((error != EMFILE && error != ENFILE) || !locked_make_room(set)) {
            return error;
        }
    }
    return 0;
}

int lt_set_file_open(lt_file_set *set, lt_set_file *file, const char *path, int flags) {
    struct stat info;
    *file = (lt_set_file){.path = path, .flags = flags & ~MAKING_FLAGS, .fd = -1};
    (void)pthread_mutex_lock(&set->mutex);
    int error = locked_open(set, file, flags);
    if (error == 0 && fstat(file->fd, &info) != 0) {
        error = errno;
        (void)locked_close(set, file);
    }
    if (error == 0) {
        file->device = info.st_dev;
        file->inode = info.st_ino;
        file->n_takers = 1;
    }
    (void)pthread_mutex_unlock(&set->mutex);
    return error;
}

int lt_set_file_take(lt_file_set *set, lt_set_file *file) {
    struct stat info;
    (void)pthread_mutex_lock(&set->mutex);
    const bool was_closed = file->fd < 0;
    int error = locked_open(set, file, file->flags);
    if (error == 0 && was_closed && fstat(file->fd, &info) != 0) {
        error = errno;
    }
    if (error == 0 && was_closed && (info.st_dev != file->device || info.st_ino != file->inode)) {
        error = ESTALE;
    }
    if (error == 0) {
        file->n_takers++;
    } else if (file->fd >= 0 && file->n_takers == 0) {
        (void)locked_close(set, file);
    }
    (void)pthread_mutex_unlock(&set->mutex);
    return error;
}

void lt_set_file_give(lt_file_set *set, lt_set_file *file) {
    (void)pthread_mutex_lock(&set->mutex);
    file->n_takers--;
    file->given_at = ++set->clock;
    (void)pthread_cond_broadcast(&set->given);
    (void)pthread_mutex_unlock(&set->mutex);
}

int lt_set_file_close(lt_file_set *set, lt_set_file *file) {
    int error = 0;
    (void)pthread_mutex_lock(&set->mutex);
    if (file->fd >= 0) {
        error = locked_close(set, file);
    }
    (void)pthread_mutex_unlock(&set->mutex);
    return error;
}
