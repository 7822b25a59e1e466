/* SPDX-License-Identifier: Apache-2.0 */
/* The edges of the contract: threads that cannot start, calls from inside a callback, shapes
 * without elements, group sizes and scales at their limits, errors' details. */
#include "checkpoint_files.h"
#include <float.h>
#include <math.h>
#include <sys/resource.h>

static lathe_engine *new_engine(uint32_t n_threads) {
    lathe_engine *engine = NULL;
    const lathe_config config = {.struct_size = sizeof config, .n_threads = n_threads};
    CHECK_OK(lathe_engine_create(&config, &engine));
    return engine;
}

static lathe_tensor *new_tensor(lathe_engine *engine, lathe_dtype dtype, uint64_t rows,
                                uint64_t cols, lathe_granularity granularity) {
    const uint64_t shape[] = {rows, cols};
    const lathe_tensor_desc desc = {.struct_size = sizeof desc,
                                    .dtype = dtype,
                                    .n_dims = 2,
                                    .shape = shape,
                                    .granularity = granularity};
    lathe_tensor *tensor = NULL;
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &tensor));
    return tensor;
}

Test(edges, threads_that_cannot_start_are_an_error) {
    if (TEST_SANITIZED) {
        return; /* shadow memory, or the emulator, does not fit in a small address space */
    }
    const struct rlimit limit = {.rlim_cur = 256 << 20, .rlim_max = 256 << 20};
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0, "setrlimit");
    lathe_engine *engine = NULL;
    const lathe_config config = {.struct_size = sizeof config, .n_threads = 256};
    CHECK_STATUS(lathe_engine_create(&config, &engine), LATHE_INSUFFICIENT_MEMORY);
    CHECK(engine == NULL, "the engine was set");
}

typedef struct nested {
    lathe_engine *engine;
    lathe_tensor *source;
    int n_converted;
} nested;

static int convert_inside(void *ctx, uint64_t done_bytes, uint64_t total_bytes) {
    nested *n = ctx;
    lathe_tensor *result = NULL;
    const lathe_target f16 = {.struct_size = sizeof f16, .dtype = LATHE_F16};
    (void)done_bytes;
    (void)total_bytes;
    n->n_converted += lathe_convert(n->engine, n->source, &f16, &result, NULL) == LATHE_OK;
    lathe_tensor_release(result);
    return 0;
}

Test(edges, a_callback_can_use_the_engine, .timeout = 60) {
    test_folder folder = test_folder_new();
    nested n = {.engine = new_engine(2)};
    n.source = new_tensor(n.engine, LATHE_F32, 600, 1024, LATHE_PER_TENSOR);
    memset(lathe_tensor_mutable_data(n.source), 0, (size_t)lathe_tensor_n_bytes(n.source));
    const char *path = test_path(&folder, "in.safetensors");
    test_write_header(
        path, "{\"w\":{\"dtype\":\"F32\",\"shape\":[1024,1024],\"data_offsets\":[0,4194304]}}",
        4194304);
    const lathe_checkpoint_options options = {
        .struct_size = sizeof options,
        .target = {.struct_size = sizeof options.target, .dtype = LATHE_BF16},
        .progress = convert_inside,
        .progress_ctx = &n,
    };
    CHECK_OK(lathe_checkpoint_convert(n.engine, path, test_path(&folder, "out.safetensors"),
                                      &options, NULL));
    CHECK(n.n_converted > 0, "nothing was converted inside");
    lathe_tensor_release(n.source);
    lathe_engine_free(n.engine);
    test_folder_free(&folder);
}

Test(edges, rows_without_elements, .timeout = 60) {
    lathe_engine *engine = new_engine(1);
    /* So many rows that looking at each would not end. */
    lathe_tensor *empty = new_tensor(engine, LATHE_I8, UINT64_C(1) << 60, 0, LATHE_PER_TENSOR);
    lathe_tensor_mutable_scales(empty)[0] = 1;
    CHECK_OK(lathe_tensor_validate(empty));
    lathe_tensor_release(empty);
    lathe_engine_free(engine);
}

