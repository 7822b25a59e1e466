/* SPDX-License-Identifier: Apache-2.0 */
/* The engine object. */
#ifndef LT_ENGINE_ENGINE_H
#define LT_ENGINE_ENGINE_H

#include "backend.h"
#include <lathe/engine.h>

struct lathe_engine {
    lathe_pool *pool;
    lt_backend *backend;
};

/* Checks a config's own fields. Errors: INVALID_ARGUMENT. */
lathe_status lt_config_check(const lathe_config *config);

#endif
