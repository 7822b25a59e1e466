/* SPDX-License-Identifier: Apache-2.0 */
/* A plain program that converts small tensors between every pair of dtypes on the OpenCL device and
 * compares the bytes with the CPU's. Small enough for simulators, on one thread for those that
 * allow no more; it also fills the program cache for the other tests. Exits 77 where there is no
 * such device. */
#include "opencl_support.h"

enum { N_LAYOUTS = 6 };

/* The first ones are used in turns. */
enum { N_MIXED = 4, ROWS = 1, GROUPS_OF_128 = 4, GROUPS_OF_256 = 5 };

static lathe_engine *cpu;
static lathe_engine *device;
static int n_failures;

static lathe_target target_of(lathe_dtype dtype, size_t layout) {
    static const lathe_granularity granularities[N_LAYOUTS] = {LATHE_PER_TENSOR, LATHE_PER_ROW,
                                                               LATHE_PER_GROUP,  LATHE_PER_GROUP,
                                                               LATHE_PER_GROUP,  LATHE_PER_GROUP};
    static const uint64_t group_sizes[N_LAYOUTS] = {0, 0, 32, 96, 128, 256};
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
                 {{3, 11008}, ROWS, ROWS},
                 {{3, 4096}, 0, 0},
                 {{2, 4480}, 0, GROUPS_OF_128},
                 {{2, 5120}, GROUPS_OF_128, GROUPS_OF_128},
                 {{2, 4096}, GROUPS_OF_256, GROUPS_OF_128},
                 {{1, 33024}, ROWS, GROUPS_OF_128}};
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
