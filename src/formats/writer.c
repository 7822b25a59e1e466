/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors writer, first half: what the file is to hold is declared. */
#include "formats/writer.h"

#include "core/error.h"
#include "files/file_io.h"
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

lathe_status lathe_writer_create(lathe_pool *pool, const char *path, uint32_t overwrite,
                                 lathe_writer **writer) {
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
    lathe_status status = lt_atomic_create(pool, path, overwrite == 1, &made->file);
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
    lt_pool_delete(pool, writer->entries);
    lt_pool_delete(pool, writer->tensors);
    lt_pool_delete(pool, writer->metadata);
    lt_arena_free(&writer->arena);
    lt_pool_delete(pool, writer);
    lathe_pool_release(pool);
}

/* Makes room for `more` elements more in an array; *array may move. */
static lathe_status grow(lathe_pool *pool, void **array, size_t *room, size_t count, size_t more,
                         size_t n_bytes) {
    if (count + more <= *room) {
        return LATHE_OK;
    }
    size_t wanted = *room == 0 ? 16 : 2 * *room;
    void *grown = lt_pool_new_array(pool, wanted, n_bytes);
    if (grown == NULL) {
        return lt_error()->status;
    }
    if (count > 0) {
        memcpy(grown, *array, count * n_bytes);
    }
    lt_pool_delete(pool, *array);
    *array = grown;
    *room = wanted;
    return LATHE_OK;
}

/* Room for a tensor, its companion, and a metadata entry: what follows cannot fail half-way. */
static lathe_status make_room(lathe_writer *writer) {
    void *entries = writer->entries;
    void *tensors = writer->tensors;
    void *metadata = writer->metadata;
    lathe_status status = grow(writer->pool, &entries, &writer->entries_room, writer->n_entries, 2,
                               sizeof *writer->entries);
    writer->entries = entries;
    if (status == LATHE_OK) {
        status = grow(writer->pool, &tensors, &writer->tensors_room, writer->n_tensors, 1,
                      sizeof *writer->tensors);
        writer->tensors = tensors;
    }
    if (status == LATHE_OK) {
        status = grow(writer->pool, &metadata, &writer->metadata_room, writer->n_metadata, 2,
                      sizeof *writer->metadata);
        writer->metadata = metadata;
    }
    if (status == LATHE_OK) {
        status = lt_name_table_reserve(&writer->names, writer->n_entries + 2);
    }
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

/* Checks that no other tensor has the entry's name. */
static lathe_status check_free(const lathe_writer *writer, const lt_writer_entry *entry) {
    size_t i = lt_name_table_find(&writer->names, entry->name);
    if (i == SIZE_MAX) {
        return LATHE_OK;
    }
    if (!entry->is_companion && !writer->entries[i].is_companion) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "tensor \"%s\" is declared twice",
                       lt_name_text(entry->name).text);
    }
    lt_short_text base = lt_name_text(entry->name);
    size_t length = strlen(entry->name) - strlen(LT_ST_SCALE_SUFFIX);
    if (length < sizeof base.text) {
        base.text[length] = '\0';
    }
    return lt_fail(
        LATHE_INVALID_ARGUMENT,
        "\"%s\" would be both a tensor and the scales of the quantized \"%s\": keep \"%s\" "
        "as it is, or rename one of the two",
        lt_name_text(entry->name).text, base.text, base.text);
}

/* Fills in copies of name + suffix and of the shape. */
static lathe_status copy_parts(lathe_writer *writer, const char *name, const char *suffix,
                               const uint64_t *shape, lt_writer_entry *entry) {
    size_t length = strlen(name);
    size_t suffix_length = strlen(suffix);
    char *copy = lt_arena_new(&writer->arena, length + suffix_length + 1);
    uint64_t *extents = lt_arena_new_array(&writer->arena, entry->n_dims, sizeof *extents);
    if (copy == NULL || extents == NULL) {
        return lt_error()->status;
    }
    memcpy(copy, name, length);
    memcpy(copy + length, suffix, suffix_length);
    if (entry->n_dims > 0) {
        memcpy(extents, shape, entry->n_dims * sizeof *extents);
    }
    entry->name = copy;
    entry->shape = extents;
    return LATHE_OK;
}

