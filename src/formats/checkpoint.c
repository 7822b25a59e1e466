/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a checkpoint, single or sharded, and answers what is in it. */
#include "formats/checkpoint.h"

#include "core/checked.h"
#include "core/error.h"
#include "files/file_io.h"
#include "formats/index_file.h"
#include <stdint.h>
#include <string.h>

/* Fills in what a caller sees of a plain tensor. */
static void describe_plain(const lt_st_tensor *stored, lathe_checkpoint_tensor *info) {
    const lt_st_type *type = lt_st_tensor_type(stored);
    info->n_elems = 1;
    for (uint32_t i = 0; i < stored->n_dims; i++) {
        info->n_elems *= stored->shape[i]; /* the parser has checked the product */
    }
    info->n_dims = stored->n_dims;
    info->shape = stored->shape;
    /* Lathe's tensors have fewer dimensions than the format allows: the others are only carried. */
    info->dtype = stored->n_dims <= LATHE_MAX_DIMS ? type->dtype : (lathe_dtype)0;
}

static void describe_quantized(const lt_st_quantized *quantized, lathe_checkpoint_tensor *info) {
    const lathe_tensor_desc *desc = &quantized->desc;
    info->dtype = desc->dtype;
    info->n_dims = desc->n_dims;
    info->shape = desc->shape;
    info->granularity = desc->granularity;
    info->group_size = desc->group_size;
    info->row_dims = desc->row_dims;
    info->n_elems = quantized->n_elems;
    info->n_scales = quantized->n_scales;
}

static lathe_status make_room(lathe_checkpoint *checkpoint, size_t n_tensors) {
    checkpoint->tensors =
        lt_pool_new_array(checkpoint->pool, n_tensors, sizeof *checkpoint->tensors);
    return checkpoint->tensors != NULL ? LATHE_OK : lt_error()->status;
}

/* Adds a file's tensors; there is room for them. The table's names get the numbers that they have
 * here. */
static lathe_status add_tensors(lathe_checkpoint *checkpoint, uint32_t file, lt_st_table *table) {
    uint32_t *place = lt_pool_new_array(checkpoint->pool, table->n_tensors, sizeof *place);
    if (place == NULL) {
        return lt_error()->status;
    }
    lt_checkpoint_file *of = &checkpoint->files[file];
    for (size_t i = 0; i < table->n_tensors; i++) {
        const lt_st_tensor *stored = &table->tensors[i];
        place[i] = LT_NAME_ABSENT;
        if (stored->is_companion) {
            continue;
        }
        place[i] = (uint32_t)checkpoint->n_tensors;
        lt_checkpoint_tensor *tensor = &checkpoint->tensors[checkpoint->n_tensors++];
        tensor->type = stored->type;
        tensor->file = file;
        tensor->data_at = table->data_start + stored->begin;
        tensor->info.name = stored->name;
        tensor->info.stored_type = lt_st_tensor_type(stored)->name;
        tensor->info.n_bytes = stored->end - stored->begin;
        tensor->info.file = checkpoint->files[file].path;
        if (stored->quantized != NULL) {
            describe_quantized(stored->quantized, &tensor->info);
            tensor->scales_at = table->data_start + stored->quantized->scales_begin;
        } else {
            describe_plain(stored, &tensor->info);
        }
    }
    of->n_tensors = checkpoint->n_tensors - of->first_tensor;
    if (of->first_tensor != 0 || checkpoint->n_tensors != table->n_tensors) {
        lt_name_table_renumber(&table->names, place);
    }
    lt_pool_delete(checkpoint->pool, place);
    return LATHE_OK;
}

/* Keeps the entries that are not Lathe's own. */
static lathe_status keep_metadata(lathe_checkpoint *checkpoint, lt_checkpoint_file *file,
                                  const lt_st_table *table) {
    file->metadata =
        lt_arena_new_array(&checkpoint->arena, table->n_metadata, sizeof *file->metadata);
    if (file->metadata == NULL) {
        return lt_error()->status;
    }
    for (size_t i = 0; i < table->n_metadata; i++) {
        if (!lt_st_is_own_key(table->metadata[i].key)) {
            file->metadata[file->n_metadata++] = table->metadata[i];
        }
    }
    return LATHE_OK;
}

/* Opens a file and reads its header. */
static lathe_status read_table(lathe_checkpoint *checkpoint, lt_checkpoint_file *file,
                               lt_st_table *table) {
    lt_input_file *input = &file->input;
    lathe_status status = lt_input_open(checkpoint->set, input, file->path);
    if (status == LATHE_OK) {
        checkpoint->file_bytes += input->n_bytes;
        status = lt_safetensors_read(checkpoint->pool, &checkpoint->arena, input->file.fd,
                                     input->n_bytes, file->path, table);
        lt_set_file_give(&checkpoint->set->files, &input->file);
    }
    return status;
}

