/* SPDX-License-Identifier: Apache-2.0 */
/* Events, from the side of those who complete them. */
#ifndef LT_ENGINE_EVENT_H
#define LT_ENGINE_EVENT_H

#include <lathe/async.h>

/* An event that is not over, with one reference. NULL if there is no memory for it (the last error
 * is set). */
lathe_event *lt_event_new(lathe_pool *pool);

/* Ends it once and for all, and calls its callbacks. The caller has a reference. `error` NULL is
 * success, and then `result`, whose reference the event takes over, and stats are what the
 * conversion gave. */
void lt_event_complete(lathe_event *event, const lathe_error *error, lathe_tensor *result,
                       const lathe_convert_stats *stats);

#endif
