/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/config.h: presets, checks of every field, hints, the JSON form, and the effect of
 * the fields that no other test looks at. */
#include "check.h"
#include "engine/config/config.h"
#include "metrics/metrics.h"
#include "support.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    static volatile int number = 4;
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

/* ---- JSON */

static lathe_pool *pool;

static void make_pool(void) {
    CHECK_OK(lathe_pool_create(NULL, &pool));
}

static void drop_pool(void) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(pool, &stats));
    CHECK(stats.n_live == 0, "%d blocks are left", (int)stats.n_live);
    lathe_pool_release(pool);
}

static lathe_status parse(const char *json, lathe_config *config, lathe_target *target,
                          lathe_config_storage **storage) {
    return lathe_config_from_json(pool, json, strlen(json), config, target, storage);
}

TestSuite(config_json, .init = make_pool, .fini = drop_pool);

static const char everything[] =
    "{\"n_threads\": 3, \"isa\": \"avx2\", \"memory_budget_bytes\": 100000000000,"
    " \"device\": \"opencl:\\u00e9 \\\"gpu\\\"\", \"require_device\": true,"
    " \"program_cache_dir\": \"/a/b\",\n"
    " \"streaming\": {\"chunk_bytes\": 131072, \"parallel_chunks\": 4, \"prefetch_chunks\": 2,"
    " \"buffer_bytes\": 4194304},\n"
    " \"batch\": {\"max_tensors\": 7, \"max_bytes\": 8, \"group\": false, \"sort_by_size\": true,"
    " \"parallel\": false},\n"
    " \"pipeline_cache_bytes\": 9, \"calibration_file\": \"c\", \"recent_conversions\": 10,"
    " \"huge_pages\": true, \"pinned_staging\": false,\n"
    " \"target\": {\"dtype\": \"i4\", \"granularity\": \"group\", \"group_size\": 64,"
    " \"row_dims\": 2, \"quality\": \"fast\", \"nonfinite\": \"saturate\", \"strict\": true}}";

static void check_everything(const lathe_config *c, const lathe_target *t) {
    CHECK(c->struct_size == sizeof *c && t->struct_size == sizeof *t, "sizes");
    CHECK(c->n_threads == 3 && c->isa == LATHE_ISA_AVX2, "threads and isa");
    CHECK(c->memory_budget_bytes == UINT64_C(100000000000), "budget");
    CHECK(strcmp(c->device, "opencl:\xc3\xa9 \"gpu\"") == 0, "%s", c->device);
    CHECK(c->require_device == 1 && strcmp(c->program_cache_dir, "/a/b") == 0, "device");
    CHECK(c->streaming.chunk_bytes == 131072 && c->streaming.parallel_chunks == 4 &&
              c->streaming.prefetch_chunks == 2 && c->streaming.buffer_bytes == 4194304,
          "streaming");
    CHECK(c->batch.max_tensors == 7 && c->batch.max_bytes == 8 && c->batch.group == LATHE_OFF &&
              c->batch.sort_by_size == LATHE_ON && c->batch.parallel == LATHE_OFF,
          "batch");
    CHECK(c->pipeline_cache_bytes == 9 && strcmp(c->calibration_file, "c") == 0, "files");
    CHECK(c->recent_conversions == 10 && c->huge_pages == LATHE_ON &&
              c->pinned_staging == LATHE_OFF,
          "the rest");
    CHECK(c->allocator == NULL && c->pool == NULL && c->executor == NULL && c->notice == NULL &&
              c->opencl_device == NULL && c->notice_ctx == NULL,
          "pointers");
    CHECK(t->dtype == LATHE_I4 && t->granularity == LATHE_PER_GROUP && t->group_size == 64 &&
              t->row_dims == 2 && t->quality == LATHE_FAST &&
              t->nonfinite == LATHE_NONFINITE_SATURATE && t->strict == 1,
          "target");
}

