/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --strategies: what each strategy is worth, beside what it is to replace. */
#include "strategies.h"
#include <string.h>

typedef struct strategy_case {
    const char *name;
    lathe_status (*run)(bench *b);
} strategy_case;

static const strategy_case cases[] = {
#define CASE(name) {#name, bench_##name},
    BENCH_STRATEGY_LIST(CASE)
#undef CASE
};
enum { N_CASES = sizeof(cases) / sizeof(cases[0]) };

bool bench_is_strategy(const char *name) {
    for (size_t i = 0; i < N_CASES; i++) {
        if (strcmp(cases[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

const char *bench_strategy_names(void) {
#define NAME(name) #name " "
    return BENCH_STRATEGY_LIST(NAME);
#undef NAME
}

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

int bench_run_strategies(bench *b) {
    const char *only = b->options->strategy;
    if (bench_has_table(b)) {
        printf("%s, %s, %u threads\n", b->device.selector, b->device.name, (unsigned)b->n_threads);
        printf("%-9s %-44s %10s %10s %7s  %s\n", "strategy", "what", "time", "other", "ratio",
               "other");
        fflush(stdout);
    }
    for (size_t i = 0; i < N_CASES; i++) {
        if (only[0] != '\0' && strcmp(only, cases[i].name) != 0) {
            continue;
        }
        b->strategy = cases[i].name;
        bench_report_progress(b, cases[i].name);
        if (cases[i].run(b) != LATHE_OK) {
            return b->has_complained
                       ? CLI_FAILURE
                       : cli_fail("%s: %s", cases[i].name, lathe_last_error()->message);
        }
    }
    return CLI_OK;
}
