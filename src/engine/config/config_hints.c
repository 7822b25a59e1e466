/* SPDX-License-Identifier: Apache-2.0 */
/* Hints: settings of a valid config that do not fit the machine or each other. */
#include "core/checked.h"
#include "cpu/features.h"
#include "engine/config/config.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define DEFAULT_BUFFER_BYTES (64 * MIB)

typedef struct hints {
    const lathe_config *config;
    lt_cpu_features cpu;
    lathe_device_info machine;
    lathe_config_finding_fn *finding;
    void *ctx;
} hints;

static void __attribute__((format(printf, 3, 4)))
hint(const hints *h, const char *field, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (h->finding != NULL) {
        h->finding(h->ctx, field, text);
    }
}

static bool on_opencl(const lathe_config *config) {
    return config->opencl_device != NULL ||
           (config->device != NULL && strncmp(config->device, "opencl", 6) == 0);
}

static uint32_t threads_of(const hints *h) {
    if (h->config->executor != NULL) {
        return h->config->executor->n_threads;
    }
    return h->config->n_threads != 0 ? h->config->n_threads : h->machine.threads;
}

static void hint_processor(const hints *h) {
    const lathe_config *config = h->config;
    const lathe_isa best = lt_cpu_best_isa(&h->cpu);
    if (threads_of(h) > h->machine.threads) {
        hint(h, config->executor != NULL ? "executor" : "n_threads",
             "%" PRIu32 " threads share %" PRIu32 " processors: no faster, and less even",
             threads_of(h), h->machine.threads);
    }
    if (config->isa != LATHE_ISA_AUTO && config->isa < best) {
        hint(h, "isa", "this processor has %s, which gives the same bytes faster",
             lathe_isa_name(best));
    }
}

static void hint_memory(const hints *h) {
    const lathe_config *config = h->config;
    const lathe_streaming_config *streaming = &config->streaming;
    const uint64_t budget = config->memory_budget_bytes;
    const uint64_t buffer =
        streaming->buffer_bytes != 0 ? streaming->buffer_bytes : DEFAULT_BUFFER_BYTES;
    if (budget != 0 && budget < 2 * MIB) {
        hint(h, "memory_budget_bytes", "streaming alone needs 1 MiB, and tensors need the rest");
    } else if (budget != 0 && budget < buffer) {
        hint(h, "memory_budget_bytes",
             "it is less than streaming.buffer_bytes, %" PRIu64 ", which can never be had", buffer);
    }
    if (h->machine.memory_bytes != 0 && budget > h->machine.memory_bytes) {
        hint(h, "memory_budget_bytes", "this machine has %" PRIu64 " bytes of memory in all",
             h->machine.memory_bytes);
    }
    if (h->machine.memory_bytes != 0 && buffer > h->machine.memory_bytes / 2) {
        hint(h, "streaming.buffer_bytes", "it is more than half of this machine's memory");
    }
}

static void hint_streaming(const hints *h) {
    const lathe_streaming_config *streaming = &h->config->streaming;
    const uint64_t buffer =
        streaming->buffer_bytes != 0 ? streaming->buffer_bytes : DEFAULT_BUFFER_BYTES;
    const uint64_t chunks = (uint64_t)streaming->parallel_chunks + streaming->prefetch_chunks;
    if (!on_opencl(h->config) && h->cpu.l2_bytes != 0 && streaming->chunk_bytes > h->cpu.l2_bytes) {
        hint(h, "streaming.chunk_bytes",
             "chunks beyond the second-level cache, %zu bytes, go through memory twice",
             h->cpu.l2_bytes);
    }
    if (!on_opencl(h->config) && streaming->parallel_chunks > threads_of(h)) {
        hint(h, "streaming.parallel_chunks", "there are only %" PRIu32 " threads to convert them",
             threads_of(h));
    }
    if (chunks > 0 && streaming->chunk_bytes > buffer / chunks) {
        hint(h, "streaming.buffer_bytes",
             "it has no room for %" PRIu64 " chunks of that size: fewer are in the making at once",
             chunks);
    }
}

static void hint_device(const hints *h) {
    const lathe_config *config = h->config;
    if (!on_opencl(config)) {
        if (config->require_device != 0) {
            hint(h, "require_device", "the CPU is always there: it has no effect");
        }
        if (config->pinned_staging == LATHE_ON) {
            hint(h, "pinned_staging", "the CPU stages nothing: it has no effect");
        }
        return;
    }
    if (config->program_cache_dir == NULL) {
        hint(h, "program_cache_dir", "without one, OpenCL programs are compiled by every engine");
    }
    if (config->notice == NULL) {
        hint(h, "notice", "without one, nobody hears why the CPU takes over from the device");
    }
    if (config->batch.group == LATHE_OFF) {
        hint(h, "batch.group", "off, each tensor of a batch takes launches of its own");
    }
    if (config->pinned_staging == LATHE_OFF) {
        hint(h, "pinned_staging", "off, transfers to a device with its own memory are slower");
    }
}

/* True if the system says that nobody gets huge pages. */
static bool are_huge_pages_off(void) {
    char text[64] = {0};
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    return n > 0 && strstr(text, "[never]") != NULL;
}

static void hint_rest(const hints *h) {
    const lathe_config *config = h->config;
    if (config->batch.parallel == LATHE_OFF && threads_of(h) > 1) {
        hint(h, "batch.parallel", "off, small tensors are converted by one of %" PRIu32 " threads",
             threads_of(h));
    }
    if (config->calibration_file == NULL) {
        hint(h, "calibration_file", "without one, every engine measures this machine anew");
    }
    if (config->huge_pages != LATHE_BY_DEFAULT &&
        (config->pool != NULL || config->allocator != NULL)) {
        hint(h, "huge_pages", "the given %s decides about them",
             config->pool != NULL ? "pool" : "allocator");
    } else if (config->huge_pages == LATHE_ON && are_huge_pages_off()) {
        hint(h, "huge_pages", "this system gives none (transparent_hugepage is never)");
    }
}

lathe_status lathe_config_hints(const lathe_config *given, lathe_config_finding_fn *finding,
                                void *ctx) {
    lathe_config config;
    lathe_status status = lathe_config_validate(given, NULL, NULL);
    if (status == LATHE_OK) {
        status = lt_config_take(given, &config);
    }
    if (status != LATHE_OK) {
        return status;
    }
    hints h = {.config = &config, .finding = finding, .ctx = ctx};
    lt_cpu_features_detect(&h.cpu);
    lt_cpu_describe(&h.cpu, &h.machine);
    hint_processor(&h);
    hint_memory(&h);
    hint_streaming(&h);
    hint_device(&h);
    hint_rest(&h);
    return LATHE_OK;
}
