/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON walker. */
#include "formats/json_walk.h"

#include "core/error.h"
#include "formats/json_text.h"
#include <string.h>

/* The reference reader's limit, the header's own object included. */
enum { MOST_LEVELS = 127 };

static lathe_status fail_at(const lt_json_text *text, size_t offset, const char *problem) {
    return lt_fail(LATHE_MALFORMED_FILE, "the %s is not valid JSON at byte %zu: %s", text->what,
                   text->at + offset, problem);
}

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t skip_space(const lt_json_text *text, size_t i) {
    while (i < text->n_bytes && is_space(text->bytes[i])) {
        i++;
    }
    return i;
}

static lt_json_text piece(const lt_json_text *text, size_t first, size_t last) {
    lt_json_text out = *text;
    out.bytes = text->bytes + first;
    out.n_bytes = last - first;
    out.at = text->at + first;
    return out;
}

/* The offset after the string that begins at i; n_bytes + 1 if it does not end. */
static size_t skip_string(const lt_json_text *text, size_t i) {
    const char *first = text->bytes + i + 1;
    const char *quote = memchr(first, '"', text->n_bytes - i - 1);
    if (quote == NULL) {
        return text->n_bytes + 1;
    }
    if (memchr(first, '\\', (size_t)(quote - first)) == NULL) {
        return (size_t)(quote - text->bytes) + 1;
    }
    for (i++; i < text->n_bytes; i++) {
        if (text->bytes[i] == '\\') {
            i++;
        } else if (text->bytes[i] == '"') {
            return i + 1;
        }
    }
    return text->n_bytes + 1;
}

/* Finds where the value that begins at *end ends. What lies between is left to jansson, mismatched
 * brackets included. */
static lathe_status skip_value(const lt_json_text *text, size_t *end, bool *has_minus) {
    unsigned levels = 0;
    size_t i = *end;
    while (i < text->n_bytes) {
        char c = text->bytes[i];
        bool closes = c == '}' || c == ']';
        if (levels == 0 && i > *end && (closes || c == ',' || is_space(c))) {
            break;
        }
        if (c == '"') {
            i = skip_string(text, i);
            if (i > text->n_bytes) {
                return fail_at(text, text->n_bytes, "a string does not end");
            }
        } else {
            *has_minus |= c == '-';
            levels += c == '{' || c == '[';
            i++;
        }
        if (levels >= MOST_LEVELS) {
            return fail_at(text, i, "nested too deeply");
        }
        if (closes && (levels == 0 || --levels == 0)) {
            break;
        }
    }
    if (levels > 0) {
        return fail_at(text, text->n_bytes, "it ends inside a value");
    }
    *end = i;
    return LATHE_OK;
}

lathe_status lt_json_walk(const lt_json_text *text, lt_json_walker *walker) {
    /* Never valid, and jansson overlooks one that follows a number. */
    const char *nul = text->n_bytes == 0 ? NULL : memchr(text->bytes, '\0', text->n_bytes);
    if (nul != NULL) {
        return fail_at(text, (size_t)(nul - text->bytes), "a byte is NUL");
    }
    size_t i = skip_space(text, 0);
    if (i == text->n_bytes || text->bytes[i] != '{') {
        return fail_at(text, i, "it does not begin with '{'");
    }
    *walker = (lt_json_walker){.text = *text, .next = i + 1};
    return LATHE_OK;
}

/* After the closing brace. */
static lathe_status finish(lt_json_walker *walker, size_t i) {
    i = skip_space(&walker->text, i);
    if (i < walker->text.n_bytes) {
        return fail_at(&walker->text, i, "something other than white space follows the object");
    }
    walker->done = true;
    return LATHE_OK;
}

lathe_status lt_json_next_name(lt_json_walker *walker, lt_json_member *member, bool *found,
                               size_t *at) {
    const lt_json_text *text = &walker->text;
    *found = false;
    if (walker->done) {
        return LATHE_OK;
    }
    size_t i = skip_space(text, walker->next);
    if (i < text->n_bytes && text->bytes[i] == '}') {
        return finish(walker, i + 1);
    }
    if (walker->started) {
        if (i == text->n_bytes || text->bytes[i] != ',') {
            return fail_at(text, i, i == text->n_bytes ? "it ends early" : "expected ',' or '}'");
        }
        i = skip_space(text, i + 1);
    }
    if (i == text->n_bytes || text->bytes[i] != '"') {
        return fail_at(text, i, i == text->n_bytes ? "it ends early" : "expected a name in quotes");
    }
    size_t name_end = skip_string(text, i);
    if (name_end > text->n_bytes) {
        return fail_at(text, text->n_bytes, "a string does not end");
    }
    member->name = piece(text, i, name_end);
    i = skip_space(text, name_end);
    if (i == text->n_bytes || text->bytes[i] != ':') {
        return fail_at(text, i, i == text->n_bytes ? "it ends early" : "expected ':'");
    }
    walker->next = *at = skip_space(text, i + 1);
    walker->started = true;
    *found = true;
    return LATHE_OK;
}

