/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the members of a safetensors header: the metadata, and what it says of each tensor. */
#include "formats/safetensors_parser.h"

#include "core/checked.h"
#include "core/error.h"
#include "files/file_io.h"
#include <inttypes.h>
#include <string.h>

/* The text of one tensor's entry: 1024 extents of 20 digits, and as much again. */
enum { MOST_ENTRY_BYTES = 1 << 16 };

/* What an entry usually takes of the header; and an entry that passes is no shorter than
 * "":{"dtype":"U8","shape":[],"data_offsets":[0,0]}. */
enum { USUAL_ENTRY_BYTES = 96, LEAST_ENTRY_BYTES = 50 };

lathe_status lt_st_in_tensor(const char *name) {
    return lt_fail_prefix("tensor \"%s\"", lt_name_text(name).text);
}

static lathe_status read_pair(const lt_st_parser *p, const lt_json_member *member,
                              lt_name_table *keys) {
    lt_st_pair *pair = &p->table->metadata[p->table->n_metadata++];
    lathe_status status = lt_json_string(&member->name, p->arena, &pair->key);
    if (status != LATHE_OK) {
        return status;
    }
    if (lt_json_string(&member->value, p->arena, &pair->value) != LATHE_OK) {
        return lt_fail_prefix("%s \"%s\"", LT_ST_METADATA, lt_name_text(pair->key).text);
    }
    size_t existing = 0;
    status = lt_name_table_add(keys, pair->key, 0, &existing);
    if (status == LATHE_OK && existing != SIZE_MAX) {
        status = lt_fail(LATHE_MALFORMED_FILE, "%s has the key \"%s\" twice", LT_ST_METADATA,
                         lt_name_text(pair->key).text);
    }
    return status;
}

static lathe_status read_pairs(const lt_st_parser *p, const lt_json_text *text, size_t count) {
    lt_name_table keys = {.pool = p->pool};
    lt_json_walker walker;
    lt_json_member member;
    bool found = false;
    p->table->metadata = lt_pool_new_array(p->pool, count, sizeof *p->table->metadata);
    if (p->table->metadata == NULL) {
        return lt_error()->status;
    }
    lathe_status status = lt_name_table_reserve(&keys, count);
    if (status == LATHE_OK) {
        status = lt_json_walk(text, &walker);
    }
    while (status == LATHE_OK) {
        status = lt_json_next(&walker, &member, &found);
        if (status != LATHE_OK || !found) {
            break;
        }
        status = read_pair(p, &member, &keys);
    }
    lt_name_table_free(&keys);
    return status;
}

static lathe_status read_metadata(lt_st_parser *p, const lt_json_text *text) {
    size_t count = 0;
    if (p->has_metadata) {
        return lt_fail(LATHE_MALFORMED_FILE, "the header has %s twice", LT_ST_METADATA);
    }
    p->has_metadata = true;
    if (text->n_bytes == 4 && memcmp(text->bytes, "null", 4) == 0) {
        return LATHE_OK; /* the reference reader takes it for none */
    }
    if (text->n_bytes == 0 || text->bytes[0] != '{') {
        return lt_fail(LATHE_MALFORMED_FILE, "%s is not an object", LT_ST_METADATA);
    }
    lathe_status status = lt_json_count(text, &count);
    if (status == LATHE_OK && count > LT_ST_MAX_NAMES) {
        status = lt_fail(LATHE_NOT_SUPPORTED, "%s has %zu entries; at most %d are supported",
                         LT_ST_METADATA, count, LT_ST_MAX_NAMES);
    }
    return status != LATHE_OK || count == 0 ? status : read_pairs(p, text, count);
}

