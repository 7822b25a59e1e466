/* SPDX-License-Identifier: Apache-2.0 */
/* CHECK: an assertion that costs nothing while it holds, for loops that check millions of times.
 * (Criterion sends a message to its parent for every assertion of its own.) */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include <criterion/criterion.h>

/* Ends the test with the printf-style message unless `condition` holds. Main thread only. */
#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            cr_assert_fail("%s: %s", #condition, test_text(__VA_ARGS__));                          \
        }                                                                                          \
    } while (0)

/* The same for a call that must return LATHE_OK. */
#define CHECK_OK(call)                                                                             \
    do {                                                                                           \
        lathe_status check_status_ = (call);                                                       \
        CHECK(check_status_ == LATHE_OK, "%s: %s", lathe_status_name(check_status_),               \
              lathe_last_error()->message);                                                        \
    } while (0)

/* The same for a call that must fail with `expected`, and must set the last error accordingly. */
#define CHECK_STATUS(call, expected)                                                               \
    do {                                                                                           \
        lathe_status check_status_ = (call);                                                       \
        CHECK(check_status_ == (expected), "got %s, not %s", lathe_status_name(check_status_),     \
              lathe_status_name(expected));                                                        \
        CHECK(lathe_last_error()->status == (expected), "last error is %s, not %s",                \
              lathe_status_name(lathe_last_error()->status), lathe_status_name(expected));         \
        CHECK(lathe_last_error()->message[0] != '\0', "the error has no message");                 \
    } while (0)

#endif
