/* SPDX-License-Identifier: Apache-2.0 */
/* Configs and targets as JSON. */
#include "core/error.h"
#include "core/layout.h"
#include "engine/config/config.h"
#include "pool/pool.h"
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

struct lathe_config_storage {
    lathe_pool *pool;
    size_t n_bytes; /* of strings that are in use */
    char strings[];
};

/* The fields that may stand in one JSON object, and where their values go. */
typedef struct reader {
    const lt_field *fields;
    size_t n_fields;
    const char *prefix; /* before their paths in messages: "" or "target." */
    void *object;
    lathe_config_storage *storage; /* for strings */
} reader;

static lathe_status fail_value(const reader *r, const lt_field *field, const char *wanted) {
    char path[LT_FIELD_PATH];
    return lt_fail(LATHE_INVALID_ARGUMENT, "config %s%s: it is not %s", r->prefix,
                   lt_field_path(field, path), wanted);
}

static lathe_status read_number(const reader *r, const lt_field *field, const json_t *value) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return fail_value(r, field, "a whole number of 0 or more");
    }
    const uint64_t number = (uint64_t)json_integer_value(value);
    char path[LT_FIELD_PATH];
    if (number > field->most || (number != 0 && number < field->least)) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "config %s%s: %" PRIu64 " is not from %" PRIu64 " to %" PRIu64, r->prefix,
                       lt_field_path(field, path), number, field->least, field->most);
    }
    lt_field_set(field, r->object, number);
    return LATHE_OK;
}

static lathe_status read_name(const reader *r, const lt_field *field, const json_t *value) {
    char known[128] = "one of";
    for (uint64_t i = 0; i <= field->most; i++) {
        const char *name = field->names[i];
        if (name != NULL && json_is_string(value) && strcmp(json_string_value(value), name) == 0) {
            lt_field_set(field, r->object, i);
            return LATHE_OK;
        }
        if (name != NULL) {
            size_t length = strlen(known);
            (void)snprintf(known + length, sizeof known - length, " %s", name);
        }
    }
    return fail_value(r, field, known);
}

static lathe_status read_text(const reader *r, const lt_field *field, const json_t *value) {
    if (!json_is_string(value)) {
        return fail_value(r, field, "a string");
    }
    const size_t n_bytes = strlen(json_string_value(value)) + 1;
    char *copy = r->storage->strings + r->storage->n_bytes;
    memcpy(copy, json_string_value(value), n_bytes);
    r->storage->n_bytes += n_bytes;
    memcpy((char *)r->object + field->offset, &copy, sizeof copy);
    return LATHE_OK;
}

static lathe_status read_value(const reader *r, const lt_field *field, const json_t *value) {
    switch (field->kind) {
    case LT_FIELD_U32:
    case LT_FIELD_U64:
        return read_number(r, field, value);
    case LT_FIELD_NAMED:
        return read_name(r, field, value);
    case LT_FIELD_TEXT:
        return read_text(r, field, value);
    case LT_FIELD_FLAG:
    case LT_FIELD_TOGGLE:
        break;
    }
    if (!json_is_boolean(value)) {
        return fail_value(r, field, "true or false");
    }
    const bool is_toggle = field->kind == LT_FIELD_TOGGLE;
    lt_field_set(field, r->object,
                 json_is_true(value) ? LATHE_ON : (is_toggle ? LATHE_OFF : LATHE_BY_DEFAULT));
    return LATHE_OK;
}

static bool same_section(const lt_field *field, const char *section) {
    return section == NULL ? field->section == NULL
                           : field->section != NULL && strcmp(field->section, section) == 0;
}

static bool is_section(const reader *r, const char *name) {
    for (size_t i = 0; i < r->n_fields; i++) {
        if (same_section(&r->fields[i], name)) {
            return true;
        }
    }
    return false;
}

static const lt_field *find_field(const reader *r, const char *section, const char *name) {
    for (size_t i = 0; i < r->n_fields; i++) {
        if (same_section(&r->fields[i], section) && strcmp(r->fields[i].name, name) == 0) {
            return &r->fields[i];
        }
    }
    return NULL;
}

/* Reads the fields of one section; NULL: those of the object itself, and its sections. */
static lathe_status read_section(const reader *r, const char *section, json_t *object) {
    const char *key;
    json_t *value;
    if (!json_is_object(object)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config %s%s: it is not an object", r->prefix,
                       section != NULL ? section : "text");
    }
    json_object_foreach(object, key, value) {
        const lt_field *field = find_field(r, section, key);
        lathe_status status = LATHE_OK;
        if (field != NULL) {
            status = read_value(r, field, value);
        } else if (section == NULL && is_section(r, key)) {
            status = read_section(r, key, value);
        } else {
            status =
                lt_fail(LATHE_INVALID_ARGUMENT, "config %s%s%s%.100s: there is no such field",
                        r->prefix, section != NULL ? section : "", section != NULL ? "." : "", key);
        }
        if (status != LATHE_OK) {
            return status;
        }
    }
    return LATHE_OK;
}

