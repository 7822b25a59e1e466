/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors writer as the converter uses it. */
#ifndef LT_FORMATS_WRITER_H
#define LT_FORMATS_WRITER_H

#include "files/atomic_file.h"
#include "formats/name_table.h"
#include "formats/safetensors.h"
#include <lathe/checkpoint.h>
#include <stdatomic.h>

/* A tensor of the file: a declared one, or a companion. */
typedef struct lt_writer_entry {
    const char *name;
    const lt_st_type *type;
    const uint64_t *shape;
    uint32_t n_dims;
    bool is_companion;
    uint64_t n_bytes;
    uint64_t begin; /* bytes from the end of the header */
} lt_writer_entry;

/* A declared tensor: the entries of its data and of its companion. */
typedef struct lt_writer_tensor {
    size_t data;
    size_t scales; /* SIZE_MAX: none */
} lt_writer_tensor;

struct lathe_writer {
    lathe_pool *pool;
    lt_arena arena; /* names, shapes, metadata */
    lt_atomic_file *file;
    lt_writer_entry *entries;
    size_t n_entries;
    size_t entries_room;
    lt_writer_tensor *tensors;
    size_t n_tensors;
    size_t tensors_room;
    lt_st_pair *metadata;
    size_t n_metadata;
    size_t metadata_room;
    lt_name_table names;
    lt_name_table keys;
    bool has_quantized;
    bool begun;
    uint64_t data_start;
    uint64_t data_bytes;
    _Atomic uint64_t written_bytes;
};

/* Declares a tensor of any type of the container, to be written as it is. Errors: as
 * lathe_writer_add. */
lathe_status lt_writer_add_plain(lathe_writer *writer, const char *name, const lt_st_type *type,
                                 uint32_t n_dims, const uint64_t *shape, uint64_t n_bytes,
                                 size_t *index);

/* Lays the file out, takes its disk space and writes the header; nothing can be declared
 * afterwards. The first write does it otherwise. Errors: NOT_SUPPORTED (a header over the format's
 * limit), IO, INSUFFICIENT_MEMORY. */
lathe_status lt_writer_begin(lathe_writer *writer);

/* lathe_writer_finish in two steps, for several files that appear together; the writer stays, and
 * is freed with lathe_writer_abort. */
lathe_status lt_writer_sync(lathe_writer *writer);
lathe_status lt_writer_publish(lathe_writer *writer);

/* Takes a published file away again, if it replaced none. */
void lt_writer_retract(lathe_writer *writer);

/* Once begun: all tensors of the file, companions included, in the order of declaration; the bytes
 * of their data; and those of the whole file. */
const lt_writer_entry *lt_writer_entries(const lathe_writer *writer, size_t *n_entries);
uint64_t lt_writer_data_bytes(const lathe_writer *writer);
uint64_t lt_writer_file_bytes(const lathe_writer *writer);

/* The header's text, padded with spaces to a multiple of 8. `order` has n_entries indices: the
 * order of the data. With out == NULL only *n_bytes is found. */
void lt_st_header_text(const lt_st_pair *metadata, size_t n_metadata,
                       const lt_writer_entry *entries, const size_t *order, size_t n_entries,
                       char *out, uint64_t *n_bytes);

#endif
