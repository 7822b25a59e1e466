/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors format: its types, its header, and how quantized tensors are described in it. */
#ifndef LT_FORMATS_SAFETENSORS_H
#define LT_FORMATS_SAFETENSORS_H

#include "formats/arena.h"
#include "formats/name_table.h"
#include <lathe/tensor.h>
#include <stdbool.h>
#include <stdint.h>

/* The file begins with the header's length in 8 bytes; a header is no longer than this. */
#define LT_ST_PREFIX_BYTES 8
#define LT_ST_MAX_HEADER 100000000

/* The reference reader sets no limit; no library makes tensors of so many dimensions. */
#define LT_ST_MAX_DIMS 1024

/* Entries of the metadata, and tensors of an index: a name takes so few bytes of the file that
 * without a limit the table of names would be many times its size. */
#define LT_ST_MAX_NAMES 750000

#define LT_ST_METADATA "__metadata__"

/* Lathe's own keys in the metadata. */
#define LT_ST_FORMAT_KEY "lathe.format"
#define LT_ST_FORMAT_VERSION "1"
#define LT_ST_TENSOR_KEY "lathe.tensor."
#define LT_ST_SCALE_SUFFIX "_scale"

/* True for the keys above. */
bool lt_st_is_own_key(const char *key);

typedef struct lt_st_type {
    const char *name;
    uint32_t bits;
    lathe_dtype dtype; /* 0 when Lathe does not convert it */
} lt_st_type;

/* The type of that name; NULL if there is none. */
const lt_st_type *lt_st_type_named(const char *name);

/* Bytes of an element, by which data is ordered: 8, 4, 2 or 1, the latter for what has fewer bits,
 * too. */
uint32_t lt_st_type_width(const lt_st_type *type);

/* F32, F16 or BF16 as the container has it; NULL for other dtypes. */
const lt_st_type *lt_st_type_of(lathe_dtype dtype);

/* What the metadata says of a quantized tensor. */
typedef struct lt_st_quantized {
    lathe_tensor_desc desc; /* its shape is the logical one */
    uint64_t n_elems;
    uint64_t n_bytes;
    uint64_t n_scales;
    uint64_t scales_begin; /* of the companion's data, as lt_st_tensor.begin */
} lt_st_quantized;

/* A tensor of a file. Kept small: there may be millions. */
typedef struct lt_st_tensor {
    const char *name;
    const uint64_t *shape;
    uint64_t begin; /* of its data, in bytes from the end of the header */
    uint64_t end;
    const lt_st_quantized *quantized; /* NULL for a plain tensor */
    uint32_t order;                   /* in the header */
    uint16_t n_dims;
    uint8_t type; /* index for lt_st_tensor_type */
    uint8_t is_companion;
} lt_st_tensor;

typedef struct lt_st_pair {
    const char *key;
    const char *value;
} lt_st_pair;

/* A header. Strings, shapes and descriptions live in the arena that lt_st_parse was given. */
typedef struct lt_st_table {
    lathe_pool *pool;
    lt_st_tensor *tensors; /* in the order of their data */
    size_t n_tensors;
    lt_name_table names; /* each tensor's place in `tensors` */
    lt_st_pair *metadata;
    size_t n_metadata;
    uint64_t data_start; /* bytes from the beginning of the file */
} lt_st_table;

const lt_st_type *lt_st_tensor_type(const lt_st_tensor *tensor);

/* The index that lt_st_tensor.type holds, and the type that has it. */
uint8_t lt_st_type_index(const lt_st_type *type);
const lt_st_type *lt_st_type_at(uint8_t index);

/* Checks the first bytes of a file of file_bytes bytes, of which `prefix` holds the first
 * min(file_bytes, 8), and finds the header's length. Errors: MALFORMED_FILE. */
lathe_status lt_st_header_bytes(const unsigned char *prefix, uint64_t file_bytes,
                                size_t *header_bytes);

/* An entry of the header as it is usually written: the three fields in their order, sizes of up to
 * 18 digits, spaces between them at most. */
enum { LT_ST_ENTRY_DIMS = 8 };
typedef struct lt_st_entry {
    uint64_t shape[LT_ST_ENTRY_DIMS];
    uint64_t begin;
    uint64_t end;
    uint16_t n_dims;
    uint8_t type;
    const char *head; /* its text up to the offsets, of which most entries share one; or NULL */
    size_t head_bytes;
} lt_st_entry;

/* Reads such an entry at the beginning of a text, of which *taken bytes were it. *entry holds the
 * last one that was read, whose text is still there, or is all zero. False: it is not one. */
bool lt_st_entry_read(const char *text, size_t n_bytes, lt_st_entry *entry, size_t *taken);

/* Parses and checks a header by the rules of the reference reader, then finds the quantized tensors
 * that Lathe's metadata describes. `file` is for messages. The table is freed with
 * lt_st_table_free; on failure it is empty. Errors: MALFORMED_FILE, NOT_SUPPORTED (a newer
 * lathe.format, too many dimensions), INSUFFICIENT_MEMORY. */
lathe_status lt_safetensors_parse(lathe_pool *pool, lt_arena *arena, const char *header,
                                  size_t header_bytes, uint64_t file_bytes, const char *file,
                                  lt_st_table *table);

/* Reads the header of an open file and does the above. Errors: also IO. */
lathe_status lt_safetensors_read(lathe_pool *pool, lt_arena *arena, int fd, uint64_t file_bytes,
                                 const char *file, lt_st_table *table);

void lt_st_table_free(lt_st_table *table);

/* How a described tensor lies in a file: its data, and its companion if it is quantized. */
typedef struct lt_st_stored {
    const lt_st_type *type;
    uint32_t n_dims;
    uint64_t shape[LATHE_MAX_DIMS + 1];
    uint64_t n_bytes;
    uint32_t scales_n_dims;
    uint64_t scales_shape[LATHE_MAX_DIMS + 1];
    uint64_t n_scales; /* 0: no companion */
    uint64_t n_elems;
} lt_st_stored;

/* Errors: INVALID_ARGUMENT, SIZE_OVERFLOW. */
lathe_status lt_st_stored_of(const lathe_tensor_desc *desc, lt_st_stored *stored);

/* The metadata value that describes a quantized tensor. */
typedef struct lt_st_description {
    char text[512];
} lt_st_description;
lt_st_description lt_st_describe(const lathe_tensor_desc *desc);

/* Marks in the table the tensors that the metadata describes, and their companions. Part of
 * lt_safetensors_parse. */
lathe_status lt_st_find_quantized(lt_st_table *table, lt_arena *arena);

#endif
