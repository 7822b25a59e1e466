/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors writer, second half: the file is laid out, data goes to its place, and the file
 * gets its name. */
#include "formats/writer.h"

#include "core/checked.h"
#include "core/error.h"
#include "files/file_io.h"
#include <inttypes.h>

/* Places the data: types of greater alignment first, so that every tensor is aligned to its type,
 * and in the order of declaration among equals. */
static void lay_out(lathe_writer *writer, size_t *order) {
    size_t placed = 0;
    uint64_t at = 0;
    for (uint32_t bytes = 8; bytes >= 1; bytes /= 2) {
        for (size_t i = 0; i < writer->n_entries; i++) {
            lt_writer_entry *entry = &writer->entries[i];
            uint32_t wide = entry->type->bits < 8 ? 1 : entry->type->bits / 8;
            if (wide != bytes && !(bytes == 1 && (wide & (wide - 1)) != 0)) {
                continue;
            }
            entry->begin = at;
            at += entry->n_bytes;
            order[placed++] = i;
        }
    }
    writer->data_bytes = at;
}

/* The sum of all sizes, checked once so that the layout cannot overflow. */
static bool total_fits(const lathe_writer *writer) {
    uint64_t total = LT_ST_PREFIX_BYTES + LT_ST_MAX_HEADER;
    for (size_t i = 0; i < writer->n_entries; i++) {
        if (!lt_add(total, writer->entries[i].n_bytes, &total)) {
            return false;
        }
    }
    return total <= INT64_MAX;
}

static lathe_status write_header(lathe_writer *writer, const size_t *order) {
    uint64_t length = 0;
    lt_st_header_text(writer->metadata, writer->n_metadata, writer->entries, order,
                      writer->n_entries, NULL, &length);
    if (length > LT_ST_MAX_HEADER) {
        return lt_fail(LATHE_NOT_SUPPORTED,
                       "%s: the header takes %" PRIu64 " bytes; the format allows %d",
                       lt_path_text(lt_atomic_path(writer->file)).text, length, LT_ST_MAX_HEADER);
    }
    writer->data_start = LT_ST_PREFIX_BYTES + length;
    char *text = lt_pool_new(writer->pool, (size_t)writer->data_start);
    if (text == NULL) {
        return lt_error()->status;
    }
    for (unsigned i = 0; i < LT_ST_PREFIX_BYTES; i++) {
        text[i] = (char)(length >> 8 * i & 0xff);
    }
    lt_st_header_text(writer->metadata, writer->n_metadata, writer->entries, order,
                      writer->n_entries, text + LT_ST_PREFIX_BYTES, &length);
    lathe_status status = lt_atomic_reserve(writer->file, writer->data_start + writer->data_bytes);
    if (status == LATHE_OK) {
        status = lt_atomic_write(writer->file, 0, text, (size_t)writer->data_start);
    }
    lt_pool_delete(writer->pool, text);
    return status;
}

lathe_status lt_writer_begin(lathe_writer *writer) {
    if (writer->begun) {
        return LATHE_OK;
    }
    if (!total_fits(writer)) {
        return lt_fail(LATHE_SIZE_OVERFLOW, "%s: the tensors together do not fit in a file",
                       lt_path_text(lt_atomic_path(writer->file)).text);
    }
    size_t *order = lt_pool_new_array(writer->pool, writer->n_entries, sizeof *order);
    if (order == NULL) {
        return lt_error()->status;
    }
    lay_out(writer, order);
    lathe_status status = write_header(writer, order);
    lt_pool_delete(writer->pool, order);
    writer->begun = status == LATHE_OK;
    return status;
}

/* Writes to the data of an entry. */
static lathe_status write_entry(lathe_writer *writer, size_t entry, uint64_t offset,
                                const void *bytes, size_t n_bytes) {
    /* A tensor without a companion has no scales to write, and none may be written. */
    uint64_t available = entry < writer->n_entries ? writer->entries[entry].n_bytes : 0;
    if (offset > available || n_bytes > available - offset || (bytes == NULL && n_bytes > 0)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "%zu bytes at %" PRIu64 " are not inside the tensor's data", n_bytes,
                       offset);
    }
    if (n_bytes == 0) {
        return LATHE_OK;
    }
    lathe_status status = lt_writer_begin(writer);
    if (status == LATHE_OK) {
        uint64_t at = writer->data_start + writer->entries[entry].begin + offset;
        status = lt_atomic_write(writer->file, at, bytes, n_bytes);
    }
    if (status == LATHE_OK) {
        (void)atomic_fetch_add_explicit(&writer->written_bytes, n_bytes, memory_order_relaxed);
    }
    return status;
}

lathe_status lathe_writer_write(lathe_writer *writer, size_t index, uint64_t offset,
                                const void *bytes, size_t n_bytes) {
    if (writer == NULL || index >= writer->n_tensors) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "there is no tensor %zu", index);
    }
    return write_entry(writer, writer->tensors[index].data, offset, bytes, n_bytes);
}

lathe_status lathe_writer_write_scales(lathe_writer *writer, size_t index, uint64_t first,
                                       const float *scales, size_t n_scales) {
    if (writer == NULL || index >= writer->n_tensors) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "there is no tensor %zu", index);
    }
    uint64_t offset = 0;
    uint64_t n_bytes = 0;
    if (!lt_mul(first, sizeof(float), &offset) || !lt_mul(n_scales, sizeof(float), &n_bytes)) {
        offset = UINT64_MAX; /* refused below */
    }
    return write_entry(writer, writer->tensors[index].scales, offset, scales, (size_t)n_bytes);
}

lathe_status lt_writer_sync(lathe_writer *writer) {
    lathe_status status = lt_writer_begin(writer);
    uint64_t written = atomic_load_explicit(&writer->written_bytes, memory_order_relaxed);
    if (status == LATHE_OK && written != writer->data_bytes) {
        status =
            lt_fail(LATHE_INVALID_ARGUMENT,
                    "%s: %" PRIu64 " bytes of data were written instead of %" PRIu64,
                    lt_path_text(lt_atomic_path(writer->file)).text, written, writer->data_bytes);
    }
    return status == LATHE_OK ? lt_atomic_sync(writer->file) : status;
}

lathe_status lt_writer_publish(lathe_writer *writer) {
    return lt_atomic_publish(writer->file);
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
        status = lt_writer_publish(writer);
    }
    lathe_writer_abort(writer);
    return status;
}

const lt_writer_entry *lt_writer_entries(const lathe_writer *writer, size_t *n_entries) {
    *n_entries = writer->n_entries;
    return writer->entries;
}

uint64_t lt_writer_data_bytes(const lathe_writer *writer) {
    return writer->data_bytes;
}

uint64_t lt_writer_file_bytes(const lathe_writer *writer) {
    return writer->data_start + writer->data_bytes;
}
