/* SPDX-License-Identifier: Apache-2.0 */
/* How snapshots become text. */
#ifndef LT_METRICS_REPORT_H
#define LT_METRICS_REPORT_H

#include "core/text.h"
#include <lathe/metrics.h>

/* "host", "pinned" and "device", by lathe_pool_kind. */
extern const char *const lt_pool_kind_names[LATHE_POOL_KINDS];

/* Writes the snapshot twice: to measure it, and into a block of the pool.
 * Errors: INVALID_ARGUMENT, INSUFFICIENT_MEMORY. */
lathe_status lt_metrics_report(const lathe_metrics *metrics, lathe_pool *pool,
                               void (*write)(const lathe_metrics *metrics, lt_text *out),
                               char **text);

#endif
