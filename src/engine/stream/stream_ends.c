/* SPDX-License-Identifier: Apache-2.0 */
/* Sources and sinks of public streams: tensors, callbacks and files. */
#include "engine/stream/stream_ends.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/tensor.h"
#include "engine/device/device_tensor.h"
#include "files/file_io.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Linux transfers at most this much a call. */
#define MOST_BYTES_A_CALL ((size_t)0x7ffff000)

/* ---- tensors */

static lathe_status tensor_read(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    const lt_source_end *end = ctx;
    return lt_tensor_read(end->given.tensor, offset, buffer, n_bytes);
}

static lathe_status tensor_read_scales(void *ctx, uint64_t first, float *scales, size_t n_scales) {
    const lt_source_end *end = ctx;
    return lt_tensor_read_scales(end->given.tensor, first, scales, n_scales);
}

static lathe_status tensor_write(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    const lt_sink_end *end = ctx;
    return lt_tensor_write(end->given.tensor, offset, bytes, n_bytes);
}

static lathe_status tensor_write_scales(void *ctx, uint64_t first, const float *scales,
                                        size_t n_scales) {
    const lt_sink_end *end = ctx;
    return lt_tensor_write_scales(end->given.tensor, first, scales, n_scales);
}

/* ---- callbacks */

/* What a callback has returned, with an error of its own or of the library's function that it
 * called: the thread's last error was marked before the call. */
static lathe_status end_callback(lathe_status status, lathe_status before, const char *name,
                                 const char *unit, uint64_t position) {
    lathe_error *error = lt_error();
    if (status == LATHE_OK) {
        error->status = error->status == LATHE_OK ? before : error->status;
        return LATHE_OK;
    }
    return error->status == status
               ? status
               : lt_fail(status, "the callback %s failed at %s %" PRIu64, name, unit, position);
}

static lathe_status begin_callback(void) {
    const lathe_status before = lt_error()->status;
    lt_error()->status = LATHE_OK;
    return before;
}

static lathe_status callback_read(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    const lathe_source *given = &((const lt_source_end *)ctx)->given;
    const lathe_status before = begin_callback();
    return end_callback(given->read(given->ctx, offset, buffer, n_bytes), before, "read", "byte",
                        offset);
}

static lathe_status callback_read_scales(void *ctx, uint64_t first, float *scales,
                                         size_t n_scales) {
    const lathe_source *given = &((const lt_source_end *)ctx)->given;
    const lathe_status before = begin_callback();
    return end_callback(given->read_scales(given->ctx, first, scales, n_scales), before,
                        "read_scales", "scale", first);
}

static lathe_status callback_write(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    const lathe_sink *given = &((const lt_sink_end *)ctx)->given;
    const lathe_status before = begin_callback();
    return end_callback(given->write(given->ctx, offset, bytes, n_bytes), before, "write", "byte",
                        offset);
}

static lathe_status callback_write_scales(void *ctx, uint64_t first, const float *scales,
                                          size_t n_scales) {
    const lathe_sink *given = &((const lt_sink_end *)ctx)->given;
    const lathe_status before = begin_callback();
    return end_callback(given->write_scales(given->ctx, first, scales, n_scales), before,
                        "write_scales", "scale", first);
}

/* ---- files */

static lathe_status named(lathe_status status, const char *path) {
    return status == LATHE_OK || path == NULL ? status
                                              : lt_fail_prefix("%s", lt_path_text(path).text);
}

static lathe_status file_read(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    const lt_source_end *end = ctx;
    return named(lt_file_read(end->fd, end->given.offset + offset, buffer, n_bytes),
                 end->given.path);
}

static lathe_status file_read_scales(void *ctx, uint64_t first, float *scales, size_t n_scales) {
    const lt_source_end *end = ctx;
    const uint64_t at = end->given.scales_offset + first * sizeof(float);
    return named(lt_file_read(end->fd, at, scales, n_scales * sizeof(float)), end->given.path);
}