lathe_status lt_json_next_value(lt_json_walker *walker, lt_json_member *member) {
    size_t value = walker->next;
    member->has_minus = false;
    lathe_status status = skip_value(&walker->text, &walker->next, &member->has_minus);
    if (status == LATHE_OK) {
        member->value = piece(&walker->text, value, walker->next);
    }
    return status;
}

void lt_json_skip_to(lt_json_walker *walker, size_t end) {
    walker->next = end;
}

lathe_status lt_json_next(lt_json_walker *walker, lt_json_member *member, bool *found) {
    size_t at = 0;
    lathe_status status = lt_json_next_name(walker, member, found, &at);
    return status == LATHE_OK && *found ? lt_json_next_value(walker, member) : status;
}

lathe_status lt_json_count(const lt_json_text *text, size_t *n_members) {
    lt_json_walker walker;
    lt_json_member member;
    bool found = false;
    *n_members = 0;
    lathe_status status = lt_json_walk(text, &walker);
    while (status == LATHE_OK) {
        status = lt_json_next(&walker, &member, &found);
        if (!found) {
            break;
        }
        ++*n_members;
    }
    return status;
}

/* jansson's text quotes the input; the last error makes that printable. */
static lathe_status fail_json(const lt_json_text *text, const json_error_t *error) {
    enum json_error_code code = json_error_code(error);
    size_t offset = error->position > 0 ? (size_t)error->position : 0;
    if (code == json_error_out_of_memory) {
        return lt_fail(LATHE_INSUFFICIENT_MEMORY, "no memory to parse the %s", text->what);
    }
    if (code == json_error_invalid_utf8) {
        return lt_fail(LATHE_MALFORMED_FILE, "the %s is not valid UTF-8 near byte %zu", text->what,
                       text->at + offset);
    }
    return fail_at(text, offset, error->text);
}

static lathe_status load(const lt_json_text *text, size_t flags, json_t **value) {
    json_error_t error;
    memset(&error, 0, sizeof error);
    *value = json_loadb(text->bytes, text->n_bytes,
                        flags | JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &error);
    return *value != NULL ? LATHE_OK : fail_json(text, &error);
}

/* True for a string of ASCII without escapes, which needs no parser. */
static bool is_simple_string(const lt_json_text *text) {
    if (text->n_bytes < 2 || text->bytes[0] != '"' || text->bytes[text->n_bytes - 1] != '"') {
        return false;
    }
    const uint64_t highs = UINT64_C(0x8080808080808080);
    const char *at = text->bytes + 1;
    size_t left = text->n_bytes - 2;
    uint64_t word;
    for (; left >= sizeof word; left -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        if ((lt_json_special_in(word) | (word & highs)) != 0) {
            return false;
        }
    }
    word = highs >> 1; /* what is no byte of the string is '@' */
    memcpy(&word, at, left);
    return (lt_json_special_in(word) | (word & highs)) == 0;
}

lathe_status lt_json_string(const lt_json_text *text, lt_arena *arena, const char **string) {
    json_t *value = NULL;
    if (is_simple_string(text)) {
        *string = lt_arena_copy(arena, text->bytes + 1, text->n_bytes - 2);
        return *string != NULL ? LATHE_OK : lt_error()->status;
    }
    lathe_status status = load(text, JSON_ALLOW_NUL, &value);
    if (status != LATHE_OK) {
        return status;
    }
    size_t length = json_string_length(value);
    if (!json_is_string(value)) {
        status = fail_at(text, 0, "expected a string");
    } else if (memchr(json_string_value(value), '\0', length) != NULL) {
        status = fail_at(text, 0, "a string holds the character NUL");
    } else {
        *string = lt_arena_copy(arena, json_string_value(value), length);
        status = *string != NULL ? LATHE_OK : lt_error()->status;
    }
    json_decref(value);
    return status;
}

lathe_status lt_json_parse(const lt_json_text *text, size_t most_bytes, json_t **value) {
    if (text->n_bytes > most_bytes) {
        return lt_fail(LATHE_MALFORMED_FILE,
                       "the entry at byte %zu of the %s is %zu bytes long; at most %zu make "
                       "sense",
                       text->at, text->what, text->n_bytes, most_bytes);
    }
    return load(text, 0, value);
}