Test(config_json, every_field_there_and_back) {
    lathe_config config;
    lathe_target target;
    lathe_config_storage *storage = NULL;
    char *text = NULL;
    memset(&config, 0x5a, sizeof config);
    memset(&target, 0x5a, sizeof target);
    CHECK_OK(parse(everything, &config, &target, &storage));
    check_everything(&config, &target);
    CHECK_OK(lathe_config_to_json(&config, &target, pool, &text));
    lathe_config_storage_free(storage);
    memset(&config, 0x5a, sizeof config);
    memset(&target, 0x5a, sizeof target);
    CHECK_OK(parse(text, &config, &target, &storage));
    check_everything(&config, &target);
    lathe_config_storage_free(storage);
    CHECK_OK(lathe_pool_free(pool, text));
    /* Nothing but defaults is nothing. */
    const lathe_config plain = a_config();
    CHECK_OK(lathe_config_to_json(&plain, NULL, pool, &text));
    CHECK(strcmp(text, "{}") == 0, "%s", text);
    CHECK_OK(parse(text, &config, NULL, &storage));
    CHECK(memcmp(&config, &plain, sizeof plain) == 0, "defaults");
    lathe_config_storage_free(storage);
    lathe_config_storage_free(NULL);
    CHECK_OK(lathe_pool_free(pool, text));
}

Test(config_json, a_preset_comes_first_wherever_it_stands) {
    lathe_config config;
    lathe_config expected;
    lathe_target target;
    lathe_config_storage *storage = NULL;
    CHECK_OK(parse("{\"n_threads\": 2, \"preset\": \"low_memory\"}", &config, &target, &storage));
    CHECK_OK(lathe_config_preset(LATHE_PRESET_LOW_MEMORY, &expected));
    expected.n_threads = 2;
    CHECK(memcmp(&config, &expected, sizeof config) == 0, "the preset");
    CHECK(target.struct_size == sizeof target && target.quality == LATHE_BALANCED, "target");
    lathe_config_storage_free(storage);
    CHECK_OK(parse("{\"preset\": \"high_precision\"}", &config, &target, &storage));
    CHECK((int)target.dtype == 0 && target.quality == LATHE_PRECISE && target.group_size == 128,
          "high precision");
    lathe_config_storage_free(storage);
    CHECK_OK(parse("{\"target\": {\"granularity\": \"row\", \"quality\": \"fast\"},"
                   " \"preset\": \"high_precision\"}",
                   &config, &target, &storage));
    CHECK(target.granularity == LATHE_PER_ROW && target.group_size == 0 &&
              target.quality == LATHE_FAST,
          "the fields win");
    lathe_config_storage_free(storage);
}

