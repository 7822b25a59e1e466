/* SPDX-License-Identifier: Apache-2.0 */
/* Input files. */
#include "files/input_file.h"

#include "core/error.h"
#include "files/file_io.h"
#include <errno.h>
#include <inttypes.h>
#include <sys/uio.h>

/* After so many bytes from memory nothing more is expected of the disk. It is more than systems
 * read ahead. */
#define ALL_IN_MEMORY (UINT64_C(32) << 20)

/* A thread that waits for its turn. */
struct lt_input_turn {
    uint64_t offset;
    lt_input_turn *next;
};

void lt_input_set_init(lt_input_set *set) {
    *set = (lt_input_set){.in_memory = ALL_IN_MEMORY};
    lt_file_set_init(&set->files);
    (void)pthread_mutex_init(&set->mutex, NULL);
    (void)pthread_cond_init(&set->changed, NULL);
}

void lt_input_set_destroy(lt_input_set *set) {
    lt_file_set_destroy(&set->files);
    (void)pthread_mutex_destroy(&set->mutex);
    (void)pthread_cond_destroy(&set->changed);
}

lathe_status lt_input_open(lt_input_set *set, lt_input_file *input, const char *path) {
    *input = (lt_input_file){.file = {.fd = -1}};
    lathe_status status = lt_file_check_path(path);
    if (status != LATHE_OK) {
        return status;
    }
    int error = lt_set_file_open(&set->files, &input->file, path, LT_FILE_READ_FLAGS);
    if (error != 0) {
        return lt_file_fail_open(path, error);
    }
    status = lt_file_size(input->file.fd, path, &input->n_bytes);
    if (status != LATHE_OK) {
        lt_set_file_give(&set->files, &input->file);
        (void)lt_set_file_close(&set->files, &input->file);
    }
    return status;
}

/* ---- turns */

/* Waits until nobody reads, and nobody waits who would read before. */
static void take_turn(lt_input_set *set, uint64_t offset) {
    lt_input_turn turn = {.offset = offset};
    (void)pthread_mutex_lock(&set->mutex);
    lt_input_turn **at = &set->waiting;
    while (*at != NULL && (*at)->offset <= offset) {
        at = &(*at)->next;
    }
    turn.next = *at;
    *at = &turn;
    while (set->is_reading || set->waiting != &turn) {
        (void)pthread_cond_wait(&set->changed, &set->mutex);
    }
    set->waiting = turn.next;
    set->is_reading = true;
    (void)pthread_mutex_unlock(&set->mutex);
}

static void end_turn(lt_input_set *set) {
    (void)pthread_mutex_lock(&set->mutex);
    set->is_reading = false;
    (void)pthread_cond_broadcast(&set->changed);
    (void)pthread_mutex_unlock(&set->mutex);
}

/* Reads what is in memory of n_bytes, and keeps account of it. Returns how much that is. */
static size_t read_in_memory(lt_input_set *set, int fd, uint64_t offset, void *buffer,
                             size_t n_bytes) {
    const struct iovec piece = {.iov_base = buffer, .iov_len = n_bytes};
    const ssize_t n = preadv2(fd, &piece, 1, (off_t)offset, RWF_NOWAIT);
    const size_t n_read = n > 0 ? (size_t)n : 0;
    if (n_read == n_bytes) {
        (void)atomic_fetch_add_explicit(&set->in_memory, n_bytes, memory_order_relaxed);
    } else if (n >= 0 || errno == EAGAIN) {
        atomic_store_explicit(&set->in_memory, 0, memory_order_relaxed);
    } else if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
        atomic_store_explicit(&set->cannot_tell, true, memory_order_relaxed);
    }
    return n_read;
}

bool lt_input_is_on_disk(const lt_input_set *set) {
    return atomic_load_explicit(&set->in_memory, memory_order_relaxed) < ALL_IN_MEMORY;
}

/* A read that looks for its data in memory out of turn would spoil the sequence: where the disk is
 * at work, even that waits. */
static lathe_status read_in_turn(lt_input_set *set, int fd, uint64_t offset, uint8_t *out,
                                 size_t n_bytes) {
    bool has_turn = lt_input_is_on_disk(set);
    if (has_turn) {
        take_turn(set, offset);
    }
    const size_t n_read = read_in_memory(set, fd, offset, out, n_bytes);
    if (!has_turn && lt_input_is_on_disk(set)) {
        take_turn(set, offset);
        has_turn = true;
    }
    lathe_status status = lt_file_read(fd, offset + n_read, out + n_read, n_bytes - n_read);
    if (has_turn) {
        end_turn(set);
    }
    return status;
}

/* ---- reading */

static lathe_status read_taken(lt_input_set *set, lt_input_file *input, uint64_t offset,
                               void *buffer, size_t n_bytes, bool in_turn) {
    int error = lt_set_file_take(&set->files, &input->file);
    if (error != 0) {
        return lt_fail(LATHE_IO, "cannot open the file again to read at byte %" PRIu64 ": %s",
                       offset, lt_errno_text(error).text);
    }
    lathe_status status = in_turn ? read_in_turn(set, input->file.fd, offset, buffer, n_bytes)
                                  : lt_file_read(input->file.fd, offset, buffer, n_bytes);
    lt_set_file_give(&set->files, &input->file);
    return status;
}

lathe_status lt_input_read(lt_input_set *set, lt_input_file *input, uint64_t offset, void *buffer,
                           size_t n_bytes) {
    return read_taken(set, input, offset, buffer, n_bytes, false);
}

lathe_status lt_input_read_in_turn(lt_input_set *set, lt_input_file *input, uint64_t offset,
                                   void *buffer, size_t n_bytes) {
    const bool tells = !atomic_load_explicit(&set->cannot_tell, memory_order_relaxed);
    return read_taken(set, input, offset, buffer, n_bytes, tells);
}
