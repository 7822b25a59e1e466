/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text. */
#include "formats/json_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put_bytes(lt_json_out *out, const char *bytes, size_t n_bytes) {
    if (out->bytes != NULL) {
        memcpy(out->bytes + out->n_bytes, bytes, n_bytes);
    }
    out->n_bytes += n_bytes;
}

void lt_json_put(lt_json_out *out, const char *text) {
    put_bytes(out, text, strlen(text));
}

void lt_json_put_string(lt_json_out *out, const char *text) {
    put_bytes(out, "\"", 1);
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        char escaped[8];
        if (c == '"' || c == '\\') {
            put_bytes(out, "\\", 1);
            put_bytes(out, text, 1);
        } else if (c < 0x20) {
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)c);
            put_bytes(out, escaped, 6);
        } else {
            put_bytes(out, text, 1);
        }
    }
    put_bytes(out, "\"", 1);
}

void lt_json_put_number(lt_json_out *out, uint64_t number) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, number);
    put_bytes(out, digits, (size_t)length);
}
