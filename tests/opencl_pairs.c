/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program that converts small tensors between every pair of dtypes on the OpenCL device and
 * compares the bytes with the CPU's. Small enough for simulators, on one thread for those that
 * allow no more; it also fills the program cache for the other tests. Exits 77 where there is no
 * such device. */
#include "lathe_constants.h"
#include "opencl_support.h"

enum { N_LAYOUTS = 9 };

/* The first ones are used in turns. */
enum {
    N_MIXED = 4,
    ROWS = 1,
    GROUPS_OF_32 = 2,
    GROUPS_OF_96 = 3,
    GROUPS_OF_128 = 4,
    GROUPS_OF_256 = 5,
    GROUPS_OF_64,
    GROUPS_OF_512,
    GROUPS_OF_544
};

static lathe_engine *cpu;
static lathe_engine *device;
static int n_failures;

static lathe_target target_of(lathe_dtype dtype, size_t layout) {
    static const lathe_granularity granularities[N_LAYOUTS] = {
        LATHE_PER_TENSOR, LATHE_PER_ROW,   LATHE_PER_GROUP, LATHE_PER_GROUP, LATHE_PER_GROUP,
        LATHE_PER_GROUP,  LATHE_PER_GROUP, LATHE_PER_GROUP, LATHE_PER_GROUP};
    static const uint64_t group_sizes[N_LAYOUTS] = {0, 0, 32, 96, 128, 256, 64, 512, 544};
    return (lathe_target){.struct_size = sizeof(lathe_target),
                          .dtype = dtype,
                          .granularity = granularities[layout],
                          .group_size = group_sizes[layout]};
}

static lathe_tensor *source_of(test_rng *rng, lathe_dtype dtype, const uint64_t *shape,
                               size_t layout, test_data data) {
    const lathe_target held = target_of(dtype, layout);
    lathe_tensor_desc desc = {0};
    lathe_tensor *source = NULL;
    if (lathe_target_desc(&held, 2, shape, &desc) != LATHE_OK ||
        lathe_tensor_create(lathe_engine_pool(cpu), &desc, &source) != LATHE_OK) {
        (void)fprintf(stderr, "opencl_pairs: no source: %s\n", lathe_last_error()->message);
        exit(1);
    }
    test_fill_tensor(rng, &desc, data, lathe_tensor_mutable_data(source),
                     lathe_tensor_mutable_scales(source));
    return source;
}

static void compare(const lathe_tensor *source, const lathe_target *target) {
    lathe_tensor *expected = NULL;
    lathe_tensor *result = NULL;
    if (lathe_convert(cpu, source, target, &expected, NULL) != LATHE_OK) {
        (void)fprintf(stderr, "opencl_pairs: the CPU: %s\n", lathe_last_error()->message);
        exit(1);
    }
    lathe_status status = lathe_convert(device, source, target, &result, NULL);
    if (status != LATHE_OK || !test_same(result, expected)) {
        (void)fprintf(stderr, "opencl_pairs: %s to %s (granularity %d:%d, %d elements): %s\n",
                      lathe_dtype_name(lathe_tensor_dtype(source)), lathe_dtype_name(target->dtype),
                      (int)target->granularity, (int)target->group_size,
                      (int)lathe_tensor_n_elems(source),
                      status == LATHE_OK ? "other bytes" : lathe_last_error()->message);
        n_failures++;
    }
    lathe_tensor_release(expected);
    lathe_tensor_release(result);
}

/* Between quantized types: rows and groups that lie alike on both sides, of codes whose scales are
 * as usual, as large and as small as can be. */
