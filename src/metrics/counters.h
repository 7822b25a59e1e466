/* SPDX-License-Identifier: Apache-2.0 */
/* Counters of what an engine has done. Lock-free: each is a relaxed atomic. */
#ifndef LT_METRICS_COUNTERS_H
#define LT_METRICS_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* X(name): the fields of lathe_engine_stats, which says what they mean, but for those that count
 * conversions: lt_metrics_record alone does that. */
#define LT_COUNTERS(X)                                                                             \
    X(n_device_errors)                                                                             \
    X(uploaded_bytes)                                                                              \
    X(downloaded_bytes)                                                                            \
    X(n_wrapped)                                                                                   \
    X(n_launches)                                                                                  \
    X(n_programs_built)                                                                            \
    X(n_programs_loaded)                                                                           \
    X(program_build_ns)                                                                            \
    X(program_load_ns)

typedef struct lt_counters {
#define LT_COUNTER(name) atomic_uint_fast64_t name;
    LT_COUNTERS(LT_COUNTER)
#undef LT_COUNTER
} lt_counters;

static inline void lt_count(atomic_uint_fast64_t *counter, uint64_t n) {
    (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
