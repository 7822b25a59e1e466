/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of many small tensors: each becomes what lathe_convert makes of it, whatever lies
 * beside it; the file is the same for any number of threads and any memory; the first fault is
 * found; and shards hold what a single file holds. */
#include "checkpoint_files.h"

enum { N_TENSORS = 700, N_SHAPES = 6 };

static const uint64_t shapes[N_SHAPES][3] = {{4, 32}, {3, 37}, {130, 1}, {1, 999}, {2, 3, 5}, {77}};
static const uint32_t shape_dims[N_SHAPES] = {2, 2, 2, 2, 3, 1};

static lathe_engine *make_engine(uint32_t n_threads) {
    const lathe_config config = {.struct_size = sizeof config, .n_threads = n_threads};
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    return engine;
}

static lathe_checkpoint_options options_for(lathe_dtype dtype, lathe_granularity granularity) {
    return (lathe_checkpoint_options){
        .struct_size = sizeof(lathe_checkpoint_options),
        .target = {.struct_size = sizeof(lathe_target),
                   .dtype = dtype,
                   .granularity = granularity,
                   .group_size = granularity == LATHE_PER_GROUP ? 32 : 0},
        .overwrite = 1,
    };
}

/* Types and shapes that take turns; one larger than a chunk in the middle. */
static lathe_tensor_desc desc_of(size_t i) {
    static const lathe_dtype dtypes[] = {LATHE_F32, LATHE_F32, LATHE_F16, LATHE_BF16,
                                         LATHE_I8,  LATHE_I4,  LATHE_F32};
    static const uint64_t large[] = {500, 600};
    const lathe_dtype dtype = dtypes[i % 7];
    const size_t shape = i / 3 % N_SHAPES;
    lathe_tensor_desc desc = {
        .struct_size = sizeof desc,
        .dtype = dtype,
        .n_dims = shape_dims[shape],
        .shape = shapes[shape],
        .granularity = lathe_dtype_is_quantized(dtype) ? (lathe_granularity)(i % 3) : 0,
    };
    desc.group_size = desc.granularity == LATHE_PER_GROUP ? 32 : 0;
    if (i == N_TENSORS / 2) {
        desc.n_dims = 2;
        desc.shape = large;
        desc.dtype = LATHE_F32;
        desc.granularity = LATHE_PER_TENSOR;
    }
    return desc;
}

/* A NaN is put into the tensors `bad` and `worse`; SIZE_MAX: none. */
static void write_input(lathe_pool *pool, const char *path, size_t bad, size_t worse) {
    lathe_writer *writer = NULL;
    size_t index = 0;
    CHECK_OK(lathe_writer_create(pool, path, 1, &writer));
    for (size_t i = 0; i < N_TENSORS; i++) {
        const lathe_tensor_desc desc = desc_of(i);
        CHECK_OK(lathe_writer_add(writer, test_text("tensor.%zu", i), &desc, &index));
    }
    for (size_t i = 0; i < N_TENSORS; i++) {
        const lathe_tensor_desc desc = desc_of(i);
        test_rng rng = {i + 1};
        lathe_tensor *tensor = NULL;
        CHECK_OK(lathe_tensor_create(pool, &desc, &tensor));
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(tensor),
                         lathe_tensor_mutable_scales(tensor));
        if (i == bad || i == worse) {
            memset(lathe_tensor_mutable_data(tensor), 0xff, 4);
        }
        CHECK_OK(lathe_writer_write(writer, i, 0, lathe_tensor_data(tensor),
                                    lathe_tensor_n_bytes(tensor)));
        CHECK_OK(lathe_writer_write_scales(writer, i, 0, lathe_tensor_scales(tensor),
                                           lathe_tensor_n_scales(tensor)));
        lathe_tensor_release(tensor);
    }
    CHECK_OK(lathe_writer_finish(writer));
}