/* Reads the file that files[n_files] names. `index` is NULL for a single file. */
static lathe_status add_file(lathe_checkpoint *checkpoint, lt_index *index, uint32_t shard_id) {
    size_t number = checkpoint->n_files;
    lt_checkpoint_file *file = &checkpoint->files[number];
    lt_st_table table = {.pool = checkpoint->pool, .names = {.pool = checkpoint->pool}};
    lathe_status status = read_table(checkpoint, file, &table);
    if (status != LATHE_OK) {
        return status;
    }
    checkpoint->n_files++;
    file->first_tensor = checkpoint->n_tensors;
    for (size_t i = 0; index != NULL && i < table.n_tensors && status == LATHE_OK; i++) {
        if (lt_index_take(index, shard_id, table.tensors[i].name) != LATHE_OK) {
            status = lt_fail_prefix("%s", lt_path_text(file->path).text);
        }
    }
    if (status == LATHE_OK) {
        status = keep_metadata(checkpoint, file, &table);
    }
    if (status == LATHE_OK && index == NULL) {
        status = make_room(checkpoint, table.n_tensors);
    }
    if (status == LATHE_OK) {
        status = add_tensors(checkpoint, (uint32_t)number, &table);
    }
    if (status == LATHE_OK && index == NULL) {
        checkpoint->names = table.names;
        table.names = (lt_name_table){.pool = checkpoint->pool};
    }
    lt_st_table_free(&table);
    return status;
}

static lathe_status open_single(lathe_checkpoint *checkpoint) {
    checkpoint->files = lt_pool_new(checkpoint->pool, sizeof *checkpoint->files);
    if (checkpoint->files == NULL) {
        return lt_error()->status;
    }
    checkpoint->files[0].path = checkpoint->path;
    return add_file(checkpoint, NULL, 0);
}

/* The path of a file in the folder of another. */
static const char *sibling(lt_arena *arena, const char *path, const char *name) {
    const char *slash = strrchr(path, '/');
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    size_t length = strlen(name);
    char *joined = lt_arena_new(arena, folder + length + 1);
    if (joined != NULL) {
        memcpy(joined, path, folder);
        memcpy(joined + folder, name, length);
    }
    return joined;
}

/* The index has every tensor's name, and has taken them all: companions stay so. */
static void take_names(lathe_checkpoint *checkpoint, lt_index *index) {
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        lt_name_table_slot(&index->names, checkpoint->tensors[i].info.name)->value = (uint32_t)i;
    }
    checkpoint->names = index->names;
    index->names = (lt_name_table){.pool = checkpoint->pool};
}

static lathe_status open_sharded(lathe_checkpoint *checkpoint) {
    const char *path = checkpoint->path;
    lt_index index;
    lathe_status status = lt_index_read(checkpoint->pool, &checkpoint->arena, path, &index);
    if (status != LATHE_OK) {
        return status;
    }
    checkpoint->sharded = true;
    checkpoint->index_metadata = json_incref(index.metadata);
    checkpoint->files =
        lt_pool_new_array(checkpoint->pool, index.n_shards, sizeof *checkpoint->files);
    if (checkpoint->files == NULL) {
        status = lt_error()->status;
    } else {
        status = make_room(checkpoint, index.names.n_names);
    }
    for (size_t i = 0; i < index.n_shards && status == LATHE_OK; i++) {
        const char *shard = sibling(&checkpoint->arena, path, index.shards[i].name);
        checkpoint->files[i].path = shard;
        status =
            shard == NULL ? lt_error()->status : add_file(checkpoint, &index, index.shards[i].id);
        if (status == LATHE_NOT_FOUND) {
            status = lt_fail(LATHE_NOT_FOUND, "%s: its shard \"%s\" is not there",
                             lt_path_text(path).text, lt_name_text(index.shards[i].name).text);
        }
    }
    if (status == LATHE_OK && lt_index_check_taken(&index) != LATHE_OK) {
        status = lt_fail_prefix("%s", lt_path_text(path).text);
    }
    if (status == LATHE_OK) {
        take_names(checkpoint, &index);
    }
    lt_index_free(&index);
    return status;
}

