/* SPDX-License-Identifier: Apache-2.0 */
/* A document as a drawing. */
#ifndef LATHE_CLI_BENCH_PLOT_H
#define LATHE_CLI_BENCH_PLOT_H

#include <jansson.h>

/* Draws the speeds of a document against the size, as SVG. Returns the exit status. */
int bench_plot(const json_t *document, const char *path);

#endif
