/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/dtype.h, and of the names of ISAs and the version. */
#include "check.h"
#include "support.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char *const names[] = {"f32", "f16", "bf16", "i8", "i4", "i2", "i1", "bitnet158"};

Test(dtype, numbers_are_pinned) {
    CHECK(LATHE_F32 == 1 && LATHE_F16 == 2 && LATHE_BF16 == 3 && LATHE_I8 == 4, "floats, i8");
    CHECK(LATHE_I4 == 5 && LATHE_I2 == 6 && LATHE_I1 == 7 && LATHE_BITNET158 == 8, "the others");
}

Test(dtype, names_go_both_ways) {
    for (int i = LATHE_DTYPE_FIRST; i <= LATHE_DTYPE_LAST; i++) {
        lathe_dtype dtype = (lathe_dtype)i;
        CHECK(strcmp(lathe_dtype_name(dtype), names[i - 1]) == 0, "dtype %d", i);
        CHECK(lathe_dtype_from_name(names[i - 1]) == dtype, "dtype %d", i);
        CHECK(lathe_dtype_is_valid(dtype), "dtype %d", i);
        CHECK(lathe_dtype_is_quantized(dtype) == (i >= LATHE_I8), "dtype %d", i);
    }
}

Test(dtype, wrong_names_are_no_dtype) {
    static const char *const wrong[] = {"",     "F32", "f3",     "f322",   " f32",
                                        "f32 ", "i16", "bitnet", "invalid"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK((int)lathe_dtype_from_name(wrong[i]) == 0, "%s", wrong[i]);
    }
    CHECK((int)lathe_dtype_from_name(NULL) == 0, "NULL");
}

Test(dtype, wrong_numbers_are_invalid) {
    static const int wrong[] = {0, -1, 9, 100, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        volatile int number = wrong[i];
        lathe_dtype dtype = (lathe_dtype)number;
        uint64_t n_bytes = 42;
        CHECK(!lathe_dtype_is_valid(dtype), "%d", number);
        CHECK(!lathe_dtype_is_quantized(dtype), "%d", number);
        CHECK(strcmp(lathe_dtype_name(dtype), "invalid") == 0, "%d", number);
        CHECK(!lathe_dtype_row_bytes(dtype, 1, &n_bytes) && n_bytes == 42, "%d", number);
    }
}

Test(dtype, row_bytes_of_short_rows) {
    static const uint64_t bits_per_elem[] = {32, 16, 16, 8, 4, 2, 1};
    for (uint64_t n = 0; n < 300; n++) {
        uint64_t n_bytes = 0;
        for (int i = LATHE_F32; i <= LATHE_I1; i++) {
            CHECK(lathe_dtype_row_bytes((lathe_dtype)i, n, &n_bytes), "dtype %d", i);
            CHECK(n_bytes == (n * bits_per_elem[i - 1] + 7) / 8, "dtype %d of %d", i, (int)n);
        }
        CHECK(lathe_dtype_row_bytes(LATHE_BITNET158, n, &n_bytes), "bitnet158");
        CHECK(n_bytes == n / 5 + (n % 5 > 0 ? 1 : 0), "bitnet158 of %d", (int)n);
    }
}

Test(dtype, row_bytes_near_overflow) {
    uint64_t n_bytes = 42;
    CHECK(!lathe_dtype_row_bytes(LATHE_F32, UINT64_MAX / 4 + 1, &n_bytes) && n_bytes == 42, "f32");
    CHECK(!lathe_dtype_row_bytes(LATHE_F16, UINT64_MAX / 2 + 1, &n_bytes) && n_bytes == 42, "f16");
    CHECK(!lathe_dtype_row_bytes(LATHE_BF16, UINT64_MAX, &n_bytes) && n_bytes == 42, "bf16");
    CHECK(lathe_dtype_row_bytes(LATHE_F32, UINT64_MAX / 4, &n_bytes), "f32");
    CHECK(n_bytes == UINT64_MAX / 4 * 4, "f32");
    CHECK(lathe_dtype_row_bytes(LATHE_I8, UINT64_MAX, &n_bytes) && n_bytes == UINT64_MAX, "i8");
    CHECK(lathe_dtype_row_bytes(LATHE_I4, UINT64_MAX, &n_bytes), "i4");
    CHECK(n_bytes == UINT64_MAX / 2 + 1, "i4");
    CHECK(lathe_dtype_row_bytes(LATHE_I1, UINT64_MAX, &n_bytes), "i1");
    CHECK(n_bytes == UINT64_MAX / 8 + 1, "i1");
    CHECK(lathe_dtype_row_bytes(LATHE_BITNET158, UINT64_MAX, &n_bytes), "bitnet158");
    CHECK(n_bytes == UINT64_MAX / 5, "bitnet158"); /* 2^64 - 1 is a multiple of 5 */
}

Test(isa, names_go_both_ways) {
    static const char *const isas[] = {"auto", "scalar", "avx2", "avx512", "neon"};
    for (int i = 0; i < 5; i++) {
        lathe_isa isa = LATHE_ISA_AVX2;
        CHECK(strcmp(lathe_isa_name((lathe_isa)i), isas[i]) == 0, "%d", i);
        CHECK(lathe_isa_from_name(isas[i], &isa) && (int)isa == i, "%d", i);
    }
    lathe_isa isa = LATHE_ISA_AVX2;
    volatile int wrong = 5;
    CHECK(strcmp(lathe_isa_name((lathe_isa)wrong), "invalid") == 0, "5");
    wrong = -1;
    CHECK(strcmp(lathe_isa_name((lathe_isa)wrong), "invalid") == 0, "-1");
    CHECK(!lathe_isa_from_name("AVX2", &isa) && isa == LATHE_ISA_AVX2, "upper case");
    CHECK(!lathe_isa_from_name("", &isa) && isa == LATHE_ISA_AVX2, "empty");
    CHECK(!lathe_isa_from_name(NULL, &isa) && isa == LATHE_ISA_AVX2, "NULL");
}

Test(version, library_and_header_agree) {
    char text[64];
    (void)snprintf(text, sizeof text, "%d.%d.%d", LATHE_VERSION_MAJOR, LATHE_VERSION_MINOR,
                   LATHE_VERSION_PATCH);
    CHECK(strcmp(lathe_version(), text) == 0, "%s", lathe_version());
    CHECK(lathe_version_number() == LATHE_VERSION_NUMBER, "%d", lathe_version_number());
}
