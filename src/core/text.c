/* SPDX-License-Identifier: Apache-2.0 */
/* Writing text into memory, or measuring it. */
#include "core/text.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void put_bytes(lt_text *text, const char *bytes, size_t n_bytes) {
    if (n_bytes == 0) {
        return;
    }
    if (text->bytes != NULL) {
        memcpy(text->bytes + text->n_bytes, bytes, n_bytes);
        text->bytes[text->n_bytes + n_bytes] = '\0';
    }
    text->n_bytes += n_bytes;
    text->last = bytes[n_bytes - 1];
}

void lt_text_put(lt_text *text, const char *format, ...) {
    char line[512]; /* more than any single format here gives */
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    put_bytes(text, line,
              length < 0 || (size_t)length >= sizeof line ? strlen(line) : (size_t)length);
}

void lt_text_put_fixed(lt_text *text, double number) {
    const uint64_t million = 1000000;
    const double most = 1e12; /* times a million it is still an exact integer */
    const uint64_t scaled = (uint64_t)((number < most ? number : most) * (double)million + 0.5);
    lt_text_put(text, "%" PRIu64 ".%06" PRIu64, scaled / million, scaled % million);
}

void lt_text_put_seconds(lt_text *text, uint64_t ns) {
    const uint64_t second = 1000000000;
    lt_text_put(text, "%" PRIu64 ".%09" PRIu64, ns / second, ns % second);
}

void lt_text_put_quoted(lt_text *text, const char *string) {
    put_bytes(text, "\"", 1);
    for (; *string != '\0'; string++) {
        const unsigned char c = (unsigned char)*string;
        if (c == '"' || c == '\\') {
            put_bytes(text, "\\", 1);
            put_bytes(text, string, 1);
        } else if (c == '\n') {
            put_bytes(text, "\\n", 2);
        } else {
            put_bytes(text, c < 0x20 || c >= 0x7f ? "?" : string, 1);
        }
    }
    put_bytes(text, "\"", 1);
}

void lt_text_put_name(lt_text *text, const char *name) {
    if (text->last != '\0' && text->last != '{' && text->last != '[') {
        put_bytes(text, ", ", 2);
    }
    if (name != NULL) {
        lt_text_put_quoted(text, name);
        put_bytes(text, ": ", 2);
    }
}

void lt_text_put_count(lt_text *text, const char *name, uint64_t count) {
    const uint64_t most = INT64_MAX;
    lt_text_put_name(text, name);
    lt_text_put(text, "%" PRIu64, count < most ? count : most);
}

void lt_text_put_string(lt_text *text, const char *name, const char *string) {
    lt_text_put_name(text, name);
    if (string == NULL) {
        lt_text_put(text, "null");
    } else {
        lt_text_put_quoted(text, string);
    }
}
