/* SPDX-License-Identifier: Apache-2.0 */
/* Converting checkpoints: every tensor becomes what lathe_convert makes of it, rules decide,
 * outputs are single or sharded, and nothing that exists is harmed. */
#include "checkpoint_files.h"

typedef struct fixture {
    test_folder folder;
    lathe_engine *engine;
    lathe_pool *pool;
} fixture;

static fixture setup(void) {
    fixture f = {.folder = test_folder_new()};
    const lathe_config config = {.struct_size = sizeof config, .n_threads = 2};
    CHECK_OK(lathe_engine_create(&config, &f.engine));
    f.pool = lathe_engine_pool(f.engine);
    return f;
}

static void teardown(fixture *f) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(f->pool, &stats));
    CHECK(stats.requested_bytes < 1 << 20, "%llu bytes leaked",
          (unsigned long long)stats.requested_bytes);
    lathe_engine_free(f->engine);
    test_folder_free(&f->folder);
}

static lathe_checkpoint_options options_for(lathe_dtype dtype) {
    return (lathe_checkpoint_options){
        .struct_size = sizeof(lathe_checkpoint_options),
        .target = {.struct_size = sizeof(lathe_target), .dtype = dtype},
        .memory_bytes = 1 << 20,
    };
}

/* A tensor of a test checkpoint. */
typedef struct spec {
    const char *name;
    lathe_dtype dtype;
    uint32_t n_dims;
    uint64_t shape[4];
} spec;

static const spec model[] = {
    {"embed.weight", LATHE_F32, 2, {300, 520}}, /* more than a chunk */
    {"layers.0.attn.weight", LATHE_F32, 2, {64, 96}},
    {"layers.0.norm.weight", LATHE_F32, 1, {96}},
    {"layers.0.conv.weight", LATHE_F16, 4, {5, 3, 3, 3}},
    {"layers.1.attn.weight", LATHE_BF16, 2, {33, 77}},
    {"layers.1.bias", LATHE_F16, 1, {7}},
    {"scalar", LATHE_F32, 0, {0}},
    {"empty", LATHE_F32, 2, {0, 8}},
};
enum { N_MODEL = sizeof model / sizeof model[0] };

/* Writes tensors [first, last) of the model; the data depends on the tensor alone. */
static void write_model(lathe_pool *pool, const char *path, size_t first, size_t last,
                        test_data data) {
    lathe_writer *writer = NULL;
    CHECK_OK(lathe_writer_create(pool, path, 1, &writer));
    CHECK_OK(lathe_writer_add_metadata(writer, "format", "pt"));
    size_t index = 0;
    for (size_t i = first; i < last; i++) {
        const lathe_tensor_desc desc = {.struct_size = sizeof desc,
                                        .dtype = model[i].dtype,
                                        .n_dims = model[i].n_dims,
                                        .shape = model[i].shape};
        CHECK_OK(lathe_writer_add(writer, model[i].name, &desc, &index));
    }
    for (size_t i = first; i < last; i++) {
        const lathe_tensor_desc desc = {.struct_size = sizeof desc,
                                        .dtype = model[i].dtype,
                                        .n_dims = model[i].n_dims,
                                        .shape = model[i].shape};
        uint64_t n_bytes = 0;
        test_rng rng = {i + 1};
        CHECK_OK(lathe_tensor_desc_sizes(&desc, NULL, &n_bytes, NULL));
        void *bytes = calloc(1, n_bytes + 1);
        test_fill_tensor(&rng, &desc, data, bytes, NULL);
        CHECK_OK(lathe_writer_write(writer, i - first, 0, bytes, n_bytes));
        free(bytes);
    }
    CHECK_OK(lathe_writer_finish(writer));
}

static lathe_checkpoint *open_checkpoint(lathe_pool *pool, const char *path) {
    lathe_checkpoint *checkpoint = NULL;
    CHECK_OK(lathe_checkpoint_open(pool, path, &checkpoint));
    return checkpoint;
}

static lathe_tensor *load(lathe_pool *pool, const lathe_checkpoint *checkpoint, const char *name) {
    lathe_tensor *tensor = NULL;
    CHECK_OK(
        lathe_checkpoint_load(checkpoint, lathe_checkpoint_find(checkpoint, name), pool, &tensor));
    return tensor;
}

