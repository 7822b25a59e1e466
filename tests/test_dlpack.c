/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/dlpack.h against structs written down here once more, by the names that DLPack
 * gives them, as a program has them that includes its header as well. */
#include "convert_case.h"
#ifdef TEST_OPENCL
#include <lathe/opencl.h>
#endif

TestSuite(dlpack, .init = setup_engines, .fini = teardown_engines);

/* ---- what DLPack 1.1 says */

typedef struct DLDevice {
    int device_type;
    int32_t device_id;
} DLDevice;

typedef struct DLDataType {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} DLDataType;

typedef struct DLTensor {
    void *data;
    DLDevice device;
    int32_t ndim;
    DLDataType dtype;
    int64_t *shape;
    int64_t *strides;
    uint64_t byte_offset;
} DLTensor;

typedef struct DLManagedTensor {
    DLTensor dl_tensor;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensor *self);
} DLManagedTensor;

typedef struct DLManagedTensorVersioned {
    struct {
        uint32_t major;
        uint32_t minor;
    } version;
    void *manager_ctx;
    void (*deleter)(struct DLManagedTensorVersioned *self);
    uint64_t flags;
    DLTensor dl_tensor;
} DLManagedTensorVersioned;

enum { CPU = 1, CUDA = 2, CUDA_HOST = 3, OPENCL = 4 };
enum { INT = 0, UINT = 1, FLOAT = 2, BFLOAT = 4 };
enum { READ_ONLY = 1, PADDED = 4 };

/* ---- exports */

static lathe_tensor *new_tensor(lathe_dtype dtype, const shape_option *shape, size_t layout) {
    lathe_tensor *made = NULL;
    test_rng rng = {11};
    lathe_tensor_desc desc = desc_of(dtype, shape, &layout_options[layout], 0);
    CHECK_OK(lathe_tensor_create(pool, &desc, &made));
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, lathe_tensor_mutable_data(made),
                     lathe_tensor_mutable_scales(made));
    return made;
}

static void check_shown(const DLTensor *t, const void *data, DLDataType type, int n_dims,
                        const int64_t *shape, const int64_t *strides) {
    CHECK(t->data == data && t->byte_offset == 0 && t->device.device_type == CPU &&
              t->device.device_id == 0,
          "the memory");
    CHECK(t->dtype.code == type.code && t->dtype.bits == type.bits && t->dtype.lanes == 1,
          "type %d:%d:%d", t->dtype.code, t->dtype.bits, t->dtype.lanes);
    CHECK(t->ndim == n_dims && memcmp(t->shape, shape, (size_t)n_dims * sizeof *shape) == 0 &&
              memcmp(t->strides, strides, (size_t)n_dims * sizeof *strides) == 0,
          "the shape");
}

Test(dlpack, exports_of_every_dtype) {
    static const shape_option shape = {3, {2, 3, 8}};
    static const int64_t extents[] = {2, 3, 8};
    static const int64_t strides[] = {24, 8, 1};
    static const int64_t n_scales[] = {6};
    static const int64_t one[] = {1};
    static const DLDataType types[] = {
        [LATHE_F32] = {FLOAT, 32, 1}, [LATHE_F16] = {FLOAT, 16, 1}, [LATHE_BF16] = {BFLOAT, 16, 1},
        [LATHE_I8] = {INT, 8, 1},     [LATHE_I4] = {INT, 4, 1},     [LATHE_I2] = {INT, 2, 1},
        [LATHE_BITNET158] = {0, 0, 0}};
    for (int dtype = LATHE_F32; dtype <= LATHE_BITNET158; dtype++) {
        lathe_tensor *tensor = new_tensor((lathe_dtype)dtype, &shape, 1);
        bool is_float = dtype <= LATHE_BF16;
        lathe_dlpack_part part = is_float ? LATHE_DLPACK_VALUES : LATHE_DLPACK_CODES;
        DLManagedTensorVersioned *managed = NULL;
        DLManagedTensor *legacy = NULL;
        if (types[dtype].bits == 0) {
            CHECK_STATUS(lathe_dlpack_export(tensor, part, &managed), LATHE_INCOMPATIBLE_TYPES);
        } else {
            CHECK_OK(lathe_dlpack_export(tensor, part, &managed));
            CHECK(managed->version.major == 1 && managed->flags == 0, "the version");
            check_shown(&managed->dl_tensor, lathe_tensor_data(tensor), types[dtype], 3, extents,
                        strides);
            CHECK_OK(lathe_dlpack_export_legacy(tensor, part, &legacy));
            check_shown(&legacy->dl_tensor, lathe_tensor_data(tensor), types[dtype], 3, extents,
                        strides);
            legacy->deleter(legacy);
            CHECK(lathe_tensor_is_shared(tensor), "the export holds a reference");
            managed->deleter(managed);
        }
        CHECK(!lathe_tensor_is_shared(tensor), "a reference is left");
        lathe_dlpack_part wrong = is_float ? LATHE_DLPACK_CODES : LATHE_DLPACK_VALUES;
        CHECK_STATUS(lathe_dlpack_export(tensor, wrong, &managed), LATHE_INCOMPATIBLE_TYPES);
        if (is_float) {
            CHECK_STATUS(lathe_dlpack_export(tensor, LATHE_DLPACK_SCALES, &managed),
                         LATHE_INCOMPATIBLE_TYPES);
        } else {
            CHECK_OK(lathe_dlpack_export(tensor, LATHE_DLPACK_SCALES, &managed));
            check_shown(&managed->dl_tensor, lathe_tensor_scales(tensor), types[LATHE_F32], 1,
                        n_scales, one);
            managed->deleter(managed);
        }
        lathe_tensor_release(tensor);
    }
}

