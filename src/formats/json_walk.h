/* SPDX-License-Identifier: Apache-2.0 */
/* JSON walker: goes through the members of an object one by one, so that a header of 100 MB is
 * never in memory as a tree of nodes. Members are parsed by jansson; only what joins them is read
 * here. Messages do not name the file: the caller puts it before them. */
#ifndef LT_FORMATS_JSON_WALK_H
#define LT_FORMATS_JSON_WALK_H

#include "formats/arena.h"
#include <jansson.h>
#include <stdbool.h>

/* A piece of text, and where to find it for messages. */
typedef struct lt_json_text {
    const char *bytes; /* not NUL-terminated */
    size_t n_bytes;
    size_t at;        /* where the piece begins in the whole text */
    const char *what; /* what the whole text is: "header", "index" */
} lt_json_text;

typedef struct lt_json_walker {
    lt_json_text text;
    size_t next;  /* offset in text */
    bool started; /* a member has been seen */
    bool done;
} lt_json_walker;

/* One member: the texts of its name, with the quotes, and of its value. */
typedef struct lt_json_member {
    lt_json_text name;
    lt_json_text value;
    bool has_minus; /* a minus sign outside of strings: jansson reads -0 as 0 */
} lt_json_member;

/* Starts at the object that must be all of `text`, white space aside. Errors: MALFORMED_FILE. */
lathe_status lt_json_walk(const lt_json_text *text, lt_json_walker *walker);

/* The next member, or *found = false at the end, when the rest has been checked to be white space.
 * Errors: MALFORMED_FILE. */
lathe_status lt_json_next(lt_json_walker *walker, lt_json_member *member, bool *found);

/* The same in two steps: the name, and *at, where its value begins in the walker's text; then the
 * value. A caller that has read the value by itself says where it ended instead. */
lathe_status lt_json_next_name(lt_json_walker *walker, lt_json_member *member, bool *found,
                               size_t *at);
lathe_status lt_json_next_value(lt_json_walker *walker, lt_json_member *member);
void lt_json_skip_to(lt_json_walker *walker, size_t end);

/* Counts the members of the object. Errors: MALFORMED_FILE. */
lathe_status lt_json_count(const lt_json_text *text, size_t *n_members);

/* The string that the piece is, in the arena. Errors: MALFORMED_FILE (no string, or one that holds
 * a NUL), INSUFFICIENT_MEMORY. */
lathe_status lt_json_string(const lt_json_text *text, lt_arena *arena, const char **string);

/* Parses the piece whole; the caller calls json_decref. Meant for small pieces: it fails when there
 * are more than most_bytes. Errors: MALFORMED_FILE, INSUFFICIENT_MEMORY. */
lathe_status lt_json_parse(const lt_json_text *text, size_t most_bytes, json_t **value);

#endif
