/* SPDX-License-Identifier: Apache-2.0 */
/* JSON text: numbers, escapes and pieces, measured and written. */
#include "checkpoint_files.h"
#include "formats/json_text.h"
#include "formats/json_walk.h"

#include <inttypes.h>

typedef struct sink {
    char bytes[4096];
    size_t n_bytes;
} sink;

static lathe_status flush(void *ctx, uint64_t at, const char *bytes, size_t n_bytes) {
    sink *to = ctx;
    CHECK(at == to->n_bytes && n_bytes <= sizeof to->bytes - at, "a piece at %" PRIu64, at);
    memcpy(to->bytes + at, bytes, n_bytes);
    to->n_bytes += n_bytes;
    return LATHE_OK;
}

static void put_all(lt_json_out *out, const char *text, uint64_t number) {
    lt_json_put_string(out, text);
    lt_json_put(out, ":");
    lt_json_put_number(out, number);
}

/* Through buffers of each size up to the text's own. */
static void check_text(const char *text, uint64_t number, const char *expected) {
    const size_t n_bytes = strlen(expected);
    lt_json_out measured = {0};
    put_all(&measured, text, number);
    CHECK_OK(lt_json_end(&measured));
    CHECK(measured.n_bytes == n_bytes, "%s: measured %" PRIu64, expected, measured.n_bytes);
    for (size_t room = 1; room <= n_bytes; room++) {
        static sink to;
        char buffer[4096];
        to.n_bytes = 0;
        lt_json_out out = {.bytes = buffer, .room = room, .flush = flush, .ctx = &to};
        put_all(&out, text, number);
        CHECK_OK(lt_json_end(&out));
        CHECK(to.n_bytes == n_bytes && memcmp(to.bytes, expected, n_bytes) == 0,
              "%s: wrote %.*s with room for %zu", expected, (int)to.n_bytes, to.bytes, room);
    }
}

Test(json_text, numbers) {
    uint64_t power = 1;
    for (int digits = 0; digits < 20; digits++) {
        const uint64_t numbers[] = {power - 1, power, power + 1, power * 9, UINT64_MAX - power};
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            char expected[64];
            (void)snprintf(expected, sizeof expected, "\"\":%" PRIu64, numbers[i]);
            check_text("", numbers[i], expected);
            CHECK(lt_json_n_digits(numbers[i]) == strlen(expected) - strlen("\"\":"),
                  "%s: %zu digits", expected, lt_json_n_digits(numbers[i]));
        }
        power *= 10;
    }
}

Test(json_text, escapes) {
    check_text("model.layers.0.weight", 1, "\"model.layers.0.weight\":1");
    check_text("a\"b", 1, "\"a\\\"b\":1");
    check_text("12345678\\", 1, "\"12345678\\\\\":1");
    check_text("\x01 12345678\n\x7f", 1, "\"\\u0001 12345678\\u000a\x7f\":1");
    check_text("\xe2\x82\xac\xf0\x9f\x98\x80", 1, "\"\xe2\x82\xac\xf0\x9f\x98\x80\":1");
}

/* A byte to escape, wherever it is, is seen; and bytes beside those that are special are not. */
Test(json_text, plain_names) {
    for (size_t length = 1; length < 40; length++) {
        char text[64] = {0};
        for (int c = 1; c < 256; c++) {
            const bool is_special = c < 0x20 || c == '"' || c == '\\';
            for (size_t at = 0; at < length; at++) {
                memset(text, 'x', length);
                text[at] = (char)c;
                const uint32_t expected = is_special ? 0 : (uint32_t)length;
                CHECK(lt_json_plain_bytes(text) == expected, "byte %d at %zu of %zu: %" PRIu32, c,
                      at, length, lt_json_plain_bytes(text));
            }
        }
    }
    CHECK(lt_json_plain_bytes("") == 0, "an empty text");
}

/* Every byte at every place of a name in a file: as it is, or what JSON has for it, or an error. */
Test(json_text, names_that_are_read) {
    lathe_pool *pool;
    CHECK_OK(lathe_pool_create(NULL, &pool));
    lt_arena arena = {.pool = pool};
    for (size_t length = 2; length < 20; length++) {
        for (int c = 1; c < 256; c++) {
            for (size_t at = 0; at + 1 < length; at++) {
                char text[32] = {'"'};
                const char *string = NULL;
                memset(text + 1, 'n', length); /* so that a backslash makes an escape */
                text[1 + at] = (char)c;
                text[1 + length] = '"';
                const lt_json_text piece = {.bytes = text, .n_bytes = length + 2, .what = "header"};
                const lathe_status status = lt_json_string(&piece, &arena, &string);
                if (c < 0x20 || c == '"' || c >= 0x80) {
                    CHECK(status == LATHE_MALFORMED_FILE, "byte %d at %zu: %d", c, at, status);
                    continue;
                }
                CHECK_OK(status);
                if (c == '\\') {
                    CHECK(strlen(string) == length - 1 && string[at] == '\n', "escape at %zu", at);
                } else {
                    CHECK(strlen(string) == length && memcmp(string, text + 1, length) == 0,
                          "byte %d at %zu: %s", c, at, string);
                }
            }
        }
        lt_arena_free(&arena);
    }
    lathe_pool_release(pool);
}