Test(dlpack, an_export_outlives_its_tensor) {
    static const shape_option shape = {2, {4, 4}};
    DLManagedTensorVersioned *managed = NULL;
    lathe_tensor *tensor = new_tensor(LATHE_F32, &shape, 0);
    lathe_tensor *view = NULL;
    CHECK_OK(lathe_tensor_view_rows(tensor, 1, 2, &view));
    const float *data = lathe_tensor_data(view);
    float first = data[0];
    CHECK_OK(lathe_dlpack_export(view, LATHE_DLPACK_VALUES, &managed));
    lathe_tensor_release(tensor);
    lathe_tensor_release(view);
    CHECK(managed->dl_tensor.data == data && test_bits(data[0]) == test_bits(first), "the data");
    managed->deleter(managed);
}

/* Whether a pipeline takes its result from its cache. */
static bool is_hit(lathe_pipeline *pipeline, const lathe_tensor *source, lathe_tensor **result) {
    lathe_pipeline_run_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pipeline_run(engines[0], pipeline, source, result, &stats));
    return stats.n_cache_hits == 1;
}

/* What is kept of a tensor, or as one, is out of date once somebody else may have written to it. */
Test(dlpack, exports_count_as_changes) {
    const lathe_pipeline_options options = {.struct_size = sizeof options, .cache_bytes = 4096};
    const lathe_pipeline_stage stage = {
        .struct_size = sizeof stage,
        .target = {.struct_size = sizeof stage.target, .dtype = LATHE_F16},
        .cache = 1};
    lathe_pipeline *pipeline = NULL;
    lathe_tensor *source = new_tensor(LATHE_F32, &(shape_option){1, {64}}, 0);
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_pipeline_create(pool, 1, &stage, &options, &pipeline));
    for (int legacy = 0; legacy < 2; legacy++) {
        CHECK(!is_hit(pipeline, source, &result), "%d", legacy);
        lathe_tensor_release(result);
        CHECK(is_hit(pipeline, source, &result), "%d", legacy);
        if (legacy) {
            DLManagedTensor *managed = NULL;
            CHECK_OK(lathe_dlpack_export_legacy(result, LATHE_DLPACK_VALUES, &managed));
            managed->deleter(managed);
        } else {
            DLManagedTensorVersioned *managed = NULL;
            CHECK_OK(lathe_dlpack_export(result, LATHE_DLPACK_VALUES, &managed));
            managed->deleter(managed);
        }
        lathe_tensor_release(result);
    }
    lathe_pipeline_free(pipeline);
    lathe_tensor_release(source);
}

