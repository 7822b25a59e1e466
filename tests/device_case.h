/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions of a device's own tensors, compared with the first engine's: what a test of the CPU
 * adds where it is built with TEST_OPENCL. */
#ifndef LT_TESTS_DEVICE_CASE_H
#define LT_TESTS_DEVICE_CASE_H

#include "convert_case.h"
#include <lathe/quality.h>

/* The result of the device's own tensors on an engine, as a host tensor; NULL: it has failed. */
static inline lathe_tensor *convert_on_device(const convert_case *c, const lathe_target *target,
                                              size_t engine, lathe_quality_report *report,
                                              lathe_status *status) {
    lathe_tensor_desc to;
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    lathe_tensor *host = NULL;
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = report};
    CHECK_OK(lathe_target_desc(target, c->from.n_dims, c->from.shape, &to));
    CHECK_OK(lathe_engine_tensor_create(engines[engine], LATHE_MEMORY_DEVICE, &c->from, &source));
    CHECK_OK(lathe_tensor_copy(engines[engine], c->tensor, source));
    *status = lathe_convert(engines[engine], source, target, &result, &stats);
    if (*status == LATHE_OK) {
        CHECK_OK(lathe_tensor_create(pool, &to, &host));
        CHECK_OK(lathe_tensor_copy(engines[engine], result, host));
    }
    lathe_tensor_release(result);
    lathe_tensor_release(source);
    return host;
}

/* Every engine on a device gives what the first engine gives, report included unless that is NULL
 * (its struct_size is set), and does it there. */
static inline void check_device_result(const convert_case *c, const lathe_target *target,
                                       lathe_quality_report *report) {
    lathe_tensor *expected = NULL;
    lathe_convert_stats stats = {.struct_size = sizeof stats, .quality = report};
    const lathe_status wanted = lathe_convert(engines[0], c->tensor, target, &expected, &stats);
    const uint64_t element = lathe_last_error()->element;
    for (size_t e = 1; e < n_engines; e++) {
        lathe_quality_report found;
        lathe_status status;
        memset(&found, 0, sizeof found);
        found.struct_size = sizeof found;
        const uint64_t before = test_engine_stats(engines[e]).n_on_device;
        lathe_tensor *host =
            convert_on_device(c, target, e, report == NULL ? NULL : &found, &status);
        CHECK(status == wanted && (status == LATHE_OK || lathe_last_error()->element == element),
              "%s: %s", describe(c, target, e), lathe_status_name(status));
        if (status == LATHE_OK) {
            CHECK(test_same(expected, host), "%s: other bytes", describe(c, target, e));
            CHECK(report == NULL || memcmp(report, &found, sizeof found) == 0, "%s: another report",
                  describe(c, target, e));
            CHECK(c->from.dtype == target->dtype ||
                      test_engine_stats(engines[e]).n_on_device == before + 1,
                  "%s: not on the device", describe(c, target, e));
        }
        lathe_tensor_release(host);
    }
    lathe_tensor_release(expected);
}

#endif
