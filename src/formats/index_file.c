/* SPDX-License-Identifier: Apache-2.0 */
/* The index of a sharded checkpoint. */
#include "formats/index_file.h"

#include "core/checked.h"
#include "core/error.h"
#include "files/file_io.h"
#include "formats/json_text.h"
#include "formats/json_walk.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_METADATA_BYTES = 1 << 20 };

/* The text leaves in pieces of this size. */
#define INDEX_PIECE (UINT64_C(1) << 18)

/* The id of a tensor that has been taken. */
#define TAKEN LT_NAME_ABSENT

bool lt_index_is_path(const char *path) {
    const size_t suffix = strlen(LT_INDEX_SUFFIX);
    size_t length = path == NULL ? 0 : strlen(path);
    return length >= suffix && strcmp(path + length - suffix, LT_INDEX_SUFFIX) == 0;
}

static bool is_plain_name(const char *name) {
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* One entry of the weight map. `files` finds the id of a file that has been seen. */
static lathe_status read_weight(lt_index *index, lt_arena *arena, lt_name_table *files,
                                const lt_json_member *member) {
    const char *tensor = NULL;
    const char *file = NULL;
    size_t existing = 0;
    lathe_status status = lt_json_string(&member->name, arena, &tensor);
    if (status != LATHE_OK) {
        return status;
    }
    status = lt_json_string(&member->value, arena, &file);
    if (status == LATHE_OK && !is_plain_name(file)) {
        status = lt_fail(LATHE_MALFORMED_FILE, "\"%s\" is not a plain file name",
                         lt_name_text(file).text);
    }
    if (status == LATHE_OK) {
        status = lt_name_table_add(files, file, files->n_names, &existing);
    }
    if (status == LATHE_OK && index->names.n_names == LT_ST_MAX_NAMES) {
        status = lt_fail(LATHE_NOT_SUPPORTED, "more than %d tensors", LT_ST_MAX_NAMES);
    }
    if (status == LATHE_OK) {
        size_t id = existing != SIZE_MAX ? existing : files->n_names - 1;
        status = lt_name_table_add(&index->names, tensor, id, &existing);
    }
    if (status == LATHE_OK && existing != SIZE_MAX) {
        status = lt_fail(LATHE_MALFORMED_FILE, "it has this name twice");
    }
    return status == LATHE_OK ? LATHE_OK
                              : lt_fail_prefix("weight_map \"%s\"", lt_name_text(tensor).text);
}

static int compare_shards(const void *a, const void *b) {
    const lt_index_shard *x = a;
    const lt_index_shard *y = b;
    return strcmp(x->name, y->name);
}

static lathe_status list_shards(lt_index *index, const lt_name_table *files) {
    index->shards = lt_pool_new_array(index->pool, files->n_names, sizeof *index->shards);
    if (index->shards == NULL) {
        return lt_error()->status;
    }
    for (size_t i = 0; i < files->n_slots; i++) {
        const lt_name_slot *slot = &files->slots[i];
        if (slot->name != NULL) {
            index->shards[index->n_shards++] =
                (lt_index_shard){.name = slot->name, .id = slot->value};
        }
    }
    qsort(index->shards, index->n_shards, sizeof *index->shards, compare_shards);
    return LATHE_OK;
}

static lathe_status read_weight_map(lt_index *index, lt_arena *arena, const lt_json_text *text) {
    lt_name_table files = {.pool = index->pool};
    lt_json_walker walker;
    lt_json_member member;
    bool found = true;
    if (text->n_bytes == 0 || text->bytes[0] != '{') {
        return lt_fail(LATHE_MALFORMED_FILE, "weight_map is not an object");
    }
    lathe_status status = lt_json_walk(text, &walker);
    while (status == LATHE_OK) {
        status = lt_json_next(&walker, &member, &found);
        if (status != LATHE_OK || !found) {
            break;
        }
        status = read_weight(index, arena, &files, &member);
    }
    if (status == LATHE_OK) {
        status = list_shards(index, &files);
    }
    lt_name_table_free(&files);
    return status;
}

static lathe_status read_metadata(lt_index *index, const lt_json_text *text) {
    json_t *value = NULL;
    lathe_status status = lt_json_parse(text, MOST_METADATA_BYTES, &value);
    if (status == LATHE_OK && json_is_object(value)) {
        json_decref(index->metadata);
        index->metadata = value;
        return LATHE_OK;
    }
    if (status == LATHE_OK && !json_is_null(value)) {
        status = lt_fail(LATHE_MALFORMED_FILE, "metadata is not an object");
    }
    json_decref(value);
    return status;
}

static lathe_status parse(lt_index *index, lt_arena *arena, const lt_json_text *text) {
    lt_json_walker walker;
    lt_json_member member;
    bool found = true;
    bool has_map = false;
    lathe_status status = lt_json_walk(text, &walker);
    while (status == LATHE_OK) {
        const char *name = NULL;
        status = lt_json_next(&walker, &member, &found);
        if (status != LATHE_OK || !found) {
            break;
        }
        status = lt_json_string(&member.name, arena, &name);
        if (status == LATHE_OK && strcmp(name, "weight_map") == 0) {
            status = has_map ? lt_fail(LATHE_MALFORMED_FILE, "weight_map is there twice")
                             : read_weight_map(index, arena, &member.value);
            has_map = true;
        } else if (status == LATHE_OK && strcmp(name, "metadata") == 0) {
            status = read_metadata(index, &member.value);
        }
    }
    if (status == LATHE_OK && !has_map) {
        status = lt_fail(LATHE_MALFORMED_FILE, "weight_map is missing");
    }
    return status;
}

static lathe_status read_text(lathe_pool *pool, const char *path, lt_json_text *text,
                              char **bytes) {
    int fd = -1;
    uint64_t n_bytes = 0;
    lathe_status status = lt_file_open(path, &fd, &n_bytes);
    if (status != LATHE_OK) {
        return status;
    }
    if (n_bytes > LT_ST_MAX_HEADER) {
        status = lt_fail(LATHE_MALFORMED_FILE, "%s: %" PRIu64 " bytes are too many for an index",
                         lt_path_text(path).text, n_bytes);
    } else {
        *bytes = lt_pool_new(pool, (size_t)n_bytes);
        status = *bytes == NULL ? lt_error()->status : lt_file_read(fd, 0, *bytes, (size_t)n_bytes);
        if (status != LATHE_OK) {
            (void)lt_fail_prefix("%s", lt_path_text(path).text);
        }
    }
    (void)close(fd);
    *text = (lt_json_text){.bytes = *bytes, .n_bytes = (size_t)n_bytes, .what = "index"};
    return status;
}

lathe_status lt_index_read(lathe_pool *pool, lt_arena *arena, const char *path, lt_index *index) {
    char *bytes = NULL;
    lt_json_text text;
    *index = (lt_index){.pool = pool, .names = {.pool = pool}};
    lathe_status status = read_text(pool, path, &text, &bytes);
    if (status == LATHE_OK && parse(index, arena, &text) != LATHE_OK) {
        status = lt_fail_prefix("%s", lt_path_text(path).text);
    }
    lt_pool_delete(pool, bytes);
    if (status != LATHE_OK) {
        lt_index_free(index);
    }
    return status;
}

void lt_index_free(lt_index *index) {
    lt_name_table_free(&index->names);
    lt_pool_delete(index->pool, index->shards);
    json_decref(index->metadata);
    *index = (lt_index){.pool = index->pool, .names = {.pool = index->pool}};
}

lathe_status lt_index_take(lt_index *index, uint32_t shard_id, const char *tensor) {
    lt_name_slot *slot = lt_name_table_slot(&index->names, tensor);
    if (slot == NULL || slot->value != shard_id) {
        return lt_fail(LATHE_MALFORMED_FILE, "tensor \"%s\" is in the shard, but the index %s",
                       lt_name_text(tensor).text,
                       slot == NULL ? "does not list it" : "says that another shard has it");
    }
    slot->value = TAKEN;
    return LATHE_OK;
}

lathe_status lt_index_check_taken(const lt_index *index) {
    for (size_t i = 0; i < index->names.n_slots; i++) {
        const lt_name_slot *slot = &index->names.slots[i];
        if (slot->name == NULL || slot->value == TAKEN) {
            continue;
        }
        size_t shard = 0;
        while (index->shards[shard].id != slot->value) {
            shard++;
        }
        return lt_fail(LATHE_MALFORMED_FILE,
                       "tensor \"%s\" is in the index, but not in the shard \"%s\"",
                       lt_name_text(slot->name).text, lt_name_text(index->shards[shard].name).text);
    }
    return LATHE_OK;
}

static void put_weight(lt_json_out *out, const char *separator, const char *tensor,
                       const char *suffix, const char *file) {
    lt_json_put(out, separator);
    lt_json_put(out, "\"");
    lt_json_put_escaped(out, tensor);
    lt_json_put(out, suffix);
    lt_json_put(out, "\": ");
    lt_json_put_string(out, file);
}

static void put_weight_map(lt_json_out *out, const lt_index_output *shards, size_t n_shards) {
    const char *separator = "\n    ";
    for (size_t i = 0; i < n_shards; i++) {
        const lathe_writer *writer = shards[i].writer;
        for (size_t k = 0; k < writer->n_tensors; k++) {
            const lt_writer_tensor *tensor = &writer->tensors[k];
            put_weight(out, separator, tensor->name, "", shards[i].name);
            separator = ",\n    ";
            if (tensor->kind->is_quantized) {
                put_weight(out, separator, tensor->name, LT_ST_SCALE_SUFFIX, shards[i].name);
            }
        }
    }
}

/* `metadata` is a JSON text. */
static void put_index(lt_json_out *out, const char *metadata, const lt_index_output *shards,
                      size_t n_shards) {
    lt_json_put(out, "{\n  \"metadata\": ");
    lt_json_put(out, metadata);
    lt_json_put(out, ",\n  \"weight_map\": {");
    put_weight_map(out, shards, n_shards);
    lt_json_put(out, "\n  }\n}\n");
}

/* The metadata with the new total_size, as text that the caller gives to free(). */
static char *metadata_text(json_t *metadata, const lt_index_output *shards, size_t n_shards) {
    uint64_t total = 0;
    for (size_t i = 0; i < n_shards; i++) {
        total += lt_writer_data_bytes(shards[i].writer);
    }
    char *text = NULL;
    json_t *copy = metadata != NULL ? json_copy(metadata) : json_object();
    if (copy != NULL &&
        json_object_set_new(copy, "total_size", json_integer((json_int_t)total)) == 0) {
        text = json_dumps(copy, JSON_COMPACT);
    }
    json_decref(copy);
    return text;
}

static lathe_status flush_index(void *ctx, uint64_t at, const char *bytes, size_t n_bytes) {
    return lt_atomic_write(ctx, at, bytes, n_bytes);
}

lathe_status lt_index_write(lathe_pool *pool, lt_atomic_file *file, json_t *metadata,
                            const lt_index_output *shards, size_t n_shards) {
    char *text = metadata_text(metadata, shards, n_shards);
    if (text == NULL) {
        return lt_fail(LATHE_INSUFFICIENT_MEMORY, "%s: no memory for the metadata",
                       lt_path_text(lt_atomic_path(file)).text);
    }
    lt_json_out measured = {0};
    put_index(&measured, text, shards, n_shards);
    lt_json_out out = {
        .room = (size_t)lt_min(measured.n_bytes, INDEX_PIECE), .flush = flush_index, .ctx = file};
    lathe_status status = lt_atomic_reserve(file, measured.n_bytes);
    if (status == LATHE_OK) {
        out.bytes = lt_pool_new(pool, out.room);
        status = out.bytes != NULL ? LATHE_OK : lt_error()->status;
    }
    if (status == LATHE_OK) {
        put_index(&out, text, shards, n_shards);
        status = lt_json_end(&out);
    }
    if (status == LATHE_OK) {
        status = lt_atomic_sync(file);
    }
    lt_pool_delete(pool, out.bytes);
    free(text); /* json_dumps allocated it */
    return status;
}