Test(dlpack, exports_that_cannot_be) {
    static const shape_option odd = {2, {3, 33}};
    DLManagedTensorVersioned *managed = NULL;
    DLManagedTensor *legacy = NULL;
    lathe_tensor *tensor = new_tensor(LATHE_I4, &odd, 0);
    CHECK_STATUS(lathe_dlpack_export(tensor, LATHE_DLPACK_CODES, &managed),
                 LATHE_INCOMPATIBLE_TYPES);
    CHECK_STATUS(lathe_dlpack_export(tensor, (lathe_dlpack_part)7, &managed),
                 LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_dlpack_export(NULL, LATHE_DLPACK_CODES, &managed), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_dlpack_export(tensor, LATHE_DLPACK_CODES, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_dlpack_export_legacy(tensor, LATHE_DLPACK_CODES, NULL),
                 LATHE_INVALID_ARGUMENT);
    lathe_tensor_release(tensor);
    lathe_tensor_desc desc = desc_of(LATHE_F32, &odd, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    CHECK_OK(lathe_dlpack_export(c.tensor, LATHE_DLPACK_VALUES, &managed));
    CHECK(managed->flags == READ_ONLY, "the flag");
    managed->deleter(managed);
    CHECK_STATUS(lathe_dlpack_export_legacy(c.tensor, LATHE_DLPACK_VALUES, &legacy),
                 LATHE_READ_ONLY);
    CHECK(legacy == NULL, "touched");
    case_free(&c);
}

/* ---- imports */

static int n_deleted;

static void delete_versioned(DLManagedTensorVersioned *self) {
    n_deleted += self->manager_ctx == &n_deleted ? 1 : 100;
}

static void delete_legacy(DLManagedTensor *self) {
    n_deleted += self->manager_ctx == &n_deleted ? 1 : 100;
}

/* A struct around memory of the test's own. */
static DLManagedTensorVersioned managed_of(void *data, DLDataType type, int n_dims, int64_t *shape,
                                           int64_t *strides) {
    return (DLManagedTensorVersioned){
        .version = {1, 1},
        .manager_ctx = &n_deleted,
        .deleter = delete_versioned,
        .dl_tensor = {.data = data,
                      .device = {CPU, 0},
                      .ndim = n_dims,
                      .dtype = type,
                      .shape = shape,
                      .strides = strides},
    };
}

Test(dlpack, imports) {
    static float data[2 + 12];
    int64_t shape[] = {3, 1, 4};
    int64_t strides[] = {4, 99, 1}; /* of a single entry, a stride means nothing */
    lathe_tensor *tensor = NULL;
    DLManagedTensorVersioned managed = managed_of(data, (DLDataType){FLOAT, 32, 1}, 3, shape, NULL);
    managed.dl_tensor.byte_offset = 8;
    for (int i = 0; i < 6; i++) {
        managed.dl_tensor.strides = i % 2 == 0 ? NULL : strides;
        managed.flags = i < 2 ? READ_ONLY : 0;
        managed.dl_tensor.device.device_type = i < 4 ? CPU : CUDA_HOST;
        n_deleted = 0;
        CHECK_OK(lathe_dlpack_import(engines[0], &managed, NULL, &tensor));
        CHECK(lathe_tensor_data(tensor) == data + 2 && lathe_tensor_n_elems(tensor) == 12 &&
                  lathe_tensor_dtype(tensor) == LATHE_F32 &&
                  lathe_tensor_is_read_only(tensor) == (i < 2) && n_deleted == 0,
              "the tensor");
        lathe_tensor_release(lathe_tensor_retain(tensor));
        CHECK(n_deleted == 0, "deleted too early");
        lathe_tensor_release(tensor);
        CHECK(n_deleted == 1, "deleted %d times", n_deleted);
    }
    DLManagedTensor legacy = {managed.dl_tensor, &n_deleted, delete_legacy};
    const lathe_dlpack_options options = {.struct_size = sizeof options,
                                          .flags = LATHE_WRAP_READ_ONLY};
    for (int i = 0; i < 2; i++) {
        CHECK_OK(
            lathe_dlpack_import_legacy(engines[0], &legacy, i == 0 ? NULL : &options, &tensor));
        CHECK(lathe_tensor_is_read_only(tensor) == (i == 1), "read-only");
        lathe_tensor_release(tensor);
        CHECK(n_deleted == 2 + i, "deleted %d times", n_deleted);
    }
    legacy.deleter = NULL; /* which DLPack allows */
    CHECK_OK(lathe_dlpack_import_legacy(engines[0], &legacy, NULL, &tensor));
    lathe_tensor_release(tensor);
}

Test(dlpack, codes_come_with_their_scales) {
    int8_t codes[] = {1, -2, 3, -4, 5, -6, 7, -8};
    uint8_t nibbles[] = {0x21, 0xf7};
    const float scales[] = {0.5F, 2};
    int64_t shape[] = {2, 4};
    int64_t short_shape[] = {2, 2};
    lathe_tensor *tensor = NULL;
    lathe_tensor *decoded = NULL;
    const lathe_target target = {.struct_size = sizeof target, .dtype = LATHE_F32};
    lathe_dlpack_options options = {.struct_size = sizeof options,
                                    .granularity = LATHE_PER_ROW,
                                    .scales = scales,
                                    .n_scales = 2};
    DLManagedTensorVersioned managed = managed_of(codes, (DLDataType){INT, 8, 1}, 2, shape, NULL);
    n_deleted = 0;
    CHECK_OK(lathe_dlpack_import(engines[0], &managed, &options, &tensor));
    CHECK_OK(lathe_convert(engines[0], tensor, &target, &decoded, NULL));
    const float *values = lathe_tensor_data(decoded);
    CHECK(values[0] == 0.5F && values[3] == -2 && values[4] == 10 && values[7] == -16, "I8");
    lathe_tensor_release(decoded);
    /* It can be converted in place as any wrapped tensor, and still gives everything back. */
    const lathe_target narrow = {.struct_size = sizeof narrow, .dtype = LATHE_I4};
    CHECK_OK(lathe_convert_in_place(engines[0], tensor, &narrow, NULL));
    CHECK(lathe_tensor_data(tensor) == codes, "in place");
    lathe_tensor_release(tensor);
    CHECK(n_deleted == 1, "deleted %d times", n_deleted);

    managed = managed_of(nibbles, (DLDataType){INT, 4, 1}, 2, short_shape, NULL);
    CHECK_OK(lathe_dlpack_import(engines[0], &managed, &options, &tensor));
    CHECK_OK(lathe_convert(engines[0], tensor, &target, &decoded, NULL));
    values = lathe_tensor_data(decoded);
    CHECK(values[0] == 0.5F && values[1] == 1 && values[2] == 14 && values[3] == -2, "I4");
    lathe_tensor_release(decoded);
    lathe_tensor_release(tensor);

    managed = managed_of(codes, (DLDataType){INT, 8, 1}, 2, shape, NULL);
    CHECK_STATUS(lathe_dlpack_import(engines[0], &managed, NULL, &tensor), LATHE_INVALID_ARGUMENT);
    CHECK(strstr(lathe_last_error()->message, "scales") != NULL, "%s", lathe_last_error()->message);
    options.n_scales = 1;
    CHECK_STATUS(lathe_dlpack_import(engines[0], &managed, &options, &tensor),
                 LATHE_INVALID_ARGUMENT);
    CHECK(n_deleted == 2, "a struct that was refused stays the caller's");
}

Test(dlpack, imports_that_cannot_be) {
    float data[16] = {0};
    int64_t shape[] = {2, 3};
    int64_t transposed[] = {1, 2};
    int64_t padded[] = {4, 1};
    int64_t negative[] = {2, -3};
    int64_t huge[] = {INT64_MAX, INT64_MAX};
    const DLDataType f32 = {FLOAT, 32, 1};
    const float scale = 1;
    const lathe_dlpack_options options = {
        .struct_size = sizeof options, .scales = &scale, .n_scales = 1};
    const lathe_dlpack_options bad_options[] = {{.struct_size = 3},
                                                {.struct_size = sizeof options, .flags = 64}};
    struct {
        DLManagedTensorVersioned managed;
        lathe_status status;
    } cases[] = {
        {managed_of(data, f32, 2, shape, transposed), LATHE_INCOMPATIBLE_TYPES},
        {managed_of(data, f32, 2, shape, padded), LATHE_INCOMPATIBLE_TYPES},
        {managed_of(data, f32, 2, negative, NULL), LATHE_INVALID_ARGUMENT},
        {managed_of(data, f32, 2, huge, NULL), LATHE_SIZE_OVERFLOW},
        {managed_of(data, f32, 17, shape, NULL), LATHE_INVALID_ARGUMENT},
        {managed_of(data, f32, -1, shape, NULL), LATHE_INVALID_ARGUMENT},
        {managed_of(data, f32, 2, NULL, NULL), LATHE_INVALID_ARGUMENT},
        {managed_of(NULL, f32, 2, shape, NULL), LATHE_INVALID_ARGUMENT},
        {managed_of(data, (DLDataType){FLOAT, 64, 1}, 2, shape, NULL), LATHE_INCOMPATIBLE_TYPES},
        {managed_of(data, (DLDataType){FLOAT, 32, 4}, 2, shape, NULL), LATHE_INCOMPATIBLE_TYPES},
        {managed_of(data, (DLDataType){UINT, 8, 1}, 2, shape, NULL), LATHE_INCOMPATIBLE_TYPES},
        {managed_of(data, (DLDataType){INT, 4, 1}, 2, shape, NULL), LATHE_INCOMPATIBLE_TYPES},
        {managed_of(data, f32, 2, shape, NULL), LATHE_NOT_SUPPORTED}, /* 12: version */
        {managed_of(data, f32, 2, shape, NULL), LATHE_NOT_SUPPORTED}, /* 13: device */
        {managed_of(data, (DLDataType){INT, 2, 1}, 2, shape, NULL),
         LATHE_INCOMPATIBLE_TYPES}, /* 14: padded */
    };
    int64_t four[] = {2, 4};
    cases[12].managed.version.major = 2;
    cases[13].managed.dl_tensor.device.device_type = CUDA;
    cases[14].managed.dl_tensor.shape = four;
    cases[14].managed.flags = PADDED;
    n_deleted = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lathe_tensor *tensor = NULL;
        lathe_status status = lathe_dlpack_import(engines[0], &cases[i].managed, &options, &tensor);
        CHECK(status == cases[i].status && tensor == NULL, "case %zu: %s: %s", i,
              lathe_status_name(status), lathe_last_error()->message);
    }
    DLManagedTensorVersioned good = managed_of(data, f32, 2, shape, NULL);
    DLManagedTensor legacy = {good.dl_tensor, &n_deleted, delete_legacy};
    lathe_tensor *tensor = NULL;
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(lathe_dlpack_import(engines[0], &good, &bad_options[i], &tensor),
                     LATHE_INVALID_ARGUMENT);
    }
    CHECK_STATUS(lathe_dlpack_import(NULL, &good, NULL, &tensor), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_dlpack_import(engines[0], NULL, NULL, &tensor), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_dlpack_import_legacy(engines[0], &legacy, NULL, NULL),
                 LATHE_INVALID_ARGUMENT);
    CHECK(n_deleted == 0, "a struct that was refused stays the caller's");
}

