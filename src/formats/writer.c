/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors writer, first half: what the file is to hold is declared. */
#include "formats/writer.h"

#include "core/error.h"
#include "files/file_io.h"
#include "formats/json_text.h"
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

lathe_status lathe_writer_create(lathe_pool *pool, const char *path, uint32_t overwrite,
                                 lathe_writer **writer) {
    return lt_writer_create_in(pool, NULL, path, overwrite, writer);
}

lathe_status lt_writer_create_in(lathe_pool *pool, lt_file_set *set, const char *path,
                                 uint32_t overwrite, lathe_writer **writer) {
    if (pool == NULL || writer == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool or writer is NULL");
    }
    if (overwrite > 1) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "overwrite %" PRIu32 " is neither 0 nor 1",
                       overwrite);
    }
    lathe_writer *made = lt_pool_new(pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->pool = lathe_pool_retain(pool);
    made->arena.pool = pool;
    made->names.pool = pool;
    made->keys.pool = pool;
    lathe_status status = lt_atomic_create_in(pool, set, path, overwrite == 1, &made->file);
    if (status != LATHE_OK) {
        lathe_writer_abort(made);
        return status;
    }
    *writer = made;
    return LATHE_OK;
}

void lathe_writer_abort(lathe_writer *writer) {
    if (writer == NULL) {
        return;
    }
    lathe_pool *pool = writer->pool;
    lt_atomic_close(writer->file);
    lt_name_table_free(&writer->names);
    lt_name_table_free(&writer->keys);
    lt_pool_delete(pool, writer->tensors);
    lt_pool_delete(pool, writer->metadata);
    lt_arena_free(&writer->arena);
    lt_pool_delete(pool, writer);
    lathe_pool_release(pool);
}

/* Makes room for `count` elements in an array, at least; *array may move. */
static lathe_status grow(lathe_pool *pool, void **array, size_t *room, size_t used, size_t count,
                         size_t n_bytes) {
    if (count <= *room) {
        return LATHE_OK;
    }
    size_t wanted = count > 2 * *room ? count : 2 * *room;
    void *grown = lt_pool_new_array(pool, wanted, n_bytes);
    if (grown == NULL) {
        return lt_error()->status;
    }
    if (used > 0) {
        memcpy(grown, *array, used * n_bytes);
    }
    lt_pool_delete(pool, *array);
    *array = grown;
    *room = wanted;
    return LATHE_OK;
}

lathe_status lt_writer_reserve(lathe_writer *writer, size_t n_tensors) {
    void *tensors = writer->tensors;
    lathe_status status = grow(writer->pool, &tensors, &writer->tensors_room, writer->n_tensors,
                               n_tensors, sizeof *writer->tensors);
    writer->tensors = tensors;
    return status;
}

static lathe_status check_text(const char *text, const char *what) {
    json_t *string = text == NULL ? NULL : json_string(text);
    if (string == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "a %s is %s", what,
                       text == NULL ? "NULL" : "not valid UTF-8");
    }
    json_decref(string);
    return LATHE_OK;
}

static lathe_status check_name(const char *name) {
    lathe_status status = check_text(name, "tensor's name");
    if (status == LATHE_OK && strcmp(name, LT_ST_METADATA) == 0) {
        status = lt_fail(LATHE_INVALID_ARGUMENT, "no tensor can be called %s", LT_ST_METADATA);
    }
    return status;
}

lathe_status lt_writer_fail_companion(const char *name) {
    const lt_short_text base = lt_name_text(name);
    return lt_fail(LATHE_INVALID_ARGUMENT,
                   "\"%s" LT_ST_SCALE_SUFFIX
                   "\" would be both a tensor and the scales of the quantized \"%s\": keep \"%s\" "
                   "as it is, or rename one of the two",
                   base.text, base.text, base.text);
}

/* The tensor, if any, of which `name` would be the companion. */
static size_t find_base(const lathe_writer *writer, const char *name) {
    const size_t suffix = strlen(LT_ST_SCALE_SUFFIX);
    const size_t length = strlen(name);
    if (length < suffix || strcmp(name + length - suffix, LT_ST_SCALE_SUFFIX) != 0) {
        return SIZE_MAX;
    }
    return lt_name_table_find_joined(&writer->names, name, length - suffix, "");
}

/* Checks that no other tensor, nor a companion, has the names of this one. */
static lathe_status check_free(const lathe_writer *writer, const char *name,
                               const lt_writer_kind *kind) {
    if (lt_name_table_find(&writer->names, name) != SIZE_MAX) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "tensor \"%s\" is declared twice",
                       lt_name_text(name).text);
    }
    if (kind->is_quantized && lt_name_table_find_joined(&writer->names, name, strlen(name),
                                                        LT_ST_SCALE_SUFFIX) != SIZE_MAX) {
        return lt_writer_fail_companion(name);
    }
    size_t base = find_base(writer, name);
    return base != SIZE_MAX && writer->tensors[base].kind->is_quantized
               ? lt_writer_fail_companion(writer->tensors[base].name)
               : LATHE_OK;
}

