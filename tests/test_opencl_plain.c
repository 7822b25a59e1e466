/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of scales that the OpenCL device finds by itself for floats in regular rows and groups, for
 * which it has a kernel without anything else in it, and another one behind that for the blocks
 * that want more: against the oracle. */
#include "convert_case.h"

TestSuite(opencl_plain, .init = setup_engines, .fini = teardown_engines);

typedef struct plain_shape {
    shape_option dims;
    layout_option layout;
} plain_shape;

/* Rows of a block, shorter and odd ones, several in a block, and rows that are cut; groups of every
 * kind of sum, and such as end with a row before they are full; scales that are found before; rows
 * that a work-group holds, whose bytes begin anywhere; short ones whose bytes are not joined; and
 * rows that no work-group holds. */
static const plain_shape shapes[] = {
    {{2, {3, 4096}}, {LATHE_PER_ROW, 0}},      {{2, {3, 4064}}, {LATHE_PER_ROW, 0}},
    {{2, {5, 992}}, {LATHE_PER_ROW, 0}},       {{2, {37, 160}}, {LATHE_PER_ROW, 0}},
    {{2, {67, 32}}, {LATHE_PER_ROW, 0}},       {{2, {2, 4096}}, {LATHE_PER_GROUP, 32}},
    {{2, {3, 4096}}, {LATHE_PER_GROUP, 128}},  {{2, {3, 32000}}, {LATHE_PER_GROUP, 96}},
    {{2, {2, 20480}}, {LATHE_PER_GROUP, 512}}, {{2, {2, 4128}}, {LATHE_PER_GROUP, 2048}},
    {{1, {4096}}, {LATHE_PER_TENSOR, 0}},      {{2, {3, 4096}}, {LATHE_PER_TENSOR, 0}},
    {{2, {2, 4120}}, {LATHE_PER_TENSOR, 0}},   {{2, {3, 12200}}, {LATHE_PER_ROW, 0}},
    {{1, {20488}}, {LATHE_PER_TENSOR, 0}},     {{2, {3, 7712}}, {LATHE_PER_GROUP, 64}},
    {{2, {2, 4160}}, {LATHE_PER_GROUP, 128}},  {{2, {3, 5056}}, {LATHE_PER_TENSOR, 0}},
    {{2, {3, 4500}}, {LATHE_PER_ROW, 0}},      {{1, {9004}}, {LATHE_PER_TENSOR, 0}},
    {{2, {5, 1056}}, {LATHE_PER_ROW, 0}},      {{2, {3, 5120}}, {LATHE_PER_ROW, 0}},
    {{2, {2, 11008}}, {LATHE_PER_ROW, 0}},     {{2, {2, 28672}}, {LATHE_PER_ROW, 0}},
    {{2, {3, 11008}}, {LATHE_PER_GROUP, 128}}, {{2, {7, 1184}}, {LATHE_PER_ROW, 0}},
    {{2, {5, 2016}}, {LATHE_PER_ROW, 0}},      {{2, {3, 36896}}, {LATHE_PER_ROW, 0}},
    {{2, {2, 53248}}, {LATHE_PER_ROW, 0}},     {{2, {1, 81920}}, {LATHE_PER_ROW, 0}},
    {{2, {3, 14336}}, {LATHE_PER_ROW, 0}},     {{2, {2, 16352}}, {LATHE_PER_ROW, 0}},
    {{2, {3, 6144}}, {LATHE_PER_ROW, 0}},
};

static const lathe_dtype sources[] = {LATHE_F32, LATHE_F16, LATHE_BF16};

/* What is put into one place of a tensor of ordinary numbers; F16 makes of it what it can. */
static const uint32_t odd_values[] = {
    0x7fc00000, 0x7f800000, 0xff800000, /* a NaN, infinities */
    0x7f7fffff, 0x00000001, 0x80000000,
};

static convert_case new_case(test_rng *rng, lathe_dtype from, const plain_shape *shape,
                             test_data data) {
    lathe_tensor_desc desc = desc_of(from, &shape->dims, &layout_options[0], 0);
    convert_case c = case_new(&desc, 0);
    test_fill_tensor(rng, &desc, data, c.bytes, c.scales);
    return c;
}

