/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a conversion writes. */
#include "formats/convert.h"

#include "core/error.h"
#include "files/file_io.h"
#include "files/output_path.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONTAINER_SUFFIX ".safetensors"

/* True if writing `out` would replace the file at `path`. A second hard link to it does not count:
 * the rename leaves the other name with the old contents. */
static bool replaces(const lt_output_path *out, const char *path) {
    struct stat info;
    char a[PATH_MAX];
    char b[PATH_MAX];
    if (!out->exists || stat(path, &info) != 0 || info.st_dev != out->info.st_dev ||
        info.st_ino != out->info.st_ino) {
        return false;
    }
    return info.st_nlink == 1 || realpath(out->target, a) == NULL || realpath(path, b) == NULL ||
           strcmp(a, b) == 0;
}

/* An output may replace the whole input, but not a part of it. */
static lathe_status check_not_input(const lathe_checkpoint *input, const char *path,
                                    const lt_output_path *out) {
    for (size_t i = 0; i < input->n_files; i++) {
        if (replaces(out, input->files[i].path)) {
            return lt_fail(LATHE_EXISTS,
                           "%s: is a file of the input; choose another name or folder for the "
                           "output",
                           lt_path_text(path).text);
        }
    }
    return LATHE_OK;
}

/* Removes a suffix that a path of `length` bytes ends with. */
static size_t without(const char *path, size_t length, const char *suffix) {
    const size_t more = strlen(suffix);
    return length >= more && memcmp(path + length - more, suffix, more) == 0 ? length - more
                                                                             : length;
}

/* What comes before "-00001-of-00002.safetensors" in the shards' paths. */
static size_t prefix_length(const char *path) {
    return without(path, without(path, strlen(path), LT_INDEX_SUFFIX), CONTAINER_SUFFIX);
}

bool lt_outputs_is_sharded(const char *path, uint64_t shard_bytes) {
    return shard_bytes != 0 || lt_index_is_path(path);
}

/* The path of the index: that of the output, with its suffix. */
static const char *index_path(lt_outputs *outputs, const char *path) {
    const size_t length = strlen(path);
    char *made = lt_arena_new(&outputs->arena, length + sizeof LT_INDEX_SUFFIX);
    if (made != NULL) {
        memcpy(made, path, length);
        if (!lt_index_is_path(path)) {
            memcpy(made + length, LT_INDEX_SUFFIX, sizeof LT_INDEX_SUFFIX);
        }
    }
    return made;
}

/* The path of shard i, in the arena. */
static char *shard_path(lt_outputs *outputs, const char *path, size_t i) {
    size_t prefix = prefix_length(path);
    size_t room = prefix + 64;
    char *made = lt_arena_new(&outputs->arena, room);
    if (made != NULL) {
        memcpy(made, path, prefix);
        (void)snprintf(made + prefix, room - prefix, "-%05zu-of-%05zu" CONTAINER_SUFFIX, i + 1,
                       outputs->n_writers);
    }
    return made;
}

static const char *plain_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

static lathe_status open_shards(const lathe_checkpoint *input, const char *path, bool overwrite,
                                lt_outputs *outputs) {
    lathe_status status = LATHE_OK;
    lt_output_path *out = lt_pool_new(outputs->pool, sizeof *out);
    if (out == NULL) {
        return lt_error()->status;
    }
    bool replaces_shard = false;
    for (size_t i = 0; i < outputs->n_writers && status == LATHE_OK; i++) {
        char *shard = shard_path(outputs, path, i);
        status = shard == NULL ? lt_error()->status : lt_output_path_of(shard, out);
        if (status == LATHE_OK) {
            outputs->shards[i].name = shard;
            replaces_shard |= out->exists;
            status = check_not_input(input, shard, out);
        }
    }
    if (status == LATHE_OK) {
        status = lt_output_path_of(path, out);
    }
    if (status == LATHE_OK) {
        status = check_not_input(input, path, out);
    }
    if (status == LATHE_OK) {
        outputs->hides_index =
            replaces_shard && out->exists && !(input->sharded && replaces(out, input->path));
        status = lt_atomic_create(outputs->pool, path, overwrite, &outputs->index);
    }
    for (size_t i = 0; i < outputs->n_writers && status == LATHE_OK; i++) {
        status = lt_writer_create_in(outputs->pool, outputs->set, outputs->shards[i].name,
                                     overwrite, &outputs->writers[i]);
        outputs->shards[i].name = plain_name(outputs->shards[i].name);
        outputs->shards[i].writer = outputs->writers[i];
    }
    lt_pool_delete(outputs->pool, out);
    return status;
}