/* What one tensor must have become: `target` NULL means that it is as it was. */
static void check_tensor(const fixture *f, const lathe_checkpoint *in, const lathe_checkpoint *out,
                         const char *name, const lathe_target *target) {
    lathe_tensor *source = load(f->pool, in, name);
    lathe_tensor *result = load(f->pool, out, name);
    lathe_tensor *expected = NULL;
    if (target == NULL) {
        expected = lathe_tensor_retain(source);
    } else {
        CHECK_OK(lathe_convert(f->engine, source, target, &expected, NULL));
    }
    CHECK(test_same(result, expected), "%s differs", name);
    lathe_tensor_release(source);
    lathe_tensor_release(result);
    lathe_tensor_release(expected);
}

/* The model, where 2-d and 4-d tensors have become `target`, and the others are kept. */
static void check_model(const fixture *f, const char *input, const char *output,
                        const lathe_target *target) {
    lathe_checkpoint *in = open_checkpoint(f->pool, input);
    lathe_checkpoint *out = open_checkpoint(f->pool, output);
    CHECK(lathe_checkpoint_n_tensors(out) == N_MODEL, "%zu tensors",
          lathe_checkpoint_n_tensors(out));
    for (size_t i = 0; i < N_MODEL; i++) {
        lathe_target clamped = *target;
        if (clamped.row_dims > model[i].n_dims) {
            clamped.row_dims = model[i].n_dims;
        }
        check_tensor(f, in, out, model[i].name, model[i].n_dims >= 2 ? &clamped : NULL);
    }
    const char *value = NULL;
    CHECK(lathe_checkpoint_metadata_at(out, 0, NULL, &value) && strcmp(value, "pt") == 0,
          "metadata");
    lathe_checkpoint_close(in);
    lathe_checkpoint_close(out);
}

Test(checkpoint_convert, every_target) {
    fixture f = setup();
    const char *in = test_path(&f.folder, "in.safetensors");
    const char *out = test_path(&f.folder, "out.safetensors");
    const char *back = test_path(&f.folder, "back.safetensors");
    write_model(f.pool, in, 0, N_MODEL, TEST_DATA_NORMAL);
    for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
        for (int granularity = 0; granularity <= LATHE_PER_GROUP; granularity++) {
            for (uint32_t row_dims = 0; row_dims <= 3; row_dims += 3) {
                lathe_checkpoint_options options = options_for((lathe_dtype)dtype);
                options.overwrite = 1;
                options.target.granularity = (lathe_granularity)granularity;
                options.target.group_size = granularity == LATHE_PER_GROUP ? 64 : 0;
                options.target.row_dims = row_dims;
                CHECK_OK(lathe_checkpoint_convert(f.engine, in, out, &options, NULL));
                check_model(&f, in, out, &options.target);
                /* Quantized input converts too: decoded, or encoded again. */
                const lathe_dtype next = granularity == LATHE_PER_ROW ? LATHE_I8 : LATHE_F32;
                lathe_checkpoint_options again = options_for(next);
                again.overwrite = 1;
                CHECK_OK(lathe_checkpoint_convert(f.engine, out, back, &again, NULL));
                check_model(&f, out, back, &again.target);
            }
        }
    }
    CHECK(test_folder_count(&f.folder) == 3, "temporaries stayed");
    teardown(&f);
}

static lathe_checkpoint_options options_with_rules(void) {
    static const lathe_rule rules[] = {
        {"layers.0.attn*", LATHE_BITNET158},
        {"layers.0.*", 0},
        {"*.bias", LATHE_I4},
        {"scalar", LATHE_F16},
        {"*attn*", LATHE_BF16},
    };
    lathe_checkpoint_options options = options_for(LATHE_I8);
    options.rules = rules;
    options.n_rules = sizeof rules / sizeof rules[0];
    return options;
}

