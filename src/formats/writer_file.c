/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors writer, second half: the file is laid out, data goes to its place, and the file
 * gets its name. */
#include "formats/safetensors_write.h"

#include "core/checked.h"
#include "core/error.h"
#include "files/file_io.h"
#include "pool/pool.h"
#include <inttypes.h>

/* The header leaves in pieces of this size. */
enum { HEADER_PIECE = 1 << 18 };

static void place(void *ctx, lt_writer_tensor *tensor, bool is_companion) {
    lathe_writer *writer = ctx;
    *(is_companion ? &tensor->scales_begin : &tensor->begin) = writer->data_bytes;
    writer->data_bytes +=
        is_companion ? tensor->kind->n_scales * sizeof(float) : tensor->kind->n_bytes;
}

/* The sum of all sizes, checked once so that the layout cannot overflow. */
static bool total_fits(const lathe_writer *writer) {
    uint64_t total = LT_ST_PREFIX_BYTES + LT_ST_MAX_HEADER;
    for (size_t i = 0; i < writer->n_tensors; i++) {
        const lt_writer_kind *kind = writer->tensors[i].kind;
        if (!lt_add(total, kind->n_bytes, &total) ||
            !lt_add(total, kind->n_scales * sizeof(float), &total)) {
            return false;
        }
    }
    return total <= INT64_MAX;
}

static lathe_status flush_header(void *ctx, uint64_t at, const char *bytes, size_t n_bytes) {
    const lathe_writer *writer = ctx;
    return lt_atomic_write(writer->file, at, bytes, n_bytes);
}

lathe_status lt_writer_write_header(lathe_writer *writer) {
    lt_json_out out = {.flush = flush_header, .ctx = writer, .room = HEADER_PIECE};
    const uint64_t length = writer->data_start - LT_ST_PREFIX_BYTES;
    char prefix[LT_ST_PREFIX_BYTES];
    for (unsigned i = 0; i < LT_ST_PREFIX_BYTES; i++) {
        prefix[i] = (char)(length >> 8 * i & 0xff);
    }
    out.room = (size_t)lt_min(out.room, writer->data_start);
    out.bytes = lt_pool_new(writer->pool, out.room);
    if (out.bytes == NULL) {
        return lt_error()->status;
    }
    lt_json_put_bytes(&out, prefix, sizeof prefix);
    lt_st_put_header(writer, &out);
    lathe_status status = lt_json_end(&out);
    lt_pool_delete(writer->pool, out.bytes);
    writer->has_header = status == LATHE_OK;
    return status;
}

lathe_status lt_writer_lay_out(lathe_writer *writer) {
    if (writer->begun) {
        return LATHE_OK;
    }
    if (!total_fits(writer)) {
        return lt_fail(LATHE_SIZE_OVERFLOW, "%s: the tensors together do not fit in a file",
                       lt_path_text(lt_atomic_path(writer->file)).text);
    }
    lt_json_out measured = {0};
    writer->data_bytes = 0;
    lt_st_visit(writer, place, writer);
    lt_st_put_header(writer, &measured);
    if (measured.n_bytes > LT_ST_MAX_HEADER) {
        return lt_fail(
            LATHE_NOT_SUPPORTED, "%s: the header takes %" PRIu64 " bytes; the format allows %d",
            lt_path_text(lt_atomic_path(writer->file)).text, measured.n_bytes, LT_ST_MAX_HEADER);
    }
    writer->data_start = LT_ST_PREFIX_BYTES + measured.n_bytes;
    lathe_status status = lt_atomic_reserve(writer->file, writer->data_start + writer->data_bytes);
    writer->begun = status == LATHE_OK;
    return status;
}

static lathe_status begin(lathe_writer *writer) {
    lathe_status status = lt_writer_lay_out(writer);
    return status == LATHE_OK && !writer->has_header ? lt_writer_write_header(writer) : status;
}

