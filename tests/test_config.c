/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/config.h: presets, checks of every field, and hints. */
#include "check.h"
#include "engine/config/config.h"
#include "support.h"
#include <stdio.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* ---- what was reported */

enum { MAX_FINDINGS = 64 };

typedef struct heard {
    size_t n;
    char fields[MAX_FINDINGS][64];
    char texts[MAX_FINDINGS][256];
} heard;

static void hear(void *ctx, const char *field, const char *text) {
    heard *h = ctx;
    CHECK(h->n < MAX_FINDINGS, "too many findings");
    (void)snprintf(h->fields[h->n], sizeof h->fields[0], "%s", field);
    (void)snprintf(h->texts[h->n], sizeof h->texts[0], "%s", text);
    h->n++;
}

static bool has_heard(const heard *h, const char *field) {
    for (size_t i = 0; i < h->n; i++) {
        if (strcmp(h->fields[i], field) == 0) {
            return true;
        }
    }
    return false;
}

static heard *hear_hints(const lathe_config *config) {
    static heard h;
    h.n = 0;
    CHECK_OK(lathe_config_hints(config, hear, &h));
    return &h;
}

static heard *hear_faults(const lathe_config *config) {
    static heard h;
    h.n = 0;
    lathe_status status = lathe_config_validate(config, hear, &h);
    CHECK(status == (h.n == 0 ? LATHE_OK : LATHE_INVALID_ARGUMENT), "%s and %zu findings",
          lathe_status_name(status), h.n);
    if (h.n > 0) {
        CHECK(strcmp(lathe_last_error()->message,
                     test_text("config %s: %s", h.fields[0], h.texts[0])) == 0,
              "%s", lathe_last_error()->message);
    }
    return &h;
}

static lathe_config a_config(void) {
    return (lathe_config){.struct_size = sizeof(lathe_config)};
}

/* A number that the compiler does not know to be none of the enum's. */
static lathe_toggle no_toggle(void) {
    static volatile int number = 3;
    return (lathe_toggle)number;
}

/* ---- presets */

Test(config, presets) {
    lathe_config config;
    lathe_target target;
    for (int i = LATHE_PRESET_DEFAULT; i <= LATHE_PRESET_HIGH_PRECISION; i++) {
        const char *name = lathe_preset_name((lathe_preset)i);
        lathe_preset found = LATHE_PRESET_DEFAULT;
        lathe_engine *engine = NULL;
        CHECK(lathe_preset_from_name(name, &found) && (int)found == i, "%s", name);
        memset(&config, 0x5a, sizeof config);
        CHECK_OK(lathe_config_preset((lathe_preset)i, &config));
        CHECK(hear_faults(&config)->n == 0, "%s is not valid", name);
        CHECK_OK(lathe_engine_create(&config, &engine));
        lathe_engine_free(engine);
        for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
            memset(&target, 0x5a, sizeof target);
            CHECK_OK(lathe_target_preset((lathe_preset)i, (lathe_dtype)dtype, &target));
            CHECK(target.struct_size == sizeof target && (int)target.dtype == dtype, "%s", name);
        }
    }
    CHECK_OK(lathe_config_preset(LATHE_PRESET_DEFAULT, &config));
    const lathe_config plain = a_config();
    CHECK(memcmp(&config, &plain, sizeof plain) == 0, "default is not all defaults");
    CHECK_OK(lathe_config_preset(LATHE_PRESET_LOW_MEMORY, &config));
    CHECK(config.streaming.buffer_bytes == 2 * MIB && config.huge_pages == LATHE_OFF, "low");
    CHECK_OK(lathe_config_preset(LATHE_PRESET_HIGH_PERFORMANCE, &config));
    CHECK(config.streaming.buffer_bytes > 64 * MIB && config.pipeline_cache_bytes > 0, "high");
    CHECK_OK(lathe_target_preset(LATHE_PRESET_HIGH_PERFORMANCE, LATHE_I8, &target));
    CHECK(target.quality == LATHE_FAST, "fast");
    CHECK_OK(lathe_target_preset(LATHE_PRESET_HIGH_PRECISION, LATHE_I4, &target));
    CHECK(target.quality == LATHE_PRECISE && target.granularity == LATHE_PER_GROUP, "precise");
    CHECK_OK(lathe_target_preset(LATHE_PRESET_HIGH_PRECISION, LATHE_F16, &target));
    CHECK(target.quality == LATHE_BALANCED, "a float has no scale");
}

