/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text: written into memory, or only measured. */
#ifndef LT_FORMATS_JSON_TEXT_H
#define LT_FORMATS_JSON_TEXT_H

#include <stdint.h>

/* With bytes == NULL nothing is written, but n_bytes counts all the same. */
typedef struct lt_json_out {
    char *bytes;
    uint64_t n_bytes;
} lt_json_out;

/* Text as it is, without the NUL. */
void lt_json_put(lt_json_out *out, const char *text);

/* A string in quotes, escaped. */
void lt_json_put_string(lt_json_out *out, const char *text);

void lt_json_put_number(lt_json_out *out, uint64_t number);

#endif