Test(dlpack, no_elements) {
    int64_t shape[] = {0, 5};
    int64_t strides[] = {1, 1};
    lathe_tensor *tensor = NULL;
    DLManagedTensorVersioned *managed = NULL;
    DLManagedTensorVersioned empty =
        managed_of(NULL, (DLDataType){FLOAT, 16, 1}, 2, shape, strides);
    DLManagedTensorVersioned scalar =
        managed_of(&n_deleted, (DLDataType){FLOAT, 16, 1}, 0, NULL, NULL);
    n_deleted = 0;
    CHECK_OK(lathe_dlpack_import(engines[0], &empty, NULL, &tensor));
    CHECK_OK(lathe_dlpack_export(tensor, LATHE_DLPACK_VALUES, &managed));
    CHECK(managed->dl_tensor.ndim == 2 && managed->dl_tensor.shape[1] == 5, "the shape");
    lathe_tensor_release(tensor);
    CHECK(n_deleted == 0, "the export keeps it");
    managed->deleter(managed);
    CHECK(n_deleted == 1, "deleted");
    CHECK_OK(lathe_dlpack_import(engines[0], &scalar, NULL, &tensor));
    CHECK(lathe_tensor_n_dims(tensor) == 0 && lathe_tensor_n_elems(tensor) == 1, "a scalar");
    lathe_tensor_release(tensor);
}