/* Every tensor of `output` is what it must be: that of `input`, or with a target its conversion. */
static void check_tensors(lathe_engine *engine, const char *input, const char *output,
                          const lathe_target *target) {
    lathe_pool *pool = lathe_engine_pool(engine);
    lathe_checkpoint *files[2];
    CHECK_OK(lathe_checkpoint_open(pool, input, &files[0]));
    CHECK_OK(lathe_checkpoint_open(pool, output, &files[1]));
    CHECK(lathe_checkpoint_n_tensors(files[1]) == lathe_checkpoint_n_tensors(files[0]), "tensors");
    for (size_t i = 0; i < lathe_checkpoint_n_tensors(files[0]); i++) {
        const lathe_checkpoint_tensor *info = lathe_checkpoint_tensor_at(files[0], i);
        lathe_tensor *source = NULL;
        lathe_tensor *result = NULL;
        lathe_tensor *expected = NULL;
        CHECK_OK(lathe_checkpoint_load(files[0], i, pool, &source));
        CHECK_OK(lathe_checkpoint_load(files[1], lathe_checkpoint_find(files[1], info->name), pool,
                                       &result));
        if (target == NULL || info->n_dims < 2) {
            expected = lathe_tensor_retain(source);
        } else {
            CHECK_OK(lathe_convert(engine, source, target, &expected, NULL));
        }
        CHECK(test_same(result, expected), "%s differs", info->name);
        lathe_tensor_release(source);
        lathe_tensor_release(result);
        lathe_tensor_release(expected);
    }
    lathe_checkpoint_close(files[0]);
    lathe_checkpoint_close(files[1]);
}

Test(checkpoint_many, every_target) {
    test_folder folder = test_folder_new();
    lathe_engine *engine = make_engine(2);
    const char *in = test_path(&folder, "in.safetensors");
    const char *out = test_path(&folder, "out.safetensors");
    write_input(lathe_engine_pool(engine), in, SIZE_MAX, SIZE_MAX);
    for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
        for (int granularity = 0; granularity <= LATHE_PER_GROUP; granularity++) {
            lathe_checkpoint_options options =
                options_for((lathe_dtype)dtype, (lathe_granularity)granularity);
            options.target.quality = dtype % 3 == 0 ? LATHE_FAST : LATHE_BALANCED;
            lathe_checkpoint_report *report = NULL;
            CHECK_OK(lathe_checkpoint_convert(engine, in, out, &options, &report));
            check_tensors(engine, in, out, &options.target);
            CHECK(report->n_tensors == N_TENSORS && report->n_shards == 0, "report");
            CHECK(strcmp(report->tensors[N_TENSORS - 1].to, report->tensors[0].to) != 0 ||
                      report->n_converted > 0,
                  "nothing was converted");
            lathe_checkpoint_report_free(report);
        }
    }
    CHECK(test_folder_count(&folder) == 2, "something was left behind");
    lathe_engine_free(engine);
    test_folder_free(&folder);
}

Test(checkpoint_many, one_result) {
    test_folder folder = test_folder_new();
    static const uint64_t memory[] = {1 << 20, 3 << 20, 64 << 20};
    const char *in = test_path(&folder, "in.safetensors");
    const char *out = test_path(&folder, "out.safetensors");
    char *first = NULL;
    size_t first_bytes = 0;
    for (uint32_t n_threads = 1; n_threads <= 4; n_threads++) {
        lathe_engine *engine = make_engine(n_threads);
        if (first == NULL) {
            write_input(lathe_engine_pool(engine), in, SIZE_MAX, SIZE_MAX);
        }
        for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
            lathe_checkpoint_options options = options_for(LATHE_BITNET158, LATHE_PER_TENSOR);
            size_t n_bytes = 0;
            options.memory_bytes = memory[i];
            CHECK_OK(lathe_checkpoint_convert(engine, in, out, &options, NULL));
            char *bytes = test_read_file(out, &n_bytes);
            if (first == NULL) {
                first = bytes;
                first_bytes = n_bytes;
                continue;
            }
            CHECK(n_bytes == first_bytes && memcmp(bytes, first, n_bytes) == 0,
                  "%u threads, %llu bytes: another file", (unsigned)n_threads,
                  (unsigned long long)memory[i]);
            free(bytes);
        }
        lathe_engine_free(engine);
    }
    free(first);
    test_folder_free(&folder);
}

