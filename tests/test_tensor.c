/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/tensor.h: sizes of descriptions, tensors of the pool and of the caller,
 * validation. */
#include "check.h"
#include "oracle.h"
#include "support.h"
#include <math.h>
#include <string.h>

static lathe_tensor_desc desc_of(lathe_dtype dtype, uint32_t n_dims, const uint64_t *shape) {
    return (lathe_tensor_desc){
        .struct_size = sizeof(lathe_tensor_desc), .dtype = dtype, .n_dims = n_dims, .shape = shape};
}

static uint64_t live_blocks(lathe_pool *pool) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(pool, &stats));
    return stats.n_live;
}

/* ---- descriptions */

static const uint64_t shapes[][4] = {
    {1, 1, 1, 1}, {7, 1, 1, 1},    {0, 3, 5, 2},   {3, 0, 5, 2},    {3, 5, 2, 0},
    {2, 3, 5, 7}, {1, 1, 4097, 1}, {13, 1, 1, 31}, {4, 33, 100, 3}, {1, 1, 1, 96},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0] };

static void check_sizes(const lathe_tensor_desc *desc) {
    oracle_layout layout;
    uint64_t n_elems = 42;
    uint64_t n_bytes = 42;
    uint64_t n_scales = 42;
    if (!oracle_layout_of(desc, &layout)) {
        CHECK_STATUS(lathe_tensor_desc_sizes(desc, &n_elems, &n_bytes, &n_scales),
                     LATHE_INVALID_ARGUMENT);
        CHECK(n_elems == 42 && n_bytes == 42 && n_scales == 42, "outputs are left alone");
        return;
    }
    CHECK_OK(lathe_tensor_desc_sizes(desc, &n_elems, &n_bytes, &n_scales));
    CHECK(n_elems == layout.n_elems && n_bytes == layout.n_bytes && n_scales == layout.n_scales,
          "dtype %d dims %u row_dims %u granularity %d: %d elems %d bytes %d scales",
          (int)desc->dtype, desc->n_dims, desc->row_dims, (int)desc->granularity, (int)n_elems,
          (int)n_bytes, (int)n_scales);
    CHECK_OK(lathe_tensor_desc_sizes(desc, NULL, NULL, NULL));
}

Test(desc, sizes_of_every_dtype_and_granularity) {
    for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
        for (size_t i = 0; i < N_SHAPES; i++) {
            for (uint32_t n_dims = 0; n_dims <= 4; n_dims++) {
                for (uint32_t row_dims = 0; row_dims <= 5; row_dims++) {
                    lathe_tensor_desc desc = desc_of((lathe_dtype)dtype, n_dims, shapes[i]);
                    desc.row_dims = row_dims;
                    check_sizes(&desc);
                    desc.granularity = LATHE_PER_ROW;
                    check_sizes(&desc);
                    desc.granularity = LATHE_PER_GROUP;
                    desc.group_size = 32;
                    check_sizes(&desc);
                    desc.group_size = 96;
                    check_sizes(&desc);
                }
            }
        }
    }
}

Test(desc, known_sizes) {
    const uint64_t shape[] = {3, 7};
    static const uint64_t n_bytes_of[] = {84, 42, 42, 21, 12, 6, 3, 6};
    for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
        lathe_tensor_desc desc = desc_of((lathe_dtype)dtype, 2, shape);
        uint64_t n_elems = 0;
        uint64_t n_bytes = 0;
        uint64_t n_scales = 0;
        CHECK_OK(lathe_tensor_desc_sizes(&desc, &n_elems, &n_bytes, &n_scales));
        CHECK(n_elems == 21 && n_bytes == n_bytes_of[dtype - 1], "dtype %d", dtype);
        CHECK(n_scales == (dtype >= LATHE_I8 ? 1 : 0), "dtype %d", dtype);
    }
    lathe_tensor_desc whole = desc_of(LATHE_BITNET158, 2, shape);
    uint64_t n_bytes = 0;
    whole.row_dims = 2;
    CHECK_OK(lathe_tensor_desc_sizes(&whole, NULL, &n_bytes, NULL));
    CHECK(n_bytes == 5, "21 trits in one row");
}