Test(edges, group_sizes) {
    const uint64_t shape[] = {3, 100};
    lathe_tensor_desc desc = {.struct_size = sizeof desc,
                              .dtype = LATHE_I8,
                              .n_dims = 2,
                              .shape = shape,
                              .granularity = LATHE_PER_GROUP};
    const uint64_t wrong[] = {0, 1, 31, 33, UINT64_C(1) << 63, UINT64_MAX - 31};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        desc.group_size = wrong[i];
        CHECK_STATUS(lathe_tensor_desc_sizes(&desc, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    }
    uint64_t n_scales = 0;
    desc.group_size = (UINT64_C(1) << 63) - 32;
    CHECK_OK(lathe_tensor_desc_sizes(&desc, NULL, NULL, &n_scales));
    CHECK(n_scales == 3, "%d scales", (int)n_scales);
}

Test(edges, scales_that_no_encoder_writes) {
    lathe_engine *engine = new_engine(1);
    const float wrong[] = {-1, NAN, INFINITY, -FLT_MAX};
    lathe_tensor *source = new_tensor(engine, LATHE_I8, 4, 64, LATHE_PER_ROW);
    memset(lathe_tensor_mutable_data(source), 1, 4 * 64);
    const lathe_target f32 = {.struct_size = sizeof f32, .dtype = LATHE_F32};
    for (size_t i = 0; i < 4; i++) {
        for (int row = 0; row < 4; row++) {
            lathe_tensor_mutable_scales(source)[row] = 1;
        }
        lathe_tensor_mutable_scales(source)[i] = wrong[i];
        lathe_tensor *result = NULL;
        CHECK_STATUS(lathe_convert(engine, source, &f32, &result, NULL), LATHE_CORRUPT_DATA);
        CHECK(result == NULL, "the result was set");
        CHECK_STATUS(lathe_tensor_validate(source), LATHE_CORRUPT_DATA);
    }
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

/* It may be given; what is found of its values is 0, at every level. */
Test(edges, a_scale_of_minus_zero) {
    enum { N_ROWS = 4, N_COLS = 64 };
    lathe_engine *engine = new_engine(1);
    lathe_tensor *source = new_tensor(engine, LATHE_I8, N_ROWS, N_COLS, LATHE_PER_ROW);
    memset(lathe_tensor_mutable_data(source), 1, N_ROWS * N_COLS);
    for (int row = 0; row < N_ROWS; row++) {
        lathe_tensor_mutable_scales(source)[row] = -0.0F;
    }
    const lathe_target i8 = {.struct_size = sizeof i8,
                             .dtype = LATHE_I8,
                             .granularity = LATHE_PER_GROUP,
                             .group_size = 32};
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(engine, source, &i8, &result, NULL));
    CHECK(lathe_tensor_n_scales(result) == N_ROWS * N_COLS / 32, "the groups");
    for (size_t i = 0; i < N_ROWS * N_COLS / 32; i++) {
        CHECK(test_bits(lathe_tensor_scales(result)[i]) == 0, "scale %zu", i);
    }
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}

Test(edges, a_failed_conversion_says_from_and_to) {
    lathe_engine *engine = new_engine(1);
    lathe_tensor *source = new_tensor(engine, LATHE_F32, 2, 64, LATHE_PER_TENSOR);
    lathe_tensor *result = NULL;
    const lathe_target odd = {.struct_size = sizeof odd,
                              .dtype = LATHE_I4,
                              .granularity = LATHE_PER_GROUP,
                              .group_size = 48};
    CHECK_STATUS(lathe_convert(engine, source, &odd, &result, NULL), LATHE_INVALID_ARGUMENT);
    const lathe_error *error = lathe_last_error();
    CHECK(error->from == LATHE_F32 && error->to == LATHE_I4 && strcmp(error->stage, "convert") == 0,
          "from %d to %d at %s", (int)error->from, (int)error->to, error->stage);
    lathe_tensor_release(source);
    lathe_engine_free(engine);
}
