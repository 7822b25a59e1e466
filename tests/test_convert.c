/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe_convert against the oracle: all pairs, granularities, qualities and policies, on
 * every ISA, with several numbers of threads, from and to any address; scales; arguments. */
#include "convert_case.h"
#include <float.h>
#include <math.h>

TestSuite(convert, .init = setup_engines, .fini = teardown_engines);

static const shape_option small_shapes[] = {
    {0, {0}},       {1, {0}},        {1, {1}},          {1, {3}},           {1, {5}},
    {1, {7}},       {1, {31}},       {1, {33}},         {1, {100}},         {2, {3, 1}},
    {2, {2, 3}},    {2, {3, 5}},     {2, {4, 7}},       {2, {3, 31}},       {2, {3, 33}},
    {2, {3, 100}},  {2, {0, 5}},     {2, {3, 0}},       {2, {17, 128}},     {3, {2, 3, 5}},
    {3, {2, 0, 5}}, {3, {3, 4, 33}}, {4, {2, 3, 5, 7}}, {4, {3, 1, 2, 65}}, {2, {130, 1}},
    {2, {5, 320}},  {2, {40, 43}},   {3, {1, 1, 641}},  {2, {2, 1000}},
};
enum { N_SMALL_SHAPES = sizeof small_shapes / sizeof small_shapes[0] };

static const shape_option long_shapes[] = {
    {1, {4095}},    {1, {4096}},  {1, {4097}},       {2, {3, 4095}}, {2, {2, 4096}},
    {2, {3, 4097}}, {1, {20481}}, {3, {3, 64, 130}}, {2, {5, 8191}}, {4, {2, 3, 33, 129}},
};
enum { N_LONG_SHAPES = sizeof long_shapes / sizeof long_shapes[0] };

/* One source, converted with every target that makes a difference for the dtype. */
static void check_targets(test_rng *rng, const convert_case *c, test_data data, lathe_dtype to) {
    size_t n_layouts = lathe_dtype_is_quantized(to) ? N_LAYOUTS : 1;
    for (size_t i = 0; i < n_layouts; i++) {
        uint32_t row_dims = (uint32_t)test_random_below(rng, c->from.n_dims + 1);
        lathe_target target = target_of(to, &layout_options[i], row_dims);
        target.quality = test_random_below(rng, 2) == 0 ? LATHE_FAST : LATHE_BALANCED;
        target.nonfinite =
            test_random_below(rng, 2) == 0 ? LATHE_NONFINITE_ERROR : LATHE_NONFINITE_SATURATE;
        target.strict = test_random_below(rng, 3) == 0;
        if (data == TEST_DATA_NONFINITE && target.nonfinite == LATHE_NONFINITE_ERROR) {
            target.strict = 0; /* two faults at once have a test of their own */
        }
        check_case(c, &target);
        target.strict = !target.strict;
        target.nonfinite = LATHE_NONFINITE_SATURATE;
        check_case(c, &target);
    }
}

static void check_shapes(const shape_option *shapes, size_t n_shapes, int rounds, uint64_t seed,
                         lathe_dtype from) {
    test_rng rng = {seed + (uint64_t)from};
    for (int round = 0; round < rounds; round++) {
        for (size_t i = 0; i < n_shapes; i++) {
            for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
                const layout_option *layout = &layout_options[test_random_below(&rng, N_LAYOUTS)];
                uint32_t row_dims = (uint32_t)test_random_below(&rng, shapes[i].n_dims + 1);
                lathe_tensor_desc desc = desc_of(from, &shapes[i], layout, row_dims);
                convert_case c = case_new(&desc, (size_t)test_random(&rng));
                test_data data = (test_data)test_random_below(&rng, TEST_DATA_COUNT);
                test_fill_tensor(&rng, &desc, data, c.bytes, c.scales);
                check_targets(&rng, &c, data, (lathe_dtype)to);
                case_free(&c);
            }
        }
    }
}

enum { SMALL_ROUNDS = TEST_SANITIZED ? 2 : 8, LONG_ROUNDS = TEST_SANITIZED ? 1 : 2 };

#define TEST_SOURCE(name, dtype)                                                                   \
    Test(convert, from_##name) {                                                                   \
        check_shapes(small_shapes, N_SMALL_SHAPES, SMALL_ROUNDS, 1, dtype);                        \
        check_shapes(long_shapes, N_LONG_SHAPES, LONG_ROUNDS, 2, dtype);                           \
    }