/* Merges the files' metadata. Shards repeat theirs; where they differ, the first one counts. */
static lathe_status merge_metadata(lathe_checkpoint *checkpoint) {
    lt_name_table keys = {.pool = checkpoint->pool};
    size_t count = 0;
    for (size_t i = 0; i < checkpoint->n_files; i++) {
        count += checkpoint->files[i].n_metadata;
    }
    lathe_status status = lt_name_table_reserve(&keys, count);
    if (status == LATHE_OK) {
        checkpoint->metadata =
            lt_pool_new_array(checkpoint->pool, count, sizeof *checkpoint->metadata);
        status = checkpoint->metadata != NULL ? LATHE_OK : lt_error()->status;
    }
    for (size_t i = 0; i < checkpoint->n_files && status == LATHE_OK; i++) {
        const lt_checkpoint_file *file = &checkpoint->files[i];
        for (size_t k = 0; k < file->n_metadata && status == LATHE_OK; k++) {
            size_t existing = 0;
            status = lt_name_table_add(&keys, file->metadata[k].key, 0, &existing);
            if (status == LATHE_OK && existing == SIZE_MAX) {
                checkpoint->metadata[checkpoint->n_metadata++] = file->metadata[k];
            }
        }
    }
    lt_name_table_free(&keys);
    return status;
}

lathe_status lathe_checkpoint_open(lathe_pool *pool, const char *path,
                                   lathe_checkpoint **checkpoint) {
    if (pool == NULL || path == NULL || checkpoint == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool, path or checkpoint is NULL");
    }
    lathe_checkpoint *made = lt_pool_new(pool, sizeof *made);
    if (made == NULL) {
        return lt_error()->status;
    }
    made->pool = lathe_pool_retain(pool);
    made->arena.pool = pool;
    made->names.pool = pool;
    lathe_status status = LATHE_OK;
    made->set = lt_pool_new(pool, sizeof *made->set);
    if (made->set != NULL) {
        lt_input_set_init(made->set);
    }
    made->path = lt_arena_copy(&made->arena, path, strlen(path));
    if (made->set == NULL || made->path == NULL) {
        status = lt_error()->status;
    } else {
        status = lt_index_is_path(path) ? open_sharded(made) : open_single(made);
    }
    if (status == LATHE_OK) {
        status = merge_metadata(made);
    }
    if (status != LATHE_OK) {
        lathe_checkpoint_close(made);
        return status;
    }
    *checkpoint = made;
    return LATHE_OK;
}

void lathe_checkpoint_close(lathe_checkpoint *checkpoint) {
    if (checkpoint == NULL) {
        return;
    }
    lathe_pool *pool = checkpoint->pool;
    if (checkpoint->set != NULL) {
        lt_input_set_destroy(checkpoint->set);
        lt_pool_delete(pool, checkpoint->set);
    }
    json_decref(checkpoint->index_metadata);
    lt_name_table_free(&checkpoint->names);
    lt_pool_delete(pool, checkpoint->files);
    lt_pool_delete(pool, checkpoint->tensors);
    lt_pool_delete(pool, checkpoint->metadata);
    lt_arena_free(&checkpoint->arena);
    lt_pool_delete(pool, checkpoint);
    lathe_pool_release(pool);
}

size_t lathe_checkpoint_n_tensors(const lathe_checkpoint *checkpoint) {
    return checkpoint == NULL ? 0 : checkpoint->n_tensors;
}

const lathe_checkpoint_tensor *lathe_checkpoint_tensor_at(const lathe_checkpoint *checkpoint,
                                                          size_t i) {
    return i < lathe_checkpoint_n_tensors(checkpoint) ? &checkpoint->tensors[i].info : NULL;
}

size_t lathe_checkpoint_find(const lathe_checkpoint *checkpoint, const char *name) {
    return checkpoint == NULL || name == NULL ? SIZE_MAX
                                              : lt_name_table_find(&checkpoint->names, name);
}

size_t lathe_checkpoint_n_files(const lathe_checkpoint *checkpoint) {
    return checkpoint == NULL ? 0 : checkpoint->n_files;
}

const char *lathe_checkpoint_file_at(const lathe_checkpoint *checkpoint, size_t i) {
    return i < lathe_checkpoint_n_files(checkpoint) ? checkpoint->files[i].path : NULL;
}

uint64_t lathe_checkpoint_file_bytes(const lathe_checkpoint *checkpoint) {
    return checkpoint == NULL ? 0 : checkpoint->file_bytes;
}

bool lathe_checkpoint_metadata_at(const lathe_checkpoint *checkpoint, size_t i, const char **key,
                                  const char **value) {
    if (checkpoint == NULL || i >= checkpoint->n_metadata) {
        return false;
    }
    if (key != NULL) {
        *key = checkpoint->metadata[i].key;
    }
    if (value != NULL) {
        *value = checkpoint->metadata[i].value;
    }
    return true;
}
