/* SPDX-License-Identifier: Apache-2.0 */
/* lathe convert --stats: how long the conversions of each kind took. */
#include "cli.h"
#include "convert_report.h"

static double gigabytes_per_second(const lathe_metrics_group *group) {
    const double bytes = (double)group->src_bytes + (double)group->dst_bytes;
    return group->ns != 0 ? bytes / (double)group->ns : 0;
}

static void add_row(cli_table *table, const char *kind, const char *name,
                    const lathe_metrics_group *group) {
    char in[CLI_BYTES_TEXT];
    char out[CLI_BYTES_TEXT];
    if (group->n_done == 0 && group->n_failed == 0) {
        return;
    }
    cli_table_cell(table, "%s", kind);
    cli_table_cell(table, "%s", name);
    cli_table_cell(table, "%llu", (unsigned long long)group->n_done);
    cli_table_cell(table, "%s", cli_bytes_text(group->src_bytes, in));
    cli_table_cell(table, "%s", cli_bytes_text(group->dst_bytes, out));
    cli_table_cell(table, "%.3f", (double)group->ns * 1e-6);
    cli_table_cell(table, "%.2f", gigabytes_per_second(group));
}

static void add_pairs(cli_table *table, const lathe_metrics *metrics) {
    for (int i = 0; i < LATHE_METRICS_DTYPES * LATHE_METRICS_DTYPES; i++) {
        char name[32];
        const lathe_dtype from = (lathe_dtype)(i / LATHE_METRICS_DTYPES);
        const lathe_dtype to = (lathe_dtype)(i % LATHE_METRICS_DTYPES);
        snprintf(name, sizeof(name), "%s->%s", lathe_dtype_name(from), lathe_dtype_name(to));
        add_row(table, "types", name, &metrics->by_dtypes[from][to]);
    }
}

void convert_stats_print(const lathe_metrics *metrics) {
    static const char *const headings[] = {"by",      "which", "conversions", "read",
                                           "written", "ms",    "GB/s"};
    lathe_metrics_summary summary = {.struct_size = sizeof(summary)};
    cli_table *table = cli_table_new("llrrrrr", headings);
    for (int i = 0; i < LATHE_METRICS_STRATEGIES; i++) {
        add_row(table, "strategy", lathe_strategy_name((lathe_strategy)i),
                &metrics->by_strategy[i]);
    }
    for (int i = 0; i < LATHE_METRICS_PROCESSORS; i++) {
        add_row(table, "processor", lathe_processor_name((lathe_processor)i),
                &metrics->by_processor[i]);
    }
    add_pairs(table, metrics);
    add_row(table, "all", "", &metrics->total);
    cli_table_print(table);
    if (lathe_metrics_summarize(metrics, &summary) == LATHE_OK) {
        printf("%.3f ms a conversion; half under %.3f ms, 90%% under %.3f ms, 99%% under %.3f ms\n",
               summary.average_ns * 1e-6, (double)summary.p50_ns * 1e-6,
               (double)summary.p90_ns * 1e-6, (double)summary.p99_ns * 1e-6);
    }
}

json_t *convert_stats_json(const lathe_metrics *metrics) {
    lathe_pool *pool = NULL;
    char *text = NULL;
    json_t *object = NULL;
    if (lathe_pool_create(NULL, &pool) == LATHE_OK &&
        lathe_metrics_to_json(metrics, pool, &text) == LATHE_OK) {
        object = json_loads(text, 0, NULL);
        (void)lathe_pool_free(pool, text);
    }
    lathe_pool_release(pool);
    return object;
}
