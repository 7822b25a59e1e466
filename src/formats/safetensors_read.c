/* SPDX-License-Identifier: Apache-2.0 */
/* Reads a safetensors header and holds it to the rules of the format's reference reader. */
#include "formats/safetensors_parser.h"

#include "core/checked.h"
#include "core/error.h"
#include "files/file_io.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Names whose place in their table is fetched from memory before their turn. */
enum { NAMES_AHEAD = 8 };

/* What files of other kinds begin with, which are often taken for safetensors. As lengths of a
 * header all of these are far over the limit. */
static const struct {
    const char *bytes;
    size_t n_bytes;
    const char *what;
} others[] = {
    {"GGUF", 4, "a GGUF file"},
    {"PK\3\4", 4, "a zip archive, such as PyTorch writes"},
    {"\x80\x02", 2, "a pickle, such as PyTorch writes"},
    {"\x89HDF", 4, "an HDF5 file"},
    {"version ", 8, "a Git LFS pointer, which stands for a file that has not been fetched"},
    {"{", 1, "JSON; the name of a sharded checkpoint's index ends in .index.json"},
};

static lathe_status fail_length(const unsigned char *prefix, uint64_t length) {
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (memcmp(prefix, others[i].bytes, others[i].n_bytes) == 0) {
            return lt_fail(LATHE_MALFORMED_FILE, "not a safetensors file: it begins as %s",
                           others[i].what);
        }
    }
    return lt_fail(LATHE_MALFORMED_FILE, "header length %" PRIu64 " is over the limit of %d bytes",
                   length, LT_ST_MAX_HEADER);
}

lathe_status lt_st_header_bytes(const unsigned char *prefix, uint64_t file_bytes,
                                size_t *header_bytes) {
    if (file_bytes < LT_ST_PREFIX_BYTES) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "the file has %" PRIu64
                       " bytes; the length of a safetensors header alone takes 8",
                       file_bytes);
    }
    uint64_t length = 0;
    for (unsigned i = LT_ST_PREFIX_BYTES; i-- > 0;) {
        length = length << 8 | prefix[i];
    }
    if (length > LT_ST_MAX_HEADER) {
        return fail_length(prefix, length);
    }
    if (length > file_bytes - LT_ST_PREFIX_BYTES) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "header length %" PRIu64 " is past the end of the file, which has %" PRIu64
                       " bytes after it",
                       length, file_bytes - LT_ST_PREFIX_BYTES);
    }
    *header_bytes = (size_t)length;
    return LATHE_OK;
}

static int compare_offsets(const void *a, const void *b) {
    const lt_st_tensor *x = a;
    const lt_st_tensor *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    if (x->end != y->end) {
        return x->end < y->end ? -1 : 1;
    }
    return x->order < y->order ? -1 : x->order > y->order;
}

/* The bytes that type and shape make. Overflow counts even when a later extent is 0. */
static lathe_status tensor_bytes(const lt_st_tensor *tensor, uint64_t *n_bytes) {
    const lt_st_type *type = lt_st_tensor_type(tensor);
    uint64_t n_elems = 1;
    uint64_t n_bits = 0;
    for (uint32_t i = 0; i < tensor->n_dims; i++) {
        if (!lt_mul(n_elems, tensor->shape[i], &n_elems)) {
            return lt_fail(LATHE_MALFORMED_FILE,
                           "the product of its shape does not fit in 64 bits (from extent %" PRIu64
                           " on)",
                           tensor->shape[i]);
        }
    }
    if (!lt_mul(n_elems, type->bits, &n_bits)) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "the size of %" PRIu64 " elements of %s does not fit in 64 bits", n_elems,
                       type->name);
    }
    if (n_bits % 8 != 0) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "%" PRIu64 " elements of %s are %" PRIu64 " bits, not whole bytes", n_elems,
                       type->name, n_bits);
    }
    *n_bytes = n_bits / 8;
    return LATHE_OK;
}

/* `expected` is where the tensor before ended. */
static lathe_status check_place(const lt_st_tensor *tensor, uint64_t expected,
                                uint64_t data_bytes) {
    if (tensor->end < tensor->begin) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "data_offsets [%" PRIu64 ", %" PRIu64 "] end before they begin",
                       tensor->begin, tensor->end);
    }
    if (tensor->begin != expected) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "data_offsets [%" PRIu64 ", %" PRIu64 "] %s the data before, which ends at "
                       "%" PRIu64,
                       tensor->begin, tensor->end,
                       tensor->begin < expected ? "overlap" : "leave a hole after", expected);
    }
    if (tensor->end > data_bytes) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "data_offsets [%" PRIu64 ", %" PRIu64
                       "] are past the end of the data, which "
                       "has %" PRIu64 " bytes",
                       tensor->begin, tensor->end, data_bytes);
    }
    uint64_t n_bytes = 0;
    lathe_status status = tensor_bytes(tensor, &n_bytes);
    if (status == LATHE_OK && n_bytes != tensor->end - tensor->begin) {
        status = lt_fail(LATHE_MALFORMED_FILE,
                         "its shape makes %" PRIu64 " bytes of %s, but data_offsets [%" PRIu64
                         ", %" PRIu64 "] hold %" PRIu64,
                         n_bytes, lt_st_tensor_type(tensor)->name, tensor->begin, tensor->end,
                         tensor->end - tensor->begin);
    }
    return status;
}