lathe_status lt_writer_write_at(lathe_writer *writer, uint64_t at, const void *bytes,
                                size_t n_bytes) {
    lathe_status status = lt_atomic_write(writer->file, at, bytes, n_bytes);
    if (status == LATHE_OK) {
        (void)atomic_fetch_add_explicit(&writer->written_bytes, n_bytes, memory_order_relaxed);
    }
    return status;
}

/* One of the two things that a tensor has in the file. */
typedef enum part { PART_DATA, PART_SCALES } part;

static lathe_status write_part(lathe_writer *writer, size_t index, part which, uint64_t offset,
                               const void *bytes, size_t n_bytes) {
    if (writer == NULL || index >= writer->n_tensors) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "there is no tensor %zu", index);
    }
    const lt_writer_kind *kind = writer->tensors[index].kind;
    uint64_t available = which == PART_DATA ? kind->n_bytes : kind->n_scales * sizeof(float);
    if (offset > available || n_bytes > available - offset || (bytes == NULL && n_bytes > 0)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "%zu bytes at %" PRIu64 " are not inside the tensor's data", n_bytes,
                       offset);
    }
    if (n_bytes == 0) {
        return LATHE_OK;
    }
    lathe_status status = begin(writer);
    if (status != LATHE_OK) {
        return status;
    }
    uint64_t first =
        which == PART_DATA ? lt_writer_data_at(writer, index) : lt_writer_scales_at(writer, index);
    return lt_writer_write_at(writer, first + offset, bytes, n_bytes);
}

lathe_status lathe_writer_write(lathe_writer *writer, size_t index, uint64_t offset,
                                const void *bytes, size_t n_bytes) {
    return write_part(writer, index, PART_DATA, offset, bytes, n_bytes);
}

lathe_status lathe_writer_write_scales(lathe_writer *writer, size_t index, uint64_t first,
                                       const float *scales, size_t n_scales) {
    uint64_t offset = 0;
    uint64_t n_bytes = 0;
    if (!lt_mul(first, sizeof(float), &offset) || !lt_mul(n_scales, sizeof(float), &n_bytes)) {
        offset = UINT64_MAX; /* refused */
    }
    return write_part(writer, index, PART_SCALES, offset, scales, (size_t)n_bytes);
}

lathe_status lt_writer_sync(lathe_writer *writer) {
    lathe_status status = begin(writer);
    uint64_t written = atomic_load_explicit(&writer->written_bytes, memory_order_relaxed);
    if (status == LATHE_OK && written != writer->data_bytes) {
        status =
            lt_fail(LATHE_INVALID_ARGUMENT,
                    "%s: %" PRIu64 " bytes of data were written instead of %" PRIu64,
                    lt_path_text(lt_atomic_path(writer->file)).text, written, writer->data_bytes);
    }
    return status == LATHE_OK ? lt_atomic_sync(writer->file) : status;
}

/* One sync of a folder serves all the names in it that are there by then. */
lathe_status lt_writers_publish(lathe_writer *const *writers, size_t n_writers) {
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < n_writers && status == LATHE_OK; i++) {
        status = lt_atomic_name(writers[i]->file);
    }
    for (size_t i = 0; i < n_writers && status == LATHE_OK; i++) {
        if (i == 0 || !lt_atomic_is_beside(writers[i - 1]->file, writers[i]->file)) {
            status = lt_atomic_sync_name(writers[i]->file);
        }
    }
    for (size_t i = 0; i < n_writers && status != LATHE_OK; i++) {
        lt_atomic_retract(writers[i]->file);
    }
    return status;
}

void lt_writer_retract(lathe_writer *writer) {
    lt_atomic_retract(writer->file);
}

lathe_status lathe_writer_finish(lathe_writer *writer) {
    if (writer == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "writer is NULL");
    }
    lathe_status status = lt_writer_sync(writer);
    if (status == LATHE_OK) {
        status = lt_writers_publish(&writer, 1);
    }
    lathe_writer_abort(writer);
    return status;
}

uint64_t lt_writer_data_bytes(const lathe_writer *writer) {
    return writer->data_bytes;
}

uint64_t lt_writer_file_bytes(const lathe_writer *writer) {
    return writer->data_start + writer->data_bytes;
}
