/* SPDX-License-Identifier: Apache-2.0 */
/* --config FILE: the settings that a command begins with. */
#include "cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BYTES = 1 << 20 }; /* of a file that a person writes */

static bool is_loaded;
static lathe_pool *pool;
static lathe_config config;
static lathe_target target;
static lathe_config_storage *storage;

static void drop(void) {
    lathe_config_storage_free(storage);
    lathe_pool_release(pool);
    storage = NULL;
    pool = NULL;
    is_loaded = false;
}

/* The file's text, which the caller frees. Returns the exit status. */
static int read_all(const char *path, char **text, size_t *n_bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return cli_fail("%s: %s", path, strerror(errno));
    }
    *text = cli_allocate(MOST_BYTES + 1, 1);
    *n_bytes = fread(*text, 1, MOST_BYTES + 1, file);
    int error = ferror(file) ? errno : 0;
    (void)fclose(file);
    if (error == 0 && *n_bytes <= MOST_BYTES) {
        return CLI_OK;
    }
    free(*text);
    *text = NULL;
    return error != 0 ? cli_fail("%s: %s", path, strerror(error))
                      : cli_fail("%s: a config of more than %d bytes", path, MOST_BYTES);
}

int cli_config_load(const char *path) {
    char *text = NULL;
    size_t n_bytes = 0;
    if (is_loaded) {
        drop();
    } else {
        (void)atexit(drop);
    }
    int status = read_all(path, &text, &n_bytes);
    if (status != CLI_OK) {
        return status;
    }
    if (lathe_pool_create(NULL, &pool) != LATHE_OK ||
        lathe_config_from_json(pool, text, n_bytes, &config, &target, &storage) != LATHE_OK) {
        status = cli_fail("%s: %s", path, lathe_last_error()->message);
    }
    is_loaded = status == CLI_OK;
    free(text);
    return status;
}

const lathe_target *cli_config_target(void) {
    return is_loaded ? &target : NULL;
}

lathe_config cli_config_merged(const lathe_config *given) {
    lathe_config merged = *given;
    merged.struct_size = sizeof(merged);
    if (!is_loaded) {
        return merged;
    }
    merged = config;
    merged.n_threads = given->n_threads != 0 ? given->n_threads : config.n_threads;
    merged.isa = given->isa != LATHE_ISA_AUTO ? given->isa : config.isa;
    merged.device = given->device != NULL ? given->device : config.device;
    merged.require_device = given->require_device | config.require_device;
    merged.notice = given->notice;
    merged.notice_ctx = given->notice_ctx;
    if (given->pool != NULL) { /* the command's own, for several engines */
        merged.pool = given->pool;
        merged.memory_budget_bytes = 0;
    }
    return merged;
}
