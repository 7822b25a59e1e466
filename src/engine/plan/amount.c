/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes and times for sentences. Integers only are formatted, which no locale changes. */
#include "engine/plan/amount.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

lt_amount lt_bytes_text(uint64_t n_bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    lt_amount a;
    size_t unit = 0;
    uint64_t tenths = n_bytes < UINT64_MAX / 10 ? n_bytes * 10 : UINT64_MAX;
    while (tenths >= 10240 && unit + 1 < sizeof units / sizeof units[0]) {
        tenths /= 1024;
        unit++;
    }
    if (unit == 0) {
        (void)snprintf(a.text, sizeof a.text, "%" PRIu64 " bytes", n_bytes);
    } else {
        (void)snprintf(a.text, sizeof a.text, "%" PRIu64 ".%d %s", tenths / 10, (int)(tenths % 10),
                       units[unit]);
    }
    return a;
}

lt_amount lt_time_text(double ns) {
    static const char *const units[] = {"ns", "us", "ms", "s"};
    lt_amount a;
    size_t unit = 0;
    while (ns >= 1000 && unit + 1 < sizeof units / sizeof units[0]) {
        ns /= 1000;
        unit++;
    }
    uint64_t tenths = (uint64_t)(ns * 10);
    (void)snprintf(a.text, sizeof a.text, "%" PRIu64 ".%d %s", tenths / 10, (int)(tenths % 10),
                   units[unit]);
    return a;
}