static lathe_status pipe_read(void *ctx, uint64_t offset, void *buffer, size_t n_bytes) {
    const lt_source_end *end = ctx;
    char *out = buffer;
    while (n_bytes > 0) {
        ssize_t n = read(end->fd, out, n_bytes < MOST_BYTES_A_CALL ? n_bytes : MOST_BYTES_A_CALL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n == 0 ? lt_fail(LATHE_IO, "the source ends at byte %" PRIu64, offset)
                          : lt_fail(LATHE_IO, "cannot read at byte %" PRIu64 ": %s", offset,
                                    lt_errno_text(errno).text);
        }
        out += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return LATHE_OK;
}

/* All of it at `offset`, or at the end of what was written before. */
static lathe_status write_all(int fd, bool in_order, uint64_t offset, const void *bytes,
                              size_t n_bytes) {
    const char *in = bytes;
    while (n_bytes > 0) {
        size_t wanted = n_bytes < MOST_BYTES_A_CALL ? n_bytes : MOST_BYTES_A_CALL;
        ssize_t n = in_order ? write(fd, in, wanted) : pwrite(fd, in, wanted, (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return lt_fail(LATHE_IO, "cannot write at byte %" PRIu64 ": %s", offset,
                           lt_errno_text(n < 0 ? errno : EIO).text);
        }
        in += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return LATHE_OK;
}

static lathe_status write_at(const lt_sink_end *end, uint64_t offset, const void *bytes,
                             size_t n_bytes) {
    if (end->file != NULL) {
        return lt_atomic_write(end->file, offset, bytes, n_bytes);
    }
    return named(write_all(end->fd, end->sink.in_order, offset, bytes, n_bytes), end->given.path);
}

static lathe_status file_write(void *ctx, uint64_t offset, const void *bytes, size_t n_bytes) {
    const lt_sink_end *end = ctx;
    return write_at(end, end->given.offset + offset, bytes, n_bytes);
}

static lathe_status file_write_scales(void *ctx, uint64_t first, const float *scales,
                                      size_t n_scales) {
    const lt_sink_end *end = ctx;
    return write_at(end, end->given.scales_offset + first * sizeof(float), scales,
                    n_scales * sizeof(float));
}

/* Where data and scales end in a file. */
typedef struct extent {
    uint64_t data_end;
    uint64_t scales_end;
} extent;

static lathe_status extent_of(const char *what, uint64_t offset, uint64_t scales_offset,
                              const lt_layout *layout, extent *out) {
    *out = (extent){0};
    bool fits = lt_add(offset, layout->n_bytes, &out->data_end) && out->data_end <= INT64_MAX;
    if (layout->n_scales > 0) {
        fits = fits && lt_add(scales_offset, layout->n_scales * sizeof(float), &out->scales_end) &&
               out->scales_end <= INT64_MAX;
    }
    return fits ? LATHE_OK
                : lt_fail(LATHE_SIZE_OVERFLOW, "%s: the offsets are beyond what a file can have",
                          what);
}

/* A descriptor in order has no positions. */
static lathe_status check_in_order(const char *what, const char *path, uint64_t offset,
                                   const lt_layout *layout) {
    if (path != NULL || offset != 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "%s: a file in order is a descriptor, without an offset", what);
    }
    return layout->n_scales == 0 ? LATHE_OK
                                 : lt_fail(LATHE_INVALID_ARGUMENT,
                                           "%s: a file in order has no room for scales", what);
}

static lathe_status check_file_size(const lt_source_end *end, const lt_layout *layout) {
    extent wanted;
    struct stat info;
    lathe_status status =
        extent_of("source", end->given.offset, end->given.scales_offset, layout, &wanted);
    if (status != LATHE_OK) {
        return status;
    }
    if (fstat(end->fd, &info) != 0) {
        return lt_fail(LATHE_IO, "cannot stat: %s", lt_errno_text(errno).text);
    }
    uint64_t needed = lt_max(wanted.data_end, wanted.scales_end);
    if (S_ISREG(info.st_mode) && (uint64_t)info.st_size < needed) {
        return lt_fail(LATHE_IO, "the file has %" PRIu64 " bytes, the tensor ends at %" PRIu64,
                       (uint64_t)info.st_size, needed);
    }
    return LATHE_OK;
}

/* ---- sources */

static lathe_status open_file_source(lt_source_end *end, const lt_layout *layout) {
    uint64_t n_bytes;
    end->fd = end->given.fd;
    end->source.read = end->source.in_order ? pipe_read : file_read;
    end->source.read_scales = file_read_scales;
    if (end->source.in_order) {
        return check_in_order("source", end->given.path, end->given.offset, layout);
    }
    if (end->given.path != NULL) {
        lathe_status status = lt_file_open(end->given.path, &end->fd, &n_bytes);
        if (status != LATHE_OK) {
            return status;
        }
        end->owns_fd = true;
    }
    return named(check_file_size(end, layout), end->given.path);
}

static lathe_status open_tensor_source(lt_source_end *end, const lt_layout *layout) {
    const lathe_tensor *tensor = end->given.tensor;
    if (tensor == NULL || end->given.in_order != 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "source: %s",
                       tensor == NULL ? "tensor is NULL" : "in_order is not for tensors");
    }
    if (!lt_layout_equal(&tensor->layout, layout)) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES, "the source's tensor is not as described");
    }
    end->source.read = tensor_read;
    end->source.read_scales = tensor_read_scales;
    end->source.data = tensor->memory == LATHE_MEMORY_DEVICE ? NULL : tensor->data;
    end->source.is_pinned = tensor->memory == LATHE_MEMORY_PINNED;
    return LATHE_OK;
}

