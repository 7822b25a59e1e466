/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel's files say about memory: a cgroup's limit, and how long tasks wait for pages. */
#ifndef LT_POOL_PRESSURE_FILES_H
#define LT_POOL_PRESSURE_FILES_H

#include <lathe/pool.h>

/* Which files, and what they led to last. */
typedef struct lt_pressure_files {
    uint64_t interval_ns;
    lathe_pressure of_cgroup; /* levels, for their hysteresis */
    lathe_pressure of_stalls;
    char cgroup_dir[512]; /* empty: none */
    char psi_file[512];
} lt_pressure_files;

/* Fills in what a pool's config says. Errors: INVALID_ARGUMENT. */
lathe_status lt_pressure_files_init(lt_pressure_files *files, const lathe_pool_config *config);

/* Reads the files that there are; by one thread at a time. What cannot be read says nothing. */
lathe_pressure lt_pressure_files_read(lt_pressure_files *files);

#endif