static void check_targets(const convert_case *c, const plain_shape *shape,
                          lathe_nonfinite nonfinite) {
    for (int to = LATHE_I8; to <= LATHE_BITNET158; to++) {
        lathe_target target = target_of((lathe_dtype)to, &shape->layout, 0);
        target.nonfinite = nonfinite;
        check_case(c, &target);
    }
}

Test(opencl_plain, ordinary_numbers) {
    test_rng rng = {40};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
            const test_data data = s % 3 == 2 ? TEST_DATA_EXACT : TEST_DATA_NORMAL;
            convert_case c = new_case(&rng, sources[i], &shapes[s], data);
            check_targets(&c, &shapes[s], LATHE_NONFINITE_ERROR);
            case_free(&c);
        }
    }
}

/* What takes the most barriers, in a case that is small enough for a compiler's optimiser: the sums
 * of scopes that several work-items share. */
Test(opencl_plain, shared_sums) {
    static const plain_shape shared[] = {{{2, {9, 4096}}, {LATHE_PER_ROW, 0}},
                                         {{2, {2, 20480}}, {LATHE_PER_GROUP, 512}},
                                         {{2, {3, 8192}}, {LATHE_PER_ROW, 0}}};
    test_rng rng = {44};
    for (size_t s = 0; s < sizeof shared / sizeof shared[0]; s++) {
        lathe_target target = target_of(LATHE_I1, &shared[s].layout, 0);
        convert_case c = new_case(&rng, LATHE_F32, &shared[s], TEST_DATA_NORMAL);
        check_case(&c, &target);
        case_free(&c);
    }
}

/* Every scope is one that the plain kernel leaves alone, or many are. */
Test(opencl_plain, ends_of_the_range) {
    static const test_data kinds[] = {TEST_DATA_WIDE, TEST_DATA_HUGE,    TEST_DATA_TINY,
                                      TEST_DATA_ZERO, TEST_DATA_SPECIAL, TEST_DATA_NONFINITE};
    test_rng rng = {41};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
            const plain_shape *shape = &shapes[(3 * k + i) % (sizeof shapes / sizeof shapes[0])];
            convert_case c = new_case(&rng, sources[i], shape, kinds[k]);
            check_targets(&c, shape, LATHE_NONFINITE_SATURATE);
            case_free(&c);
        }
    }
}

/* One block or row among others, in two ways: the element is named, or it counts as 0. */
Test(opencl_plain, one_odd_element) {
    const plain_shape *among[] = {&shapes[5], &shapes[21], &shapes[20], &shapes[25], &shapes[27]};
    const size_t n_among = sizeof among / sizeof among[0];
    test_rng rng = {42};
    for (size_t v = 0; v < sizeof odd_values / sizeof odd_values[0]; v++) {
        const size_t n = sizeof sources / sizeof sources[0];
        const lathe_dtype from = sources[v % n];
        const plain_shape *shape = among[2 * v % n_among];
        convert_case c = new_case(&rng, from, shape, TEST_DATA_NORMAL);
        put(&c, 1056 + test_random_below(&rng, 4000), odd_values[v]);
        check_targets(&c, shape, LATHE_NONFINITE_ERROR);
        check_targets(&c, shape, LATHE_NONFINITE_SATURATE);
        case_free(&c);
    }
}

/* More blocks than the second kernel's work-groups look at. */
Test(opencl_plain, many_blocks) {
    static const plain_shape many[] = {{{2, {700, 4096}}, {LATHE_PER_ROW, 0}},
                                       {{2, {300, 8192}}, {LATHE_PER_GROUP, 128}}};
    test_rng rng = {43};
    for (size_t s = 0; s < (TEST_SANITIZED ? 1 : 2); s++) {
        const uint64_t n_cols = many[s].dims.shape[1];
        convert_case c = new_case(&rng, LATHE_BF16, &many[s], TEST_DATA_NORMAL);
        put(&c, many[s].dims.shape[0] * n_cols - 5, 0x7f800000);
        put(&c, n_cols + 1, 0x7fc00000);
        for (int to = LATHE_I8; to <= LATHE_BITNET158; to++) {
            lathe_target target = target_of((lathe_dtype)to, &many[s].layout, 0);
            target.nonfinite = LATHE_NONFINITE_SATURATE;
            check_agreement(&c, &target);
        }
        case_free(&c);
    }
}