static void check_report_of_rules(const lathe_checkpoint_report *report) {
    static const struct {
        const char *name;
        const char *to;
        uint32_t converted;
    } expected[] = {
        {"embed.weight", "i8", 1},
        {"layers.0.attn.weight", "bitnet158", 1},
        {"layers.0.norm.weight", "f32", 0},
        {"layers.0.conv.weight", "f16", 0},
        {"layers.1.attn.weight", "bf16", 0},
        {"layers.1.bias", "i4", 1},
        {"scalar", "f16", 1},
        {"empty", "i8", 1},
    };
    CHECK(report->n_tensors == N_MODEL && report->n_converted == 5, "%llu converted",
          (unsigned long long)report->n_converted);
    for (size_t i = 0; i < N_MODEL; i++) {
        size_t k = 0; /* the report has the input's order: by offset */
        while (k < N_MODEL && strcmp(report->tensors[k].name, expected[i].name) != 0) {
            k++;
        }
        CHECK(k < N_MODEL, "%s is missing", expected[i].name);
        const lathe_tensor_report *t = &report->tensors[k];
        CHECK(strcmp(t->to, expected[i].to) == 0, "%s: to %s", t->name, t->to);
        CHECK(t->converted == expected[i].converted, "%s", t->name);
        CHECK(strcmp(t->from, lathe_dtype_name(model[i].dtype)) == 0, "%s: from %s", t->name,
              t->from);
    }
}

Test(checkpoint_convert, report_and_rules) {
    fixture f = setup();
    const char *in = test_path(&f.folder, "in.safetensors");
    const char *out = test_path(&f.folder, "out.safetensors");
    write_model(f.pool, in, 0, N_MODEL, TEST_DATA_NORMAL);
    const lathe_checkpoint_options options = options_with_rules();
    lathe_checkpoint_report *report = NULL;
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, out, &options, &report));
    check_report_of_rules(report);
    struct stat info;
    CHECK(stat(in, &info) == 0 && report->input_bytes == (uint64_t)info.st_size, "input_bytes");
    CHECK(stat(out, &info) == 0 && report->output_bytes == (uint64_t)info.st_size, "output_bytes");
    CHECK(report->seconds > 0, "seconds");
    CHECK(report->tensors[0].bytes_in == 300 * 520 * 4, "bytes_in");
    CHECK(report->tensors[0].bytes_out == 300 * 520 + 4 && report->tensors[0].scale_count == 1,
          "bytes_out");
    static const uint64_t matches[] = {1, 2, 1, 1, 1};
    CHECK(report->n_rules == options.n_rules &&
              memcmp(report->rule_matches, matches, sizeof matches) == 0,
          "rule_matches");
    lathe_checkpoint_report_free(report);
    lathe_checkpoint_report_free(NULL);
    teardown(&f);
}

/* Kept quantized tensors keep their scales and their description, and others can change. */
Test(checkpoint_convert, quantized_tensors_that_are_kept) {
    fixture f = setup();
    const char *in = test_path(&f.folder, "in.safetensors");
    const char *out = test_path(&f.folder, "out.safetensors");
    const lathe_checkpoint_options options = options_with_rules();
    lathe_checkpoint_report *report = NULL;
    write_model(f.pool, in, 0, N_MODEL, TEST_DATA_NORMAL);
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, out, &options, NULL));
    const char *second = test_path(&f.folder, "second.safetensors");
    lathe_checkpoint_options keep = options_for(LATHE_F32);
    const lathe_rule keep_rules[] = {{"layers.*", 0}};
    keep.rules = keep_rules;
    keep.n_rules = 1;
    CHECK_OK(lathe_checkpoint_convert(f.engine, out, second, &keep, &report));
    for (size_t i = 0; i < N_MODEL; i++) {
        const lathe_tensor_report *t = &report->tensors[i];
        CHECK(strcmp(t->name, "embed.weight") != 0 || t->bytes_in == 300 * 520 + 4,
              "bytes_in with a scale");
    }
    lathe_checkpoint_report_free(report);
    lathe_checkpoint *a = open_checkpoint(f.pool, out);
    lathe_checkpoint *b = open_checkpoint(f.pool, second);
    for (size_t i = 0; i < N_MODEL; i++) {
        const lathe_target f32 = {.struct_size = sizeof f32, .dtype = LATHE_F32};
        bool kept = strncmp(model[i].name, "layers.", 7) == 0 || model[i].n_dims < 2;
        check_tensor(&f, a, b, model[i].name, kept ? NULL : &f32);
    }
    lathe_checkpoint_close(a);
    lathe_checkpoint_close(b);
    teardown(&f);
}

