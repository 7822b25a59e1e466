/* SPDX-License-Identifier: Apache-2.0 */
/* What lathe convert says when it has converted a checkpoint: the summary and the JSON. */
#ifndef LATHE_CLI_CONVERT_REPORT_H
#define LATHE_CLI_CONVERT_REPORT_H

#include <jansson.h>
#include <lathe/lathe.h>

/* All that is known at the end. */
typedef struct convert_result {
    const lathe_checkpoint_report *report;
    const lathe_checkpoint_options *options;
    const char *wanted_device; /* the text of --device; NULL: none */
    lathe_device_info device;
    lathe_pool_stats pool;
    lathe_engine_stats engine;
} convert_result;

/* The tables and lines for a person, on stdout. */
void convert_result_print(const convert_result *result);

/* The object for --json. */
json_t *convert_result_json(const convert_result *result);

#endif