Test(desc, wrong_fields_are_named) {
    const uint64_t shape[] = {2, 64};
    const lathe_tensor_desc good = desc_of(LATHE_I4, 2, shape);
    lathe_tensor_desc bad = good;
    CHECK_STATUS(lathe_tensor_desc_sizes(NULL, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    bad.struct_size = 0;
    CHECK_STATUS(lathe_tensor_desc_sizes(&bad, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    bad.struct_size = sizeof bad - 1;
    CHECK_STATUS(lathe_tensor_desc_sizes(&bad, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    volatile int number = 0;
    bad = good;
    bad.dtype = (lathe_dtype)number;
    CHECK_STATUS(lathe_tensor_desc_sizes(&bad, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    number = 9;
    bad.dtype = (lathe_dtype)number;
    CHECK_STATUS(lathe_tensor_desc_sizes(&bad, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    bad = good;
    bad.shape = NULL;
    CHECK_STATUS(lathe_tensor_desc_sizes(&bad, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    bad = good;
    bad.n_dims = LATHE_MAX_DIMS + 1;
    CHECK_STATUS(lathe_tensor_desc_sizes(&bad, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    bad = good;
    bad.row_dims = 3;
    CHECK_STATUS(lathe_tensor_desc_sizes(&bad, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    bad = good;
    number = 3;
    bad.granularity = (lathe_granularity)number;
    CHECK_STATUS(lathe_tensor_desc_sizes(&bad, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    static const uint64_t wrong_groups[] = {0, 1, 31, 33, 48, UINT64_MAX};
    for (size_t i = 0; i < sizeof wrong_groups / sizeof wrong_groups[0]; i++) {
        bad = good;
        bad.granularity = LATHE_PER_GROUP;
        bad.group_size = wrong_groups[i];
        CHECK_STATUS(lathe_tensor_desc_sizes(&bad, NULL, NULL, NULL), LATHE_INVALID_ARGUMENT);
    }
}

Test(desc, sixteen_dimensions_are_fine) {
    uint64_t shape[LATHE_MAX_DIMS];
    for (size_t i = 0; i < LATHE_MAX_DIMS; i++) {
        shape[i] = 2;
    }
    lathe_tensor_desc desc = desc_of(LATHE_I1, LATHE_MAX_DIMS, shape);
    uint64_t n_bytes = 0;
    CHECK_OK(lathe_tensor_desc_sizes(&desc, NULL, &n_bytes, NULL));
    CHECK(n_bytes == 32768, "a byte for each row of 2");
    desc.row_dims = LATHE_MAX_DIMS;
    CHECK_OK(lathe_tensor_desc_sizes(&desc, NULL, &n_bytes, NULL));
    CHECK(n_bytes == 8192, "one row of bits");
}

Test(desc, overflowing_shapes_are_refused) {
    static const uint64_t too_large[][3] = {
        {UINT64_MAX, 2, 1},
        {1ull << 32, 1ull << 32, 1},
        {1ull << 62, 1, 4},
        {1ull << 31, 1ull << 31, 1ull << 31},
    };
    for (size_t i = 0; i < sizeof too_large / sizeof too_large[0]; i++) {
        for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
            lathe_tensor_desc desc = desc_of((lathe_dtype)dtype, 3, too_large[i]);
            CHECK_STATUS(lathe_tensor_desc_sizes(&desc, NULL, NULL, NULL), LATHE_SIZE_OVERFLOW);
        }
    }
    const uint64_t bytes_overflow[] = {1ull << 62};
    lathe_tensor_desc desc = desc_of(LATHE_F32, 1, bytes_overflow);
    CHECK_STATUS(lathe_tensor_desc_sizes(&desc, NULL, NULL, NULL), LATHE_SIZE_OVERFLOW);
    const uint64_t scales_overflow[] = {1ull << 63, 1};
    desc = desc_of(LATHE_I8, 2, scales_overflow);
    CHECK_OK(lathe_tensor_desc_sizes(&desc, NULL, NULL, NULL));
    desc.granularity = LATHE_PER_ROW;
    CHECK_STATUS(lathe_tensor_desc_sizes(&desc, NULL, NULL, NULL), LATHE_SIZE_OVERFLOW);
}

/* ---- tensors of the pool */

Test(tensor, create_and_query) {
    lathe_pool *pool = NULL;
    lathe_tensor *tensor = NULL;
    uint64_t shape[] = {2, 3, 40};
    lathe_tensor_desc desc = desc_of(LATHE_I4, 3, shape);
    desc.granularity = LATHE_PER_GROUP;
    desc.group_size = 64;
    desc.row_dims = 2;
    CHECK_OK(lathe_pool_create(NULL, &pool));
    CHECK_OK(lathe_tensor_create(pool, &desc, &tensor));
    shape[0] = 999; /* the shape was copied */
    CHECK(lathe_tensor_dtype(tensor) == LATHE_I4, "dtype");
    CHECK(lathe_tensor_n_dims(tensor) == 3, "n_dims");
    CHECK(lathe_tensor_shape(tensor)[0] == 2 && lathe_tensor_shape(tensor)[2] == 40, "shape");
    CHECK(lathe_tensor_granularity(tensor) == LATHE_PER_GROUP, "granularity");
    CHECK(lathe_tensor_group_size(tensor) == 64, "group_size");
    CHECK(lathe_tensor_row_dims(tensor) == 2, "row_dims");
    CHECK(lathe_tensor_n_elems(tensor) == 240, "n_elems");
    CHECK(lathe_tensor_n_bytes(tensor) == 120, "n_bytes");
    CHECK(lathe_tensor_n_scales(tensor) == 4, "n_scales");
    CHECK(!lathe_tensor_is_read_only(tensor), "read-only");
    CHECK((uintptr_t)lathe_tensor_data(tensor) % 64 == 0, "data is aligned");
    CHECK((uintptr_t)lathe_tensor_scales(tensor) % 64 == 0, "scales are aligned");
    CHECK(lathe_tensor_mutable_data(tensor) == lathe_tensor_data(tensor), "the same memory");
    CHECK(lathe_tensor_mutable_scales(tensor) == lathe_tensor_scales(tensor), "the same memory");
    memset(lathe_tensor_mutable_data(tensor), 1, 120);
    lathe_tensor_release(tensor);
    CHECK(live_blocks(pool) == 0, "blocks left");
    lathe_pool_release(pool);
}

Test(tensor, create_empty_ones) {
    lathe_pool *pool = NULL;
    const uint64_t shape[] = {3, 0};
    CHECK_OK(lathe_pool_create(NULL, &pool));
    for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
        for (int granularity = LATHE_PER_TENSOR; granularity <= LATHE_PER_GROUP; granularity++) {
            lathe_tensor *tensor = NULL;
            lathe_tensor_desc desc = desc_of((lathe_dtype)dtype, 2, shape);
            desc.granularity = (lathe_granularity)granularity;
            desc.group_size = granularity == LATHE_PER_GROUP ? 32 : 0;
            CHECK_OK(lathe_tensor_create(pool, &desc, &tensor));
            CHECK(lathe_tensor_n_bytes(tensor) == 0, "n_bytes");
            CHECK(lathe_tensor_data(tensor) == NULL, "data");
            CHECK(lathe_tensor_mutable_data(tensor) == NULL, "data");
            uint64_t n_scales = dtype < LATHE_I8                  ? 0
                                : granularity == LATHE_PER_TENSOR ? 1
                                : granularity == LATHE_PER_ROW    ? 3
                                                                  : 0;
            CHECK(lathe_tensor_n_scales(tensor) == n_scales, "n_scales");
            CHECK((lathe_tensor_scales(tensor) != NULL) == (n_scales > 0), "scales");
            lathe_tensor_release(tensor);
        }
    }
    CHECK(live_blocks(pool) == 0, "blocks left");
    lathe_pool_release(pool);
}

Test(tensor, create_errors_change_nothing) {
    test_allocator allocator;
    test_allocator_init(&allocator);
    lathe_pool_config config = {
        .struct_size = sizeof config, .budget_bytes = 64 << 10, .allocator = &allocator.interface};
    lathe_pool *pool = NULL;
    lathe_tensor *tensor = (lathe_tensor *)&config; /* must be left alone */
    const uint64_t shape[] = {1 << 20};
    const uint64_t overflow[] = {UINT64_MAX};
    lathe_tensor_desc desc = desc_of(LATHE_F32, 1, shape);
    CHECK_OK(lathe_pool_create(&config, &pool));
    CHECK_STATUS(lathe_tensor_create(pool, &desc, &tensor), LATHE_INSUFFICIENT_MEMORY);
    CHECK(lathe_last_error()->required_bytes >= 4 << 20, "required");
    CHECK(lathe_last_error()->available_bytes <= 64 << 10, "available");
    desc.shape = overflow;
    CHECK_STATUS(lathe_tensor_create(pool, &desc, &tensor), LATHE_SIZE_OVERFLOW);
    desc.dtype = LATHE_I8; /* fits in 64 bits, but not in an address space */
    CHECK_STATUS(lathe_tensor_create(pool, &desc, &tensor), LATHE_SIZE_OVERFLOW);
    desc.struct_size = 1;
    CHECK_STATUS(lathe_tensor_create(pool, &desc, &tensor), LATHE_INVALID_ARGUMENT);
    desc.struct_size = sizeof desc;
    desc.shape = shape;
    CHECK_STATUS(lathe_tensor_create(NULL, &desc, &tensor), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_create(pool, &desc, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_create(pool, NULL, &tensor), LATHE_INVALID_ARGUMENT);
    CHECK(tensor == (lathe_tensor *)&config, "the output was touched");
    CHECK(live_blocks(pool) == 0, "blocks left");
    lathe_pool_release(pool);
    CHECK(allocator.n_live == 0 && !allocator.misused, "memory left");
}

Test(tensor, create_survives_any_failing_allocation) {
    const uint64_t shape[] = {3, 100};
    lathe_tensor_desc desc = desc_of(LATHE_I8, 2, shape);
    bool succeeded = false;
    for (uint64_t fail_at = 0; !succeeded; fail_at++) {
        test_allocator allocator;
        test_allocator_init(&allocator);
        test_allocator_reset(&allocator, fail_at);
        lathe_pool_config config = {.struct_size = sizeof config,
                                    .allocator = &allocator.interface};
        lathe_pool *pool = NULL;
        lathe_tensor *tensor = NULL;
        if (lathe_pool_create(&config, &pool) == LATHE_OK) {
            lathe_status status = lathe_tensor_create(pool, &desc, &tensor);
            succeeded = status == LATHE_OK;
            CHECK(succeeded || status == LATHE_INSUFFICIENT_MEMORY, "%s",
                  lathe_status_name(status));
            CHECK(succeeded || tensor == NULL, "the output was touched");
        }
        lathe_tensor_release(tensor);
        lathe_pool_release(pool);
        CHECK(allocator.n_live == 0 && !allocator.misused, "allocation %d leaks", (int)fail_at);
        CHECK(fail_at < 100, "it never succeeds");
    }
}

/* ---- tensors of the caller's memory */

typedef struct freed {
    int n_calls;
    void *data;
    float *scales;
} freed;

static void note_free(void *ctx, void *data, float *scales) {
    freed *note = ctx;
    note->n_calls++;
    note->data = data;
    note->scales = scales;
}

Test(wrap, references_and_free_callback) {
    lathe_pool *pool = NULL;
    lathe_tensor *tensor = NULL;
    uint8_t memory[64];
    float scale = 2.0F;
    freed note = {0};
    const uint64_t shape[] = {5, 9};
    lathe_tensor_desc desc = desc_of(LATHE_BITNET158, 2, shape);
    CHECK_OK(lathe_pool_create(NULL, &pool));
    CHECK_OK(lathe_tensor_wrap(pool, &desc, memory + 1, &scale, 0, note_free, &note, &tensor));
    CHECK(lathe_tensor_data(tensor) == memory + 1, "no copy");
    CHECK(lathe_tensor_mutable_data(tensor) == memory + 1, "no copy");
    CHECK(lathe_tensor_scales(tensor) == &scale, "no copy");
    CHECK(lathe_tensor_mutable_scales(tensor) == &scale, "no copy");
    CHECK(lathe_tensor_retain(tensor) == tensor, "retain");
    lathe_tensor_release(tensor);
    CHECK(note.n_calls == 0, "freed too early");
    lathe_pool_release(pool); /* the tensor keeps it alive */
    lathe_tensor_release(tensor);
    CHECK(note.n_calls == 1 && note.data == memory + 1 && note.scales == &scale, "free callback");
    CHECK(lathe_tensor_retain(NULL) == NULL, "NULL is legal");
    lathe_tensor_release(NULL);
}

Test(wrap, read_only) {
    lathe_pool *pool = NULL;
    lathe_tensor *tensor = NULL;
    uint8_t memory[8];
    float scale = 1.0F;
    lathe_tensor_desc desc = desc_of(LATHE_I8, 0, NULL);
    CHECK_OK(lathe_pool_create(NULL, &pool));
    CHECK_OK(
        lathe_tensor_wrap(pool, &desc, memory, &scale, LATHE_WRAP_READ_ONLY, NULL, NULL, &tensor));
    CHECK(lathe_tensor_is_read_only(tensor), "read-only");
    CHECK(lathe_tensor_data(tensor) == memory && lathe_tensor_scales(tensor) == &scale, "reading");
    CHECK(lathe_tensor_mutable_data(tensor) == NULL, "writing");
    CHECK(lathe_tensor_mutable_scales(tensor) == NULL, "writing");
    CHECK(lathe_tensor_n_elems(tensor) == 1 && lathe_tensor_n_dims(tensor) == 0, "a scalar");
    lathe_tensor_release(tensor);
    lathe_pool_release(pool);
}

Test(wrap, errors_leave_the_memory_to_the_caller) {
    lathe_pool *pool = NULL;
    lathe_tensor *tensor = NULL;
    uint8_t memory[64];
    float scale = 1.0F;
    freed note = {0};
    const uint64_t shape[] = {5};
    const uint64_t none[] = {0};
    lathe_tensor_desc desc = desc_of(LATHE_I8, 1, shape);
    CHECK_OK(lathe_pool_create(NULL, &pool));
    CHECK_STATUS(lathe_tensor_wrap(pool, &desc, NULL, &scale, 0, note_free, &note, &tensor),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_wrap(pool, &desc, memory, NULL, 0, note_free, &note, &tensor),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_wrap(NULL, &desc, memory, &scale, 0, note_free, &note, &tensor),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_wrap(pool, NULL, memory, &scale, 0, note_free, &note, &tensor),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_wrap(pool, &desc, memory, &scale, 2, note_free, &note, &tensor),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_tensor_wrap(pool, &desc, memory, &scale, 0, note_free, &note, NULL),
                 LATHE_INVALID_ARGUMENT);
    CHECK(note.n_calls == 0 && tensor == NULL, "a failure took the memory");
    desc.shape = none;
    desc.dtype = LATHE_F16;
    CHECK_OK(lathe_tensor_wrap(pool, &desc, NULL, NULL, 0, note_free, &note, &tensor));
    CHECK(lathe_tensor_data(tensor) == NULL, "nothing to point to");
    lathe_tensor_release(tensor);
    CHECK(note.n_calls == 1, "free callback");
    lathe_pool_release(pool);
}

/* ---- validation */

typedef struct wrapped {
    lathe_pool *pool;
    lathe_tensor *tensor;
    lathe_tensor_desc desc;
    uint8_t bytes[64];
    float scales[8];
} wrapped;

static void wrap(wrapped *w, lathe_dtype dtype, uint64_t rows, const uint64_t *shape) {
    w->desc = desc_of(dtype, 2, shape);
    w->desc.granularity = LATHE_PER_ROW;
    for (uint64_t i = 0; i < rows; i++) {
        w->scales[i] = 1.0F;
    }
    CHECK_OK(lathe_tensor_wrap(w->pool, &w->desc, w->bytes, w->scales, LATHE_WRAP_READ_ONLY, NULL,
                               NULL, &w->tensor));
}

static void expect_corrupt(wrapped *w, uint64_t element) {
    CHECK_STATUS(lathe_tensor_validate(w->tensor), LATHE_CORRUPT_DATA);
    CHECK(lathe_last_error()->element == element, "element %d, not %d",
          (int)lathe_last_error()->element, (int)element);
}

Test(validate, every_byte_of_bitnet158) {
    wrapped w = {0};
    const uint64_t shape[] = {3, 10};
    CHECK_OK(lathe_pool_create(NULL, &w.pool));
    wrap(&w, LATHE_BITNET158, 3, shape);
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(w.bytes, 121, 6);
        w.bytes[3] = (uint8_t)byte; /* row 1, elements 5 to 9 */
        if (byte < 243) {
            CHECK_OK(lathe_tensor_validate(w.tensor));
        } else {
            expect_corrupt(&w, 15);
        }
    }
    lathe_tensor_release(w.tensor);
    lathe_pool_release(w.pool);
}

Test(validate, finds_a_late_byte_in_a_long_row) {
    lathe_pool *pool = NULL;
    lathe_tensor *tensor = NULL;
    static uint8_t bytes[5000];
    float scale = 1.0F;
    const uint64_t shape[] = {25000};
    lathe_tensor_desc desc = desc_of(LATHE_BITNET158, 1, shape);
    CHECK_OK(lathe_pool_create(NULL, &pool));
    CHECK_OK(lathe_tensor_wrap(pool, &desc, bytes, &scale, 0, NULL, NULL, &tensor));
    for (size_t at = 0; at < sizeof bytes; at += 7) {
        bytes[at] = 255;
        bytes[sizeof bytes - 1] = 243;
        CHECK_STATUS(lathe_tensor_validate(tensor), LATHE_CORRUPT_DATA);
        CHECK(lathe_last_error()->element == 5 * at, "byte %zu", at);
        bytes[at] = 0;
        bytes[sizeof bytes - 1] = 242;
        CHECK_OK(lathe_tensor_validate(tensor));
    }
    lathe_tensor_release(tensor);
    lathe_pool_release(pool);
}

Test(validate, unused_bits_must_be_clear) {
    static const lathe_dtype packed[] = {LATHE_I4, LATHE_I2, LATHE_I1, LATHE_BITNET158};
    test_rng rng = {1};
    wrapped w = {0};
    CHECK_OK(lathe_pool_create(NULL, &w.pool));
    for (size_t i = 0; i < 4; i++) {
        for (uint64_t cols = 1; cols <= 17; cols++) {
            const uint64_t shape[] = {2, cols};
            wrap(&w, packed[i], 2, shape);
            oracle_layout layout;
            (void)oracle_layout_of(&w.desc, &layout);
            test_fill_tensor(&rng, &w.desc, TEST_DATA_NORMAL, w.bytes, w.scales);
            CHECK_OK(lathe_tensor_validate(w.tensor));
            for (uint64_t row = 0; row < 2; row++) {
                uint8_t *last = &w.bytes[(row + 1) * layout.row_bytes - 1];
                for (unsigned byte = 0; byte < 256; byte++) {
                    /* Valid exactly if putting the row's codes into a clear row gives the byte. */
                    uint8_t again[16];
                    uint8_t before = *last;
                    *last = (uint8_t)byte;
                    const uint8_t *row_bytes = w.bytes + row * layout.row_bytes;
                    oracle_clear_row(packed[i], again, layout.row_bytes);
                    for (uint64_t col = 0; col < cols; col++) {
                        oracle_put_code(packed[i], again, col,
                                        oracle_get_code(packed[i], row_bytes, col));
                    }
                    bool valid = again[layout.row_bytes - 1] == byte;
                    lathe_status status = lathe_tensor_validate(w.tensor);
                    CHECK(status == (valid ? LATHE_OK : LATHE_CORRUPT_DATA),
                          "dtype %d cols %d byte %u: %s", (int)packed[i], (int)cols, byte,
                          lathe_status_name(status));
                    *last = before;
                }
            }
            lathe_tensor_release(w.tensor);
        }
    }
    lathe_pool_release(w.pool);
}

Test(validate, scales_must_be_finite_and_not_negative) {
    static const float wrong[] = {-1.0F, -1e-45F, INFINITY, -INFINITY, NAN};
    static const lathe_dtype quantized[] = {LATHE_I8, LATHE_I4, LATHE_I2, LATHE_I1,
                                            LATHE_BITNET158};
    wrapped w = {0};
    const uint64_t shape[] = {4, 8};
    CHECK_OK(lathe_pool_create(NULL, &w.pool));
    for (size_t i = 0; i < 5; i++) {
        memset(w.bytes, quantized[i] == LATHE_BITNET158 ? 121 : 0, sizeof w.bytes);
        wrap(&w, quantized[i], 4, shape);
        CHECK_OK(lathe_tensor_validate(w.tensor));
        w.scales[2] = 0.0F;
        CHECK_OK(lathe_tensor_validate(w.tensor));
        for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
            w.scales[2] = wrong[k];
            CHECK_STATUS(lathe_tensor_validate(w.tensor), LATHE_CORRUPT_DATA);
        }
        lathe_tensor_release(w.tensor);
    }
    lathe_pool_release(w.pool);
}

Test(validate, floats_are_always_valid) {
    wrapped w = {0};
    const uint64_t shape[] = {2, 3};
    CHECK_OK(lathe_pool_create(NULL, &w.pool));
    memset(w.bytes, 0xff, sizeof w.bytes);
    for (int dtype = LATHE_F32; dtype <= LATHE_BF16; dtype++) {
        wrap(&w, (lathe_dtype)dtype, 2, shape);
        CHECK_OK(lathe_tensor_validate(w.tensor));
        lathe_tensor_release(w.tensor);
    }
    CHECK_STATUS(lathe_tensor_validate(NULL), LATHE_INVALID_ARGUMENT);
    lathe_pool_release(w.pool);
}

/* ---- targets */

Test(target, desc_of_a_target) {
    const uint64_t shape[] = {2, 3, 70};
    lathe_target target = {.struct_size = sizeof target,
                           .dtype = LATHE_I4,
                           .granularity = LATHE_PER_GROUP,
                           .group_size = 64,
                           .row_dims = 2};
    lathe_tensor_desc desc;
    uint64_t n_scales = 0;
    CHECK_OK(lathe_target_desc(&target, 3, shape, &desc));
    CHECK(desc.struct_size == sizeof desc && desc.dtype == LATHE_I4 && desc.n_dims == 3, "fields");
    CHECK(desc.shape == shape && desc.granularity == LATHE_PER_GROUP, "fields");
    CHECK(desc.group_size == 64 && desc.row_dims == 2, "fields");
    CHECK_OK(lathe_tensor_desc_sizes(&desc, NULL, NULL, &n_scales));
    CHECK(n_scales == 8, "two rows of 210: four groups each");
}

Test(target, errors) {
    const uint64_t shape[] = {2, 64};
    const lathe_target good = {.struct_size = sizeof good, .dtype = LATHE_I4};
    lathe_tensor_desc desc;
    memset(&desc, 0x5a, sizeof desc);
    const lathe_tensor_desc before = desc;
    lathe_target bad = good;
    CHECK_STATUS(lathe_target_desc(NULL, 2, shape, &desc), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_target_desc(&good, 2, shape, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_target_desc(&good, 2, NULL, &desc), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_target_desc(&good, 17, shape, &desc), LATHE_INVALID_ARGUMENT);
    bad.row_dims = 3;
    CHECK_STATUS(lathe_target_desc(&bad, 2, shape, &desc), LATHE_INVALID_ARGUMENT);
    bad = good;
    bad.struct_size = 8;
    CHECK_STATUS(lathe_target_desc(&bad, 2, shape, &desc), LATHE_INVALID_ARGUMENT);
    const uint64_t overflow[] = {UINT64_MAX, 64};
    CHECK_STATUS(lathe_target_desc(&good, 2, overflow, &desc), LATHE_SIZE_OVERFLOW);
    CHECK(memcmp(&desc, &before, sizeof desc) == 0, "an error touched the output");
}
