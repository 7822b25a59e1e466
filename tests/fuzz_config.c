/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the reader of configurations: the input is a JSON text. What is accepted is written and
 * read again, and gives the same text; what is refused must leave nothing behind. */
#include <lathe/lathe.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A configuration, and what its strings lie in. */
typedef struct reading {
    lathe_config config;
    lathe_target target;
    lathe_config_storage *storage;
} reading;

static lathe_status read_text(lathe_pool *pool, const char *text, size_t size, reading *made) {
    *made = (reading){.config.struct_size = sizeof made->config,
                      .target.struct_size = sizeof made->target};
    return lathe_config_from_json(pool, text, size, &made->config, &made->target, &made->storage);
}

static void check_round_trip(lathe_pool *pool, const reading *first) {
    reading second;
    char *text = NULL;
    char *again = NULL;
    REQUIRE(lathe_config_to_json(&first->config, &first->target, pool, &text) == LATHE_OK);
    REQUIRE(read_text(pool, text, strlen(text), &second) == LATHE_OK);
    REQUIRE(lathe_config_to_json(&second.config, &second.target, pool, &again) == LATHE_OK);
    REQUIRE(strcmp(text, again) == 0);
    REQUIRE(lathe_config_validate(&first->config, NULL, NULL) ==
            lathe_config_validate(&second.config, NULL, NULL));
    lathe_config_storage_free(second.storage);
    REQUIRE(lathe_pool_free(pool, text) == LATHE_OK && lathe_pool_free(pool, again) == LATHE_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lathe_pool *pool = NULL;
    reading made;
    /* A copy of the exact size, so that the sanitizer sees a read past the text. */
    char *text = malloc(size == 0 ? 1 : size);
    REQUIRE(text != NULL && lathe_pool_create(NULL, &pool) == LATHE_OK);
    if (size > 0) {
        memcpy(text, data, size);
    }
    const lathe_status status = read_text(pool, text, size, &made);
    free(text);
    if (status == LATHE_OK) {
        check_round_trip(pool, &made);
    } else {
        REQUIRE(status == LATHE_MALFORMED_FILE || status == LATHE_INVALID_ARGUMENT);
        REQUIRE(made.storage == NULL && lathe_last_error()->message[0] != '\0');
    }
    lathe_config_storage_free(made.storage);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    REQUIRE(lathe_pool_get_stats(pool, &stats) == LATHE_OK && stats.n_live == 0);
    lathe_pool_release(pool);
    return 0;
}
