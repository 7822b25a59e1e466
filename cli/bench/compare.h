/* SPDX-License-Identifier: Apache-2.0 */
/* A document beside an earlier one. */
#ifndef LATHE_CLI_BENCH_COMPARE_H
#define LATHE_CLI_BENCH_COMPARE_H

#include <jansson.h>
#include <stdio.h>

/* Reads the document of --json. NULL: it is none, and the message is out. */
json_t *bench_load(const char *path);

/* Says on `out` what became slower or faster by more than the threshold, a part of the time, and
 * which rows only one of the documents has. Returns the exit status: CLI_FAILURE if one is slower,
 * or if they have no row in common. */
int bench_compare(const json_t *older, const json_t *newer, double threshold, FILE *out);

#endif
