/* SPDX-License-Identifier: Apache-2.0 */
/* Quantized tensors in safetensors: how they are stored and described, and how they are found
 * again. */
#include "formats/safetensors.h"

#include "core/checked.h"
#include "core/error.h"
#include "core/layout.h"
#include "files/file_io.h"
#include "formats/json_walk.h"
#include "formats/name_table.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MOST_DESCRIPTION_BYTES = 4096 };

static const char *const granularity_names[] = {
    [LATHE_PER_TENSOR] = "tensor", [LATHE_PER_ROW] = "row", [LATHE_PER_GROUP] = "group"};

lathe_status lt_st_stored_of(const lathe_tensor_desc *desc, lt_st_stored *stored) {
    lt_layout layout;
    lathe_status status = lt_layout_of(desc, &layout);
    if (status != LATHE_OK) {
        return status;
    }
    *stored = (lt_st_stored){.type = lt_st_type_of(desc->dtype),
                             .n_dims = desc->n_dims,
                             .n_elems = layout.n_elems,
                             .n_bytes = layout.n_bytes,
                             .n_scales = layout.n_scales};
    if (desc->n_dims > 0) {
        memcpy(stored->shape, desc->shape, desc->n_dims * sizeof stored->shape[0]);
    }
    if (!lathe_dtype_is_quantized(desc->dtype)) {
        return LATHE_OK;
    }
    uint32_t row_dims = desc->row_dims == 0 ? 1 : desc->row_dims;
    uint32_t outer = desc->n_dims > row_dims ? desc->n_dims - row_dims : 0;
    stored->type = lt_st_type_named(desc->dtype == LATHE_I8 ? "I8" : "U8");
    if (desc->dtype != LATHE_I8) {
        stored->n_dims = outer + 1;
        stored->shape[outer] = layout.row_bytes;
    }
    if (desc->granularity != LATHE_PER_TENSOR) {
        memcpy(stored->scales_shape, stored->shape, outer * sizeof stored->shape[0]);
        stored->scales_n_dims = outer;
    }
    stored->scales_shape[stored->scales_n_dims++] =
        desc->granularity == LATHE_PER_GROUP ? layout.scales_per_row : 1;
    return LATHE_OK;
}

lt_st_description lt_st_describe(const lathe_tensor_desc *desc) {
    lt_st_description out;
    size_t at = 0;
    /* The text is short of the room even with 16 extents of 20 digits. */
#define PRINT(...) at += (size_t)snprintf(out.text + at, sizeof out.text - at, __VA_ARGS__)
    PRINT("{\"dtype\":\"%s\",\"shape\":[", lathe_dtype_name(desc->dtype));
    for (uint32_t i = 0; i < desc->n_dims; i++) {
        PRINT("%s%" PRIu64, i == 0 ? "" : ",", desc->shape[i]);
    }
    PRINT("],\"granularity\":\"%s\"", granularity_names[desc->granularity]);
    if (desc->granularity == LATHE_PER_GROUP) {
        PRINT(",\"group_size\":%" PRIu64, desc->group_size);
    }
    PRINT(",\"row_dims\":%" PRIu32 "}", desc->row_dims == 0 ? 1 : desc->row_dims);
#undef PRINT
    return out;
}

static lathe_status parse_shape(const json_t *value, lt_arena *arena, lathe_tensor_desc *desc) {
    size_t n_dims = json_array_size(value);
    if (!json_is_array(value) || n_dims > LATHE_MAX_DIMS) {
        return lt_fail(LATHE_MALFORMED_FILE, "shape is not an array of at most %d sizes",
                       LATHE_MAX_DIMS);
    }
    uint64_t *shape = lt_arena_new_array(arena, n_dims, sizeof *shape);
    if (shape == NULL) {
        return lt_error()->status;
    }
    for (size_t i = 0; i < n_dims; i++) {
        const json_t *extent = json_array_get(value, i);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0) {
            return lt_fail(LATHE_MALFORMED_FILE, "shape holds something other than sizes");
        }
        shape[i] = (uint64_t)json_integer_value(extent);
    }
    desc->shape = shape;
    desc->n_dims = (uint32_t)n_dims;
    return LATHE_OK;
}