/* A size: an integer that is not negative. `what` names it in the message. */
static lathe_status read_size(const json_t *value, bool has_minus, const char *what,
                              uint64_t *out) {
    if (!json_is_integer(value)) {
        return lt_fail(LATHE_MALFORMED_FILE, "%s holds something other than integers", what);
    }
    json_int_t number = json_integer_value(value);
    if (number < 0 || (number == 0 && has_minus)) {
        return lt_fail(LATHE_MALFORMED_FILE, "%s holds the negative number -%" PRIu64, what,
                       (uint64_t)0 - (uint64_t)number);
    }
    *out = (uint64_t)number;
    return LATHE_OK;
}

/* Gives the tensor a copy of its shape, or the copy that a tensor before it has. */
static lathe_status keep_shape(lt_st_parser *p, const uint64_t *shape, size_t n_dims,
                               lt_st_tensor *tensor) {
    const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15); /* 2^64 over the golden ratio */
    uint64_t mixed = n_dims;
    for (size_t i = 0; i < n_dims; i++) {
        mixed = (mixed ^ shape[i]) * odd;
    }
    lt_st_recent_shape *recent = &p->recent[mixed >> 32 & (LT_ST_RECENT_SHAPES - 1)];
    const size_t n_bytes = n_dims * sizeof *shape;
    if (recent->shape == NULL || recent->n_dims != n_dims ||
        (n_dims > 0 && memcmp(recent->shape, shape, n_bytes) != 0)) {
        uint64_t *copy = lt_arena_new(p->arena, n_bytes);
        if (copy == NULL) {
            return lt_error()->status;
        }
        if (n_dims > 0) {
            memcpy(copy, shape, n_bytes);
        }
        *recent = (lt_st_recent_shape){.shape = copy, .n_dims = n_dims};
    }
    tensor->shape = recent->shape;
    tensor->n_dims = (uint16_t)n_dims;
    return LATHE_OK;
}

static lathe_status read_shape(lt_st_parser *p, const json_t *value, bool has_minus,
                               lt_st_tensor *tensor) {
    if (!json_is_array(value)) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       value == NULL ? "shape is missing" : "shape is not an array");
    }
    size_t n_dims = json_array_size(value);
    if (n_dims > LT_ST_MAX_DIMS) {
        return lt_fail(LATHE_NOT_SUPPORTED, "shape has %zu dimensions; at most %d are supported",
                       n_dims, LT_ST_MAX_DIMS);
    }
    uint64_t shape[LT_ST_MAX_DIMS];
    for (size_t i = 0; i < n_dims; i++) {
        lathe_status status = read_size(json_array_get(value, i), has_minus, "shape", &shape[i]);
        if (status != LATHE_OK) {
            return status;
        }
    }
    return keep_shape(p, shape, n_dims, tensor);
}

static lathe_status read_offsets(const json_t *value, bool has_minus, lt_st_tensor *tensor) {
    if (!json_is_array(value)) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       value == NULL ? "data_offsets is missing" : "data_offsets is not an array");
    }
    if (json_array_size(value) != 2) {
        return lt_fail(LATHE_MALFORMED_FILE, "data_offsets has %zu numbers instead of 2",
                       json_array_size(value));
    }
    lathe_status status =
        read_size(json_array_get(value, 0), has_minus, "data_offsets", &tensor->begin);
    if (status == LATHE_OK) {
        status = read_size(json_array_get(value, 1), has_minus, "data_offsets", &tensor->end);
    }
    return status;
}

static lathe_status read_type(const json_t *value, lt_st_tensor *tensor) {
    if (!json_is_string(value)) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       value == NULL ? "dtype is missing" : "dtype is not a string");
    }
    const lt_st_type *type = lt_st_type_named(json_string_value(value));
    if (type == NULL) {
        return lt_fail(LATHE_MALFORMED_FILE, "unknown dtype \"%s\"",
                       lt_name_text(json_string_value(value)).text);
    }
    tensor->type = lt_st_type_index(type);
    return LATHE_OK;
}