/* Types that Lathe does not convert are carried over, byte for byte, and a rule for one is an
 * error. */
Test(checkpoint_convert, opaque_tensors) {
    fixture f = setup();
    const char *in = test_path(&f.folder, "in.safetensors");
    const char *out = test_path(&f.folder, "out.safetensors");
    static const char header[] =
        "{" ENTRY("i", "I64", "2,1", 0, 16) "," ENTRY("b", "BOOL", "3,1", 16, 19) "," ENTRY(
            "w", "F32", "2,1", 19, 27) "," ENTRY("f4", "F4", "2,2", 27,
                                                 29) "," ENTRY("q", "I8", "2,2", 29, 33) "}";
    char data[33];
    test_rng rng = {5};
    test_random_bytes(&rng, data, sizeof data);
    memset(data + 19, 0, 8);
    test_write_container(in, sizeof header - 1, header, sizeof header - 1, data, sizeof data);
    lathe_checkpoint_options options = options_for(LATHE_F16);
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, out, &options, NULL));
    lathe_checkpoint *checkpoint = open_checkpoint(f.pool, out);
    static const struct {
        const char *name;
        const char *type;
        size_t at;
        size_t n_bytes;
    } kept[] = {{"i", "I64", 0, 16}, {"b", "BOOL", 16, 3}, {"f4", "F4", 27, 2}, {"q", "I8", 29, 4}};
    for (size_t i = 0; i < 4; i++) {
        char bytes[16];
        size_t at = lathe_checkpoint_find(checkpoint, kept[i].name);
        const lathe_checkpoint_tensor *tensor = lathe_checkpoint_tensor_at(checkpoint, at);
        CHECK(tensor != NULL && strcmp(tensor->stored_type, kept[i].type) == 0, "%s", kept[i].name);
        CHECK_OK(lathe_checkpoint_read(checkpoint, at, 0, bytes, kept[i].n_bytes));
        CHECK(memcmp(bytes, data + kept[i].at, kept[i].n_bytes) == 0, "%s", kept[i].name);
    }
    lathe_checkpoint_close(checkpoint);
    options.overwrite = 1;
    const lathe_rule rule = {"q", LATHE_F16};
    options.rules = &rule;
    options.n_rules = 1;
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &options, NULL), LATHE_NOT_SUPPORTED);
    CHECK(strstr(lathe_last_error()->message, "tensor \"q\"") != NULL, "%s",
          lathe_last_error()->message);
    teardown(&f);
}

static void write_sharded(const fixture *f) {
    static const char index[] =
        "{\"metadata\":{\"total_size\":1,\"total_parameters\":123},\"weight_map\":{"
        "\"embed.weight\":\"m-1.safetensors\",\"layers.0.attn.weight\":\"m-1.safetensors\","
        "\"layers.0.norm.weight\":\"m-1.safetensors\",\"layers.0.conv.weight\":\"m-2.safetensors\","
        "\"layers.1.attn.weight\":\"m-2.safetensors\",\"layers.1.bias\":\"m-2.safetensors\","
        "\"scalar\":\"m-2.safetensors\",\"empty\":\"m-2.safetensors\"}}";
    write_model(f->pool, test_path(&f->folder, "m-1.safetensors"), 0, 3, TEST_DATA_NORMAL);
    write_model(f->pool, test_path(&f->folder, "m-2.safetensors"), 3, N_MODEL, TEST_DATA_NORMAL);
    test_write_file(test_path(&f->folder, "m.safetensors.index.json"), index, sizeof index - 1);
}