static lathe_status parse_granularity(const json_t *object, lathe_tensor_desc *desc) {
    const char *name = json_string_value(json_object_get(object, "granularity"));
    const json_t *group_size = json_object_get(object, "group_size");
    const json_t *row_dims = json_object_get(object, "row_dims");
    size_t found = 0;
    while (found <= LATHE_PER_GROUP &&
           (name == NULL || strcmp(granularity_names[found], name) != 0)) {
        found++;
    }
    if (found > LATHE_PER_GROUP) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "granularity is none of \"tensor\", \"row\", \"group\"");
    }
    desc->granularity = (lathe_granularity)found;
    if ((group_size != NULL) != (found == LATHE_PER_GROUP) ||
        (group_size != NULL && json_integer_value(group_size) <= 0)) {
        return lt_fail(LATHE_MALFORMED_FILE, "group_size must be a positive integer with "
                                             "granularity \"group\", and absent otherwise");
    }
    desc->group_size = (uint64_t)json_integer_value(group_size);
    json_int_t dims = json_integer_value(row_dims);
    if (dims < 1 || dims > LATHE_MAX_DIMS) {
        return lt_fail(LATHE_MALFORMED_FILE, "row_dims is not an integer from 1 to %d",
                       LATHE_MAX_DIMS);
    }
    desc->row_dims = (uint32_t)dims;
    return LATHE_OK;
}

/* Reads what lt_st_describe wrote. */
static lathe_status parse_description(const lt_st_pair *pair, lt_arena *arena,
                                      lathe_tensor_desc *desc) {
    const lt_json_text text = {
        .bytes = pair->value, .n_bytes = strlen(pair->value), .what = "text"};
    json_t *object = NULL;
    lathe_status status = lt_json_parse(&text, MOST_DESCRIPTION_BYTES, &object);
    if (status != LATHE_OK) {
        return status;
    }
    *desc = (lathe_tensor_desc){.struct_size = sizeof *desc};
    desc->dtype = lathe_dtype_from_name(json_string_value(json_object_get(object, "dtype")));
    if (!lathe_dtype_is_quantized(desc->dtype)) {
        status = lt_fail(LATHE_MALFORMED_FILE, "dtype is not the name of a quantized type");
    }
    if (status == LATHE_OK) {
        status = parse_shape(json_object_get(object, "shape"), arena, desc);
    }
    if (status == LATHE_OK) {
        status = parse_granularity(object, desc);
    }
    json_decref(object);
    return status;
}

static bool is_stored_as(const lt_st_tensor *tensor, const lt_st_type *type, uint32_t n_dims,
                         const uint64_t *shape) {
    return lt_st_tensor_type(tensor) == type && tensor->n_dims == n_dims &&
           (n_dims == 0 || memcmp(tensor->shape, shape, n_dims * sizeof *shape) == 0);
}

typedef struct finder {
    lt_st_table *table;
    lt_arena *arena;
    const char *text; /* of the description before, and what it says: most are alike */
    lathe_tensor_desc desc;
    lt_st_stored stored;
} finder;

/* Finds the companion of the tensor called `name`. */
static lathe_status find_companion(const finder *f, const char *name, lt_st_tensor **companion) {
    size_t i = lt_name_table_find_joined(&f->table->names, name, strlen(name), LT_ST_SCALE_SUFFIX);
    if (i == SIZE_MAX) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "its companion \"%s" LT_ST_SCALE_SUFFIX "\" is not in the file",
                       lt_name_text(name).text);
    }
    *companion = &f->table->tensors[i];
    return LATHE_OK;
}

/* What a description says; a text that comes again is not read again. */
static lathe_status read_description(finder *f, const lt_st_pair *pair) {
    if (f->text != NULL && strcmp(f->text, pair->value) == 0) {
        return LATHE_OK;
    }
    f->text = NULL;
    lathe_status status = parse_description(pair, f->arena, &f->desc);
    if (status == LATHE_OK && lt_st_stored_of(&f->desc, &f->stored) != LATHE_OK) {
        lt_error()->status = LATHE_MALFORMED_FILE;
        status = LATHE_MALFORMED_FILE;
    }
    if (status == LATHE_OK) {
        f->text = pair->value;
    }
    return status;
}