/* Fields beyond the three are ignored, as the reference reader does. */
static lathe_status read_entry(lt_st_parser *p, const lt_json_member *member,
                               lt_st_tensor *tensor) {
    json_t *entry = NULL;
    lathe_status status = lt_json_parse(&member->value, MOST_ENTRY_BYTES, &entry);
    if (status != LATHE_OK) {
        return lt_st_in_tensor(tensor->name);
    }
    if (!json_is_object(entry)) {
        status = lt_fail(LATHE_MALFORMED_FILE, "its entry is not an object");
    }
    if (status == LATHE_OK) {
        status = read_type(json_object_get(entry, "dtype"), tensor);
    }
    if (status == LATHE_OK) {
        status = read_shape(p, json_object_get(entry, "shape"), member->has_minus, tensor);
    }
    if (status == LATHE_OK) {
        status = read_offsets(json_object_get(entry, "data_offsets"), member->has_minus, tensor);
    }
    json_decref(entry);
    return status == LATHE_OK ? LATHE_OK : lt_st_in_tensor(tensor->name);
}

/* The value of a member that describes a tensor, which begins at `at` of the header. */
static lathe_status read_tensor(lt_st_parser *p, lt_json_walker *walker, lt_json_member *member,
                                size_t at, lt_st_tensor *tensor) {
    const lt_st_entry *entry = &p->entry;
    size_t taken = 0;
    if (lt_st_entry_read(p->header.bytes + at, p->header.n_bytes - at, &p->entry, &taken)) {
        lt_json_skip_to(walker, at + taken);
        tensor->type = entry->type;
        tensor->begin = entry->begin;
        tensor->end = entry->end;
        return keep_shape(p, entry->shape, entry->n_dims, tensor);
    }
    lathe_status status = lt_json_next_value(walker, member);
    return status == LATHE_OK ? read_entry(p, member, tensor) : status;
}

/* The table grows as tensors come, but not beyond what the header has room for: of more members one
 * is going to fail. */
static lathe_status make_room(lt_st_parser *p) {
    lt_st_table *table = p->table;
    if (table->n_tensors < p->room) {
        return LATHE_OK;
    }
    size_t most = p->header.n_bytes / LEAST_ENTRY_BYTES + 2;
    size_t room = p->room == 0 ? p->header.n_bytes / USUAL_ENTRY_BYTES + 2 : 2 * p->room;
    room = (size_t)lt_min(room, lt_max(most, p->room + 1));
    lt_st_tensor *grown = lt_pool_new_array(p->pool, room, sizeof *grown);
    if (grown == NULL) {
        return lt_error()->status;
    }
    if (table->n_tensors > 0) {
        memcpy(grown, table->tensors, table->n_tensors * sizeof *grown);
    }
    lt_pool_delete(p->pool, table->tensors);
    table->tensors = grown;
    p->room = room;
    return LATHE_OK;
}

/* A member of which the name has been read. */
static lathe_status read_member(lt_st_parser *p, lt_json_walker *walker, lt_json_member *member,
                                size_t at) {
    const char *name = NULL;
    lathe_status status = lt_json_string(&member->name, p->arena, &name);
    if (status != LATHE_OK) {
        return status;
    }
    if (strcmp(name, LT_ST_METADATA) == 0) {
        status = lt_json_next_value(walker, member);
        return status == LATHE_OK ? read_metadata(p, &member->value) : status;
    }
    status = make_room(p);
    if (status != LATHE_OK) {
        return status;
    }
    lt_st_tensor *tensor = &p->table->tensors[p->table->n_tensors];
    *tensor = (lt_st_tensor){.name = name, .order = (uint32_t)p->table->n_tensors};
    p->table->n_tensors++;
    return read_tensor(p, walker, member, at, tensor);
}

lathe_status lt_st_read_members(lt_st_parser *p) {
    lt_json_walker walker;
    lt_json_member member;
    bool found = true;
    size_t at = 0;
    lathe_status status = lt_json_walk(&p->header, &walker);
    while (status == LATHE_OK) {
        status = lt_json_next_name(&walker, &member, &found, &at);
        if (status != LATHE_OK || !found) {
            break;
        }
        status = read_member(p, &walker, &member, at);
    }
    return status;
}
