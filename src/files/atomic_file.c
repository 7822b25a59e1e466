/* SPDX-License-Identifier: Apache-2.0 */
/* Atomic files: one without a name in the target's folder, synced, then linked there; or, where the
 * file system has no such files, a temporary beside the target, synced, then renamed. */
#include "files/atomic_file.h"

#include "core/error.h"
#include "files/file_io.h"
#include "files/output_path.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_ATTEMPTS = 100, /* names tried for the temporary */
    MOST_NAME = 200,     /* bytes of the target's name in the temporary's, whose own limit is 255 */
    TEMP_ROOM = 32,      /* ".", ".", 16 digits, ".tmp" and NUL */
};

/* Writes of so many bytes are worth a call that sends them on to the disk. */
#define LEAST_WRITE_BEHIND ((size_t)64 << 10)

#define MOST_BYTES_A_CALL ((size_t)0x7ffff000)

struct lt_atomic_file {
    lathe_pool *pool;
    lt_file_set *set;          /* that keeps it open; NULL: it stays open */
    lt_set_file handle;        /* its fd is -1 once synced, if it has a name by then */
    const lt_input_set *input; /* on the same disk; NULL: none is known */
    bool overwrite;
    bool is_unnamed; /* until it is published */
    bool published;
    bool replaced; /* a file lay under the name when this one was published */
    const char *path;
    char *target;
    char *temp;      /* NULL until it exists */
    char *temp_path; /* room for it */
    size_t temp_room;
    char names[];
};

