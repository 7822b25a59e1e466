/* SPDX-License-Identifier: Apache-2.0 */
/* Text that is written twice: once to measure it, once into memory. Nothing in it depends on the
 * locale. */
#ifndef LT_CORE_TEXT_H
#define LT_CORE_TEXT_H

#include "core/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* With bytes == NULL nothing is written, but n_bytes counts all the same. */
typedef struct lt_text {
    char *bytes;
    size_t n_bytes; /* without the NUL, for which there is room behind it */
    char last;      /* the last character; '\0': none */
} lt_text;

/* printf, of integers and strings. */
void lt_text_put(lt_text *text, const char *format, ...) LT_PRINTF(2, 3);

/* A number that is not negative, with six decimals. */
void lt_text_put_fixed(lt_text *text, double number);

/* Nanoseconds as seconds, all nine decimals. */
void lt_text_put_seconds(lt_text *text, uint64_t ns);

/* Text between quotes, with a backslash before quotes and backslashes, \n for a line's end, and '?'
 * for other control characters and what is not ASCII: fit for JSON and for Prometheus. */
void lt_text_put_quoted(lt_text *text, const char *string);

/* JSON: begins a member of an object, an element of an array with a NULL name; commas are put where
 * they belong. */
void lt_text_put_name(lt_text *text, const char *name);

/* JSON: a member that is an integer; beyond 63 bits, which readers lack, the greatest. */
void lt_text_put_count(lt_text *text, const char *name, uint64_t count);

/* JSON: a member that is a string; NULL: null. */
void lt_text_put_string(lt_text *text, const char *name, const char *string);

#endif
