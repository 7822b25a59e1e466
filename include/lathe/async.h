/* SPDX-License-Identifier: Apache-2.0 */
/* Conversions that run while the caller does something else. */
#ifndef LATHE_ASYNC_H
#define LATHE_ASYNC_H

#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stdbool.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* A conversion under way: a reference-counted object; every function is thread-safe. */
typedef struct lathe_event lathe_event;

/* lathe_convert on a thread of the engine, on whatever device it has: returns at once. The source
 * is retained until the conversion is over. On success the caller owns *event, and releases it,
 * before or after the conversion is over. Conversions of one engine run several at a time, in no
 * promised order; where the system has no thread to give, on the calling thread before it returns.
 * Errors, which leave *event alone: INVALID_ARGUMENT and NOT_SUPPORTED (the target),
 * INSUFFICIENT_MEMORY; those of the conversion itself are the event's. */
LATHE_API lathe_status lathe_convert_async(lathe_engine *engine, lathe_tensor *source,
                                           const lathe_target *target, lathe_event **event);

/* lathe_convert_into, likewise; the result is retained too, and nobody else may touch it until the
 * conversion is over. */
LATHE_API lathe_status lathe_convert_into_async(lathe_engine *engine, lathe_tensor *source,
                                                const lathe_target *target, lathe_tensor *result,
                                                lathe_event **event);

/* lathe_convert_async, or with a result lathe_convert_into_async, with a quality report, which
 * lathe_event_stats gives. `result` may be NULL. */
LATHE_API lathe_status lathe_convert_measured_async(lathe_engine *engine, lathe_tensor *source,
                                                    const lathe_target *target,
                                                    lathe_tensor *result, lathe_event **event);

/* True once the conversion is over, one way or the other. */
LATHE_API bool lathe_event_is_done(const lathe_event *event);

#define LATHE_FOREVER UINT64_MAX

/* Waits at most timeout_ns for the conversion to be over. True if it is. */
LATHE_API bool lathe_event_wait(lathe_event *event, uint64_t timeout_ns);

/* Waits for the conversion and returns its status; its error becomes the calling thread's last
 * error. */
LATHE_API lathe_status lathe_event_status(lathe_event *event);

/* The result, to which a reference is added for the caller; NULL while the conversion runs, and
 * after it has failed. */
LATHE_API lathe_tensor *lathe_event_result(lathe_event *event);

/* What the conversion counted, once it has succeeded. The caller has set stats->struct_size, and
 * stats->quality to NULL or to where the report goes, with its struct_size.
 * Errors: INVALID_ARGUMENT (also while it runs, or after it has failed, or if nothing was measured
 * and a report is asked for). */
LATHE_API lathe_status lathe_event_stats(const lathe_event *event, lathe_convert_stats *stats);

/* Called once, when the conversion is over, on the thread that ran it, or at once on the calling
 * thread if it is over already. It may call anything but lathe_engine_free. The event lives at
 * least until it returns. */
typedef void lathe_event_fn(void *ctx, lathe_event *event, lathe_status status);

/* Adds a callback; several are called in the order of their addition.
 * Errors: INVALID_ARGUMENT, INSUFFICIENT_MEMORY. */
LATHE_API lathe_status lathe_event_on_done(lathe_event *event, lathe_event_fn *fn, void *ctx);

/* Adds a reference and returns the event. NULL is legal and returns NULL. */
LATHE_API lathe_event *lathe_event_retain(lathe_event *event);

/* Drops a reference. The conversion goes on without one. NULL is legal. */
LATHE_API void lathe_event_release(lathe_event *event);

LATHE_END_DECLS

#endif