Test(config, presets_that_are_none) {
    lathe_config config = {.n_threads = 77};
    lathe_target target = {.row_dims = 77};
    lathe_preset preset = LATHE_PRESET_LOW_MEMORY;
    static volatile int number = 4;
    CHECK_STATUS(lathe_config_preset((lathe_preset)number, &config), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_config_preset(LATHE_PRESET_DEFAULT, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_target_preset((lathe_preset)number, LATHE_I8, &target),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_target_preset(LATHE_PRESET_DEFAULT, (lathe_dtype)0, &target),
                 LATHE_INVALID_ARGUMENT);
    CHECK(config.n_threads == 77 && target.row_dims == 77, "an output was touched");
    CHECK(strcmp(lathe_preset_name((lathe_preset)number), "invalid") == 0, "a name");
    CHECK(!lathe_preset_from_name("fast", &preset) && !lathe_preset_from_name(NULL, &preset) &&
              preset == LATHE_PRESET_LOW_MEMORY,
          "no preset");
}

/* ---- validation */

static void parallel_for(void *ctx, size_t n_tasks, void (*task)(void *, size_t), void *task_ctx) {
    (void)ctx;
    for (size_t i = 0; i < n_tasks; i++) {
        task(task_ctx, i);
    }
}

Test(config, validation_names_every_bad_field) {
    static volatile int number = 5;
    const lathe_executor executor = {.parallel_for = parallel_for, .n_threads = 0};
    const lathe_allocator allocator = {0};
    lathe_config config = a_config();
    lathe_pool *pool = NULL;
    CHECK_OK(lathe_pool_create(NULL, &pool));
    CHECK(hear_faults(&config)->n == 0, "all defaults");
    config.n_threads = 5000;
    config.isa = (lathe_isa)number;
    config.memory_budget_bytes = UINT64_MAX;
    config.allocator = &allocator;
    config.pool = pool;
    config.executor = &executor;
    config.device = "gpu";
    config.require_device = 2;
    config.program_cache_dir = "";
    config.opencl_device = (const struct lathe_opencl_device *)&config;
    config.streaming = (lathe_streaming_config){
        .chunk_bytes = 1000, .parallel_chunks = 4097, .prefetch_chunks = 4097, .buffer_bytes = 999};
    config.batch = (lathe_batch_config){.max_tensors = UINT64_MAX,
                                        .max_bytes = UINT64_MAX,
                                        .group = no_toggle(),
                                        .sort_by_size = no_toggle(),
                                        .parallel = no_toggle()};
    config.pipeline_cache_bytes = UINT64_MAX;
    config.calibration_file = "";
    config.recent_conversions = 4097;
    config.huge_pages = no_toggle();
    config.pinned_staging = no_toggle();
    static const char *const fields[] = {"n_threads",
                                         "isa",
                                         "memory_budget_bytes",
                                         "allocator",
                                         "executor",
                                         "device",
                                         "require_device",
                                         "program_cache_dir",
                                         "opencl_device",
                                         "streaming.chunk_bytes",
                                         "streaming.parallel_chunks",
                                         "streaming.prefetch_chunks",
                                         "streaming.buffer_bytes",
                                         "batch.max_tensors",
                                         "batch.max_bytes",
                                         "batch.group",
                                         "batch.sort_by_size",
                                         "batch.parallel",
                                         "pipeline_cache_bytes",
                                         "calibration_file",
                                         "recent_conversions",
                                         "huge_pages",
                                         "pinned_staging"};
    const heard *h = hear_faults(&config);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        CHECK(has_heard(h, fields[i]), "%s was not named", fields[i]);
    }
    lathe_engine *engine = NULL;
    CHECK_STATUS(lathe_engine_create(&config, &engine), LATHE_INVALID_ARGUMENT);
    CHECK(strncmp(lathe_last_error()->message, "config n_threads:", 17) == 0, "%s",
          lathe_last_error()->message);
    lathe_pool_release(pool);
}

#define ONE_FAULT(field, ...)                                                                      \
    do {                                                                                           \
        const lathe_config bad = {.struct_size = sizeof bad, __VA_ARGS__};                         \
        const heard *h = hear_faults(&bad);                                                        \
        CHECK(h->n == 1 && has_heard(h, field), "%zu findings, the first %s: %s", h->n,            \
              h->fields[0], h->texts[0]);                                                          \
    } while (0)

#define NO_FAULT(...)                                                                              \
    do {                                                                                           \
        const lathe_config good = {.struct_size = sizeof good, __VA_ARGS__};                       \
        CHECK(hear_faults(&good)->n == 0, "%s", lathe_last_error()->message);                      \
    } while (0)