static void compare_alike(test_rng *rng, lathe_dtype from, lathe_dtype to, bool is_tiny) {
    static const struct {
        uint64_t shape[2];
        size_t from;
        size_t to;
    } cases[] = {{{3, 448}, ROWS, ROWS},
                 {{5, 4096}, ROWS, ROWS},
                 {{7, 2304}, ROWS, ROWS},
                 {{3, 11008}, ROWS, ROWS},
                 {{2, 28672}, ROWS, ROWS},
                 {{3, 4096}, 0, 0},
                 {{2, 4480}, 0, GROUPS_OF_128},
                 {{2, 5120}, GROUPS_OF_128, GROUPS_OF_128},
                 {{2, 4096}, GROUPS_OF_256, GROUPS_OF_128},
                 {{1, 33024}, ROWS, GROUPS_OF_128},
                 {{3, 4096}, GROUPS_OF_32, GROUPS_OF_32},
                 {{2, 4480}, 0, GROUPS_OF_32},
                 {{2, 4160}, GROUPS_OF_32, ROWS},
                 {{3, 4096}, GROUPS_OF_64, GROUPS_OF_64},
                 {{2, 9600}, GROUPS_OF_64, GROUPS_OF_32},
                 {{3, 4096}, GROUPS_OF_512, GROUPS_OF_512}};
    static const test_data kinds[] = {TEST_DATA_SPECIAL, TEST_DATA_HUGE, TEST_DATA_TINY,
                                      TEST_DATA_ZERO};
    for (size_t i = 0; i < (is_tiny ? 1 : sizeof cases / sizeof cases[0]); i++) {
        for (size_t k = 0; k < (is_tiny ? 2 : sizeof kinds / sizeof kinds[0]); k++) {
            lathe_tensor *source = source_of(rng, from, cases[i].shape, cases[i].from, kinds[k]);
            const lathe_target target = target_of(to, cases[i].to);
            compare(source, &target);
            lathe_tensor_release(source);
        }
    }
}

/* Codes that are 0, but for one in each group, at another place in each. */
static void compare_sparse(test_rng *rng, lathe_dtype to) {
    enum { N_COLS = 1920, GROUP = 96 };
    const uint64_t shape[2] = {2, N_COLS};
    lathe_tensor *source = source_of(rng, LATHE_BITNET158, shape, ROWS, TEST_DATA_NORMAL);
    uint8_t *bytes = lathe_tensor_mutable_data(source);
    const size_t n_bytes = (size_t)lathe_tensor_n_elems(source) / 5;
    memset(bytes, LATHE_BITNET158_BYTE_ZERO, n_bytes);
    for (size_t group = 0; group < 2 * N_COLS / GROUP; group++) {
        const size_t elem = group * GROUP + (group * 37 + GROUP - 1) % GROUP;
        bytes[elem / 5] = LATHE_BITNET158_BYTE_ZERO + 1;
    }
    const lathe_target target = target_of(to, GROUPS_OF_96);
    compare(source, &target);
    lathe_tensor_release(source);
}

/* Rows, some of which begin with what is no number, behind others that are ordinary. */
static void compare_saturated(test_rng *rng, lathe_dtype from, lathe_dtype to) {
    enum { N_ROWS = 7, N_COLS = 224 };
    const uint64_t shape[2] = {N_ROWS, N_COLS};
    lathe_tensor *source = source_of(rng, from, shape, 0, TEST_DATA_NORMAL);
    uint8_t *bytes = lathe_tensor_mutable_data(source);
    const size_t row_bytes = from == LATHE_F32 ? 4 * N_COLS : 2 * N_COLS;
    for (size_t row = 2; row < N_ROWS; row += 3) {
        memset(bytes + row * row_bytes, 0xff, row_bytes / 8);
    }
    lathe_target target = target_of(to, ROWS);
    target.nonfinite = LATHE_NONFINITE_SATURATE;
    compare(source, &target);
    lathe_tensor_release(source);
}

