/* SPDX-License-Identifier: Apache-2.0 */
/* Tests that lathe_convert neither obeys nor changes its caller's floating-point modes. */
#include "convert_case.h"

TestSuite(convert_modes, .init = setup_engines, .fini = teardown_engines);

/* ---- the caller's floating-point environment */

Test(convert_modes, flushing_and_rounding_modes_change_nothing) {
    static const shape_option shape = {2, {3, 30000}};
    /* FTZ, DAZ, both with rounding up, rounding to zero, rounding down. */
    static const uint32_t modes[] = {0x9f80, 0x1fc0, 0xdfc0, 0x7f80, 0x3f80};
    test_rng rng = {13};
    if (test_get_mxcsr() == 0) {
        return;
    }
    uint32_t usual = test_get_mxcsr();
    for (int data = 0; data < TEST_DATA_FINITE_COUNT; data++) {
        lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
        convert_case c = case_new(&desc, 1);
        test_fill_tensor(&rng, &desc, (test_data)data, c.bytes, c.scales);
        for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
            lathe_target target = target_of((lathe_dtype)to, &layout_options[data % N_LAYOUTS], 0);
            oracle_result expected;
            oracle_convert(&c.from, c.bytes, c.scales, &target, &expected);
            for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++) {
                executor.mxcsr = modes[m];
                for (size_t i = 0; i < n_engines; i++) {
                    lathe_tensor *result = NULL;
                    test_set_mxcsr(modes[m]);
                    lathe_status status =
                        lathe_convert(engines[i], c.tensor, &target, &result, NULL);
                    uint32_t after = test_get_mxcsr();
                    test_set_mxcsr(usual);
                    CHECK(status == LATHE_OK, "%s", lathe_last_error()->message);
                    CHECK((after & ~0x3fu) == modes[m], "mode %x became %x", modes[m], after);
                    check_contents(&c, &target, i, &expected, lathe_tensor_data(result),
                                   lathe_tensor_scales(result));
                    lathe_tensor_release(result);
                }
            }
            oracle_result_free(&expected);
        }
        case_free(&c);
    }
    executor.mxcsr = 0;
}

/* An engine whose threads were started under another mode. */
Test(convert_modes, engines_made_under_flushing_modes_are_no_different) {
    static const shape_option shape = {1, {200000}};
    test_rng rng = {14};
    if (test_get_mxcsr() == 0) {
        return;
    }
    uint32_t usual = test_get_mxcsr();
    test_set_mxcsr(0xdfc0);
    add_engine(LATHE_ISA_AUTO, 4, NULL);
    test_set_mxcsr(usual);
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 1);
    test_fill_tensor(&rng, &desc, TEST_DATA_TINY, c.bytes, c.scales);
    for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
        lathe_target target = target_of((lathe_dtype)to, layout_options, 0);
        check_case(&c, &target);
    }
    case_free(&c);
}

/* Errors restore the caller's mode too. */
Test(convert_modes, errors_restore_the_mode) {
    static const shape_option shape = {1, {1000}};
    if (test_get_mxcsr() == 0) {
        return;
    }
    convert_case c = ones(LATHE_F32, &shape);
    put(&c, 500, 0x7fc00000u);
    lathe_target target = target_of(LATHE_I8, layout_options, 0);
    lathe_tensor *result = NULL;
    uint32_t usual = test_get_mxcsr();
    test_set_mxcsr(0xdfc0);
    lathe_status status = lathe_convert(engines[0], c.tensor, &target, &result, NULL);
    uint32_t after = test_get_mxcsr();
    test_set_mxcsr(usual);
    CHECK(status == LATHE_NON_FINITE, "%s", lathe_status_name(status));
    CHECK((after & ~0x3fu) == 0xdfc0, "the mode became %x", after);
    case_free(&c);
}