Test(config_json, errors_name_the_key) {
    static const struct {
        const char *json;
        lathe_status status;
        const char *named;
    } cases[] = {
        {"", LATHE_MALFORMED_FILE, "line 1"},
        {"{\n\"n_threads\": 3,}", LATHE_MALFORMED_FILE, "line 2"},
        {"{\"n_threads\": 3, \"n_threads\": 4}", LATHE_MALFORMED_FILE, "n_threads"},
        {"{} x", LATHE_MALFORMED_FILE, "line 1"},
        {"{\"device\": \"a\\u0000b\"}", LATHE_MALFORMED_FILE, "line 1"},
        {"{\"device\": \"\xff\"}", LATHE_MALFORMED_FILE, "line 1"},
        {"[]", LATHE_INVALID_ARGUMENT, "object"},
        {"{\"thread\": 3}", LATHE_INVALID_ARGUMENT, "config thread:"},
        {"{\"pool\": 3}", LATHE_INVALID_ARGUMENT, "config pool:"},
        {"{\"chunk_bytes\": 65536}", LATHE_INVALID_ARGUMENT, "config chunk_bytes:"},
        {"{\"streaming\": {\"n_threads\": 1}}", LATHE_INVALID_ARGUMENT, "streaming.n_threads:"},
        {"{\"streaming\": {\"streaming\": {}}}", LATHE_INVALID_ARGUMENT, "streaming.streaming:"},
        {"{\"streaming\": 1}", LATHE_INVALID_ARGUMENT, "config streaming:"},
        {"{\"n_threads\": \"3\"}", LATHE_INVALID_ARGUMENT, "config n_threads:"},
        {"{\"n_threads\": 3.0}", LATHE_INVALID_ARGUMENT, "config n_threads:"},
        {"{\"n_threads\": -1}", LATHE_INVALID_ARGUMENT, "config n_threads:"},
        {"{\"n_threads\": 4097}", LATHE_INVALID_ARGUMENT, "config n_threads:"},
        {"{\"n_threads\": 4294967297}", LATHE_INVALID_ARGUMENT, "config n_threads:"},
        {"{\"n_threads\": null}", LATHE_INVALID_ARGUMENT, "config n_threads:"},
        {"{\"isa\": \"sse\"}", LATHE_INVALID_ARGUMENT, "config isa:"},
        {"{\"isa\": 2}", LATHE_INVALID_ARGUMENT, "config isa:"},
        {"{\"device\": 1}", LATHE_INVALID_ARGUMENT, "config device:"},
        {"{\"device\": \"gpu\"}", LATHE_INVALID_ARGUMENT, "config device:"},
        {"{\"require_device\": 1}", LATHE_INVALID_ARGUMENT, "config require_device:"},
        {"{\"huge_pages\": 1}", LATHE_INVALID_ARGUMENT, "config huge_pages:"},
        {"{\"streaming\": {\"chunk_bytes\": 5}}", LATHE_INVALID_ARGUMENT, "streaming.chunk_bytes:"},
        {"{\"streaming\": {\"chunk_bytes\": 2097152, \"buffer_bytes\": 1048576}}",
         LATHE_INVALID_ARGUMENT, "streaming.chunk_bytes:"},
        {"{\"preset\": \"turbo\"}", LATHE_INVALID_ARGUMENT, "config preset:"},
        {"{\"preset\": 1}", LATHE_INVALID_ARGUMENT, "config preset:"},
        {"{\"target\": []}", LATHE_INVALID_ARGUMENT, "config target"},
        {"{\"target\": {\"type\": \"i8\"}}", LATHE_INVALID_ARGUMENT, "target.type:"},
        {"{\"target\": {\"dtype\": \"f64\"}}", LATHE_INVALID_ARGUMENT, "target.dtype:"},
        {"{\"target\": {\"dtype\": null}}", LATHE_INVALID_ARGUMENT, "target.dtype:"},
        {"{\"target\": {\"strict\": 1}}", LATHE_INVALID_ARGUMENT, "target.strict:"},
        {"{\"target\": {\"group_size\": 33}}", LATHE_INVALID_ARGUMENT, "group_size"},
        {"{\"target\": {\"granularity\": \"group\", \"group_size\": 33}}", LATHE_INVALID_ARGUMENT,
         "group_size"},
        {"{\"target\": {\"row_dims\": 17}}", LATHE_INVALID_ARGUMENT, "target.row_dims:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lathe_config config = {.n_threads = 77};
        lathe_target target = {.row_dims = 77};
        lathe_config_storage *storage = NULL;
        CHECK_STATUS(parse(cases[i].json, &config, &target, &storage), cases[i].status);
        CHECK(strstr(lathe_last_error()->message, cases[i].named) != NULL, "%s: %s", cases[i].json,
              lathe_last_error()->message);
        CHECK(config.n_threads == 77 && target.row_dims == 77 && storage == NULL,
              "an output was touched");
    }
    lathe_config config;
    lathe_config_storage *storage = NULL;
    CHECK_STATUS(parse("{\"target\": {}}", &config, NULL, &storage), LATHE_INVALID_ARGUMENT);
    CHECK(strstr(lathe_last_error()->message, "target") != NULL, "target");
    CHECK_STATUS(parse("{}", NULL, NULL, &storage), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_config_from_json(NULL, "{}", 2, &config, NULL, &storage),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_config_from_json(pool, NULL, 2, &config, NULL, &storage),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(parse("{}", &config, NULL, NULL), LATHE_INVALID_ARGUMENT);
}

Test(config_json, what_cannot_be_written) {
    lathe_config config = a_config();
    lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_I8, .group_size = 3};
    char *text = NULL;
    CHECK_STATUS(lathe_config_to_json(&config, &target, pool, &text), LATHE_INVALID_ARGUMENT);
    config.program_cache_dir = "/a\xff";
    CHECK_STATUS(lathe_config_to_json(&config, NULL, pool, &text), LATHE_INVALID_ARGUMENT);
    config.program_cache_dir = "";
    CHECK_STATUS(lathe_config_to_json(&config, NULL, pool, &text), LATHE_INVALID_ARGUMENT);
    config = a_config();
    CHECK_STATUS(lathe_config_to_json(NULL, NULL, pool, &text), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_config_to_json(&config, NULL, NULL, &text), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_config_to_json(&config, NULL, pool, NULL), LATHE_INVALID_ARGUMENT);
    CHECK(text == NULL, "the output was touched");
}

Test(config_json, without_memory) {
    test_allocator allocator;
    test_allocator_init(&allocator);
    const lathe_pool_config pool_config = {.struct_size = sizeof pool_config,
                                           .allocator = &allocator.interface};
    lathe_pool *poor = NULL;
    lathe_config config = a_config();
    lathe_config_storage *storage = NULL;
    char *text = NULL;
    CHECK_OK(lathe_pool_create(&pool_config, &poor));
    test_allocator_reset(&allocator, 0);
    allocator.fail_ever_after = true;
    CHECK_STATUS(lathe_config_to_json(&config, NULL, poor, &text), LATHE_INSUFFICIENT_MEMORY);
    CHECK_STATUS(lathe_config_from_json(poor, "{}", 2, &config, NULL, &storage),
                 LATHE_INSUFFICIENT_MEMORY);
    CHECK(text == NULL && storage == NULL, "an output was touched");
    lathe_pool_release(poor);
    CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks are left", (int)allocator.n_live);
}

/* ---- effects */

static lathe_engine *engine_of(const lathe_config *config) {
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(config, &engine));
    return engine;
}

