/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors writer as the converter uses it. */
#ifndef LT_FORMATS_WRITER_H
#define LT_FORMATS_WRITER_H

#include "files/atomic_file.h"
#include "formats/name_table.h"
#include "formats/safetensors.h"
#include <lathe/checkpoint.h>
#include <stdatomic.h>

/* A piece of the header's text. */
typedef struct lt_writer_text {
    const char *bytes; /* NULL: there is none */
    size_t n_bytes;
} lt_writer_text;

/* What tensors that are stored in the same way have in common. */
typedef struct lt_writer_kind {
    const lt_st_type *type;
    uint64_t n_bytes; /* of the data */
    bool is_quantized;
    uint64_t n_scales;
    lt_writer_text data_text;   /* what the header's entry has from the name to the offsets */
    lt_writer_text scales_text; /* the companion's, from the tensor's name on */
    lt_writer_text description; /* in the metadata, from the name to the end */
    lathe_tensor_desc desc;     /* of which it was made; its shape is a copy */
} lt_writer_kind;

/* A declared tensor. Kept small: there may be a hundred thousand. */
typedef struct lt_writer_tensor {
    const char *name;
    const lt_writer_kind *kind;
    uint64_t begin; /* of its data, in bytes from the end of the header */
    uint64_t scales_begin;
    uint32_t plain_bytes; /* of the name, if it has nothing to escape; else 0 */
} lt_writer_tensor;

enum { LT_WRITER_RECENT = 16 };

struct lathe_writer {
    lathe_pool *pool;
    lt_arena arena; /* names, kinds, metadata */
    lt_atomic_file *file;
    lt_writer_tensor *tensors;
    size_t n_tensors;
    size_t tensors_room;
    lt_st_pair *metadata; /* without Lathe's own */
    size_t n_metadata;
    size_t metadata_room;
    lt_name_table names; /* of what lathe_writer_add has added */
    lt_name_table keys;
    const lt_writer_kind *recent[LT_WRITER_RECENT]; /* likewise */
    uint32_t widths; /* of types, in bytes, that there are: the sum of powers of two */
    bool has_quantized;
    bool begun; /* laid out: nothing can be declared any more */
    bool has_header;
    uint64_t data_start;
    uint64_t data_bytes;
    _Atomic uint64_t written_bytes;
};

/* lathe_writer_create for one of many files, which the set may close in between (NULL: it does
 * not). The set outlives the writer. */
lathe_status lt_writer_create_in(lathe_pool *pool, lt_file_set *set, const char *path,
                                 uint32_t overwrite, lathe_writer **writer);

/* Describes, in the arena, tensors that are stored so. Errors: INVALID_ARGUMENT, SIZE_OVERFLOW,
 * INSUFFICIENT_MEMORY. */
lathe_status lt_writer_kind_of(lt_arena *arena, const lathe_tensor_desc *desc,
                               const lt_writer_kind **kind);

/* The same for any type of the container, to be written as it is. Errors: INSUFFICIENT_MEMORY. */
lathe_status lt_writer_kind_plain(lt_arena *arena, const lt_st_type *type, uint32_t n_dims,
                                  const uint64_t *shape, uint64_t n_bytes,
                                  const lt_writer_kind **kind);

/* Makes room for so many tensors in all. Errors: INSUFFICIENT_MEMORY. */
lathe_status lt_writer_reserve(lathe_writer *writer, size_t n_tensors);

/* Declares a tensor for which there is room. The name, which is UTF-8, and the kind live as long as
 * the writer; the caller has seen to it that no name is there twice, companions' included. Returns
 * its index. */
size_t lt_writer_add_known(lathe_writer *writer, const char *name, const lt_writer_kind *kind);

/* Fails with INVALID_ARGUMENT: the scales of `name` would have another tensor's name. */
lathe_status lt_writer_fail_companion(const char *name);

/* Lays the file out and takes its disk space; nothing can be declared afterwards. Then writes the
 * header, which may be while other threads write data. The first write of a tensor does both
 * otherwise. Errors: NOT_SUPPORTED (a header over the format's limit), IO, INSUFFICIENT_MEMORY. */
lathe_status lt_writer_lay_out(lathe_writer *writer);
lathe_status lt_writer_write_header(lathe_writer *writer);

/* Once laid out: where a tensor's data and scales lie, in bytes from the beginning of the file. */
static inline uint64_t lt_writer_data_at(const lathe_writer *writer, size_t index) {
    return writer->data_start + writer->tensors[index].begin;
}

static inline uint64_t lt_writer_scales_at(const lathe_writer *writer, size_t index) {
    return writer->data_start + writer->tensors[index].scales_begin;
}

/* Once laid out: writes data of one or several tensors to their place in the file. Thread-safe for
 * different bytes. Errors: IO. */
lathe_status lt_writer_write_at(lathe_writer *writer, uint64_t at, const void *bytes,
                                size_t n_bytes);

/* lathe_writer_finish in two steps, for several files that appear together: one is synced; then all
 * get their names, and these are synced. The writers stay, and are freed with lathe_writer_abort.
 */
lathe_status lt_writer_sync(lathe_writer *writer);
lathe_status lt_writers_publish(lathe_writer *const *writers, size_t n_writers);

/* Takes a file that has been published away again, if it replaced none. */
void lt_writer_retract(lathe_writer *writer);

/* Once laid out: the bytes of all data, and those of the whole file. */
uint64_t lt_writer_data_bytes(const lathe_writer *writer);
uint64_t lt_writer_file_bytes(const lathe_writer *writer);

#endif
