/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of configs and targets, as their checks and their JSON form see them. */
#ifndef LT_ENGINE_CONFIG_H
#define LT_ENGINE_CONFIG_H

#include <lathe/config.h>

typedef enum lt_field_kind {
    LT_FIELD_U32,
    LT_FIELD_U64,
    LT_FIELD_FLAG,   /* a uint32_t that is 0 or 1; a JSON boolean */
    LT_FIELD_TOGGLE, /* a lathe_toggle; a JSON boolean */
    LT_FIELD_NAMED,  /* an enum; a JSON string, one of `names` */
    LT_FIELD_TEXT,   /* a string */
} lt_field_kind;

/* A field that has a JSON form. 0 is legal in any: the default. */
typedef struct lt_field {
    const char *section; /* "streaming", "batch", or NULL: the struct itself */
    const char *name;
    lt_field_kind kind;
    size_t offset;            /* in the struct */
    uint64_t least;           /* numbers */
    uint64_t most;            /* numbers; NAMED: the greatest */
    const char *const *names; /* NAMED: by number; NULL: the number has none */
} lt_field;

extern const lt_field lt_config_fields[];
extern const size_t lt_n_config_fields;
extern const lt_field lt_target_fields[];
extern const size_t lt_n_target_fields;

/* A field of a number or an enum. */
uint64_t lt_field_get(const lt_field *field, const void *object);
void lt_field_set(const lt_field *field, void *object, uint64_t value);

/* "streaming.chunk_bytes", in a buffer of this size. Returns the buffer. */
enum { LT_FIELD_PATH = 64 };
const char *lt_field_path(const lt_field *field, char path[LT_FIELD_PATH]);

/* Where n_threads is out of range, and the rest. */
enum { LT_MAX_THREADS = 4096 };

/* A caller's config, of today's size or an earlier one, as one of today's size.
 * Errors: INVALID_ARGUMENT. */
lathe_status lt_config_take(const lathe_config *given, lathe_config *config);

#endif
