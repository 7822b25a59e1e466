/* SPDX-License-Identifier: Apache-2.0 */
/* The writer: what it writes is read back as it was, its layout, and what it refuses. */
#include "checkpoint_files.h"

static lathe_pool *make_pool(void) {
    lathe_pool *pool = NULL;
    CHECK_OK(lathe_pool_create(NULL, &pool));
    return pool;
}

/* Every dtype, granularity and a few shapes. */
static size_t make_descs(lathe_tensor_desc *descs, size_t room) {
    static const uint64_t shapes[][4] = {{3, 70}, {2, 3, 5, 7}, {0, 4}, {4, 0}, {131}, {0}};
    static const uint32_t n_dims[] = {2, 4, 2, 2, 1, 0};
    size_t count = 0;
    for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
        int last =
            lathe_dtype_is_quantized((lathe_dtype)dtype) ? LATHE_PER_GROUP : LATHE_PER_TENSOR;
        for (int granularity = 0; granularity <= last; granularity++) {
            for (size_t s = 0; s < sizeof n_dims / sizeof n_dims[0]; s++) {
                CHECK(count < room, "room");
                descs[count] = (lathe_tensor_desc){
                    .struct_size = sizeof descs[0],
                    .dtype = (lathe_dtype)dtype,
                    .n_dims = n_dims[s],
                    .shape = shapes[s],
                    .granularity = (lathe_granularity)granularity,
                    .group_size = granularity == LATHE_PER_GROUP ? 32 : 0,
                    .row_dims = n_dims[s] == 4 ? 3 : 0,
                };
                count++;
            }
        }
    }
    return count;
}

/* Writes the data in two pieces, the second first. */
static void write_tensor(lathe_writer *writer, size_t i, const char *data, size_t n_bytes,
                         const float *scales, size_t n_scales) {
    CHECK_OK(lathe_writer_write(writer, i, n_bytes / 2, data + n_bytes / 2, n_bytes - n_bytes / 2));
    CHECK_OK(lathe_writer_write(writer, i, 0, data, n_bytes / 2));
    CHECK_OK(lathe_writer_write_scales(writer, i, n_scales / 3, scales + n_scales / 3,
                                       n_scales - n_scales / 3));
    CHECK_OK(lathe_writer_write_scales(writer, i, 0, scales, n_scales / 3));
}

static void check_same_desc(const lathe_checkpoint_tensor *tensor, const lathe_tensor_desc *desc) {
    CHECK(tensor->dtype == desc->dtype && tensor->n_dims == desc->n_dims, "%s", tensor->name);
    CHECK(desc->n_dims == 0 || memcmp(tensor->shape, desc->shape, desc->n_dims * 8) == 0,
          "%s shape", tensor->name);
    if (lathe_dtype_is_quantized(desc->dtype)) {
        CHECK(tensor->granularity == desc->granularity, "%s granularity", tensor->name);
        CHECK(tensor->group_size == desc->group_size, "%s group_size", tensor->name);
        CHECK(tensor->row_dims == (desc->row_dims == 0 ? 1 : desc->row_dims), "%s row_dims",
              tensor->name);
        CHECK(strcmp(tensor->stored_type, desc->dtype == LATHE_I8 ? "I8" : "U8") == 0, "%s is %s",
              tensor->name, tensor->stored_type);
    }
}

