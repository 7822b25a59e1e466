/* SPDX-License-Identifier: Apache-2.0 */
/* What lathe convert says when it has converted a checkpoint: the summary and the JSON. */
#ifndef LATHE_CLI_CONVERT_REPORT_H
#define LATHE_CLI_CONVERT_REPORT_H

#include <jansson.h>
#include <lathe/lathe.h>
#include <stdbool.h>

/* All that is known at the end. */
typedef struct convert_result {
    const lathe_checkpoint_report *report;
    const lathe_checkpoint_options *options;
    const char *wanted_device; /* the text of --device; NULL: none */
    lathe_device_info device;
    lathe_metrics *metrics;
    bool stats; /* --stats */
} convert_result;

/* The tables and lines for a person, on stdout. */
void convert_result_print(const convert_result *result);

/* The object for --json; NULL where there is no memory. */
json_t *convert_result_json(const convert_result *result);

/* convert_stats.c: the table of --stats, and the object; NULL where there is no memory. */
void convert_stats_print(const lathe_metrics *metrics);
json_t *convert_stats_json(const lathe_metrics *metrics);

#endif
