/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text. */
#include "formats/json_text.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static void hand_on(lt_json_out *out) {
    if (out->status == LATHE_OK && out->n_held > 0) {
        out->status = out->flush(out->ctx, out->n_bytes - out->n_held, out->bytes, out->n_held);
    }
    out->n_held = 0;
}

void lt_json_put_bytes(lt_json_out *out, const char *bytes, size_t n_bytes) {
    if (out->bytes == NULL) {
        out->n_bytes += n_bytes;
        return;
    }
    while (n_bytes > out->room - out->n_held) {
        size_t part = out->room - out->n_held;
        memcpy(out->bytes + out->n_held, bytes, part);
        out->n_held += part;
        out->n_bytes += part;
        bytes += part;
        n_bytes -= part;
        hand_on(out);
    }
    memcpy(out->bytes + out->n_held, bytes, n_bytes);
    out->n_held += n_bytes;
    out->n_bytes += n_bytes;
}

void lt_json_put(lt_json_out *out, const char *text) {
    lt_json_put_bytes(out, text, strlen(text));
}

static bool is_special(char c) {
    return c == '"' || c == '\\' || (unsigned char)c < 0x20;
}

/* Every byte of the word that is below 0x20, a quote or a backslash has its highest bit set in the
 * result, and so may some that follow one; 0: there is none. (w - n) & ~w has the highest bit of a
 * byte that is below n, of bytes below 0x80.) */
static uint64_t special_in(uint64_t word) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = ones << 7;
    const uint64_t quotes = word ^ ones * '"';
    const uint64_t slashes = word ^ ones * '\\';
    return (((word - ones * 0x20) & ~word) | ((quotes - ones) & ~quotes) |
            ((slashes - ones) & ~slashes)) &
           highs;
}

/* How many of the text's first bytes need no escape. */
static size_t count_plain(const char *text, size_t n_bytes) {
    size_t i = 0;
    for (; n_bytes - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, text + i, sizeof word);
        if (special_in(word) != 0) {
            break;
        }
    }
    while (i < n_bytes && !is_special(text[i])) {
        i++;
    }
    return i;
}

void lt_json_put_escaped(lt_json_out *out, const char *text) {
    size_t left = strlen(text);
    while (left > 0) {
        size_t plain = count_plain(text, left);
        lt_json_put_bytes(out, text, plain);
        text += plain;
        left -= plain;
        if (left > 0) {
            char escaped[8] = {'\\', *text, '\0'};
            if (*text != '"' && *text != '\\') {
                (void)snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)(unsigned char)*text);
            }
            lt_json_put(out, escaped);
            text++;
            left--;
        }
    }
}

void lt_json_put_string(lt_json_out *out, const char *text) {
    lt_json_put_bytes(out, "\"", 1);
    lt_json_put_escaped(out, text);
    lt_json_put_bytes(out, "\"", 1);
}

static unsigned count_digits(uint64_t number) {
    unsigned n_digits = 1;
    for (uint64_t limit = 10; number >= limit; limit *= 10) {
        n_digits++;
        if (limit > UINT64_MAX / 10) {
            break;
        }
    }
    return n_digits;
}

void lt_json_put_number(lt_json_out *out, uint64_t number) {
    char digits[20];
    if (out->bytes == NULL) {
        out->n_bytes += count_digits(number);
        return;
    }
    size_t first = sizeof digits;
    do {
        digits[--first] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    lt_json_put_bytes(out, digits + first, sizeof digits - first);
}

lathe_status lt_json_end(lt_json_out *out) {
    if (out->bytes != NULL) {
        hand_on(out);
    }
    return out->status;
}