static lathe_status open_callback_source(lt_source_end *end, const lt_layout *layout) {
    if (end->given.read == NULL || (end->given.read_scales == NULL && layout->n_scales > 0)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "source: %s is NULL",
                       end->given.read == NULL ? "read" : "read_scales");
    }
    end->source.read = callback_read;
    end->source.read_scales = callback_read_scales;
    return LATHE_OK;
}

lathe_status lt_source_open(lt_source_end *end, const lathe_source *given,
                            const lt_layout *layout) {
    *end = (lt_source_end){0};
    if (given->in_order > 1) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "source in_order: %u is neither 0 nor 1",
                       (unsigned)given->in_order);
    }
    end->given = *given;
    end->source.ctx = end;
    end->source.in_order = given->in_order != 0;
    switch (given->kind) {
    case LATHE_END_TENSOR:
        return open_tensor_source(end, layout);
    case LATHE_END_CALLBACK:
        return open_callback_source(end, layout);
    case LATHE_END_FILE:
        return open_file_source(end, layout);
    }
    return lt_fail(LATHE_INVALID_ARGUMENT, "source kind: %d is none", (int)given->kind);
}

void lt_source_close(lt_source_end *end) {
    if (end->owns_fd) {
        (void)close(end->fd);
        end->owns_fd = false;
    }
}

/* ---- sinks */

static lathe_status open_new_file(lt_sink_end *end, lathe_pool *pool, uint64_t n_bytes) {
    const lathe_sink *given = &end->given;
    if (given->path == NULL || end->sink.in_order) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "sink create: a new file has a path and no order");
    }
    lathe_status status = lt_atomic_create(pool, given->path, given->overwrite != 0, &end->file);
    return status == LATHE_OK ? lt_atomic_reserve(end->file, n_bytes) : status;
}

static lathe_status open_existing_file(lt_sink_end *end) {
    const char *path = end->given.path;
    end->fd = end->given.fd;
    if (path == NULL) {
        return LATHE_OK;
    }
    end->fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK);
    if (end->fd < 0) {
        return lt_fail(errno == ENOENT || errno == ENOTDIR ? LATHE_NOT_FOUND : LATHE_IO,
                       "%s: cannot open: %s", lt_path_text(path).text, lt_errno_text(errno).text);
    }
    end->owns_fd = true;
    return LATHE_OK;
}

static lathe_status open_file_sink(lt_sink_end *end, lathe_pool *pool, const lt_layout *layout) {
    const lathe_sink *given = &end->given;
    extent to;
    end->sink.write = file_write;
    end->sink.write_scales = file_write_scales;
    if (given->create > 1 || given->overwrite > 1 || (given->overwrite == 1 && !given->create)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "sink: create or overwrite is neither 0 nor 1, or overwrite is without "
                       "create");
    }
    lathe_status status =
        end->sink.in_order ? check_in_order("sink", given->path, given->offset, layout) : LATHE_OK;
    if (status == LATHE_OK) {
        status = extent_of("sink", given->offset, given->scales_offset, layout, &to);
    }
    if (status != LATHE_OK) {
        return status;
    }
    if (layout->n_scales > 0 && given->offset < to.scales_end &&
        given->scales_offset < to.data_end) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "sink: data and scales overlap in the file");
    }
    return given->create != 0 ? open_new_file(end, pool, lt_max(to.data_end, to.scales_end))
                              : open_existing_file(end);
}