Test(checkpoint_writer, round_trip) {
    enum { ROOM = 200 };
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    test_rng rng = {1};
    const char *kept = getenv("LATHE_KEEP_FILES");
    char path[512];
    (void)snprintf(path, sizeof path, "%s/round_trip.safetensors",
                   kept != NULL ? kept : folder.path);
    lathe_tensor_desc descs[ROOM];
    lathe_tensor *tensors[ROOM];
    size_t n_tensors = make_descs(descs, ROOM);
    lathe_writer *writer = NULL;
    CHECK_OK(lathe_writer_create(pool, path, kept != NULL, &writer));
    CHECK_OK(lathe_writer_add_metadata(writer, "format", "pt"));
    CHECK_OK(lathe_writer_add_metadata(writer, "odd \"\\\n\x01\xe2\x82\xac", "{\"a\":[1]}\t"));
    for (size_t i = 0; i < n_tensors; i++) {
        size_t index = 0;
        CHECK_OK(
            lathe_writer_add(writer, test_text("t \"%zu\"\n\xe2\x82\xac", i), &descs[i], &index));
        CHECK(index == i, "index %zu", index);
        CHECK_OK(lathe_tensor_create(pool, &descs[i], &tensors[i]));
        test_fill_tensor(&rng, &descs[i], TEST_DATA_NORMAL, lathe_tensor_mutable_data(tensors[i]),
                         lathe_tensor_mutable_scales(tensors[i]));
    }
    for (size_t i = n_tensors; i-- > 0;) {
        write_tensor(writer, i, lathe_tensor_data(tensors[i]), lathe_tensor_n_bytes(tensors[i]),
                     lathe_tensor_scales(tensors[i]), lathe_tensor_n_scales(tensors[i]));
    }
    CHECK(kept != NULL || !test_file_exists(path), "the file is there too early");
    CHECK_OK(lathe_writer_finish(writer));

    lathe_checkpoint *checkpoint = NULL;
    CHECK_OK(lathe_checkpoint_open(pool, path, &checkpoint));
    CHECK(lathe_checkpoint_n_tensors(checkpoint) == n_tensors, "%zu tensors",
          lathe_checkpoint_n_tensors(checkpoint));
    for (size_t i = 0; i < n_tensors; i++) {
        size_t at = lathe_checkpoint_find(checkpoint, test_text("t \"%zu\"\n\xe2\x82\xac", i));
        const lathe_checkpoint_tensor *tensor = lathe_checkpoint_tensor_at(checkpoint, at);
        CHECK(tensor != NULL, "tensor %zu is missing", i);
        check_same_desc(tensor, &descs[i]);
        lathe_tensor *read = NULL;
        CHECK_OK(lathe_checkpoint_load(checkpoint, at, pool, &read));
        CHECK(test_same(read, tensors[i]), "tensor %zu differs", i);
        lathe_tensor_release(read);
        lathe_tensor_release(tensors[i]);
    }
    const char *key = NULL;
    const char *value = NULL;
    CHECK(lathe_checkpoint_metadata_at(checkpoint, 1, &key, &value), "metadata");
    CHECK(strcmp(key, "odd \"\\\n\x01\xe2\x82\xac") == 0 && strcmp(value, "{\"a\":[1]}\t") == 0,
          "%s", key);
    CHECK(!lathe_checkpoint_metadata_at(checkpoint, 2, &key, &value),
          "Lathe's own metadata is listed");
    lathe_checkpoint_close(checkpoint);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* The exact bytes of a small file: documented in docs/safetensors.md. */
Test(checkpoint_writer, exact_bytes) {
    static const char expected[] =
        "{\"__metadata__\":{\"lathe.format\":\"1\",\"lathe.tensor.w\":\"{\\\"dtype\\\":\\\"i4\\\","
        "\\\"shape\\\":[2,3],\\\"granularity\\\":\\\"row\\\",\\\"row_dims\\\":1}\"},"
        "\"w_scale\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
        "\"n\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[8,14]},"
        "\"w\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[14,18]}}";
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    const char *path = test_path(&folder, "exact.safetensors");
    const uint64_t w_shape[] = {2, 3};
    const uint64_t n_shape[] = {3};
    const lathe_tensor_desc w = {.struct_size = sizeof w,
                                 .dtype = LATHE_I4,
                                 .n_dims = 2,
                                 .shape = w_shape,
                                 .granularity = LATHE_PER_ROW};
    const lathe_tensor_desc n = {
        .struct_size = sizeof n, .dtype = LATHE_F16, .n_dims = 1, .shape = n_shape};
    const float scales[] = {0.5f, 2.0f};
    lathe_writer *writer = NULL;
    size_t index = 0;
    CHECK_OK(lathe_writer_create(pool, path, 0, &writer));
    CHECK_OK(lathe_writer_add(writer, "w", &w, &index));
    CHECK_OK(lathe_writer_add(writer, "n", &n, &index));
    CHECK_OK(lathe_writer_write(writer, 0, 0, "\x21\x03\x65\x07", 4));
    CHECK_OK(lathe_writer_write_scales(writer, 0, 0, scales, 2));
    CHECK_OK(lathe_writer_write(writer, 1, 0, "abcdef", 6));
    CHECK_OK(lathe_writer_finish(writer));
    size_t n_bytes = 0;
    char *bytes = test_read_file(path, &n_bytes);
    size_t header = (sizeof expected - 1 + 7) / 8 * 8;
    CHECK(n_bytes == 8 + header + 18, "%zu bytes", n_bytes);
    CHECK((unsigned char)bytes[0] == (header & 0xff) && bytes[1] == (char)(header >> 8), "length");
    CHECK(memcmp(bytes + 8, expected, sizeof expected - 1) == 0, "header %.400s", bytes + 8);
    for (size_t i = sizeof expected - 1; i < header; i++) {
        CHECK(bytes[8 + i] == ' ', "padding");
    }
    CHECK(memcmp(bytes + 8 + header, scales, 8) == 0, "scales");
    CHECK(memcmp(bytes + 8 + header + 8, "abcdef\x21\x03\x65\x07", 10) == 0, "data");
    free(bytes);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

static const uint64_t small_shape[] = {2, 3};

static lathe_tensor_desc small_desc(lathe_dtype dtype) {
    return (lathe_tensor_desc){.struct_size = sizeof(lathe_tensor_desc),
                               .dtype = dtype,
                               .n_dims = 2,
                               .shape = small_shape};
}

/* Leaves the writer with a, b_scale and b of F32, and c of I8. */
static void check_refused_tensors(lathe_writer *writer) {
    const lathe_tensor_desc f32 = small_desc(LATHE_F32);
    const lathe_tensor_desc i8 = small_desc(LATHE_I8);
    const lathe_tensor_desc bad = small_desc((lathe_dtype)99);
    size_t index = 7;
    CHECK_STATUS(lathe_writer_add(writer, NULL, &f32, &index), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add(writer, "\xff", &f32, &index), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add(writer, "__metadata__", &f32, &index), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add(writer, "a", NULL, &index), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add(writer, "a", &bad, &index), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add(writer, "a", &f32, NULL), LATHE_INVALID_ARGUMENT);
    CHECK(index == 7, "index was written");
    CHECK_OK(lathe_writer_add(writer, "a", &f32, &index));
    CHECK_STATUS(lathe_writer_add(writer, "a", &f32, &index), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add(writer, "a", &i8, &index), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_writer_add(writer, "b_scale", &f32, &index));
    CHECK_STATUS(lathe_writer_add(writer, "b", &i8, &index), LATHE_INVALID_ARGUMENT);
    CHECK(strstr(lathe_last_error()->message, "keep \"b\" as it is, or rename") != NULL, "%s",
          lathe_last_error()->message);
    CHECK_OK(lathe_writer_add(writer, "b", &f32, &index)); /* the failure took nothing */
    CHECK_OK(lathe_writer_add(writer, "c", &i8, &index));
    CHECK(index == 3, "index %zu", index);
    CHECK_STATUS(lathe_writer_add(writer, "c_scale", &f32, &index), LATHE_INVALID_ARGUMENT);
}

static void check_refused_metadata(lathe_writer *writer) {
    CHECK_STATUS(lathe_writer_add_metadata(writer, "lathe.format", "9"), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add_metadata(writer, "lathe.tensor.a", "9"), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add_metadata(writer, "k", "\xfe"), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add_metadata(writer, NULL, "v"), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_writer_add_metadata(writer, "k", "v"));
    CHECK_STATUS(lathe_writer_add_metadata(writer, "k", "v"), LATHE_INVALID_ARGUMENT);
}

static void check_refused_writes(lathe_writer *writer) {
    const float numbers[6] = {0};
    CHECK_STATUS(lathe_writer_write(writer, 4, 0, numbers, 0), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_write(writer, 0, 0, numbers, 25), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_write(writer, 0, 25, numbers, 0), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_write(writer, 0, UINT64_MAX, numbers, 2), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_write(writer, 0, 0, NULL, 1), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_write_scales(writer, 0, 0, numbers, 1), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_write_scales(writer, 3, 1, numbers, 1), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_write_scales(writer, 3, UINT64_MAX / 4 + 1, numbers, 1),
                 LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_writer_write(writer, 0, 0, numbers, sizeof numbers));
}

Test(checkpoint_writer, errors) {
    test_folder folder = test_folder_new();
    lathe_pool *pool = make_pool();
    const char *path = test_path(&folder, "out.safetensors");
    const lathe_tensor_desc f32 = small_desc(LATHE_F32);
    lathe_writer *writer = NULL;
    size_t index = 7;
    CHECK_STATUS(lathe_writer_create(NULL, path, 0, &writer), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_create(pool, NULL, 0, &writer), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_create(pool, "", 0, &writer), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_create(pool, path, 2, &writer), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_create(pool, folder.path, 1, &writer), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_create(pool, test_path(&folder, "none/x"), 0, &writer), LATHE_IO);
    CHECK(writer == NULL, "a writer was made");

    CHECK_OK(lathe_writer_create(pool, path, 0, &writer));
    check_refused_tensors(writer);
    check_refused_metadata(writer);
    check_refused_writes(writer);
    CHECK_STATUS(lathe_writer_add(writer, "late", &f32, &index), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_add_metadata(writer, "late", "v"), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_writer_finish(writer), LATHE_INVALID_ARGUMENT); /* bytes are missing */
    CHECK(strstr(lathe_last_error()->message, "24 bytes of data were written instead of") != NULL,
          "%s", lathe_last_error()->message);
    CHECK(test_folder_count(&folder) == 0, "something was left behind");

    CHECK_OK(lathe_writer_create(pool, path, 0, &writer));
    lathe_writer_abort(writer);
    lathe_writer_abort(NULL);
    CHECK_STATUS(lathe_writer_finish(NULL), LATHE_INVALID_ARGUMENT);
    CHECK(test_folder_count(&folder) == 0, "something was left behind");
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(pool, &stats));
    CHECK(stats.n_live == 0, "%llu blocks leaked", (unsigned long long)stats.n_live);
    lathe_pool_release(pool);
    test_folder_free(&folder);
}

/* Every allocation that can fail does, once, and nothing is left in memory or on disk. */
Test(checkpoint_writer, no_memory) {
    test_folder folder = test_folder_new();
    const char *path = test_path(&folder, "out.safetensors");
    const lathe_tensor_desc desc = small_desc(LATHE_I4);
    const float scale = 1;
    test_allocator allocator;
    bool finished = false;
    test_allocator_init(&allocator);
    for (uint64_t fail_at = 1; !finished; fail_at++) { /* call 0 is the pool's own */
        const lathe_pool_config config = {.struct_size = sizeof config,
                                          .allocator = &allocator.interface};
        lathe_pool *pool = NULL;
        lathe_writer *writer = NULL;
        lathe_checkpoint *checkpoint = NULL;
        size_t index = 0;
        test_allocator_reset(&allocator, fail_at);
        CHECK_OK(lathe_pool_create(&config, &pool));
        lathe_status status = lathe_writer_create(pool, path, 1, &writer);
        if (status == LATHE_OK) {
            status = lathe_writer_add(writer, "w", &desc, &index);
            status = status == LATHE_OK ? lathe_writer_add_metadata(writer, "k", "v") : status;
            status = status == LATHE_OK ? lathe_writer_write(writer, 0, 0, "\0\0\0\0", 4) : status;
            status =
                status == LATHE_OK ? lathe_writer_write_scales(writer, 0, 0, &scale, 1) : status;
            if (status != LATHE_OK) {
                lathe_writer_abort(writer);
            }
        }
        status = status == LATHE_OK ? lathe_writer_finish(writer) : status;
        status = status == LATHE_OK ? lathe_checkpoint_open(pool, path, &checkpoint) : status;
        finished = status == LATHE_OK;
        CHECK(finished || status == LATHE_INSUFFICIENT_MEMORY, "%s", lathe_status_name(status));
        lathe_checkpoint_close(checkpoint);
        lathe_pool_release(pool);
        CHECK(allocator.n_live == 0 && !allocator.misused, "call %llu leaks",
              (unsigned long long)fail_at);
        CHECK(fail_at < 1000, "it never succeeds");
    }
    CHECK(test_folder_count(&folder) == 1, "temporaries were left behind");
    test_folder_free(&folder);
}