Test(checkpoint_convert, sharded) {
    fixture f = setup();
    const char *single = test_path(&f.folder, "single.safetensors");
    const char *in = test_path(&f.folder, "m.safetensors.index.json");
    const char *out = test_path(&f.folder, "out.safetensors.index.json");
    write_model(f.pool, single, 0, N_MODEL, TEST_DATA_NORMAL);
    write_sharded(&f);
    lathe_checkpoint_options options = options_for(LATHE_I4);
    options.target.granularity = LATHE_PER_ROW;
    /* Sharded to sharded. */
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, out, &options, NULL));
    check_model(&f, single, out, &options.target);
    CHECK(test_file_exists(test_path(&f.folder, "out-00001-of-00002.safetensors")), "shard 1");
    CHECK(test_file_exists(test_path(&f.folder, "out-00002-of-00002.safetensors")), "shard 2");
    CHECK(test_folder_count(&f.folder) == 7, "%zu files", test_folder_count(&f.folder));
    size_t n_bytes = 0;
    char *text = test_read_file(out, &n_bytes);
    uint64_t total = 0;
    static const char *const shards[] = {"out-00001-of-00002.safetensors",
                                         "out-00002-of-00002.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        size_t size = 0;
        char *shard = test_read_file(test_path(&f.folder, shards[i]), &size);
        uint64_t header = 0;
        memcpy(&header, shard, 8);
        total += size - 8 - header;
        free(shard);
    }
    CHECK(strstr(text, test_text("\"total_size\":%llu", (unsigned long long)total)) != NULL,
          "%.200s", text);
    CHECK(strstr(text, "\"total_parameters\":123") != NULL, "%.200s", text);
    CHECK(strstr(text, "\"embed.weight_scale\": \"out-00001-of-00002.safetensors\"") != NULL,
          "%.400s", text);
    free(text);
    /* Again: refused, then replaced. */
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &options, NULL), LATHE_EXISTS);
    options.overwrite = 1;
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, out, &options, NULL));
    check_model(&f, single, out, &options.target);
    options.overwrite = 0;
    /* Sharded to single, single to one shard. */
    const char *merged = test_path(&f.folder, "merged.safetensors");
    const char *one = test_path(&f.folder, "one.index.json");
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, merged, &options, NULL));
    check_model(&f, single, merged, &options.target);
    CHECK_OK(lathe_checkpoint_convert(f.engine, single, one, &options, NULL));
    check_model(&f, single, one, &options.target);
    CHECK(test_file_exists(test_path(&f.folder, "one-00001-of-00001.safetensors")), "one shard");
    /* One shard in the way: nothing is begun. */
    const char *way = test_path(&f.folder, "way.safetensors.index.json");
    test_write_file(test_path(&f.folder, "way-00002-of-00002.safetensors"), "x", 1);
    size_t count = test_folder_count(&f.folder);
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, way, &options, NULL), LATHE_EXISTS);
    CHECK(test_folder_count(&f.folder) == count, "something was left behind");
    CHECK_STATUS(
        lathe_checkpoint_convert(f.engine, in, test_path(&f.folder, ".index.json"), &options, NULL),
        LATHE_INVALID_ARGUMENT);
    teardown(&f);
}

/* No output may take the place of a part of the input, whatever it is called. */
Test(checkpoint_convert, sharded_input_is_safe) {
    fixture f = setup();
    const char *in = test_path(&f.folder, "m.safetensors.index.json");
    const char *again = test_path(&f.folder, "out.safetensors.index.json");
    write_sharded(&f);
    lathe_checkpoint_options options = options_for(LATHE_F16);
    options.overwrite = 1;
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, test_path(&f.folder, "m-1.safetensors"),
                                          &options, NULL),
                 LATHE_EXISTS);
    CHECK(strstr(lathe_last_error()->message, "is a file of the input") != NULL, "%s",
          lathe_last_error()->message);
    CHECK(symlink("m-2.safetensors", test_path(&f.folder, "link")) == 0, "symlink");
    CHECK_STATUS(
        lathe_checkpoint_convert(f.engine, in, test_path(&f.folder, "link"), &options, NULL),
        LATHE_EXISTS);
    /* in == out with shards of other names is fine: the old ones stay; a second time it would not
     * be. */
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, in, &options, NULL));
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, in, &options, NULL), LATHE_EXISTS);
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, again, &options, NULL));
    lathe_checkpoint *checkpoint = open_checkpoint(f.pool, again);
    CHECK(lathe_checkpoint_n_tensors(checkpoint) == N_MODEL, "tensors");
    lathe_checkpoint_close(checkpoint);
    teardown(&f);
}

