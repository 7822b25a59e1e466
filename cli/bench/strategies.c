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