/* Rows with a scale each that kernels hold, and such as they read twice. */
static void compare_long(test_rng *rng, lathe_dtype from, lathe_dtype to) {
    static const struct {
        uint64_t shape[2];
        test_data data;
    } cases[] = {{{3, 5120}, TEST_DATA_NORMAL},  {{3, 11008}, TEST_DATA_NORMAL},
                 {{3, 14336}, TEST_DATA_NORMAL}, {{2, 28672}, TEST_DATA_NORMAL},
                 {{3, 45088}, TEST_DATA_NORMAL}, {{2, 53248}, TEST_DATA_EXACT},
                 {{2, 36896}, TEST_DATA_SPECIAL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        lathe_tensor *source = source_of(rng, from, cases[i].shape, 0, cases[i].data);
        const lathe_target target = target_of(to, ROWS);
        compare(source, &target);
        lathe_tensor_release(source);
    }
}

/* Rows of floats from BITNET158, of lengths that work-groups and their steps end inside of. */
static void compare_decoded(test_rng *rng, lathe_dtype to) {
    static const uint64_t shapes[][2] = {{41, 264}, {17, 1060}, {9, 2048}, {3, 11008}};
    static const size_t layouts[] = {ROWS, GROUPS_OF_32, GROUPS_OF_128};
    for (size_t i = 0; i < 3 * sizeof shapes / sizeof shapes[0]; i++) {
        lathe_tensor *source =
            source_of(rng, LATHE_BITNET158, shapes[i / 3], layouts[i % 3], TEST_DATA_NORMAL);
        const lathe_target target = target_of(to, 0);
        compare(source, &target);
        lathe_tensor_release(source);
    }
}

/* Rows that no vector begins with or ends with, and such as have a short group. */
static void compare_odd_rows(test_rng *rng, lathe_dtype from, lathe_dtype to, bool is_tiny) {
    static const struct {
        uint64_t shape[2];
        size_t layout;
        test_data data;
    } cases[] = {{{161, 27}, ROWS, TEST_DATA_NORMAL},
                 {{7, 75}, GROUPS_OF_32, TEST_DATA_SPECIAL},
                 {{161, 27}, 0, TEST_DATA_NORMAL},
                 {{1500, 3}, ROWS, TEST_DATA_NORMAL},
                 {{15, 300}, ROWS, TEST_DATA_NORMAL},
                 {{15, 300}, GROUPS_OF_64, TEST_DATA_NORMAL},
                 {{15, 301}, ROWS, TEST_DATA_HUGE},
                 {{5, 1000}, GROUPS_OF_128, TEST_DATA_NORMAL},
                 {{5, 1001}, ROWS, TEST_DATA_SPECIAL},
                 {{3, 4095}, ROWS, TEST_DATA_NORMAL},
                 {{3, 4097}, ROWS, TEST_DATA_NORMAL},
                 {{2, 4160}, GROUPS_OF_128, TEST_DATA_NORMAL},
                 {{2, 4999}, GROUPS_OF_128, TEST_DATA_NORMAL},
                 {{3, 4999}, 0, TEST_DATA_NORMAL},
                 {{2, 12301}, ROWS, TEST_DATA_NORMAL},
                 {{2, 4999}, ROWS, TEST_DATA_HUGE},
                 {{3, 4998}, ROWS, TEST_DATA_SPECIAL},
                 {{14, 545}, GROUPS_OF_544, TEST_DATA_NORMAL},
                 {{9, 48}, ROWS, TEST_DATA_NORMAL},
                 {{9, 240}, ROWS, TEST_DATA_NORMAL},
                 {{9, 130}, GROUPS_OF_128, TEST_DATA_TINY},
                 {{9, 129}, GROUPS_OF_128, TEST_DATA_ZERO}};
    for (size_t i = 0; i < (is_tiny ? 2 : sizeof cases / sizeof cases[0]); i++) {
        lathe_tensor *source = source_of(rng, from, cases[i].shape, cases[i].layout, cases[i].data);
        const lathe_target target = target_of(to, cases[i].layout);
        compare(source, &target);
        lathe_tensor_release(source);
    }
}

/* Rows of codes of I8 that are all of those up to the row's greatest, which is 1 to 128, with
 * scales of any kind. */
static void compare_maxima(test_rng *rng, lathe_dtype to) {
    const uint64_t shape[2] = {128, 320};
    lathe_tensor *source = source_of(rng, LATHE_I8, shape, ROWS, TEST_DATA_SPECIAL);
    int8_t *codes = lathe_tensor_mutable_data(source);
    for (int row = 0; row < 128; row++) {
        const int greatest = row + 1;
        for (int col = 0; col < 320; col++) {
            const int code = col % (2 * greatest + 1) - greatest;
            codes[row * 320 + col] = (int8_t)(code < 128 ? code : 0);
        }
    }
    const lathe_target target = target_of(to, ROWS);
    compare(source, &target);
    lathe_tensor_release(source);
}

int main(int argc, char **argv) {
    static const uint64_t shapes[][2] = {{3, 101}, {2, 4500}, {5, 128}, {5, 4096}};
    const bool is_tiny = argc > 1 && strcmp(argv[1], "--tiny") == 0;
    const size_t n_shapes = is_tiny ? 1 : 4;
    const lathe_config host = {.struct_size = sizeof host, .n_threads = 1};
    lathe_config config = test_opencl_config();
    test_rng rng = {1};
    config.n_threads = 1;
    if (lathe_engine_create(&host, &cpu) != LATHE_OK) {
        return 1;
    }
    lathe_status status = lathe_engine_create(&config, &device);
    if (status != LATHE_OK) {
        (void)fprintf(stderr, "opencl_pairs: %s\n", lathe_last_error()->message);
        lathe_engine_free(cpu);
        return 77;
    }
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
            for (size_t i = 0; i < n_shapes * N_MIXED; i++) {
                lathe_tensor *source = source_of(&rng, (lathe_dtype)from, shapes[i / N_MIXED],
                                                 (i + 1) % N_MIXED, TEST_DATA_SPECIAL);
                const lathe_target target = target_of((lathe_dtype)to, i % N_MIXED);
                compare(source, &target);
                lathe_tensor_release(source);
            }
            if (lathe_dtype_is_quantized((lathe_dtype)from) &&
                lathe_dtype_is_quantized((lathe_dtype)to) && from != to) {
                compare_alike(&rng, (lathe_dtype)from, (lathe_dtype)to, is_tiny);
            }
            if (from != to && (lathe_dtype_is_quantized((lathe_dtype)from) ||
                               lathe_dtype_is_quantized((lathe_dtype)to))) {
                compare_odd_rows(&rng, (lathe_dtype)from, (lathe_dtype)to, is_tiny);
            }
            if (from == LATHE_BITNET158 && (to == LATHE_I8 || to == LATHE_I4)) {
                compare_sparse(&rng, (lathe_dtype)to);
            }
            if (!is_tiny && !lathe_dtype_is_quantized((lathe_dtype)from) &&
                lathe_dtype_is_quantized((lathe_dtype)to)) {
                compare_saturated(&rng, (lathe_dtype)from, (lathe_dtype)to);
                compare_long(&rng, (lathe_dtype)from, (lathe_dtype)to);
            }
            if (!is_tiny && from == LATHE_BITNET158 && !lathe_dtype_is_quantized((lathe_dtype)to)) {
                compare_decoded(&rng, (lathe_dtype)to);
            }
            for (int i = 0; from == LATHE_I8 && lathe_dtype_is_quantized((lathe_dtype)to) &&
                            !is_tiny && i < 16;
                 i++) {
                compare_maxima(&rng, (lathe_dtype)to);
            }
        }
    }
    const lathe_engine_stats stats = test_engine_stats(device);
    (void)printf("opencl_pairs: %d conversions, %d programs built, %d loaded, %d failures\n",
                 (int)stats.n_conversions, (int)stats.n_programs_built,
                 (int)stats.n_programs_loaded, n_failures);
    lathe_engine_free(device);
    lathe_engine_free(cpu);
    return n_failures == 0 ? 0 : 1;
}