static lathe_status check_declare(const lathe_writer *writer, const char *name, const void *index) {
    if (writer == NULL || index == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "writer or index is NULL");
    }
    if (writer->begun) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "data has been written: nothing more can be declared");
    }
    return check_name(name);
}

static bool is_same(const lathe_tensor_desc *a, const lathe_tensor_desc *b) {
    return a->dtype == b->dtype && a->n_dims == b->n_dims && a->granularity == b->granularity &&
           a->group_size == b->group_size && a->row_dims == b->row_dims &&
           (a->n_dims == 0 || memcmp(a->shape, b->shape, a->n_dims * sizeof *a->shape) == 0);
}

/* The kind of a description that has been checked to have a shape, if it has dimensions. */
static lathe_status kind_of(lathe_writer *writer, const lathe_tensor_desc *desc,
                            const lt_writer_kind **kind) {
    lt_st_stored stored; /* checks the description */
    lathe_status status = lt_st_stored_of(desc, &stored);
    if (status != LATHE_OK) {
        return status;
    }
    for (size_t i = 0; i < LT_WRITER_RECENT; i++) {
        if (writer->recent[i] != NULL && is_same(&writer->recent[i]->desc, desc)) {
            *kind = writer->recent[i];
            return LATHE_OK;
        }
    }
    status = lt_writer_kind_of(&writer->arena, desc, kind);
    if (status == LATHE_OK) {
        writer->recent[writer->n_tensors % LT_WRITER_RECENT] = *kind;
    }
    return status;
}

size_t lt_writer_add_known(lathe_writer *writer, const char *name, const lt_writer_kind *kind) {
    writer->tensors[writer->n_tensors] =
        (lt_writer_tensor){.name = name, .kind = kind, .plain_bytes = lt_json_plain_bytes(name)};
    writer->has_quantized |= kind->is_quantized;
    writer->widths |= lt_st_type_width(kind->type);
    writer->widths |= kind->is_quantized ? (uint32_t)sizeof(float) : 0;
    return writer->n_tensors++;
}

lathe_status lathe_writer_add(lathe_writer *writer, const char *name, const lathe_tensor_desc *desc,
                              size_t *index) {
    const lt_writer_kind *kind = NULL;
    size_t existing = 0;
    lathe_status status = check_declare(writer, name, index);
    if (status == LATHE_OK) {
        status = kind_of(writer, desc, &kind);
    }
    if (status == LATHE_OK) {
        status = check_free(writer, name, kind);
    }
    if (status == LATHE_OK) {
        status = lt_writer_reserve(writer, writer->n_tensors + 1);
    }
    if (status == LATHE_OK) {
        status = lt_name_table_reserve(&writer->names, writer->n_tensors + 1);
    }
    if (status != LATHE_OK) {
        return status;
    }
    const char *copy = lt_arena_copy(&writer->arena, name, strlen(name));
    if (copy == NULL) {
        return lt_error()->status;
    }
    *index = lt_writer_add_known(writer, copy, kind);
    return lt_name_table_add(&writer->names, copy, *index, &existing); /* for which there is room */
}

static lathe_status make_pair_room(lathe_writer *writer) {
    void *metadata = writer->metadata;
    lathe_status status = grow(writer->pool, &metadata, &writer->metadata_room, writer->n_metadata,
                               writer->n_metadata + 1, sizeof *writer->metadata);
    writer->metadata = metadata;
    return status;
}

lathe_status lathe_writer_add_metadata(lathe_writer *writer, const char *key, const char *value) {
    size_t existing = 0;
    if (writer == NULL || writer->begun) {
        return lt_fail(LATHE_INVALID_ARGUMENT, writer == NULL ? "writer is NULL"
                                                              : "data has been written: nothing "
                                                                "more can be declared");
    }
    lathe_status status = check_text(key, "metadata key");
    if (status == LATHE_OK) {
        status = check_text(value, "metadata value");
    }
    if (status == LATHE_OK && lt_st_is_own_key(key)) {
        status = lt_fail(LATHE_INVALID_ARGUMENT, "the metadata key \"%s\" is Lathe's own",
                         lt_name_text(key).text);
    }
    if (status == LATHE_OK) {
        status = make_pair_room(writer);
    }
    if (status != LATHE_OK) {
        return status;
    }
    lt_st_pair pair = {.key = lt_arena_copy(&writer->arena, key, strlen(key)),
                       .value = lt_arena_copy(&writer->arena, value, strlen(value))};
    if (pair.key == NULL || pair.value == NULL) {
        return lt_error()->status;
    }
    status = lt_name_table_add(&writer->keys, pair.key, 0, &existing);
    if (status == LATHE_OK && existing != SIZE_MAX) {
        status = lt_fail(LATHE_INVALID_ARGUMENT, "the metadata key \"%s\" is there already",
                         lt_name_text(key).text);
    }
    if (status == LATHE_OK) {
        writer->metadata[writer->n_metadata++] = pair;
    }
    return status;
}