/* One "lathe.tensor.NAME" entry. */
static lathe_status find_tensor(finder *f, const lt_st_pair *pair, const char *name) {
    lt_st_tensor *companion = NULL;
    size_t i = lt_name_table_find(&f->table->names, name);
    if (i == SIZE_MAX) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "the metadata describes it, but it is not in the file");
    }
    if (read_description(f, pair) != LATHE_OK) {
        return lt_fail_prefix("its description in the metadata");
    }
    const lt_st_stored *stored = &f->stored;
    lt_st_tensor *tensor = &f->table->tensors[i];
    if (!is_stored_as(tensor, stored->type, stored->n_dims, stored->shape)) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "the metadata describes a tensor of type %s, which takes %" PRIu64
                       " bytes of %s in %" PRIu32 " dimensions, but it is stored as %" PRIu64
                       " bytes of %s in %u",
                       lathe_dtype_name(f->desc.dtype), stored->n_bytes, stored->type->name,
                       stored->n_dims, tensor->end - tensor->begin, lt_st_tensor_type(tensor)->name,
                       (unsigned)tensor->n_dims);
    }
    lathe_status status = find_companion(f, name, &companion);
    if (status != LATHE_OK) {
        return status;
    }
    if (!is_stored_as(companion, lt_st_type_of(LATHE_F32), stored->scales_n_dims,
                      stored->scales_shape)) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "its companion \"%s\" is not F32 with the shape of its %" PRIu64 " scales",
                       lt_name_text(companion->name).text, stored->n_scales);
    }
    lt_st_quantized *kept = lt_arena_new(f->arena, sizeof *kept);
    if (kept == NULL) {
        return lt_error()->status;
    }
    *kept = (lt_st_quantized){.desc = f->desc,
                              .n_elems = stored->n_elems,
                              .n_bytes = stored->n_bytes,
                              .n_scales = stored->n_scales,
                              .scales_begin = companion->begin};
    tensor->quantized = kept;
    companion->is_companion = 1;
    return LATHE_OK;
}

/* Checks lathe.format. *any: some tensor is described. */
static lathe_status check_format(const lt_st_table *table, bool *any) {
    const char *format = NULL;
    *any = false;
    for (size_t i = 0; i < table->n_metadata; i++) {
        const lt_st_pair *pair = &table->metadata[i];
        if (strcmp(pair->key, LT_ST_FORMAT_KEY) == 0) {
            format = pair->value;
        } else if (lt_st_is_own_key(pair->key)) {
            *any = true;
        }
    }
    if (format != NULL && strcmp(format, LT_ST_FORMAT_VERSION) != 0) {
        return lt_fail(LATHE_NOT_SUPPORTED,
                       "its quantized tensors are in version \"%s\" of Lathe's format; this "
                       "version of Lathe reads \"%s\"",
                       lt_name_text(format).text, LT_ST_FORMAT_VERSION);
    }
    if (*any && format == NULL) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "the metadata describes quantized tensors, but has no \"%s\"",
                       LT_ST_FORMAT_KEY);
    }
    return LATHE_OK;
}

lathe_status lt_st_find_quantized(lt_st_table *table, lt_arena *arena) {
    bool any = false;
    lathe_status status = check_format(table, &any);
    if (status != LATHE_OK || !any) {
        return status;
    }
    finder f = {.table = table, .arena = arena};
    const size_t prefix = strlen(LT_ST_TENSOR_KEY);
    for (size_t i = 0; i < table->n_metadata && status == LATHE_OK; i++) {
        const lt_st_pair *pair = &table->metadata[i];
        if (strncmp(pair->key, LT_ST_TENSOR_KEY, prefix) != 0) {
            continue;
        }
        const char *name = pair->key + prefix;
        if (find_tensor(&f, pair, name) != LATHE_OK) {
            status = lt_fail_prefix("tensor \"%s\"", lt_name_text(name).text);
        }
    }
    return status;
}
