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

void lt_json_put_apart(lt_json_out *out, const char *bytes, size_t n_bytes) {
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

static bool is_special(char c) {
    return c == '"' || c == '\\' || (unsigned char)c < 0x20;
}

/* How many of the text's first bytes need no escape. */
static size_t count_plain(const char *text, size_t n_bytes) {
    size_t i = 0;
    for (; n_bytes - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, text + i, sizeof word);
        if (lt_json_special_in(word) != 0) {
            break;
        }
    }
    while (i < n_bytes && !is_special(text[i])) {
        i++;
    }
    return i;
}

uint32_t lt_json_plain_bytes(const char *text) {
    const size_t n_bytes = strlen(text);
    return n_bytes <= UINT32_MAX && count_plain(text, n_bytes) == n_bytes ? (uint32_t)n_bytes : 0;
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

lt_json_number lt_json_number_of(uint64_t value) {
    static const char pairs[] = "00010203040506070809101112131415161718192021222324"
                                "25262728293031323334353637383940414243444546474849"
                                "50515253545556575859606162636465666768697071727374"
                                "75767778798081828384858687888990919293949596979899";
    lt_json_number number;
    size_t first = sizeof number.digits;
    number.value = value;
    for (; value >= 100; value /= 100) {
        first -= 2;
        memcpy(number.digits + first, pairs + value % 100 * 2, 2);
    }
    if (value >= 10) {
        first -= 2;
        memcpy(number.digits + first, pairs + value * 2, 2);
    } else {
        number.digits[--first] = (char)('0' + value);
    }
    number.n_digits = sizeof number.digits - first;
    return number;
}

void lt_json_put_number(lt_json_out *out, uint64_t number) {
    const lt_json_number text = lt_json_number_of(number);
    lt_json_put_digits(out, &text);
}

lathe_status lt_json_end(lt_json_out *out) {
    if (out->bytes != NULL) {
        hand_on(out);
    }
    return out->status;
}
