/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the JSON form of a configuration. */
#include "check.h"
#include "engine/config/config.h"
#include "support.h"
#include <stdlib.h>
#include <string.h>

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

static lathe_config a_config(void) {
    return (lathe_config){.struct_size = sizeof(lathe_config)};
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