/* What the object begins with, and no field of either struct: taken out of it. */
static lathe_status take_preset(json_t *object, lathe_config *config, lathe_target *target) {
    lathe_preset preset = LATHE_PRESET_DEFAULT;
    json_t *value = json_object_get(object, "preset");
    if (value != NULL && !lathe_preset_from_name(json_string_value(value), &preset)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config preset: it is not one of default "
                                               "high_performance low_memory high_precision");
    }
    (void)json_object_del(object, "preset");
    lathe_status status = lathe_config_preset(preset, config);
    if (status == LATHE_OK) {
        status = lathe_target_preset(preset, LATHE_I8, target); /* any that is quantized */
        target->dtype = (lathe_dtype)0;
    }
    return status;
}

/* A target without a dtype is one whose dtype is still to come. */
static lathe_status check_target(const lathe_target *target) {
    lathe_target whole = *target;
    whole.dtype = whole.dtype != 0 ? whole.dtype : LATHE_I8;
    return lt_target_check(&whole) == LATHE_OK ? LATHE_OK : lt_fail_prefix("config");
}

static lathe_status read_target(json_t *object, lathe_target *target) {
    const reader r = {.fields = lt_target_fields,
                      .n_fields = lt_n_target_fields,
                      .prefix = "target.",
                      .object = target};
    if (json_object_get(object, "granularity") != NULL &&
        json_object_get(object, "group_size") == NULL) {
        target->group_size = 0; /* a preset's belongs to the preset's granularity */
    }
    lathe_status status = read_section(&r, NULL, object);
    return status == LATHE_OK ? check_target(target) : status;
}

static lathe_status read_object(json_t *object, lathe_config_storage *storage, lathe_config *config,
                                lathe_target *target, bool may_have_target) {
    const reader r = {.fields = lt_config_fields,
                      .n_fields = lt_n_config_fields,
                      .prefix = "",
                      .object = config,
                      .storage = storage};
    if (!json_is_object(object)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config: the text is not a JSON object");
    }
    lathe_status status = take_preset(object, config, target);
    json_t *target_object = json_object_get(object, "target");
    if (status == LATHE_OK && target_object != NULL) {
        status = may_have_target ? read_target(target_object, target)
                                 : lt_fail(LATHE_INVALID_ARGUMENT,
                                           "config target: nothing is asked about a target here");
        (void)json_object_del(object, "target");
    }
    if (status == LATHE_OK) {
        status = read_section(&r, NULL, object);
    }
    return status == LATHE_OK ? lathe_config_validate(config, NULL, NULL) : status;
}

static lathe_config_storage *new_storage(lathe_pool *pool, size_t n_bytes) {
    /* No string is longer in the config than in the text. */
    lathe_config_storage *storage = lt_pool_new(pool, sizeof *storage + n_bytes);
    if (storage != NULL) {
        storage->pool = lathe_pool_retain(pool);
    }
    return storage;
}

void lathe_config_storage_free(lathe_config_storage *storage) {
    if (storage != NULL) {
        lathe_pool *pool = storage->pool;
        lt_pool_delete(pool, storage);
        lathe_pool_release(pool);
    }
}

lathe_status lathe_config_from_json(lathe_pool *pool, const char *json, size_t n_bytes,
                                    lathe_config *config, lathe_target *target,
                                    lathe_config_storage **storage) {
    lathe_config read = {0};
    lathe_target read_to = {0};
    json_error_t error;
    if (pool == NULL || json == NULL || config == NULL || storage == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool, json, config or storage is NULL");
    }
    lathe_config_storage *made = new_storage(pool, n_bytes);
    if (made == NULL) {
        return lt_error()->status;
    }
    json_t *object = json_loadb(json, n_bytes, JSON_REJECT_DUPLICATES, &error);
    lathe_status status = LATHE_OK;
    if (object == NULL) {
        status = json_error_code(&error) == json_error_out_of_memory
                     ? lt_fail(LATHE_INSUFFICIENT_MEMORY, "config: no memory to parse it")
                     : lt_fail(LATHE_MALFORMED_FILE, "config: line %d, column %d: %s", error.line,
                               error.column, error.text);
    } else {
        status = read_object(object, made, &read, &read_to, target != NULL);
        json_decref(object);
    }
    if (status != LATHE_OK) {
        lathe_config_storage_free(made);
        return status;
    }
    *config = read;
    if (target != NULL) {
        *target = read_to;
    }
    *storage = made;
    return LATHE_OK;
}

