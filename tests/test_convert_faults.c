/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what lathe_convert says about faults in the data: the first NaN or infinity, the first
 * value that strict mode would lose, the first corrupt byte, whatever the threads. */
#include "convert_case.h"
#include <float.h>
#include <math.h>

TestSuite(convert_faults, .init = setup_engines, .fini = teardown_engines);

/* ---- faults in the data */

Test(convert_faults, the_first_nonfinite_element_is_named) {
    static const shape_option shapes[] = {{2, {3, 100}}, {2, {7, 30011}}, {1, {150000}}};
    static const uint32_t bad[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xff800001u};
    test_rng rng = {7};
    for (int from = LATHE_F32; from <= LATHE_BF16; from++) {
        for (size_t s = 0; s < 3; s++) {
            convert_case c = ones((lathe_dtype)from, &shapes[s]);
            for (int round = 0; round < (TEST_SANITIZED ? 2 : 4); round++) {
                uint64_t at[3];
                for (size_t k = 0; k < 3; k++) {
                    at[k] = test_random_below(&rng, c.layout.n_elems);
                    at[k] = round == 0 ? 0 : round == 1 ? c.layout.n_elems - 1 : at[k];
                    put(&c, at[k], bad[test_random_below(&rng, 4)]);
                }
                for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
                    size_t layout = (size_t)test_random_below(&rng, N_LAYOUTS);
                    lathe_target target = target_of((lathe_dtype)to, &layout_options[layout], 0);
                    target.quality = round % 2 == 0 ? LATHE_BALANCED : LATHE_FAST;
                    check_case(&c, &target);
                    target.nonfinite = LATHE_NONFINITE_SATURATE;
                    check_case(&c, &target);
                }
                for (size_t k = 0; k < 3; k++) {
                    put(&c, at[k], 0x3f800000u);
                }
            }
            case_free(&c);
        }
    }
}

/* A fault in FAST's sample, which is looked at first, must not hide an earlier one outside it. */
Test(convert_faults, the_first_nonfinite_element_is_named_by_fast_quality) {
    static const shape_option shapes[] = {{1, {40 * 4096}}, {2, {3, 80001}}};
    for (size_t s = 0; s < 2; s++) {
        convert_case c = ones(LATHE_F32, &shapes[s]);
        put(&c, 16 * 4096 + 5, 0x7fc00000u);
        put(&c, 3 * 4096 + 7, 0x7fc00000u);
        for (int to = LATHE_I8; to <= LATHE_BITNET158; to++) {
            for (size_t i = 0; i < 2; i++) {
                lathe_target target = target_of((lathe_dtype)to, &layout_options[i], 0);
                target.quality = LATHE_FAST;
                check_case(&c, &target);
            }
        }
        case_free(&c);
    }
}

Test(convert_faults, the_first_lost_element_is_named) {
    static const shape_option shapes[] = {{2, {3, 100}}, {2, {7, 30011}}, {1, {150000}}};
    test_rng rng = {8};
    for (int from = LATHE_F32; from <= LATHE_BF16; from++) {
        for (size_t s = 0; s < 3; s++) {
            convert_case c = ones((lathe_dtype)from, &shapes[s]);
            for (int round = 0; round < (TEST_SANITIZED ? 2 : 4); round++) {
                uint64_t at[3];
                for (size_t k = 0; k < 3; k++) {
                    at[k] = test_random_below(&rng, c.layout.n_elems);
                    if (round > 0) { /* 0.7 and its like; in round 0 nothing is lost */
                        put(&c, at[k], 0x3f333333u);
                    }
                }
                for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
                    size_t layout = (size_t)test_random_below(&rng, N_LAYOUTS);
                    lathe_target target = target_of((lathe_dtype)to, &layout_options[layout], 0);
                    target.strict = 1;
                    check_case(&c, &target);
                }
                for (size_t k = 0; k < 3; k++) {
                    put(&c, at[k], 0x3f800000u);
                }
            }
            case_free(&c);
        }
    }
}

/* Which of two faults is reported depends on the data and the target alone, on the CPU. A device
 * looks for the scales of longer scopes in a pass of their own, and may meet the other one first.
 */