static size_t append(lathe_writer *writer, const lt_writer_entry *entry) {
    size_t existing = 0;
    writer->entries[writer->n_entries] = *entry;
    (void)lt_name_table_add(&writer->names, entry->name, writer->n_entries, &existing);
    return writer->n_entries++;
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

lathe_status lt_writer_add_plain(lathe_writer *writer, const char *name, const lt_st_type *type,
                                 uint32_t n_dims, const uint64_t *shape, uint64_t n_bytes,
                                 size_t *index) {
    lathe_status status = check_declare(writer, name, index);
    if (status != LATHE_OK) {
        return status;
    }
    lt_writer_entry data = {.type = type, .n_dims = n_dims, .n_bytes = n_bytes};
    status = make_room(writer);
    if (status == LATHE_OK) {
        status = copy_parts(writer, name, "", shape, &data);
    }
    if (status == LATHE_OK) {
        status = check_free(writer, &data);
    }
    if (status == LATHE_OK) {
        *index = writer->n_tensors++;
        writer->tensors[*index] =
            (lt_writer_tensor){.data = append(writer, &data), .scales = SIZE_MAX};
    }
    return status;
}

/* The metadata entry that describes a quantized tensor. */
static lathe_status make_description(lathe_writer *writer, const char *name,
                                     const lathe_tensor_desc *desc, lt_st_pair *pair) {
    lt_st_description description = lt_st_describe(desc);
    size_t prefix = strlen(LT_ST_TENSOR_KEY);
    size_t length = strlen(name);
    char *key = lt_arena_new(&writer->arena, prefix + length + 1);
    if (key == NULL) {
        return lt_error()->status;
    }
    memcpy(key, LT_ST_TENSOR_KEY, prefix);
    memcpy(key + prefix, name, length);
    pair->key = key;
    pair->value = lt_arena_copy(&writer->arena, description.text, strlen(description.text));
    return pair->value != NULL ? LATHE_OK : lt_error()->status;
}

static lathe_status add_quantized(lathe_writer *writer, const char *name,
                                  const lathe_tensor_desc *desc, const lt_st_stored *stored,
                                  size_t *index) {
    lt_writer_entry data = {
        .type = stored->type, .n_dims = stored->n_dims, .n_bytes = stored->n_bytes};
    lt_writer_entry scales = {.type = lt_st_type_of(LATHE_F32),
                              .n_dims = stored->scales_n_dims,
                              .n_bytes = stored->n_scales * sizeof(float),
                              .is_companion = true};
    lt_st_pair pair = {0};
    lathe_status status = make_room(writer);
    if (status == LATHE_OK) {
        status = copy_parts(writer, name, "", stored->shape, &data);
    }
    if (status == LATHE_OK) {
        status = copy_parts(writer, name, LT_ST_SCALE_SUFFIX, stored->scales_shape, &scales);
    }
    if (status == LATHE_OK) {
        status = make_description(writer, name, desc, &pair);
    }
    if (status == LATHE_OK) {
        status = check_free(writer, &data);
    }
    if (status == LATHE_OK) {
        status = check_free(writer, &scales);
    }
    if (status != LATHE_OK) {
        return status;
    }
    if (!writer->has_quantized) {
        writer->metadata[writer->n_metadata++] =
            (lt_st_pair){.key = LT_ST_FORMAT_KEY, .value = LT_ST_FORMAT_VERSION};
        writer->has_quantized = true;
    }
    writer->metadata[writer->n_metadata++] = pair;
    *index = writer->n_tensors++;
    lt_writer_tensor *tensor = &writer->tensors[*index];
    tensor->data = append(writer, &data);
    tensor->scales = append(writer, &scales);
    return LATHE_OK;
}

lathe_status lathe_writer_add(lathe_writer *writer, const char *name, const lathe_tensor_desc *desc,
                              size_t *index) {
    lt_st_stored stored;
    lathe_status status = check_declare(writer, name, index);
    if (status == LATHE_OK) {
        status = lt_st_stored_of(desc, &stored);
    }
    if (status != LATHE_OK) {
        return status;
    }
    if (lathe_dtype_is_quantized(desc->dtype)) {
        return add_quantized(writer, name, desc, &stored, index);
    }
    return lt_writer_add_plain(writer, name, stored.type, stored.n_dims, stored.shape,
                               stored.n_bytes, index);
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
        status = make_room(writer);
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