Test(checkpoint_convert, same_file) {
    fixture f = setup();
    const char *in = test_path(&f.folder, "in.safetensors");
    const char *copy = test_path(&f.folder, "copy.safetensors");
    write_model(f.pool, in, 0, N_MODEL, TEST_DATA_NORMAL);
    write_model(f.pool, copy, 0, N_MODEL, TEST_DATA_NORMAL);
    lathe_checkpoint_options options = options_for(LATHE_BITNET158);
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, in, &options, NULL), LATHE_EXISTS);
    options.overwrite = 1;
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, in, &options, NULL));
    check_model(&f, copy, in, &options.target);
    /* Through a symbolic link, which stays one. */
    const char *link = test_path(&f.folder, "link.safetensors");
    CHECK(symlink("copy.safetensors", link) == 0, "symlink");
    CHECK_OK(lathe_checkpoint_convert(f.engine, link, link, &options, NULL));
    struct stat info;
    CHECK(lstat(link, &info) == 0 && S_ISLNK(info.st_mode), "the link is gone");
    lathe_checkpoint *a = open_checkpoint(f.pool, in);
    lathe_checkpoint *b = open_checkpoint(f.pool, copy);
    for (size_t i = 0; i < N_MODEL; i++) {
        check_tensor(&f, a, b, model[i].name, NULL);
    }
    lathe_checkpoint_close(a);
    lathe_checkpoint_close(b);
    teardown(&f);
}

typedef struct progress {
    uint64_t n_calls;
    uint64_t done;
    uint64_t total;
    uint64_t cancel_at;
    bool backwards;
} progress;

static int on_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes) {
    progress *p = ctx;
    p->backwards |= done_bytes < p->done || done_bytes > total_bytes ||
                    (p->n_calls > 0 && total_bytes != p->total);
    p->done = done_bytes;
    p->total = total_bytes;
    return ++p->n_calls == p->cancel_at;
}

Test(checkpoint_convert, progress_and_cancel) {
    fixture f = setup();
    const char *in = test_path(&f.folder, "in.safetensors");
    const char *out = test_path(&f.folder, "out.safetensors");
    write_model(f.pool, in, 0, N_MODEL, TEST_DATA_NORMAL);
    progress p = {0};
    lathe_checkpoint_options options = options_for(LATHE_I8);
    options.progress = on_progress;
    options.progress_ctx = &p;
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, out, &options, NULL));
    CHECK(!p.backwards && p.done == p.total && p.n_calls >= 7, "%llu of %llu in %llu calls",
          (unsigned long long)p.done, (unsigned long long)p.total, (unsigned long long)p.n_calls);
    uint64_t n_calls = p.n_calls;
    CHECK(unlink(out) == 0, "unlink");
    for (uint64_t at = 1; at <= n_calls; at++) {
        lathe_checkpoint_report *report = NULL;
        p = (progress){.cancel_at = at};
        CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &options, &report),
                     LATHE_CANCELLED);
        CHECK(report == NULL, "a report was made");
        CHECK(test_folder_count(&f.folder) == 1, "something was left behind");
    }
    /* Of the old output nothing changes. */
    test_write_file(out, "old", 3);
    options.overwrite = 1;
    p = (progress){.cancel_at = n_calls / 2};
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &options, NULL), LATHE_CANCELLED);
    size_t n_bytes = 0;
    char *text = test_read_file(out, &n_bytes);
    CHECK(strcmp(text, "old") == 0, "the old output changed");
    free(text);
    teardown(&f);
}