static void check_either(const convert_case *c, const lathe_target *target, size_t engine,
                         const oracle_result *expected, lathe_status status, uint64_t nan) {
#ifdef TEST_OPENCL
    if (status == LATHE_NON_FINITE && lathe_last_error()->element == nan) {
        return;
    }
    CHECK(status == LATHE_DATA_LOSS, "%s", describe(c, target, engine));
    (void)expected;
#else
    (void)nan;
    check_error(c, target, engine, expected, status);
#endif
}

Test(convert_faults, two_kinds_of_fault_at_once) {
    static const shape_option shapes[] = {{2, {3, 100}}, {2, {7, 30011}}, {1, {150000}}};
    test_rng rng = {15};
    for (size_t s = 0; s < 3; s++) {
        convert_case c = ones(LATHE_F32, &shapes[s]);
        for (int round = 0; round < 8; round++) {
            uint64_t lost = test_random_below(&rng, c.layout.n_elems);
            uint64_t nan = test_random_below(&rng, c.layout.n_elems);
            put(&c, lost, 0x3f333333u);
            put(&c, nan, 0x7fc00000u);
            for (int to = LATHE_I8; to <= LATHE_BITNET158; to++) {
                lathe_target target = target_of((lathe_dtype)to, &layout_options[round % 6], 0);
                target.strict = 1;
                oracle_result expected = {.status = LATHE_OK, .element = LATHE_NO_ELEMENT};
                lathe_tensor *result = NULL;
                expected.status = lathe_convert(engines[0], c.tensor, &target, &result, NULL);
                expected.element = lathe_last_error()->element;
                CHECK((expected.status == LATHE_NON_FINITE && expected.element == nan) ||
                          expected.status == LATHE_DATA_LOSS,
                      "%s at %d", lathe_status_name(expected.status), (int)expected.element);
                for (size_t i = 1; i < n_engines; i++) {
                    lathe_status status =
                        lathe_convert(engines[i], c.tensor, &target, &result, NULL);
                    check_either(&c, &target, i, &expected, status, nan);
                }
            }
            put(&c, lost, 0x3f800000u);
            put(&c, nan, 0x3f800000u);
        }
        case_free(&c);
    }
}

/* A float that survives: what strict mode accepts, and the statuses in numbers that a reader can
 * check. */
Test(convert_faults, strict_by_hand) {
    static const shape_option shape = {1, {4}};
    lathe_tensor_desc desc = desc_of(LATHE_F32, &shape, layout_options, 0);
    convert_case c = case_new(&desc, 0);
    lathe_tensor *result = NULL;
    lathe_target target = target_of(LATHE_F16, layout_options, 0);
    target.strict = 1;
    const float kept[] = {1.0F, -0.0F, 65504.0F, NAN};
    memcpy(c.bytes, kept, sizeof kept);
    CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, NULL));
    lathe_tensor_release(result);
    const float lost[] = {1.0F, 65520.0F, 1e-9F, 0.1F};
    memcpy(c.bytes, lost, sizeof lost);
    CHECK_STATUS(lathe_convert(engines[0], c.tensor, &target, &result, NULL), LATHE_DATA_LOSS);
    CHECK(lathe_last_error()->element == 1, "element");
    target.dtype = LATHE_I8;
    const float codes[] = {127.0F, -127.0F, -0.0F, 1.0F};
    memcpy(c.bytes, codes, sizeof codes);
    CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, NULL));
    CHECK(lathe_tensor_scales(result)[0] == 1.0F, "scale");
    lathe_tensor_release(result);
    target.dtype = LATHE_I1;
    const float signs[] = {2.0F, -2.0F, 2.0F, -2.0F};
    memcpy(c.bytes, signs, sizeof signs);
    CHECK_OK(lathe_convert(engines[0], c.tensor, &target, &result, NULL));
    CHECK(((const uint8_t *)lathe_tensor_data(result))[0] == 5, "bits");
    lathe_tensor_release(result);
    case_free(&c);
}

