/* SPDX-License-Identifier: Apache-2.0 */
/* The histogram of times: single nanoseconds at first, then eight entries for each doubling. */
#include "metrics/metrics.h"

enum { SUB_BITS = 3, SUB_ENTRIES = 1 << SUB_BITS };

size_t lt_metrics_time_index(uint64_t ns) {
    uint32_t shift = 0; /* leaves the leading bit and SUB_BITS more */
    if (ns >= 2 * SUB_ENTRIES) {
        shift = 63 - (uint32_t)__builtin_clzll(ns) - SUB_BITS;
    }
    uint64_t i = ((uint64_t)shift << SUB_BITS) + (ns >> shift);
    return i < LATHE_METRICS_TIMES ? (size_t)i : LATHE_METRICS_TIMES - 1;
}

uint64_t lathe_metrics_time_ns(size_t i) {
    if (i >= LATHE_METRICS_TIMES) {
        return UINT64_MAX;
    }
    if (i < 2 * SUB_ENTRIES) {
        return i;
    }
    uint64_t shift = (i >> SUB_BITS) - 1;
    return (SUB_ENTRIES + (i & (SUB_ENTRIES - 1))) << shift;
}

static uint64_t middle(size_t i) {
    const uint64_t first = lathe_metrics_time_ns(i);
    return i + 1 == LATHE_METRICS_TIMES ? first
                                        : first + (lathe_metrics_time_ns(i + 1) - 1 - first) / 2;
}

/* How many of the strategy's times are in entry i; AUTO: of all. */
static uint64_t count_at(const lathe_metrics *metrics, lathe_strategy strategy, size_t i) {
    uint64_t n = 0;
    for (size_t s = 0; s < LATHE_METRICS_STRATEGIES; s++) {
        n += strategy == LATHE_STRATEGY_AUTO || strategy == (lathe_strategy)s
                 ? metrics->times[s].n[i]
                 : 0;
    }
    return n;
}

uint64_t lathe_metrics_percentile_ns(const lathe_metrics *metrics, lathe_strategy strategy,
                                     double fraction) {
    uint64_t n = 0;
    if (metrics == NULL || (unsigned)strategy >= LATHE_METRICS_STRATEGIES) {
        return 0;
    }
    for (size_t i = 0; i < LATHE_METRICS_TIMES; i++) {
        n += count_at(metrics, strategy, i);
    }
    const double below = fraction * (double)n; /* so many are to stay under it */
    uint64_t seen = 0;
    size_t last = 0;
    for (size_t i = 0; i < LATHE_METRICS_TIMES; i++) {
        uint64_t here = count_at(metrics, strategy, i);
        seen += here;
        last = here != 0 ? i : last;
        if (here != 0 && (double)seen >= below) {
            break;
        }
    }
    return n == 0 ? 0 : middle(last);
}