Test(checkpoint_many, first_fault) {
    test_folder folder = test_folder_new();
    const char *in = test_path(&folder, "in.safetensors");
    const char *out = test_path(&folder, "out.safetensors");
    /* All F32 of more than one dimension; the large one is number 350. */
    static const size_t bad[][2] = {{7, 693}, {350, 14}, {693, 350}, {308, 315}};
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
        lathe_engine *engine = make_engine(n_threads);
        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
            const size_t least = bad[i][0] < bad[i][1] ? bad[i][0] : bad[i][1];
            const lathe_checkpoint_options options = options_for(LATHE_I8, LATHE_PER_TENSOR);
            write_input(lathe_engine_pool(engine), in, bad[i][0], bad[i][1]);
            CHECK_STATUS(lathe_checkpoint_convert(engine, in, out, &options, NULL),
                         LATHE_NON_FINITE);
            CHECK(strstr(lathe_last_error()->message, test_text("\"tensor.%zu\"", least)) != NULL,
                  "%s", lathe_last_error()->message);
            CHECK(lathe_last_error()->element == 0, "element");
            CHECK(test_folder_count(&folder) == 1, "something was left behind");
        }
        lathe_engine_free(engine);
    }
    test_folder_free(&folder);
}

/* The bytes of data in a safetensors file. */
static uint64_t data_bytes(const char *path) {
    size_t n_bytes = 0;
    uint64_t header = 0;
    char *bytes = test_read_file(path, &n_bytes);
    memcpy(&header, bytes, 8);
    free(bytes);
    return n_bytes - 8 - header;
}

Test(checkpoint_many, shards) {
    test_folder folder = test_folder_new();
    lathe_engine *engine = make_engine(2);
    const char *in = test_path(&folder, "in.safetensors");
    const char *single = test_path(&folder, "single.safetensors");
    const char *index = test_path(&folder, "out.safetensors.index.json");
    static const char *const outputs[] = {"out.safetensors", "out.safetensors.index.json"};
    static const uint64_t sizes[] = {UINT64_C(1) << 40, 100000, 20000};
    write_input(lathe_engine_pool(engine), in, SIZE_MAX, SIZE_MAX);
    lathe_checkpoint_options options = options_for(LATHE_I4, LATHE_PER_ROW);
    CHECK_OK(lathe_checkpoint_convert(engine, in, single, &options, NULL));
    for (size_t i = 0; i < 6; i++) {
        lathe_checkpoint_report *report = NULL;
        options.shard_bytes = sizes[i / 2];
        CHECK_OK(lathe_checkpoint_convert(engine, in, test_path(&folder, outputs[i % 2]), &options,
                                          &report));
        check_tensors(engine, single, index, NULL);
        lathe_checkpoint *checkpoint = NULL;
        CHECK_OK(lathe_checkpoint_open(lathe_engine_pool(engine), index, &checkpoint));
        const size_t n_shards = lathe_checkpoint_n_files(checkpoint);
        CHECK(n_shards == report->n_shards && (n_shards > 1) == (i >= 2), "%zu shards", n_shards);
        for (size_t k = 0; k < n_shards; k++) {
            const char *path = lathe_checkpoint_file_at(checkpoint, k);
            const uint64_t n_bytes = data_bytes(path);
            const char *large = lathe_checkpoint_tensor_at(
                                    checkpoint, lathe_checkpoint_find(checkpoint, "tensor.350"))
                                    ->file;
            CHECK(strcmp(path, test_path(&folder, test_text("out-%05zu-of-%05zu.safetensors", k + 1,
                                                            n_shards))) == 0,
                  "%s", path);
            CHECK(n_bytes <= sizes[i / 2] || path == large, "%s has %llu bytes", path,
                  (unsigned long long)n_bytes);
            CHECK(unlink(path) == 0, "unlink");
        }
        lathe_checkpoint_close(checkpoint);
        lathe_checkpoint_report_free(report);
        CHECK(unlink(index) == 0 && test_folder_count(&folder) == 2, "something was left behind");
    }
    lathe_engine_free(engine);
    test_folder_free(&folder);
}