Test(convert_faults, the_first_corrupt_byte_is_named) {
    static const shape_option shapes[] = {{2, {3, 101}}, {2, {7, 30011}}, {1, {150000}}};
    test_rng rng = {9};
    for (size_t s = 0; s < 3; s++) {
        convert_case c = ones(LATHE_BITNET158, &shapes[s]);
        for (int round = 0; round < (TEST_SANITIZED ? 2 : 4); round++) {
            uint64_t at[3];
            for (size_t k = 0; k < 3; k++) {
                at[k] = test_random_below(&rng, c.layout.n_bytes);
                at[k] = round == 0 ? c.layout.n_bytes - 1 : at[k];
                c.bytes[at[k]] = (uint8_t)(243 + test_random_below(&rng, 13));
            }
            for (int to = LATHE_F32; to < LATHE_BITNET158; to++) {
                size_t layout = (size_t)test_random_below(&rng, N_LAYOUTS);
                lathe_target target = target_of((lathe_dtype)to, &layout_options[layout], 0);
                check_case(&c, &target);
            }
            lathe_target again = target_of(LATHE_BITNET158, &layout_options[2], 0);
            check_case(&c, &again);
            for (size_t k = 0; k < 3; k++) {
                c.bytes[at[k]] = 121;
            }
        }
        case_free(&c);
    }
}

Test(convert_faults, the_first_corrupt_byte_is_named_by_fast_quality) {
    static const shape_option shape = {1, {40 * 4096}};
    convert_case c = ones(LATHE_BITNET158, &shape);
    c.bytes[(16 * 4096 + 100) / 5] = 255;
    c.bytes[(3 * 4096 + 100) / 5] = 255;
    for (int to = LATHE_F32; to < LATHE_BITNET158; to++) {
        lathe_target target = target_of((lathe_dtype)to, layout_options, 0);
        target.quality = LATHE_FAST;
        check_case(&c, &target);
    }
    case_free(&c);
}

/* A code times a finite scale may overflow: the decoded infinity is not a number to quantize. */
Test(convert_faults, a_decoded_infinity_is_named) {
    static const shape_option shape = {2, {3, 50}};
    lathe_tensor_desc desc = desc_of(LATHE_I8, &shape, &layout_options[1], 0);
    convert_case c = case_new(&desc, 1);
    memset(c.bytes, 1, 150);
    c.scales[0] = c.scales[1] = c.scales[2] = FLT_MAX;
    c.bytes[70] = 2;
    c.bytes[120] = 0x81;
    for (int to = LATHE_F32; to <= LATHE_BITNET158; to++) {
        for (size_t i = 0; i < N_LAYOUTS; i += 2) {
            lathe_target target = target_of((lathe_dtype)to, &layout_options[i], 0);
            check_case(&c, &target);
            target.nonfinite = LATHE_NONFINITE_SATURATE;
            check_case(&c, &target);
        }
    }
    case_free(&c);
}

Test(convert_faults, faults_in_many_ranges) {
    static const shape_option shapes[] = {{1, {3000001}}, {2, {3000, 1001}}};
    test_rng rng = {17};
    for (size_t s = 0; s < 2; s++) {
        convert_case c = ones(LATHE_F32, &shapes[s]);
        for (int round = 0; round < (TEST_SANITIZED ? 2 : 10); round++) {
            uint64_t at[5];
            uint64_t first = UINT64_MAX;
            for (size_t k = 0; k < 5; k++) {
                at[k] = test_random_below(&rng, c.layout.n_elems);
                first = at[k] < first ? at[k] : first;
                put(&c, at[k], round % 2 == 0 ? 0x7fc00000u : 0x3f800001u);
            }
            for (int to = LATHE_F16; to <= LATHE_BITNET158; to++) {
                lathe_target target = target_of((lathe_dtype)to, &layout_options[round % 3], 0);
                target.strict = round % 2 != 0;
                lathe_status expected = !target.strict && to >= LATHE_I8 ? LATHE_NON_FINITE
                                        : target.strict                  ? LATHE_DATA_LOSS
                                                                         : LATHE_OK;
                for (size_t i = 0; i < n_engines; i++) {
                    lathe_tensor *result = NULL;
                    lathe_status status =
                        lathe_convert(engines[i], c.tensor, &target, &result, NULL);
                    CHECK(status == expected, "%s: %s", describe(&c, &target, i),
                          lathe_status_name(status));
                    /* Quantized targets may lose the ones as well, whatever the scale. */
                    bool exact =
                        status == LATHE_NON_FINITE || (status != LATHE_OK && to < LATHE_I8);
                    CHECK(!exact || lathe_last_error()->element == first, "%s: %d, not %d",
                          describe(&c, &target, i), (int)lathe_last_error()->element, (int)first);
                    lathe_tensor_release(result);
                }
                check_agreement(&c, &target);
            }
            for (size_t k = 0; k < 5; k++) {
                put(&c, at[k], 0x3f800000u);
            }
        }
        case_free(&c);
    }
}