Test(config, the_limits_of_fields) {
    test_allocator allocator;
    test_allocator_init(&allocator);
    const lathe_allocator half = {.allocate = allocator.interface.allocate};
    const lathe_executor executor = {.parallel_for = parallel_for, .n_threads = 2};
    NO_FAULT(.n_threads = 4096);
    ONE_FAULT("n_threads", .n_threads = 4097);
    ONE_FAULT("n_threads", .n_threads = 1, .executor = &executor);
    NO_FAULT(.device = "opencl:anything");
    ONE_FAULT("device", .device = "opencl2");
    ONE_FAULT("device", .device = "");
    ONE_FAULT("allocator", .allocator = &half);
    NO_FAULT(.streaming.chunk_bytes = 64 << 10);
    ONE_FAULT("streaming.chunk_bytes", .streaming.chunk_bytes = (64 << 10) - 1);
    NO_FAULT(.streaming.buffer_bytes = MIB);
    ONE_FAULT("streaming.buffer_bytes", .streaming.buffer_bytes = MIB - 1);
    NO_FAULT(.streaming = {.chunk_bytes = MIB, .buffer_bytes = MIB});
    ONE_FAULT("streaming.chunk_bytes", .streaming = {.chunk_bytes = MIB + 1, .buffer_bytes = MIB});
    NO_FAULT(.recent_conversions = 4096);
    CHECK_STATUS(lathe_config_validate(NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
}

/* The struct as it was before `streaming`. */
Test(config, an_earlier_struct_is_taken) {
    lathe_config old = a_config();
    lathe_engine *engine = NULL;
    memset((char *)&old + offsetof(lathe_config, streaming), 0xff,
           sizeof old - offsetof(lathe_config, streaming)); /* not there */
    old.struct_size = offsetof(lathe_config, streaming);
    old.n_threads = 3;
    CHECK(hear_faults(&old)->n == 0, "%s", lathe_last_error()->message);
    CHECK_OK(lathe_engine_create(&old, &engine));
    lathe_device_info info = {.struct_size = sizeof info};
    CHECK_OK(lathe_engine_device(engine, &info));
    CHECK(info.threads == 3, "%d threads", (int)info.threads);
    lathe_engine_free(engine);
    engine = NULL;
    for (size_t size = 0; size <= sizeof old + 64; size++) {
        if (size != sizeof old && size != offsetof(lathe_config, streaming)) {
            old.struct_size = size;
            CHECK(has_heard(hear_faults(&old), "struct_size"), "size %zu was taken", size);
            CHECK_STATUS(lathe_engine_create(&old, &engine), LATHE_INVALID_ARGUMENT);
        }
    }
}

/* ---- hints */

Test(config, hints) {
    lathe_config config = a_config();
    CHECK(has_heard(hear_hints(&config), "calibration_file"), "no calibration file");
    config.calibration_file = "file";
    const heard *h = hear_hints(&config);
    CHECK(h->n == 0, "defaults are fine, but %s: %s", h->fields[0], h->texts[0]);

#define HINTED(field, ...)                                                                         \
    do {                                                                                           \
        const lathe_config odd = {                                                                 \
            .struct_size = sizeof odd, .calibration_file = "file", __VA_ARGS__};                   \
        h = hear_hints(&odd);                                                                      \
        CHECK(has_heard(h, field), "%s: no hint among %zu", field, h->n);                          \
    } while (0)
    const lathe_executor executor = {.parallel_for = parallel_for, .n_threads = 4096};
    lathe_isa isas[TEST_MAX_ISAS];
    test_allocator allocator;
    test_allocator_init(&allocator);
    HINTED("n_threads", .n_threads = 4096);
    HINTED("executor", .executor = &executor);
    if (test_isas(isas) > 1) {
        HINTED("isa", .isa = LATHE_ISA_SCALAR);
    }
    HINTED("memory_budget_bytes", .memory_budget_bytes = MIB);
    HINTED("memory_budget_bytes", .memory_budget_bytes = 32 * MIB);
    HINTED("memory_budget_bytes", .memory_budget_bytes = UINT64_C(1) << 60);
    HINTED("streaming.buffer_bytes", .streaming.buffer_bytes = UINT64_C(1) << 60);
    HINTED("streaming.buffer_bytes", .streaming = {.chunk_bytes = 16 * MIB, .parallel_chunks = 5});
    HINTED("streaming.chunk_bytes", .streaming.chunk_bytes = UINT64_C(1) << 30);
    HINTED("streaming.parallel_chunks", .n_threads = 1, .streaming.parallel_chunks = 2);
    HINTED("huge_pages", .allocator = &allocator.interface, .huge_pages = LATHE_OFF);
    HINTED("batch.parallel", .n_threads = 2, .batch.parallel = LATHE_OFF);
    HINTED("require_device", .require_device = 1);
    HINTED("pinned_staging", .pinned_staging = LATHE_ON);
    HINTED("pinned_staging", .device = "opencl", .pinned_staging = LATHE_OFF);
    HINTED("program_cache_dir", .device = "opencl");
    HINTED("notice", .device = "opencl");
    HINTED("batch.group", .device = "opencl", .batch.group = LATHE_OFF);
#undef HINTED
    const lathe_config budget = {.struct_size = sizeof budget,
                                 .calibration_file = "file",
                                 .memory_budget_bytes = 32 * MIB,
                                 .streaming.buffer_bytes = 16 * MIB};
    CHECK(hear_hints(&budget)->n == 0, "a budget with room for the buffers");
    config.n_threads = 5000;
    CHECK_STATUS(lathe_config_hints(&config, NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_config_hints(NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
}