#ifndef TEST_OPENCL

Test(dlpack, no_memory) {
    static const shape_option shape = {2, {2, 4}};
    test_allocator allocator;
    lathe_engine *engine = NULL;
    test_allocator_init(&allocator);
    lathe_config config = {.struct_size = sizeof config,
                           .device = "cpu",
                           .n_threads = 1,
                           .allocator = &allocator.interface};
    CHECK_OK(lathe_engine_create(&config, &engine));
    int8_t codes[8] = {0};
    int64_t extents[] = {2, 4};
    const float scale = 1;
    const lathe_dlpack_options options = {
        .struct_size = sizeof options, .scales = &scale, .n_scales = 1};
    DLManagedTensorVersioned managed = managed_of(codes, (DLDataType){INT, 8, 1}, 2, extents, NULL);
    lathe_status status = LATHE_INSUFFICIENT_MEMORY;
    n_deleted = 0;
    for (uint64_t fail_at = 0; status != LATHE_OK; fail_at++) {
        lathe_tensor *tensor = NULL;
        (void)lathe_pool_trim(lathe_engine_pool(engine), 0);
        test_allocator_reset(&allocator, fail_at);
        status = lathe_dlpack_import(engine, &managed, &options, &tensor);
        test_allocator_reset(&allocator, UINT64_MAX);
        CHECK(fail_at < 10 && (status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY) &&
                  n_deleted == 0,
              "%s", lathe_status_name(status));
        lathe_tensor_release(tensor);
    }
    CHECK(n_deleted == 1, "deleted");
    lathe_tensor *tensor = NULL;
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    CHECK_OK(lathe_tensor_create(lathe_engine_pool(engine), &desc, &tensor));
    DLManagedTensorVersioned *exported = NULL;
    (void)lathe_pool_trim(lathe_engine_pool(engine), 0);
    test_allocator_reset(&allocator, 0);
    CHECK_STATUS(lathe_dlpack_export(tensor, LATHE_DLPACK_VALUES, &exported),
                 LATHE_INSUFFICIENT_MEMORY);
    test_allocator_reset(&allocator, UINT64_MAX);
    CHECK(!lathe_tensor_is_shared(tensor), "a reference is left");
    lathe_tensor_release(tensor);
    lathe_engine_free(engine);
    CHECK(allocator.n_live == 0 && !allocator.misused, "%d blocks are left", (int)allocator.n_live);
}