Test(config, threads_and_isa_show_in_the_device) {
    lathe_isa isas[TEST_MAX_ISAS];
    const size_t n_isas = test_isas(isas);
    lathe_device_info info = {.struct_size = sizeof info};
    for (size_t i = 0; i < n_isas; i++) {
        const lathe_config config = {
            .struct_size = sizeof config, .n_threads = (uint32_t)i + 1, .isa = isas[i]};
        lathe_engine *engine = engine_of(&config);
        CHECK_OK(lathe_engine_device(engine, &info));
        CHECK(info.threads == i + 1 && info.isa == isas[i], "%d threads, %s", (int)info.threads,
              lathe_isa_name(info.isa));
        lathe_engine_free(engine);
    }
}

Test(config, the_budget_is_the_pools) {
    const lathe_config config = {.struct_size = sizeof config, .memory_budget_bytes = 5 * MIB};
    lathe_engine *engine = engine_of(&config);
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    CHECK(stats.budget_bytes == 5 * MIB, "budget");
    void *block = NULL;
    CHECK_STATUS(lathe_pool_alloc(lathe_engine_pool(engine), 5 * MIB, &block),
                 LATHE_INSUFFICIENT_MEMORY);
    lathe_engine_free(engine);
}

/* The bytes that the slots of a stream took at most. */
static uint64_t stream_memory(const lathe_streaming_config *streaming) {
    const lathe_config config = {
        .struct_size = sizeof config, .n_threads = 4, .streaming = *streaming};
    const uint64_t shape[] = {4000, 1000};
    lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
    lathe_engine *engine = engine_of(&config);
    lathe_source from = {.struct_size = sizeof from, .kind = LATHE_END_TENSOR};
    lathe_sink to = {.struct_size = sizeof to, .kind = LATHE_END_TENSOR};
    lathe_tensor *source = NULL;
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &source));
    memset(lathe_tensor_mutable_data(source), 0, 4000 * 1000 * 4);
    desc.dtype = LATHE_F16;
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &to.tensor));
    from.tensor = source;
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    const uint64_t before = stats.in_use_bytes;
    CHECK_OK(lathe_stream_convert(engine, NULL, &target, &from, &to, NULL, NULL));
    CHECK_OK(lathe_pool_get_stats(lathe_engine_pool(engine), &stats));
    lathe_tensor_release(source);
    lathe_tensor_release(to.tensor);
    lathe_engine_free(engine);
    return stats.peak_in_use_bytes - before;
}

