/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of whole pages, one right behind the other: the C library would leave a hole behind each
 * that is to begin on a page, nearly as large as a page, and a processor that reads ahead loses its
 * way at every hole. */
#ifndef LT_POOL_PAGE_RUNS_H
#define LT_POOL_PAGE_RUNS_H

#include <stdbool.h>
#include <stddef.h>

enum { LT_RUN_PAGE_BYTES = 4096 };

/* A block of n_bytes, whole pages and at most a MiB, that begins on a page, all zero. NULL: there
 * is no memory. huge_pages: they may be used. Thread-safe. */
void *lt_run_allocate(size_t n_bytes, bool huge_pages);

/* Gives it back to the system. Thread-safe. */
void lt_run_release(void *memory, size_t n_bytes);

/* A new mapping of n_bytes, whole pages, that begins on a multiple of the alignment, a power of two
 * of at least a page. NULL: there is no memory. */
void *lt_map_aligned(size_t n_bytes, size_t alignment);

#endif
