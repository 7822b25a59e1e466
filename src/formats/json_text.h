/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text: written piece by piece, or only measured. */
#ifndef LT_FORMATS_JSON_TEXT_H
#define LT_FORMATS_JSON_TEXT_H

#include <lathe/status.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

/* Every byte of the word that is below 0x20, a quote or a backslash has its highest bit set in the
 * result, and so may some that follow one; 0: there is none. (w - n) & ~w has the highest bit of a
 * byte that is below n, of bytes below 0x80. */
static inline uint64_t lt_json_special_in(uint64_t word) {
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t quotes = word ^ ones * '"';
    const uint64_t slashes = word ^ ones * '\\';
    return (((word - ones * 0x20) & ~word) | ((quotes - ones) & ~quotes) |
            ((slashes - ones) & ~slashes)) &
           ones << 7;
}

/* lt_json_put_bytes where not all fits in the buffer. */
void lt_json_put_apart(lt_json_out *out, const char *bytes, size_t n_bytes);

/* Bytes as they are. A header is made of millions of small pieces. */
static inline void lt_json_put_bytes(lt_json_out *out, const char *bytes, size_t n_bytes) {
    if (out->bytes == NULL) {
        out->n_bytes += n_bytes;
    } else if (n_bytes > out->room - out->n_held) {
        lt_json_put_apart(out, bytes, n_bytes);
    } else {
        memcpy(out->bytes + out->n_held, bytes, n_bytes);
        out->n_held += n_bytes;
        out->n_bytes += n_bytes;
    }
}

/* Text as it is, without the NUL. */
static inline void lt_json_put(lt_json_out *out, const char *text) {
    lt_json_put_bytes(out, text, strlen(text));
}

/* What a string with this text has between its quotes. */
void lt_json_put_escaped(lt_json_out *out, const char *text);

/* The bytes of a text that has nothing to escape and is not very long; 0 for others. */
uint32_t lt_json_plain_bytes(const char *text);

/* A string in quotes, escaped. */
void lt_json_put_string(lt_json_out *out, const char *text);

/* The decimal digits of a number. */
typedef struct lt_json_number {
    uint64_t value;
    char digits[20]; /* the last n_digits of them */
    size_t n_digits;
} lt_json_number;
lt_json_number lt_json_number_of(uint64_t value);

static inline void lt_json_put_digits(lt_json_out *out, const lt_json_number *number) {
    lt_json_put_bytes(out, number->digits + sizeof number->digits - number->n_digits,
                      number->n_digits);
}

/* How many digits a number has. */
static inline size_t lt_json_n_digits(uint64_t number) {
    enum { MOST = 20 };
    size_t n_digits = 1;
    for (uint64_t least = 10; n_digits < MOST && number >= least; least *= 10) {
        n_digits++;
    }
    return n_digits;
}

void lt_json_put_number(lt_json_out *out, uint64_t number);

/* Hands on what is left in the buffer, at the end. Errors: those of flush, now or before. */
lathe_status lt_json_end(lt_json_out *out);

#endif
