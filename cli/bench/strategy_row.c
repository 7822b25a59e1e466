/* SPDX-License-Identifier: Apache-2.0 */
/* What the strategies' cases need: an engine, and a row for what they have found. */
#include "strategies.h"

/* A time for a person. */
static const char *time_text(double seconds, char text[32]) {
    const bool is_ns = seconds < 1e-6;
    const bool is_us = seconds < 1e-3;
    const bool is_ms = seconds < 1;
    snprintf(text, 32, "%.4g %s",
             seconds * (is_ns   ? 1e9
                        : is_us ? 1e6
                        : is_ms ? 1e3
                                : 1),
             is_ns   ? "ns"
             : is_us ? "us"
             : is_ms ? "ms"
                     : "s");
    return text;
}

void bench_strategy_row(bench *b, const char *what, const char *against, const bench_times *times) {
    char time[32];
    char other[32];
    char line[256];
    snprintf(line, sizeof(line), "%-9s %-44s %10s %10s %7.2f  %s", b->strategy, what,
             time_text(times->seconds[0], time), time_text(times->seconds[1], other),
             times->ratio[1], against);
    bench_report_add(b,
                     json_pack("{s:s, s:s, s:s, s:i, s:f, s:f, s:f, s:s, s:f, s:f}", "name",
                               b->strategy, "what", what, "device", b->device.selector, "threads",
                               (int)b->n_threads, "seconds", times->seconds[0], "seconds_q1",
                               times->quartiles[0][0], "seconds_q3", times->quartiles[0][1],
                               "against", against, "against_seconds", times->seconds[1], "ratio",
                               times->ratio[1]),
                     line);
}

lathe_status bench_strategy_engine(bench *b, lathe_engine **engine) {
    cli_engine_options options = b->options->engine;
    options.config.n_threads = b->n_threads;
    options.config.pool = b->pool;
    return cli_engine_create(&options, engine);
}