Test(checkpoint_convert, errors) {
    fixture f = setup();
    const char *in = test_path(&f.folder, "in.safetensors");
    const char *out = test_path(&f.folder, "out.safetensors");
    write_model(f.pool, in, 0, N_MODEL, TEST_DATA_NONFINITE);
    lathe_checkpoint_options options = options_for(LATHE_I8);
    lathe_checkpoint_options bad = options;
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_checkpoint_convert(NULL, in, out, &options, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, NULL, out, &options, NULL),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, NULL, &options, NULL),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, "", &options, NULL),
                 LATHE_INVALID_ARGUMENT);
    bad.struct_size--;
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &bad, NULL), LATHE_INVALID_ARGUMENT);
    bad = options_for((lathe_dtype)0);
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &bad, NULL), LATHE_INVALID_ARGUMENT);
    bad = options;
    bad.memory_bytes = (1 << 20) - 1;
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &bad, NULL), LATHE_INVALID_ARGUMENT);
    bad = options;
    bad.overwrite = 2;
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &bad, NULL), LATHE_INVALID_ARGUMENT);
    bad = options;
    bad.n_rules = 1;
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &bad, NULL), LATHE_INVALID_ARGUMENT);
    const lathe_rule rules[] = {{"*", (lathe_dtype)77}, {NULL, LATHE_F16}};
    for (size_t i = 0; i < 2; i++) {
        bad.rules = &rules[i];
        CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &bad, NULL),
                     LATHE_INVALID_ARGUMENT);
    }
    CHECK_STATUS(
        lathe_checkpoint_convert(f.engine, test_path(&f.folder, "none"), out, &options, NULL),
        LATHE_NOT_FOUND);

    /* A NaN is named, with its tensor and file, and no file appears. */
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &options, NULL), LATHE_NON_FINITE);
    CHECK(strstr(lathe_last_error()->message, "in.safetensors: tensor \"") != NULL, "%s",
          lathe_last_error()->message);
    CHECK(lathe_last_error()->element != LATHE_NO_ELEMENT, "no element");
    options.target.nonfinite = LATHE_NONFINITE_SATURATE;
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, out, &options, NULL));
    CHECK(unlink(out) == 0, "unlink");

    /* The name that scales would take is taken. */
    static const char header[] =
        "{" ENTRY("w", "F32", "2,1", 0, 8) "," ENTRY("w_scale", "F32", "1", 8, 12) "}";
    test_write_header(in, header, 12);
    CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &options, NULL),
                 LATHE_INVALID_ARGUMENT);
    CHECK(strstr(lathe_last_error()->message, "keep \"w\" as it is, or rename") != NULL, "%s",
          lathe_last_error()->message);
    CHECK(test_folder_count(&f.folder) == 1, "something was left behind");
    const lathe_rule keep = {"w", 0};
    options.rules = &keep;
    options.n_rules = 1;
    CHECK_OK(lathe_checkpoint_convert(f.engine, in, out, &options, NULL));
    teardown(&f);
}

/* Quantized data and scales that no encoder writes are found on the way. */
Test(checkpoint_convert, corrupt_data) {
    fixture f = setup();
    const char *in = test_path(&f.folder, "in.safetensors");
    const char *out = test_path(&f.folder, "out.safetensors");
    const uint64_t shape[] = {2, 5};
    const lathe_tensor_desc desc = {.struct_size = sizeof desc,
                                    .dtype = LATHE_BITNET158,
                                    .n_dims = 2,
                                    .shape = shape,
                                    .granularity = LATHE_PER_ROW};
    static const struct {
        float scales[2];
        char codes[2];
        lathe_dtype to;
    } cases[] = {
        {{1, 1}, {121, (char)243}, LATHE_F32},
        {{1, -1}, {121, 121}, LATHE_F32},
        {{1, -1}, {121, 121}, LATHE_BITNET158}, /* kept, but not blindly */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lathe_writer *writer = NULL;
        size_t index = 0;
        CHECK_OK(lathe_writer_create(f.pool, in, 1, &writer));
        CHECK_OK(lathe_writer_add(writer, "q", &desc, &index));
        CHECK_OK(lathe_writer_write(writer, 0, 0, cases[i].codes, 2));
        CHECK_OK(lathe_writer_write_scales(writer, 0, 0, cases[i].scales, 2));
        CHECK_OK(lathe_writer_finish(writer));
        lathe_checkpoint_options options = options_for(cases[i].to);
        options.target.granularity = LATHE_PER_ROW;
        CHECK_STATUS(lathe_checkpoint_convert(f.engine, in, out, &options, NULL),
                     LATHE_CORRUPT_DATA);
        CHECK(strstr(lathe_last_error()->message, "tensor \"q\"") != NULL, "%s",
              lathe_last_error()->message);
        lathe_checkpoint *checkpoint = open_checkpoint(f.pool, in);
        lathe_tensor *tensor = NULL;
        CHECK_STATUS(lathe_checkpoint_load(checkpoint, 0, f.pool, &tensor), LATHE_CORRUPT_DATA);
        lathe_checkpoint_close(checkpoint);
    }
    CHECK(!test_file_exists(out), "an output was made");
    teardown(&f);
}