TEST_SOURCE(f32, LATHE_F32)
TEST_SOURCE(f16, LATHE_F16)
TEST_SOURCE(bf16, LATHE_BF16)
TEST_SOURCE(i8, LATHE_I8)
TEST_SOURCE(i4, LATHE_I4)
TEST_SOURCE(i2, LATHE_I2)
TEST_SOURCE(i1, LATHE_I1)
TEST_SOURCE(bitnet158, LATHE_BITNET158)

/* Every kind of data against every quantized target and granularity: where scale rules go wrong. */
Test(convert, every_kind_of_data) {
    static const shape_option shapes[] = {{2, {3, 200}}, {2, {2, 5000}}};
    test_rng rng = {3};
    for (int from = LATHE_F32; from <= LATHE_BF16; from++) {
        for (int data = 0; data < TEST_DATA_COUNT; data++) {
            for (size_t s = 0; s < 2; s++) {
                lathe_tensor_desc desc = desc_of((lathe_dtype)from, &shapes[s], layout_options, 0);
                convert_case c = case_new(&desc, 3);
                test_fill_tensor(&rng, &desc, (test_data)data, c.bytes, c.scales);
                for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
                    for (size_t i = 0; i < N_LAYOUTS; i++) {
                        lathe_target target = target_of((lathe_dtype)to, &layout_options[i], 0);
                        target.nonfinite = LATHE_NONFINITE_SATURATE;
                        check_case(&c, &target);
                        target.quality = LATHE_FAST;
                        check_case(&c, &target);
                    }
                }
                case_free(&c);
            }
        }
    }
}

/* Rows whose unused bits hold rubbish give the same as clean ones. */
Test(convert, unused_bits_of_the_source_do_not_matter) {
    static const lathe_dtype packed[] = {LATHE_I4, LATHE_I2, LATHE_I1, LATHE_BITNET158};
    static const shape_option shape = {2, {5, 13}};
    test_rng rng = {4};
    for (size_t k = 0; k < 4; k++) {
        lathe_tensor_desc desc = desc_of(packed[k], &shape, &layout_options[1], 0);
        convert_case c = case_new(&desc, 1);
        test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
        for (size_t row = 0; row < 5; row++) {
            uint8_t *last = &c.bytes[(row + 1) * c.layout.row_bytes - 1];
            *last = packed[k] == LATHE_BITNET158 ? (uint8_t)(*last % 27 + 27 * (row % 9))
                                                 : (uint8_t)(*last | 0x80);
        }
        for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
            lathe_target target = target_of((lathe_dtype)to, &layout_options[0], 0);
            check_case(&c, &target);
        }
        case_free(&c);
    }
}

/* Rows of base 3 whose codes are all 0, or all but one: what is looked for to find their scales. */
Test(convert, base_3_rows_of_zeros) {
    static const uint64_t lengths[] = {1, 4, 5, 7, 64, 319, 321, 1281, 4097, 5121};
    enum { N_ROWS = 5 };
    test_rng rng = {11};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        const uint64_t n = lengths[i];
        const shape_option shape = {2, {N_ROWS, n}};
        for (size_t held = 0; held < 2; held++) { /* one scale, or one a row */
            lathe_tensor_desc desc = desc_of(LATHE_BITNET158, &shape, &layout_options[held], 0);
            convert_case c = case_new(&desc, i);
            test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
            for (uint64_t k = 0; k < (N_ROWS - 1) * n; k++) {
                const uint64_t row = k / n;
                const uint64_t used = row == 1 ? 0 : row == 2 ? n / 2 : row == 3 ? n - 1 : n;
                oracle_put_code(LATHE_BITNET158, c.bytes + row * c.layout.row_bytes, k % n,
                                k % n == used ? -1 : 0);
            }
            for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
                lathe_target target = target_of((lathe_dtype)to, &layout_options[1], 0);
                check_case(&c, &target);
            }
            case_free(&c);
        }
    }
}

/* ---- scales by hand: the formulas of the contract on numbers that a reader can follow */

static float scale_of(lathe_dtype to, const float *x, uint64_t n) {
    const shape_option shape = {1, {n}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    memcpy(c.bytes, x, (size_t)n * sizeof *x);
    lathe_target target = target_of(to, layout_options, 0);
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, NULL));
    float scale = lathe_tensor_scales(result)[0];
    lathe_tensor_release(result);
    case_free(&c);
    return scale;
}