static lathe_status open_single(const lathe_checkpoint *input, const char *path, bool overwrite,
                                lt_outputs *outputs) {
    lt_output_path *out = lt_pool_new(outputs->pool, sizeof *out);
    if (out == NULL) {
        return lt_error()->status;
    }
    lathe_status status = lt_output_path_of(path, out);
    if (status == LATHE_OK && input->sharded) {
        status = replaces(out, input->path)
                     ? lt_fail(LATHE_EXISTS, "%s: is the input's index", lt_path_text(path).text)
                     : check_not_input(input, path, out);
    }
    if (status == LATHE_OK) {
        status = lathe_writer_create(outputs->pool, path, overwrite, &outputs->writers[0]);
    }
    lt_pool_delete(outputs->pool, out);
    return status;
}

/* Files without a name must stay open; with one they need not, but kill -9 leaves them behind. */
static lathe_status make_set(lt_outputs *outputs) {
    if (outputs->n_writers <= lt_file_set_most()) {
        return LATHE_OK;
    }
    outputs->set = lt_pool_new(outputs->pool, sizeof *outputs->set);
    if (outputs->set == NULL) {
        return lt_error()->status;
    }
    lt_file_set_init(outputs->set);
    return LATHE_OK;
}

lathe_status lt_outputs_open(const lathe_checkpoint *input, const char *path, bool sharded,
                             size_t n_writers, bool overwrite, lt_outputs *outputs) {
    *outputs = (lt_outputs){.pool = input->pool, .arena = {.pool = input->pool}};
    if (sharded && prefix_length(plain_name(path)) == 0) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "%s: an index needs a name before \"%s\"",
                       lt_path_text(path).text, LT_INDEX_SUFFIX);
    }
    outputs->n_writers = n_writers;
    outputs->writers =
        lt_pool_new_array(outputs->pool, outputs->n_writers, sizeof *outputs->writers);
    outputs->shards = lt_pool_new_array(outputs->pool, outputs->n_writers, sizeof *outputs->shards);
    const char *index = sharded ? index_path(outputs, path) : NULL;
    lathe_status status = make_set(outputs);
    if (outputs->writers == NULL || outputs->shards == NULL || (sharded && index == NULL)) {
        status = lt_error()->status;
    }
    if (status == LATHE_OK) {
        status = sharded ? open_shards(input, index, overwrite, outputs)
                         : open_single(input, path, overwrite, outputs);
    }
    for (size_t i = 0; i < n_writers && status == LATHE_OK && input->n_files > 0; i++) {
        lt_atomic_yield_to(outputs->writers[i]->file, input->set,
                           input->files[0].input.file.device);
    }
    if (status != LATHE_OK) {
        lt_outputs_close(outputs);
    }
    return status;
}

lathe_status lt_outputs_publish(lt_outputs *outputs, json_t *index_metadata) {
    lathe_status status = LATHE_OK;
    for (size_t i = 0; i < outputs->n_writers && status == LATHE_OK; i++) {
        status = lt_writer_sync(outputs->writers[i]);
    }
    if (status == LATHE_OK && outputs->index != NULL) {
        status = lt_index_write(outputs->pool, outputs->index, index_metadata, outputs->shards,
                                outputs->n_writers);
    }
    if (status == LATHE_OK && outputs->hides_index) {
        /* Until the new index is there, none must speak of shards that are being replaced. */
        status = lt_atomic_remove_old(outputs->index);
    }
    if (status == LATHE_OK) {
        status = lt_writers_publish(outputs->writers, outputs->n_writers);
    }
    if (status == LATHE_OK && outputs->index != NULL) {
        /* Only now: whoever finds the index finds its shards. */
        status = lt_atomic_publish(outputs->index);
        for (size_t i = 0; i < outputs->n_writers && status != LATHE_OK; i++) {
            lt_writer_retract(outputs->writers[i]);
        }
    }
    return status;
}

void lt_outputs_close(lt_outputs *outputs) {
    for (size_t i = 0; outputs->writers != NULL && i < outputs->n_writers; i++) {
        lathe_writer_abort(outputs->writers[i]);
    }
    lt_atomic_close(outputs->index);
    if (outputs->set != NULL) {
        lt_file_set_destroy(outputs->set);
        lt_pool_delete(outputs->pool, outputs->set);
    }
    lt_pool_delete(outputs->pool, outputs->writers);
    lt_pool_delete(outputs->pool, outputs->shards);
    lt_arena_free(&outputs->arena);
    *outputs = (lt_outputs){.pool = outputs->pool, .arena = {.pool = outputs->pool}};
}