static lathe_status open_tensor_sink(lt_sink_end *end, const lathe_tensor_desc *to,
                                     const lt_layout *layout) {
    lathe_tensor *tensor = end->given.tensor;
    if (tensor == NULL || end->given.in_order != 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "sink: %s",
                       tensor == NULL ? "tensor is NULL" : "in_order is not for tensors");
    }
    bool same_shape = tensor->n_dims == to->n_dims &&
                      (to->n_dims == 0 ||
                       memcmp(tensor->shape, to->shape, to->n_dims * sizeof tensor->shape[0]) == 0);
    if (!same_shape || !lt_tensor_is(tensor, to, layout)) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES,
                       "the sink's shape, dtype or granularity is not that of the target");
    }
    if (tensor->read_only) {
        return lt_fail(LATHE_READ_ONLY, "the sink is read-only");
    }
    end->sink.write = tensor_write;
    end->sink.write_scales = tensor_write_scales;
    end->sink.data = tensor->memory == LATHE_MEMORY_DEVICE ? NULL : tensor->data;
    end->sink.is_pinned = tensor->memory == LATHE_MEMORY_PINNED;
    lt_tensor_touch(tensor); /* it is about to be written to */
    return LATHE_OK;
}

static lathe_status open_callback_sink(lt_sink_end *end, const lt_layout *layout) {
    if (end->given.write == NULL || (end->given.write_scales == NULL && layout->n_scales > 0)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "sink: %s is NULL",
                       end->given.write == NULL ? "write" : "write_scales");
    }
    end->sink.write = callback_write;
    end->sink.write_scales = callback_write_scales;
    return LATHE_OK;
}

lathe_status lt_sink_open(lt_sink_end *end, lathe_pool *pool, const lathe_sink *given,
                          const lathe_tensor_desc *to, const lt_layout *layout) {
    *end = (lt_sink_end){0};
    if (given->in_order > 1) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "sink in_order: %u is neither 0 nor 1",
                       (unsigned)given->in_order);
    }
    end->given = *given;
    end->sink.ctx = end;
    end->sink.in_order = given->in_order != 0;
    switch (given->kind) {
    case LATHE_END_TENSOR:
        return open_tensor_sink(end, to, layout);
    case LATHE_END_CALLBACK:
        return open_callback_sink(end, layout);
    case LATHE_END_FILE:
        return open_file_sink(end, pool, layout);
    }
    return lt_fail(LATHE_INVALID_ARGUMENT, "sink kind: %d is none", (int)given->kind);
}

lathe_status lt_sink_finish(lt_sink_end *end) {
    if (end->file != NULL) {
        lathe_status status = lt_atomic_sync(end->file);
        return status == LATHE_OK ? lt_atomic_publish(end->file) : status;
    }
    if (end->owns_fd) { /* what a network file system has to say comes last */
        end->owns_fd = false;
        if (close(end->fd) != 0 && errno != EINTR) {
            return named(lt_fail(LATHE_IO, "cannot write: %s", lt_errno_text(errno).text),
                         end->given.path);
        }
    }
    return LATHE_OK;
}

void lt_sink_close(lt_sink_end *end) {
    if (end->owns_fd) {
        (void)close(end->fd);
        end->owns_fd = false;
    }
    lt_atomic_close(end->file);
    end->file = NULL;
}

/* ---- in memory */

static bool is_in_memory(lathe_end kind, const lathe_tensor *tensor) {
    return kind == LATHE_END_TENSOR && tensor != NULL && tensor->memory != LATHE_MEMORY_DEVICE &&
           tensor->layout.n_bytes > 0;
}

lt_stream_sides lt_ends_in_memory(const lathe_source *source, const lathe_sink *sink) {
    return (lt_stream_sides){
        .has_source = source != NULL && is_in_memory(source->kind, source->tensor),
        .has_sink = sink != NULL && is_in_memory(sink->kind, sink->tensor),
    };
}
