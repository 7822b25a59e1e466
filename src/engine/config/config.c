/* SPDX-License-Identifier: Apache-2.0 */
/* Taking a caller's config, and checking it. */
#include "engine/config/config.h"

#include "core/error.h"
#include "core/struct_size.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

lathe_status lt_config_take(const lathe_config *given, lathe_config *config) {
    /* 0.1 ended before `streaming`. */
    const size_t sizes[] = {sizeof *config, offsetof(lathe_config, streaming)};
    if (given == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config is NULL");
    }
    if (!lt_struct_take(config, sizeof *config, given, sizes, sizeof sizes / sizeof sizes[0])) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "config struct_size: it is not sizeof(lathe_config)");
    }
    return LATHE_OK;
}

/* Who hears about what is wrong. */
typedef struct findings {
    lathe_config_finding_fn *finding;
    void *ctx;
    char first[sizeof((lathe_error *)NULL)->message]; /* "" as long as all is well */
} findings;

static void LT_PRINTF(3, 4) report(findings *f, const char *field, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (f->first[0] == '\0') {
        (void)snprintf(f->first, sizeof f->first, "config %s: %s", field, text);
    }
    if (f->finding != NULL) {
        f->finding(f->ctx, field, text);
    }
}

static void check_range(findings *f, const lathe_config *config, const lt_field *field) {
    char path[LT_FIELD_PATH];
    if (field->kind == LT_FIELD_TEXT) {
        const char *text;
        memcpy(&text, (const char *)config + field->offset, sizeof text);
        if (text != NULL && text[0] == '\0') {
            report(f, lt_field_path(field, path), "it is empty; NULL is the default");
        }
        return;
    }
    const uint64_t value = lt_field_get(field, config);
    if (value > field->most) {
        report(f, lt_field_path(field, path), "%" PRIu64 " is over %" PRIu64, value, field->most);
    } else if (value != 0 && value < field->least) {
        report(f, lt_field_path(field, path), "%" PRIu64 " is under %" PRIu64, value, field->least);
    }
}

static void check_executor(findings *f, const lathe_config *config) {
    const lathe_executor *executor = config->executor;
    if (executor == NULL) {
        return;
    }
    if (config->n_threads != 0) {
        report(f, "n_threads", "an executor brings its own");
    }
    if (executor->parallel_for == NULL || executor->n_threads == 0 ||
        executor->n_threads > LT_MAX_THREADS) {
        report(f, "executor", "parallel_for is NULL, or n_threads is not 1 to %d", LT_MAX_THREADS);
    }
}

static bool is_device(const char *text) {
    return text == NULL || strcmp(text, "auto") == 0 || strcmp(text, "cpu") == 0 ||
           strcmp(text, "opencl") == 0 || strncmp(text, "opencl:", 7) == 0;
}

static void check_device(findings *f, const lathe_config *config) {
    const bool is_empty = config->device != NULL && config->device[0] == '\0';
    if (!is_device(config->device) && !is_empty) {
        report(f, "device", "'%.100s' is none of auto, cpu, opencl, opencl:DEVICE", config->device);
    }
    if (config->device != NULL && config->opencl_device != NULL) {
        report(f, "opencl_device", "device names one already");
    }
}

static void check_memory(findings *f, const lathe_config *config) {
    const lathe_allocator *allocator = config->allocator;
    if (config->pool != NULL && config->memory_budget_bytes != 0) {
        report(f, "memory_budget_bytes", "the given pool has its own");
    }
    if (config->pool != NULL && allocator != NULL) {
        report(f, "allocator", "the given pool has its own");
    }
    if (allocator != NULL && (allocator->allocate == NULL || allocator->release == NULL)) {
        report(f, "allocator", "allocate or release is NULL");
    }
}

static void check_streaming(findings *f, const lathe_streaming_config *streaming) {
    if (streaming->buffer_bytes != 0 && streaming->chunk_bytes > streaming->buffer_bytes) {
        report(f, "streaming.chunk_bytes", "%" PRIu64 " is more than streaming.buffer_bytes",
               streaming->chunk_bytes);
    }
}

lathe_status lathe_config_validate(const lathe_config *given, lathe_config_finding_fn *finding,
                                   void *ctx) {
    lathe_config config;
    findings f = {.finding = finding, .ctx = ctx};
    lathe_status status = lt_config_take(given, &config);
    if (status != LATHE_OK) {
        if (given != NULL) {
            report(&f, "struct_size", "it is not sizeof(lathe_config)");
        }
        return status;
    }
    for (size_t i = 0; i < lt_n_config_fields; i++) {
        check_range(&f, &config, &lt_config_fields[i]);
    }
    check_executor(&f, &config);
    check_device(&f, &config);
    check_memory(&f, &config);
    check_streaming(&f, &config.streaming);
    return f.first[0] == '\0' ? LATHE_OK : lt_fail(LATHE_INVALID_ARGUMENT, "%s", f.first);
}