Test(convert, scales_by_hand) {
    const float x[] = {1.0F, -2.54F, 0.5F, 0.0F};
    CHECK(scale_of(LATHE_I8, x, 4) == 2.54F / 127, "i8");
    CHECK(scale_of(LATHE_I4, x, 4) == 2.54F / 7, "i4");
    CHECK(scale_of(LATHE_I2, x, 4) == 2.54F, "i2");
    CHECK(scale_of(LATHE_I1, x, 4) == (1.0F + 2.54F + 0.5F) / 4, "i1");
    CHECK(scale_of(LATHE_BITNET158, x, 4) == (1.0F + 2.54F + 0.5F) / 4, "bitnet158");
    const float zero[] = {0.0F, -0.0F};
    CHECK(test_bits(scale_of(LATHE_I8, zero, 2)) == 0, "i8 of zeros");
    CHECK(test_bits(scale_of(LATHE_I1, zero, 2)) == 0, "i1 of zeros");
    CHECK(scale_of(LATHE_BITNET158, zero, 2) == 1e-5F, "bitnet158 of zeros");
    const float huge[] = {FLT_MAX, -FLT_MAX, FLT_MAX};
    CHECK(scale_of(LATHE_I1, huge, 3) == FLT_MAX, "a sum that overflows");
    CHECK(scale_of(LATHE_BITNET158, huge, 3) == FLT_MAX, "a sum that overflows");
    CHECK(scale_of(LATHE_I2, huge, 3) == FLT_MAX, "absmax");
    CHECK(scale_of(LATHE_I8, zero, 0) == 0.0F, "nothing");
}

/* ---- arguments */

Test(convert, bad_arguments_change_nothing) {
    static const shape_option shape = {2, {2, 64}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {10};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    lathe_tensor *const untouched = (lathe_tensor *)(void *)&pool;
    lathe_tensor *result = untouched;
    const lathe_target good = target_of(LATHE_I8, layout_options, 0);
    lathe_engine *engine = engines[0];
    volatile int number = 0;
    lathe_convert_stats stats = {.struct_size = 0};
#define REFUSED(expected, change)                                                                  \
    do {                                                                                           \
        lathe_target bad = good;                                                                   \
        change;                                                                                    \
        CHECK_STATUS(lathe_convert(engine, c.tensor, &bad, &result, NULL), expected);              \
        CHECK(result == untouched, "the result was touched");                                      \
    } while (0)
    REFUSED(LATHE_INVALID_ARGUMENT, bad.struct_size = 0);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.struct_size = sizeof bad + 8);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.dtype = (lathe_dtype)number);
    number = 9;
    REFUSED(LATHE_INVALID_ARGUMENT, bad.dtype = (lathe_dtype)number);
    number = 3;
    REFUSED(LATHE_INVALID_ARGUMENT, bad.granularity = (lathe_granularity)number);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.quality = (lathe_quality)number);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.nonfinite = (lathe_nonfinite)number);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.strict = 2);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.row_dims = 3);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.group_size = 32); /* without PER_GROUP */
    REFUSED(LATHE_INVALID_ARGUMENT, bad.granularity = LATHE_PER_GROUP);
    REFUSED(LATHE_INVALID_ARGUMENT, bad.granularity = LATHE_PER_GROUP; bad.group_size = 48);
