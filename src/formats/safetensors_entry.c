/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the entry of a tensor as nearly all writers put it, without a JSON parser: a checkpoint may
 * have a hundred thousand of them. Whatever is any different is left to the parser, which also says
 * what is wrong with it. */
#include "formats/safetensors.h"

#include <string.h>

/* A number of so many digits fits in 63 bits. */
enum { MOST_DIGITS = 18 };

typedef struct cursor {
    const char *at;
    const char *end;
} cursor;

static void skip_spaces(cursor *c) {
    while (c->at < c->end && *c->at == ' ') {
        c->at++;
    }
}

/* The next character after spaces is `wanted`, and is passed. */
static bool pass(cursor *c, char wanted) {
    skip_spaces(c);
    if (c->at < c->end && *c->at == wanted) {
        c->at++;
        return true;
    }
    return false;
}

/* `"name":`, of n_bytes bytes with its quotes. */
static bool pass_name(cursor *c, const char *name, size_t n_bytes) {
    skip_spaces(c);
    if ((size_t)(c->end - c->at) < n_bytes || memcmp(c->at, name, n_bytes) != 0) {
        return false;
    }
    c->at += n_bytes;
    return pass(c, ':');
}

static bool read_number(cursor *c, uint64_t *number) {
    skip_spaces(c);
    const char *first = c->at;
    uint64_t value = 0;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9' && c->at - first <= MOST_DIGITS) {
        value = value * 10 + (uint64_t)(*c->at - '0');
        c->at++;
    }
    size_t n_digits = (size_t)(c->at - first);
    *number = value;
    return n_digits > 0 && n_digits <= MOST_DIGITS && (n_digits == 1 || *first != '0');
}

static bool read_type(cursor *c, lt_st_entry *entry) {
    char name[16];
    size_t length = 0;
    if (!pass(c, '"')) {
        return false;
    }
    while (c->at < c->end && *c->at != '"' && length + 1 < sizeof name) {
        name[length++] = *c->at++;
    }
    name[length] = '\0';
    const lt_st_type *type = lt_st_type_named(name);
    if (type == NULL || !pass(c, '"')) {
        return false;
    }
    entry->type = lt_st_type_index(type);
    return true;
}

static bool read_shape(cursor *c, lt_st_entry *entry) {
    entry->n_dims = 0;
    if (!pass(c, '[')) {
        return false;
    }
    if (pass(c, ']')) {
        return true;
    }
    do {
        if (entry->n_dims == LT_ST_ENTRY_DIMS || !read_number(c, &entry->shape[entry->n_dims])) {
            return false;
        }
        entry->n_dims++;
    } while (pass(c, ','));
    return pass(c, ']');
}

/* Everything up to the offsets. */
static bool read_head(cursor *c, lt_st_entry *entry) {
    static const char dtype[] = "\"dtype\"";
    static const char shape[] = "\"shape\"";
    static const char offsets[] = "\"data_offsets\"";
    const char *first = c->at;
    if (entry->head != NULL && (size_t)(c->end - first) >= entry->head_bytes &&
        memcmp(first, entry->head, entry->head_bytes) == 0) {
        c->at += entry->head_bytes;
        return true;
    }
    entry->head = NULL;
    if (!pass(c, '{') || !pass_name(c, dtype, sizeof dtype - 1) || !read_type(c, entry) ||
        !pass(c, ',') || !pass_name(c, shape, sizeof shape - 1) || !read_shape(c, entry) ||
        !pass(c, ',') || !pass_name(c, offsets, sizeof offsets - 1) || !pass(c, '[')) {
        return false;
    }
    entry->head = first;
    entry->head_bytes = (size_t)(c->at - first);
    return true;
}

bool lt_st_entry_read(const char *text, size_t n_bytes, lt_st_entry *entry, size_t *taken) {
    cursor c = {.at = text, .end = text + n_bytes};
    bool is_read = read_head(&c, entry) && read_number(&c, &entry->begin) && pass(&c, ',') &&
                   read_number(&c, &entry->end) && pass(&c, ']') && pass(&c, '}');
    *taken = (size_t)(c.at - text);
    return is_read;
}