static lathe_status check_places(const lt_st_parser *p, uint64_t data_bytes) {
    uint64_t expected = 0;
    for (size_t i = 0; i < p->table->n_tensors; i++) {
        const lt_st_tensor *tensor = &p->table->tensors[i];
        if (check_place(tensor, expected, data_bytes) != LATHE_OK) {
            return lt_st_in_tensor(tensor->name);
        }
        expected = tensor->end;
    }
    if (expected != data_bytes) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "the tensors end at byte %" PRIu64 " of the data, which has %" PRIu64
                       " bytes",
                       expected, data_bytes);
    }
    return LATHE_OK;
}

/* Finds names that are there twice. */
static lathe_status add_names(const lt_st_parser *p) {
    lt_st_table *table = p->table;
    size_t existing = SIZE_MAX;
    lathe_status status = lt_name_table_reserve(&table->names, table->n_tensors);
    for (size_t i = 0; i < table->n_tensors && status == LATHE_OK; i++) {
        const char *name = table->tensors[i].name;
        if (i + NAMES_AHEAD < table->n_tensors) {
            lt_name_table_expect(&table->names, table->tensors[i + NAMES_AHEAD].name);
        }
        status = lt_name_table_add(&table->names, name, i, &existing);
        if (status == LATHE_OK && existing != SIZE_MAX) {
            (void)lt_fail(LATHE_MALFORMED_FILE, "the header has this name twice");
            status = lt_st_in_tensor(name);
        }
    }
    return status;
}

/* Sorts the tensors by their data; the names follow. */
static lathe_status sort_tensors(const lt_st_parser *p) {
    lt_st_table *table = p->table;
    size_t i = 1;
    while (i < table->n_tensors &&
           compare_offsets(&table->tensors[i - 1], &table->tensors[i]) <= 0) {
        i++;
    }
    if (i >= table->n_tensors) {
        return LATHE_OK; /* as they nearly always are */
    }
    uint32_t *place = lt_pool_new_array(p->pool, table->n_tensors, sizeof *place);
    if (place == NULL) {
        return lt_error()->status;
    }
    qsort(table->tensors, table->n_tensors, sizeof *table->tensors, compare_offsets);
    for (i = 0; i < table->n_tensors; i++) {
        place[table->tensors[i].order] = (uint32_t)i;
    }
    lt_name_table_renumber(&table->names, place);
    lt_pool_delete(p->pool, place);
    return LATHE_OK;
}

lathe_status lt_safetensors_parse(lathe_pool *pool, lt_arena *arena, const char *header,
                                  size_t header_bytes, uint64_t file_bytes, const char *file,
                                  lt_st_table *table) {
    *table = (lt_st_table){.pool = pool,
                           .names = {.pool = pool},
                           .data_start = LT_ST_PREFIX_BYTES + (uint64_t)header_bytes};
    lt_st_parser p = {.pool = pool,
                      .arena = arena,
                      .header = {.bytes = header, .n_bytes = header_bytes, .what = "header"},
                      .table = table};
    lathe_status status = lt_st_read_members(&p);
    if (status == LATHE_OK) {
        status = add_names(&p);
    }
    if (status == LATHE_OK) {
        status = sort_tensors(&p);
    }
    if (status == LATHE_OK) {
        status = check_places(&p, file_bytes - table->data_start);
    }
    if (status == LATHE_OK) {
        status = lt_st_find_quantized(table, arena);
    }
    if (status != LATHE_OK) {
        lt_st_table_free(table);
        return lt_fail_prefix("%s", lt_path_text(file).text);
    }
    return LATHE_OK;
}

/* Reads the text of the header, which the caller deletes. */
static lathe_status read_header(lathe_pool *pool, int fd, uint64_t file_bytes, char **header,
                                size_t *header_bytes) {
    unsigned char prefix[LT_ST_PREFIX_BYTES] = {0};
    lathe_status status = lt_file_read(fd, 0, prefix, (size_t)lt_min(file_bytes, sizeof prefix));
    if (status == LATHE_OK) {
        status = lt_st_header_bytes(prefix, file_bytes, header_bytes);
    }
    if (status != LATHE_OK) {
        return status;
    }
    *header = lt_pool_new(pool, *header_bytes);
    return *header == NULL ? lt_error()->status
                           : lt_file_read(fd, LT_ST_PREFIX_BYTES, *header, *header_bytes);
}

lathe_status lt_safetensors_read(lathe_pool *pool, lt_arena *arena, int fd, uint64_t file_bytes,
                                 const char *file, lt_st_table *table) {
    char *header = NULL;
    size_t header_bytes = 0;
    lathe_status status = read_header(pool, fd, file_bytes, &header, &header_bytes);
    if (status != LATHE_OK) {
        (void)lt_fail_prefix("%s", lt_path_text(file).text);
    } else {
        status = lt_safetensors_parse(pool, arena, header, header_bytes, file_bytes, file, table);
    }
    lt_pool_delete(pool, header);
    return status;
}

void lt_st_table_free(lt_st_table *table) {
    lt_name_table_free(&table->names);
    lt_pool_delete(table->pool, table->tensors);
    lt_pool_delete(table->pool, table->metadata);
    *table = (lt_st_table){.pool = table->pool, .names = {.pool = table->pool}};
}