/* Puts a file in the way of the last shard while the data is converted. */
typedef struct rival {
    const char *path;
    bool is_there;
} rival;

static int make_rival(void *ctx, uint64_t done_bytes, uint64_t total_bytes) {
    rival *r = ctx;
    if (!r->is_there && done_bytes == total_bytes) {
        test_write_file(r->path, "rival", 5);
        r->is_there = true;
    }
    return 0;
}

/* Shards get their names one by one: if one cannot, those before it go, and what was there stays.
 */
Test(checkpoint_many, shards_all_or_none) {
    test_folder folder = test_folder_new();
    lathe_engine *engine = make_engine(2);
    const char *in = test_path(&folder, "in.safetensors");
    const char *out = test_path(&folder, "out.safetensors");
    write_input(lathe_engine_pool(engine), in, SIZE_MAX, SIZE_MAX);
    lathe_checkpoint_options options = options_for(LATHE_F16, LATHE_PER_TENSOR);
    lathe_checkpoint_report *report = NULL;
    options.overwrite = 0;
    options.shard_bytes = 300000;
    CHECK_OK(lathe_checkpoint_convert(engine, in, out, &options, &report));
    const uint64_t n_shards = report->n_shards;
    lathe_checkpoint_report_free(report);
    CHECK(n_shards >= 3 && test_folder_count(&folder) == n_shards + 2, "shards");
    for (uint64_t i = 1; i <= n_shards; i++) {
        const char *name =
            test_text("out-%05u-of-%05u.safetensors", (unsigned)i, (unsigned)n_shards);
        CHECK(i == 2 || unlink(test_path(&folder, name)) == 0, "unlink");
    }
    CHECK(unlink(test_path(&folder, "out.safetensors.index.json")) == 0, "unlink");
    /* One is there from the beginning: nothing is begun. */
    CHECK_STATUS(lathe_checkpoint_convert(engine, in, out, &options, NULL), LATHE_EXISTS);
    CHECK(test_folder_count(&folder) == 2, "something was left behind");
    /* One comes into being meanwhile. */
    const char *second =
        test_path(&folder, test_text("out-00002-of-%05u.safetensors", (unsigned)n_shards));
    rival r = {.path = second};
    CHECK(unlink(second) == 0, "unlink");
    options.progress = make_rival;
    options.progress_ctx = &r;
    CHECK_STATUS(lathe_checkpoint_convert(engine, in, out, &options, NULL), LATHE_EXISTS);
    CHECK(r.is_there && test_folder_count(&folder) == 2, "something was left behind");
    size_t n_bytes = 0;
    char *text = test_read_file(second, &n_bytes);
    CHECK(strcmp(text, "rival") == 0, "the file that was there");
    free(text);
    lathe_engine_free(engine);
    test_folder_free(&folder);
}

/* Two names that would be one in the shards. */
Test(checkpoint_many, companions_across_shards) {
    test_folder folder = test_folder_new();
    lathe_engine *engine = make_engine(1);
    const char *in = test_path(&folder, "in.safetensors");
    const char *out = test_path(&folder, "out.safetensors");
    test_write_header(
        in, "{" ENTRY("w", "F32", "2,2", 0, 16) "," ENTRY("w_scale", "F32", "2", 16, 24) "}", 24);
    lathe_checkpoint_options options = options_for(LATHE_I8, LATHE_PER_TENSOR);
    options.shard_bytes = 1;
    CHECK_STATUS(lathe_checkpoint_convert(engine, in, out, &options, NULL), LATHE_INVALID_ARGUMENT);
    CHECK(strstr(lathe_last_error()->message,
                 "\"w_scale\" would be both a tensor and the scales of the quantized \"w\"") !=
              NULL,
          "%s", lathe_last_error()->message);
    options.target.dtype = LATHE_F16;
    CHECK_OK(lathe_checkpoint_convert(engine, in, out, &options, NULL));
    lathe_engine_free(engine);
    test_folder_free(&folder);
}