#undef REFUSED
    CHECK_STATUS(lathe_convert(NULL, c.tensor, &good, &result, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert(engine, NULL, &good, &result, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert(engine, c.tensor, NULL, &result, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert(engine, c.tensor, &good, NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_convert(engine, c.tensor, &good, &result, &stats), LATHE_INVALID_ARGUMENT);
    CHECK(result == untouched, "the result was touched");
    case_free(&c);
}

/* Float targets do not look at what matters to quantized ones only. */
Test(convert, float_targets_ignore_quantization_options) {
    static const shape_option shape = {1, {3}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    const float x[] = {1.0F, INFINITY, NAN};
    memcpy(c.bytes, x, sizeof x);
    lathe_target target = target_of(LATHE_F16, &layout_options[2], 0);
    target.quality = LATHE_FAST;
    check_case(&c, &target);
    target.quality = LATHE_PRECISE;
    check_case(&c, &target);
    target.group_size = 33; /* ignored, however odd */
    check_case(&c, &target);
    case_free(&c);
}

static lathe_status into(const convert_case *c, const lathe_target *target,
                         const lathe_tensor_desc *desc, void *data, float *scales, uint32_t flags) {
    lathe_tensor *result = NULL;
    CHECK_OK(lathe_tensor_wrap(pool, desc, data, scales, flags, NULL, NULL, &result));
    lathe_status status = lathe_convert_into(engines[0], c->tensor, target, result, NULL);
    lathe_tensor_release(result);
    return status;
}

Test(convert, into_a_result_that_does_not_match) {
    static const shape_option shape = {2, {4, 64}};
    static const shape_option turned = {2, {64, 4}};
    static const shape_option flat = {1, {256}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    test_rng rng = {11};
    test_fill_tensor(&rng, &desc, TEST_DATA_NORMAL, c.bytes, c.scales);
    uint8_t data[2048];
    float scales[64];
    memset(data, CANARY, sizeof data);
    const lathe_target target = target_of(LATHE_I8, &layout_options[1], 0);
    const lathe_tensor_desc good = desc_of(LATHE_I8, &shape, &layout_options[1], 0);
    const lathe_tensor_desc wrong[] = {
        desc_of(LATHE_I4, &shape, &layout_options[1], 0),
        desc_of(LATHE_F32, &shape, layout_options, 0),
        desc_of(LATHE_I8, &turned, &layout_options[1], 0),
        desc_of(LATHE_I8, &flat, &layout_options[1], 0),
        desc_of(LATHE_I8, &shape, &layout_options[0], 0),
        desc_of(LATHE_I8, &shape, &layout_options[3], 0),
        desc_of(LATHE_I8, &shape, &layout_options[1], 2),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_STATUS(into(&c, &target, &wrong[i], data, scales, 0), LATHE_INCOMPATIBLE_TYPES);
    }
    CHECK_STATUS(into(&c, &target, &good, data, scales, LATHE_WRAP_READ_ONLY), LATHE_READ_ONLY);
    for (size_t i = 0; i < sizeof data; i++) {
        CHECK(data[i] == CANARY, "an error touched the result");
    }
    CHECK_OK(into(&c, &target, &good, data, scales, 0));
    CHECK_STATUS(lathe_convert_into(engines[0], c.tensor, &target, NULL, NULL),
                 LATHE_INVALID_ARGUMENT);
    case_free(&c);
}

Test(convert, into_memory_of_the_source) {
    static const shape_option shape = {1, {256}};
    static float memory[1024];
    const lathe_tensor_desc from = desc_of(LATHE_F32, &shape, layout_options, 0);
    const lathe_tensor_desc to = desc_of(LATHE_I8, &shape, layout_options, 0);
    const lathe_target target = target_of(LATHE_I8, layout_options, 0);
    uint8_t *bytes = (uint8_t *)memory;
    float scale = 0;
    convert_case c = {.from = from};
    CHECK_OK(lathe_tensor_wrap(pool, &from, bytes + 1024, NULL, 0, NULL, NULL, &c.tensor));
    static const size_t overlapping[] = {769, 1024, 1500, 2047};
    for (size_t i = 0; i < 4; i++) {
        CHECK_STATUS(into(&c, &target, &to, bytes + overlapping[i], &scale, 0),
                     LATHE_INVALID_ARGUMENT);
    }
    CHECK_STATUS(into(&c, &target, &to, bytes, memory + 256, 0), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(into(&c, &target, &to, bytes, memory + 511, 0), LATHE_INVALID_ARGUMENT);
    CHECK_OK(into(&c, &target, &to, bytes + 768, &scale, 0)); /* right in front of it */
    CHECK_OK(into(&c, &target, &to, bytes + 2048, memory + 255, 0));
    lathe_tensor_release(c.tensor);
}

Test(convert, the_same_layout_is_kept) {
    static const shape_option shape = {2, {3, 33}};
    test_rng rng = {12};
    for (int dtype = LATHE_DTYPE_FIRST; dtype <= LATHE_DTYPE_LAST; dtype++) {
        for (size_t i = 0; i < N_LAYOUTS; i++) {
            lathe_tensor_desc desc = desc_of((lathe_dtype)dtype, &shape, &layout_options[i], 0);
            convert_case c = case_new(&desc, 7);
            test_fill_tensor(&rng, &desc, TEST_DATA_NONFINITE, c.bytes, c.scales);
            lathe_target target = target_of((lathe_dtype)dtype, &layout_options[i], 0);
            check_case(&c, &target);
            target.strict = 1;
            target.quality = LATHE_FAST;
            check_case(&c, &target);
            lathe_tensor *shared = NULL; /* zero-copy: the result has the source's memory */
            CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &shared, NULL));
            CHECK(lathe_tensor_data(shared) == c.bytes, "a copy was made");
            CHECK(lathe_tensor_is_read_only(shared), "the source's memory became writable");
            lathe_tensor_release(shared);
            case_free(&c);
        }
    }
}