static uint64_t random_bits(unsigned attempt) {
    uint64_t bits = 0;
    if (getrandom(&bits, sizeof bits, GRND_NONBLOCK) != (ssize_t)sizeof bits) {
        struct timespec now = {0};
        (void)clock_gettime(CLOCK_REALTIME, &now);
        bits = ((uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 40) +
               attempt;
    }
    return bits;
}

/* A name ".NAME.0123456789abcdef.tmp" beside the target. */
static void make_temp_path(lt_atomic_file *file, unsigned attempt) {
    size_t folder = lt_folder_length(file->target);
    int name = (int)strnlen(file->target + folder, MOST_NAME);
    (void)snprintf(file->temp_path, file->temp_room, "%.*s.%.*s.%016" PRIx64 ".tmp", (int)folder,
                   file->target, name, file->target + folder, random_bits(attempt));
}

/* Makes the file temp_path. Returns 0 or what errno would be. */
static int open_new(lt_atomic_file *file) {
    const int flags = O_RDWR | O_CREAT | O_EXCL;
    if (file->set != NULL) {
        return lt_set_file_open(file->set, &file->handle, file->temp_path, flags);
    }
    file->handle.fd = open(file->temp_path, flags | O_CLOEXEC, 0666);
    return file->handle.fd >= 0 ? 0 : errno;
}

/* Has the file open until it is given back. Errors: IO. */
static lathe_status take(lt_atomic_file *file) {
    int error = file->set != NULL ? lt_set_file_take(file->set, &file->handle) : 0;
    return error == 0 ? LATHE_OK : lt_file_fail(file->path, "open the temporary file again", error);
}

static void give(lt_atomic_file *file) {
    if (file->set != NULL) {
        lt_set_file_give(file->set, &file->handle);
    }
}

/* Returns 0 or what errno would be. */
static int close_handle(lt_atomic_file *file) {
    int error = 0;
    if (file->set != NULL) {
        error = lt_set_file_close(file->set, &file->handle);
    } else if (file->handle.fd >= 0) {
        error = close(file->handle.fd) == 0 || errno == EINTR ? 0 : errno;
    }
    file->handle.fd = -1;
    return error;
}

/* Opens a new file of such a name. */
static lathe_status open_temp(lt_atomic_file *file) {
    int error = EEXIST;
    for (unsigned i = 0; i < MOST_ATTEMPTS && error == EEXIST; i++) {
        make_temp_path(file, i);
        error = open_new(file);
        if (error == 0) {
            file->temp = file->temp_path;
            return LATHE_OK;
        }
    }
    return lt_file_fail(file->path, "create a file in its folder", error);
}

/* Opens the folder of the target, or what flags make of it. */
static int open_folder(char *target, int flags) {
    size_t folder = lt_folder_length(target);
    char after = target[folder];
    target[folder] = '\0';
    int fd = open(folder == 0 ? "." : target, flags | O_CLOEXEC, 0666);
    target[folder] = after;
    return fd;
}

/* What names a file that has no name. */
typedef struct fd_path {
    char text[32];
} fd_path;

static fd_path path_of_fd(int fd) {
    fd_path path;
    (void)snprintf(path.text, sizeof path.text, "/proc/self/fd/%d", fd);
    return path;
}

/* Opens a file without a name, which a process that is killed does not leave behind. False where
 * the system cannot make one, or could not name it in the end. */
static bool open_unnamed(lt_atomic_file *file) {
    struct stat info;
    int fd = open_folder(file->target, O_TMPFILE | O_RDWR);
    if (fd < 0) {
        return false;
    }
    if (lstat(path_of_fd(fd).text, &info) != 0) {
        (void)close(fd);
        return false;
    }
    file->handle.fd = fd;
    file->is_unnamed = true;
    return true;
}

lathe_status lt_atomic_create(lathe_pool *pool, const char *path, bool overwrite,
                              lt_atomic_file **file) {
    return lt_atomic_create_in(pool, NULL, path, overwrite, file);
}

lathe_status lt_atomic_create_in(lathe_pool *pool, lt_file_set *set, const char *path,
                                 bool overwrite, lt_atomic_file **file) {
    lt_output_path out;
    lathe_status status = lt_output_path_of(path, &out);
    if (status != LATHE_OK) {
        return status;
    }
    if (out.exists && !overwrite) {
        return lt_fail(LATHE_EXISTS, "%s: exists already", lt_path_text(path).text);
    }
    size_t path_room = strlen(path) + 1;
    size_t target_room = strlen(out.target) + 1;
    size_t temp_room = target_room + TEMP_ROOM;
    lt_atomic_file *made = lt_pool_new(pool, sizeof *made + path_room + target_room + temp_room);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->pool = pool;
    made->set = set;
    made->handle.fd = -1;
    made->overwrite = overwrite;
    made->path = memcpy(made->names, path, path_room);
    made->target = memcpy(made->names + path_room, out.target, target_room);
    made->temp_path = made->names + path_room + target_room;
    made->temp_room = temp_room;
    status = set == NULL && open_unnamed(made) ? LATHE_OK : open_temp(made);
    if (status == LATHE_OK) {
        if (out.exists && fchmod(made->handle.fd, out.info.st_mode & 07777) != 0) {
            status = lt_file_fail(path, "give the new file the mode of the old one", errno);
        }
        give(made);
    }
    if (status != LATHE_OK) {
        lt_atomic_close(made);
        return status;
    }
    *file = made;
    return LATHE_OK;
}

void lt_atomic_yield_to(lt_atomic_file *file, const lt_input_set *input, dev_t device) {
    struct stat info;
    if (take(file) == LATHE_OK) {
        file->input = fstat(file->handle.fd, &info) == 0 && info.st_dev == device ? input : NULL;
        give(file);
    }
}

/* Returns 0 or what errno would be. */
static int set_size(int fd, uint64_t n_bytes) {
    int error = 0;
    if (n_bytes > INT64_MAX) {
        return EFBIG;
    }
    if (n_bytes > 0) {
        do {
            error = fallocate(fd, 0, 0, (off_t)n_bytes) == 0 ? 0 : errno;
        } while (error == EINTR);
    }
    if (error == EOPNOTSUPP || error == ENOSYS) {
        error = 0;
    }
    return error == 0 && ftruncate(fd, (off_t)n_bytes) != 0 ? errno : error;
}

lathe_status lt_atomic_reserve(lt_atomic_file *file, uint64_t n_bytes) {
    lathe_status status = take(file);
    if (status != LATHE_OK) {
        return status;
    }
    const int error = set_size(file->handle.fd, n_bytes);
    give(file);
    if (error != 0) {
        status = lt_fail(LATHE_IO, "%s: cannot reserve %" PRIu64 " bytes: %s",
                         lt_path_text(file->path).text, n_bytes, lt_errno_text(error).text);
        lt_error()->required_bytes = n_bytes;
    }
    return status;
}

/* Returns 0 or what errno would be. */
static int write_all(int fd, uint64_t offset, const char *bytes, size_t n_bytes) {
    while (n_bytes > 0) {
        size_t wanted = n_bytes < MOST_BYTES_A_CALL ? n_bytes : MOST_BYTES_A_CALL;
        ssize_t n = pwrite(fd, bytes, wanted, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? errno : EIO;
        }
        bytes += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return 0;
}

lathe_status lt_atomic_write(lt_atomic_file *file, uint64_t offset, const void *bytes,
                             size_t n_bytes) {
    lathe_status status = take(file);
    if (status != LATHE_OK) {
        return status;
    }
    const int error = write_all(file->handle.fd, offset, bytes, n_bytes);
    const bool yields = file->input != NULL && lt_input_is_on_disk(file->input);
    if (error == 0 && n_bytes >= LEAST_WRITE_BEHIND && !yields) {
        /* The disk begins now, and not when the file is synced. What fails is told then. */
        (void)sync_file_range(file->handle.fd, (off_t)offset, (off_t)n_bytes,
                              SYNC_FILE_RANGE_WRITE);
    }
    give(file);
    return error == 0 ? LATHE_OK : lt_file_fail(file->path, "write", error);
}

lathe_status lt_atomic_sync(lt_atomic_file *file) {
    lathe_status status = take(file);
    if (status != LATHE_OK) {
        return status;
    }
    int error = fsync(file->handle.fd) == 0 ? 0 : errno;
    give(file);
    if (!file->is_unnamed) {
        const int closed = close_handle(file);
        error = error == 0 ? closed : error;
    }
    return error == 0 ? LATHE_OK : lt_file_fail(file->path, "sync", error);
}

/* Puts the temporary under the target's name unless something lies there. */
static int rename_without_replacing(const char *temp, const char *target) {
    if (renameat2(AT_FDCWD, temp, AT_FDCWD, target, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
        return errno;
    }
    if (link(temp, target) == 0) {
        (void)unlink(temp);
        return 0;
    }
    if (errno != EPERM && errno != ENOSYS && errno != EOPNOTSUPP) {
        return errno;
    }
    /* A file system with neither: what is left is to look, which leaves an instant for a race. */
    struct stat info;
    if (lstat(target, &info) == 0) {
        return EEXIST;
    }
    return rename(temp, target) == 0 ? 0 : errno;
}

static int link_as(const lt_atomic_file *file, const char *path) {
    return linkat(AT_FDCWD, path_of_fd(file->handle.fd).text, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ==
                   0
               ? 0
               : errno;
}

/* Gives a file without a name the target's. No link replaces a file: where one lies there, the new
 * one is linked beside it, for the instant until it is renamed. */
static int name_unnamed(lt_atomic_file *file) {
    int error = link_as(file, file->target);
    if (error != EEXIST || !file->overwrite) {
        return error;
    }
    for (unsigned i = 0; i < MOST_ATTEMPTS && error == EEXIST; i++) {
        make_temp_path(file, i);
        error = link_as(file, file->temp_path);
    }
    if (error == 0) {
        file->temp = file->temp_path;
        file->replaced = true;
        error = rename(file->temp, file->target) == 0 ? 0 : errno;
    }
    return error;
}

static int rename_temp(lt_atomic_file *file) {
    struct stat info;
    if (!file->overwrite) {
        return rename_without_replacing(file->temp, file->target);
    }
    file->replaced = lstat(file->target, &info) == 0;
    return rename(file->temp, file->target) == 0 ? 0 : errno;
}

/* A name is durable when its folder is synced. Where a folder may not be opened, or cannot
 * be synced, there is nothing to wait for. */
static int sync_folder(char *target) {
    int fd = open_folder(target, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? errno : 0;
    }
    int error = fsync(fd) == 0 ? 0 : errno;
    (void)close(fd);
    return error == EIO || error == ENOSPC || error == EDQUOT ? error : 0;
}

lathe_status lt_atomic_name(lt_atomic_file *file) {
    int error = file->is_unnamed ? name_unnamed(file) : rename_temp(file);
    if (error == EEXIST) {
        return lt_fail(LATHE_EXISTS, "%s: has come into being meanwhile",
                       lt_path_text(file->path).text);
    }
    if (error != 0) {
        return lt_file_fail(file->path, "name the finished file", error);
    }
    file->published = true;
    return LATHE_OK;
}

lathe_status lt_atomic_sync_name(const lt_atomic_file *file) {
    int error = sync_folder(file->target);
    return error == 0 ? LATHE_OK : lt_file_fail(file->path, "sync the folder", error);
}

bool lt_atomic_is_beside(const lt_atomic_file *a, const lt_atomic_file *b) {
    const size_t length = lt_folder_length(a->target);
    return length == lt_folder_length(b->target) && memcmp(a->target, b->target, length) == 0;
}

lathe_status lt_atomic_publish(lt_atomic_file *file) {
    lathe_status status = lt_atomic_name(file);
    if (status == LATHE_OK) {
        status = lt_atomic_sync_name(file);
        if (status != LATHE_OK) {
            lt_atomic_retract(file);
        }
    }
    return status;
}

lathe_status lt_atomic_remove_old(const lt_atomic_file *file) {
    int error = unlink(file->target) == 0 ? sync_folder(file->target) : errno;
    return error == 0 || error == ENOENT ? LATHE_OK : lt_file_fail(file->path, "remove", error);
}

void lt_atomic_retract(lt_atomic_file *file) {
    if (file->published && !file->replaced) {
        (void)unlink(file->target);
    }
}

const char *lt_atomic_path(const lt_atomic_file *file) {
    return file->path;
}

void lt_atomic_close(lt_atomic_file *file) {
    if (file == NULL) {
        return;
    }
    (void)close_handle(file);
    if (file->temp != NULL && !file->published) {
        (void)unlink(file->temp);
    }
    lt_pool_delete(file->pool, file);
}
