/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text: written piece by piece, or only measured. */
#ifndef LT_FORMATS_JSON_TEXT_H
#define LT_FORMATS_JSON_TEXT_H

#include <lathe/status.h>
#include <stddef.h>
#include <stdint.h>

/* Where a text goes: into a buffer, which is handed on each time it is full. */
typedef struct lt_json_out {
    char *bytes; /* the buffer; NULL: nothing is written, but n_bytes counts all the same */
    size_t room;
    size_t n_held; /* in the buffer */
    uint64_t n_bytes;
    /* Takes the text's bytes from `at` on. A failure is recorded with lt_fail. */
    lathe_status (*flush)(void *ctx, uint64_t at, const char *bytes, size_t n_bytes);
    void *ctx;
    lathe_status status; /* the first failure of flush */
} lt_json_out;

/* Bytes as they are. */
void lt_json_put_bytes(lt_json_out *out, const char *bytes, size_t n_bytes);

/* Text as it is, without the NUL. */
void lt_json_put(lt_json_out *out, const char *text);

/* What a string with this text has between its quotes. */
void lt_json_put_escaped(lt_json_out *out, const char *text);

/* A string in quotes, escaped. */
void lt_json_put_string(lt_json_out *out, const char *text);

void lt_json_put_number(lt_json_out *out, uint64_t number);

/* Hands on what is left in the buffer, at the end. Errors: those of flush, now or before. */
lathe_status lt_json_end(lt_json_out *out);

#endif