#else

/* A buffer of the engine's goes out and comes back as another tensor of the same memory. */
Test(dlpack, device_memory) {
    static const shape_option shape = {2, {40, 10}};
    for (size_t engine = 1; engine < n_engines; engine++) {
        lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
        lathe_tensor *host = new_tensor(LATHE_F32, &shape, 0);
        lathe_tensor *tensor = NULL;
        lathe_tensor *view = NULL;
        lathe_tensor *back = NULL;
        lathe_tensor *seen = NULL;
        DLManagedTensorVersioned *managed = NULL;
        lathe_opencl_memory memory = {0};
        CHECK_OK(lathe_engine_tensor_create(engines[engine], LATHE_MEMORY_DEVICE, &desc, &tensor));
        CHECK_OK(lathe_tensor_copy(engines[engine], host, tensor));
        CHECK_OK(lathe_tensor_view_rows(tensor, 8, 20, &view));
        CHECK_OK(lathe_opencl_tensor_memory(tensor, &memory, NULL));
        CHECK_OK(lathe_dlpack_export(view, LATHE_DLPACK_VALUES, &managed));
        CHECK(managed->dl_tensor.data == memory.memory &&
                  managed->dl_tensor.device.device_type == OPENCL &&
                  managed->dl_tensor.byte_offset == 320,
              "the memory");
        lathe_tensor_release(tensor);
        lathe_tensor_release(view);
        CHECK_OK(lathe_dlpack_import(engines[engine], managed, NULL, &back));
        CHECK(lathe_tensor_memory(back) == LATHE_MEMORY_DEVICE, "on the device");
        CHECK_OK(lathe_tensor_materialize(engines[engine], back, &tensor));
        CHECK_OK(lathe_tensor_map(engines[engine], tensor, false));
        CHECK_OK(lathe_tensor_view_rows(host, 8, 20, &seen));
        CHECK(memcmp(lathe_tensor_data(tensor), lathe_tensor_data(seen), 800) == 0, "the data");
        CHECK_OK(lathe_tensor_unmap(engines[engine], tensor));
        lathe_tensor_release(seen);
        lathe_tensor_release(tensor);
        lathe_tensor_release(back);
        lathe_tensor_release(host);
    }
}

#endif
