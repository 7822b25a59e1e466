/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): scopes of several statistic tiles that are encoded while the
 * next one's statistics are taken, end to end. Engines take any data for larger than the caches. */
#include "convert_case.h"
#include "engine/engine.h"

enum { TILE = 4096, N_ROWS = 4 };

static void setup(void) {
    setup_engines();
    for (size_t i = 0; i < n_engines; i++) {
        engines[i]->cpu->cache_bytes = 0;
        engines[i]->cpu->wide_cache_bytes = 0;
    }
}

TestSuite(long_scopes, .init = setup, .fini = teardown_engines);

/* Around tiles, blocks and whole bytes of the target; the last one is too long for the caches. */
static const uint64_t lengths[] = {4097,  5120,  8191,  8192,  8193,  8197,  11008, 12289,
                                   16384, 16385, 20479, 32704, 32767, 32768, 32769};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

static const lathe_dtype to[] = {LATHE_I8, LATHE_I4, LATHE_I2, LATHE_BITNET158};
static const layout_option rows = {LATHE_PER_ROW, 0};

/* Each pair with a kind of data, which the others take in turn. */
Test(long_scopes, lengths) {
    test_rng rng = {31};
    for (size_t i = 0; i < N_LENGTHS; i += TEST_SANITIZED ? 4 : 1) {
        const shape_option shape = {2, {N_ROWS, lengths[i]}};
        for (size_t pair = 0; pair < 8; pair++) {
            const lathe_dtype from = pair % 2 == 0 ? LATHE_F16 : LATHE_BF16;
            const lathe_tensor_desc desc = desc_of(from, &shape, layout_options, 0);
            const test_data data = (test_data)((i + pair / 2) % TEST_DATA_FINITE_COUNT);
            convert_case c = case_new(&desc, 0);
            test_fill_floats(&rng, from, TEST_DATA_NORMAL, c.bytes, N_ROWS * lengths[i]);
            test_fill_floats(&rng, from, data, c.bytes + 2 * lengths[i], 2 * lengths[i]);
            const lathe_target target = target_of(to[pair / 2], &rows, 0);
            check_agreement(&c, &target);
            if (lengths[i] == 8193) {
                check_case(&c, &target);
            }
            case_free(&c);
        }
    }
}

/* One element that is not finite, in each tile of the first, a middle and the last row. */
Test(long_scopes, faults) {
    static const uint32_t faults[] = {0x7f800000, 0xff800000, 0x7fc00000};
    static const uint64_t faulty[] = {8193, 11008, 32768};
    test_rng rng = {32};
    size_t n_cases = 0;
    for (size_t i = 0; i < sizeof faulty / sizeof faulty[0]; i++) {
        const shape_option shape = {2, {N_ROWS, faulty[i]}};
        for (uint64_t tile = 0; tile * TILE < faulty[i]; tile += TEST_SANITIZED ? 2 : 1) {
            for (uint64_t row = 0; row < N_ROWS; row += row == 0 ? 1 : 2, n_cases++) {
                const lathe_dtype from = n_cases % 2 == 0 ? LATHE_F16 : LATHE_BF16;
                const lathe_tensor_desc desc = desc_of(from, &shape, layout_options, 0);
                convert_case c = case_new(&desc, 0);
                test_fill_floats(&rng, from, TEST_DATA_NORMAL, c.bytes, N_ROWS * faulty[i]);
                const uint64_t n_tile =
                    faulty[i] - tile * TILE < TILE ? faulty[i] - tile * TILE : TILE;
                const uint64_t col = tile * TILE + test_random_below(&rng, n_tile);
                put(&c, row * faulty[i] + col, faults[n_cases / 2 % 3]);
                lathe_target target = target_of(to[n_cases / 2 % 4], &rows, 0);
                const oracle_result expected = {.status = LATHE_NON_FINITE,
                                                .element = row * faulty[i] + col};
                lathe_tensor *result = NULL;
                check_error(&c, &target, 0, &expected,
                            lathe_convert(engines[0], c.tensor, &target, &result, NULL));
                check_agreement(&c, &target);
                target.nonfinite = LATHE_NONFINITE_SATURATE;
                check_agreement(&c, &target);
                case_free(&c);
            }
        }
    }
}

/* Groups that are as long, several in a row, and more than one range. */
Test(long_scopes, groups) {
    static const shape_option shape = {2, {3, 81920}};
    static const layout_option groups[] = {{LATHE_PER_GROUP, 5120},
                                           {LATHE_PER_GROUP, 10240},
                                           {LATHE_PER_GROUP, 8192},
                                           {LATHE_PER_GROUP, 20480}};
    test_rng rng = {33};
    for (size_t pair = 0; pair < 8; pair++) {
        const lathe_dtype from = pair % 2 == 0 ? LATHE_F16 : LATHE_BF16;
        const lathe_tensor_desc desc = desc_of(from, &shape, layout_options, 0);
        convert_case c = case_new(&desc, 0);
        test_fill_floats(&rng, from, TEST_DATA_NORMAL, c.bytes, 3 * shape.shape[1]);
        for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++) {
            const lathe_target target = target_of(to[pair / 2], &groups[g], 0);
            check_agreement(&c, &target);
        }
        case_free(&c);
    }
}