/* ---- writing */

/* The value of a field; NULL with the last error set, or of JSON null: nothing to write. */
static lathe_status value_of(const lt_field *field, const void *object, json_t **value) {
    *value = NULL;
    if (field->kind == LT_FIELD_TEXT) {
        const char *text;
        memcpy(&text, (const char *)object + field->offset, sizeof text);
        if (text == NULL) {
            return LATHE_OK;
        }
        *value = json_string(text);
        return *value != NULL
                   ? LATHE_OK
                   : lt_fail(LATHE_INVALID_ARGUMENT,
                             "config %s: it is not UTF-8, or there is no memory", field->name);
    }
    const uint64_t number = lt_field_get(field, object);
    if (number == 0) {
        return LATHE_OK;
    }
    if (field->kind == LT_FIELD_NAMED) {
        *value = json_string(field->names[number]);
    } else if (field->kind == LT_FIELD_FLAG || field->kind == LT_FIELD_TOGGLE) {
        *value = json_boolean(number == LATHE_ON);
    } else {
        *value = json_integer((json_int_t)number);
    }
    return *value != NULL ? LATHE_OK
                          : lt_fail(LATHE_INSUFFICIENT_MEMORY, "config: no memory for JSON");
}

static json_t *section_of(json_t *object, const char *name) {
    json_t *section = json_object_get(object, name);
    if (section == NULL) {
        section = json_object();
        if (json_object_set_new(object, name, section) != 0) {
            return NULL;
        }
    }
    return section;
}

static lathe_status write_fields(const lt_field *fields, size_t n_fields, const void *from,
                                 json_t *object) {
    for (size_t i = 0; i < n_fields; i++) {
        json_t *value;
        lathe_status status = value_of(&fields[i], from, &value);
        if (status != LATHE_OK) {
            return status;
        }
        if (value == NULL) {
            continue;
        }
        json_t *section =
            fields[i].section == NULL ? object : section_of(object, fields[i].section);
        if (json_object_set_new(section, fields[i].name, value) != 0) {
            return lt_fail(LATHE_INSUFFICIENT_MEMORY, "config: no memory for JSON");
        }
    }
    return LATHE_OK;
}

static lathe_status write_target(const lathe_target *target, json_t *object) {
    lathe_status status = check_target(target);
    if (status != LATHE_OK) {
        return status;
    }
    json_t *section = section_of(object, "target");
    return section != NULL ? write_fields(lt_target_fields, lt_n_target_fields, target, section)
                           : lt_fail(LATHE_INSUFFICIENT_MEMORY, "config: no memory for JSON");
}

/* The object's text in a block of the pool. */
static lathe_status dump(const json_t *object, lathe_pool *pool, char **text) {
    const size_t flags = JSON_INDENT(2);
    const size_t n_bytes = json_dumpb(object, NULL, 0, flags);
    void *block = NULL;
    if (n_bytes == 0) {
        return lt_fail(LATHE_INSUFFICIENT_MEMORY, "config: no memory for JSON");
    }
    lathe_status status = lathe_pool_alloc(pool, n_bytes + 1, &block);
    if (status != LATHE_OK) {
        return status;
    }
    if (json_dumpb(object, block, n_bytes, flags) != n_bytes) {
        lt_pool_delete(pool, block);
        return lt_fail(LATHE_INSUFFICIENT_MEMORY, "config: no memory for JSON");
    }
    ((char *)block)[n_bytes] = '\0';
    *text = block;
    return LATHE_OK;
}

lathe_status lathe_config_to_json(const lathe_config *given, const lathe_target *target,
                                  lathe_pool *pool, char **text) {
    lathe_config config;
    if (pool == NULL || text == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool or text is NULL");
    }
    lathe_status status = lathe_config_validate(given, NULL, NULL);
    if (status == LATHE_OK) {
        status = lt_config_take(given, &config);
    }
    if (status != LATHE_OK) {
        return status;
    }
    json_t *object = json_object();
    if (object == NULL) {
        return lt_fail(LATHE_INSUFFICIENT_MEMORY, "config: no memory for JSON");
    }
    status = write_fields(lt_config_fields, lt_n_config_fields, &config, object);
    if (status == LATHE_OK && target != NULL) {
        status = write_target(target, object);
    }
    if (status == LATHE_OK) {
        status = dump(object, pool, text);
    }
    json_decref(object);
    return status;
}