/* test_stream_api.c looks closer, through the options of a call. */
Test(config, streaming_fields_bound_the_slots) {
    const lathe_streaming_config one = {.chunk_bytes = 256 << 10, .parallel_chunks = 1};
    lathe_streaming_config other = one;
    const uint64_t slot = stream_memory(&one);
    CHECK(slot > 128 << 10 && slot < 400 << 10, "one slot: %d bytes", (int)slot);
    other.parallel_chunks = 3;
    uint64_t taken = stream_memory(&other);
    CHECK(taken > 5 * slot / 2 && taken < 7 * slot / 2, "three at once: %d bytes", (int)taken);
    other = one;
    other.prefetch_chunks = 2;
    taken = stream_memory(&other);
    CHECK(taken > 5 * slot / 2 && taken < 7 * slot / 2, "two ahead: %d bytes", (int)taken);
    other = one;
    other.chunk_bytes = 4 * MIB;
    taken = stream_memory(&other);
    CHECK(taken > 4 * slot && taken < 5 * MIB, "a larger chunk: %d bytes", (int)taken);
    other.parallel_chunks = 4;
    CHECK(stream_memory(&other) > 6 * MIB, "four of them");
    other.chunk_bytes = MIB;
    other.buffer_bytes = MIB;
    taken = stream_memory(&other);
    CHECK(taken <= MIB, "a small buffer: %d bytes", (int)taken);
}

/* test_batch.c looks closer, through the options of a call. */
Test(config, batch_fields_cut_rounds) {
    enum { N = 12 };
    const uint64_t shape = 1000;
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &shape};
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
    const struct {
        lathe_batch_config batch;
        uint64_t n_rounds;
    } cases[] = {{{0}, 1}, {{.max_tensors = 4}, 3}, {{.max_bytes = 2 * 2048}, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const lathe_config config = {
            .struct_size = sizeof config, .n_threads = 2, .batch = cases[i].batch};
        lathe_engine *engine = engine_of(&config);
        lathe_tensor *sources[N];
        lathe_tensor *results[N];
        lathe_batch_stats stats = {.struct_size = sizeof stats};
        for (size_t t = 0; t < N; t++) {
            CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &sources[t]));
            memset(lathe_tensor_mutable_data(sources[t]), 0, 4000);
        }
        CHECK_OK(lathe_convert_batch(engine, N, sources, &target, 1, NULL, results, NULL, &stats));
        CHECK(stats.n_rounds == cases[i].n_rounds, "case %zu: %d rounds", i, (int)stats.n_rounds);
        for (size_t t = 0; t < N; t++) {
            lathe_tensor_release(sources[t]);
            lathe_tensor_release(results[t]);
        }
        lathe_engine_free(engine);
    }
}

/* How many of two runs with the same source find their result in the cache. */
static uint64_t cache_hits(uint64_t cache_bytes) {
    const lathe_config config = {
        .struct_size = sizeof config, .n_threads = 1, .pipeline_cache_bytes = cache_bytes};
    const uint64_t shape = 1000;
    const lathe_tensor_desc desc = {
        .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &shape};
    const lathe_pipeline_stage stage = {
        .struct_size = sizeof stage,
        .target = {.struct_size = sizeof stage.target, .dtype = LATHE_F16},
        .cache = 1};
    lathe_engine *engine = engine_of(&config);
    lathe_pipeline *pipeline = NULL;
    lathe_pipeline_stats stats = {.struct_size = sizeof stats};
    lathe_tensor *source = NULL;
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &source));
    memset(lathe_tensor_mutable_data(source), 0, 4000);
    CHECK_OK(lathe_pipeline_create(lathe_engine_pool(engine), 1, &stage, NULL, &pipeline));
    for (int i = 0; i < 2; i++) {
        lathe_tensor *result = NULL;
        CHECK_OK(lathe_pipeline_run(engine, pipeline, source, &result, NULL));
        lathe_tensor_release(result);
    }
    CHECK_OK(lathe_pipeline_get_stats(pipeline, &stats));
    lathe_pipeline_free(pipeline);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
    return stats.n_cache_hits;
}

