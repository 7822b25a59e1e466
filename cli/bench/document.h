/* SPDX-License-Identifier: Apache-2.0 */
/* The results as a document, with where and with what was measured. */
#ifndef LATHE_CLI_BENCH_DOCUMENT_H
#define LATHE_CLI_BENCH_DOCUMENT_H

#include "bench.h"

/* Where and with what was measured: version, compiler, CPU, date. */
json_t *bench_machine(void);

/* Adds b->device to what has been measured. */
void bench_add_device(bench *b);

/* The lines of the table's head. */
void bench_print_machine(const bench *b);
void bench_print_device(const bench *b);

/* The results with the machine and the devices, as --json prints it and --compare reads it. */
json_t *bench_document(const bench *b);

/* Returns the exit status. */
int bench_print_csv(const json_t *document);

#endif
