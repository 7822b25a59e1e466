/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine says about itself to its parts. */
#include "engine/engine.h"

#include <stdarg.h>
#include <stdio.h>

lathe_pool *lathe_engine_pool(lathe_engine *engine) {
    return engine == NULL ? NULL : engine->pool;
}

bool lt_engine_may_fall_back(const lathe_engine *engine, lathe_status status) {
    bool is_device_failure = status == LATHE_DEVICE || status == LATHE_INSUFFICIENT_MEMORY;
    return is_device_failure && !engine->require_device;
}

void lt_engine_notice(const lathe_engine *engine, lathe_notice_level level, const char *format,
                      ...) {
    char text[512];
    va_list args;
    if (engine->notice == NULL) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    engine->notice(engine->notice_ctx, level, text);
}