Test(config, pipeline_cache_bytes_bound_what_is_kept) {
    CHECK(cache_hits(0) == 0, "nothing is kept by default");
    CHECK(cache_hits(1999) == 0, "the result takes 2000 bytes");
    CHECK(cache_hits(MIB) == 1, "there is room for it");
}

/* What the kernel knows about the pages of a block: "hg" asked for huge ones, "nh" never. */
static bool has_page_flag(const void *block, const char *flag) {
    FILE *maps = fopen("/proc/self/smaps", "r");
    char line[512];
    bool is_here = false;
    bool found = false;
    CHECK(maps != NULL, "no /proc/self/smaps");
    while (fgets(line, sizeof line, maps) != NULL) {
        uintptr_t first;
        uintptr_t end;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &first, &end) == 2) {
            is_here = first <= (uintptr_t)block && (uintptr_t)block < end;
        } else if (is_here && strncmp(line, "VmFlags:", 8) == 0) {
            found = strstr(line, flag) != NULL;
        }
    }
    (void)fclose(maps);
    return found;
}

Test(config, huge_pages_are_asked_for_or_not) {
    static const lathe_toggle toggles[] = {LATHE_BY_DEFAULT, LATHE_ON, LATHE_OFF};
    const bool knows_them = access("/sys/kernel/mm/transparent_hugepage/enabled", F_OK) == 0;
    for (size_t i = 0; i < 3; i++) {
        const lathe_config config = {.struct_size = sizeof config, .huge_pages = toggles[i]};
        lathe_engine *engine = engine_of(&config);
        void *block = NULL;
        CHECK_OK(lathe_pool_alloc(lathe_engine_pool(engine), 8 * MIB, &block));
        memset(block, 1, 8 * MIB);
        const bool asked = has_page_flag(block, " hg");
        const bool declined = has_page_flag(block, " nh");
        CHECK(asked == (knows_them && toggles[i] != LATHE_OFF), "toggle %zu, asked", i);
        CHECK(declined == (knows_them && toggles[i] == LATHE_OFF), "toggle %zu, declined", i);
        CHECK_OK(lathe_pool_free(lathe_engine_pool(engine), block));
        lathe_engine_free(engine);
    }
}

Test(config, the_last_conversions_are_as_many_as_wanted) {
    for (uint32_t wanted = 0; wanted <= 5; wanted += 5) {
        const lathe_config config = {.struct_size = sizeof config, .recent_conversions = wanted};
        lathe_engine *engine = engine_of(&config);
        const uint64_t shape = 8;
        const lathe_tensor_desc desc = {
            .struct_size = sizeof desc, .dtype = LATHE_F32, .n_dims = 1, .shape = &shape};
        const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F16};
        lathe_recent_conversion recent[100];
        lathe_tensor *source = NULL;
        size_t n = 0;
        CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &source));
        memset(lathe_tensor_mutable_data(source), 0, 32);
        for (int i = 0; i < 100; i++) {
            lathe_tensor *result = NULL;
            CHECK_OK(lathe_convert(engine, source, &target, &result, NULL));
            lathe_tensor_release(result);
        }
        CHECK_OK(lathe_engine_recent(engine, recent, 100, &n));
        CHECK(n == (wanted == 0 ? 64 : wanted), "%zu, not %d", n, (int)wanted);
        CHECK_STATUS(lathe_engine_recent(engine, NULL, 1, &n), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(lathe_engine_recent(NULL, recent, 1, &n), LATHE_INVALID_ARGUMENT);
        lathe_tensor_release(source);
        lathe_engine_free(engine);
    }
}
