/* SPDX-License-Identifier: Apache-2.0 */
/* Batches: many tensors in one call. */
#ifndef LATHE_BATCH_H
#define LATHE_BATCH_H

#include <lathe/config.h>
#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/quality.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* Makes n_tensors tensors as lathe_engine_tensor_create does, `descs` describing them one by one,
 * in few blocks of memory: small tensors of a device that lie in one block are converted in one
 * launch by lathe_convert_batch. A block lives as long as any of its tensors; it is charged to the
 * pool as a whole, at most 64 MiB unless a single tensor is larger. The contents are unspecified.
 * On success the caller owns all of `tensors`; on failure there are none, and `tensors` is left
 * alone. Errors: as lathe_engine_tensor_create. Thread-safe. */
LATHE_API lathe_status lathe_engine_tensors_create(lathe_engine *engine, lathe_memory memory,
                                                   size_t n_tensors, const lathe_tensor_desc *descs,
                                                   lathe_tensor **tensors);

/* Receives the outcome of tensor `index` of a batch: a result, whose reference is the callee's from
 * then on, or NULL and the error, which lives until the call returns. Called on the thread that
 * called lathe_convert_batch, once for each tensor, in the order of the sources. Returns 0 to go
 * on; anything else cancels. It may call anything but lathe_engine_free. */
typedef int lathe_batch_fn(void *ctx, size_t index, lathe_tensor *result, const lathe_error *error);

/* How a batch is worked on. Begins with struct_size = sizeof(lathe_batch_options). */
typedef struct lathe_batch_options {
    size_t struct_size;
    /* Zero fields: the engine's (lathe_config.batch).
     *
     * max_tensors and max_bytes cut the batch into rounds of consecutive tensors, in the order of
     * the sources: the next is begun when the one before is over and, with on_result, has been
     * handed over. A round takes at most max_tensors tensors, whose new results take at most
     * max_bytes (data and scales, rounded up to 128 bytes each); a tensor with a larger result has
     * a round of its own. So on_result with max_bytes bounds what a batch of any size holds.
     *
     * In a round, `group` lets tensors of the same conversion (pair of dtypes, granularity,
     * options) follow each other, which on a device is what makes them share a launch, and
     * `sort_by_size` puts the largest first. Without `parallel` there is one tensor at a time;
     * large ones are spread over the engine's threads in any case. */
    lathe_batch_config limits;
    lathe_batch_fn *on_result; /* NULL: results go to `results` */
    void *ctx;                 /* handed to on_result */
    /* NULL, or n_tensors reports in the order of the sources, each with its struct_size set: how
     * far each result is from its source, as in lathe_convert_stats. Those of tensors that are not
     * converted are left alone. */
    lathe_quality_report *reports;
} lathe_batch_options;

/* What a batch did. The caller sets struct_size. */
typedef struct lathe_batch_stats {
    size_t struct_size;
    uint64_t n_converted;  /* tensors that succeeded, shared ones included */
    uint64_t n_shared;     /* of those, the ones whose result is the source itself */
    uint64_t n_failed;     /* tensors with an error of their own */
    uint64_t n_groups;     /* different conversions of different shapes that were planned */
    uint64_t n_rounds;     /* that the limits have led to */
    uint64_t n_on_device;  /* tensors that an OpenCL device converted, all of it */
    uint64_t n_launches;   /* of kernels that several tensors share */
    uint64_t n_saturated;  /* as in lathe_convert_stats, over all tensors */
    uint64_t result_bytes; /* data and scales of all new results */
} lathe_batch_stats;

/* Converts sources[i] to targets[i], or all to one target: n_targets is n_tensors or 1. Each result
 * has the bytes and scales that lathe_convert gives, is where lathe_convert puts it, and is the
 * source itself with one more reference where lathe_convert shares it. Sources may be the same
 * tensor several times. Small results lie many to a block: the block, of at most 4 MiB on the host
 * and 64 MiB on a device, is given back when the last of its tensors is released.
 *
 * A tensor that cannot be converted does not keep the others from it: results[i] is then NULL, and
 * errors[i] (`errors` may be NULL) says why. A source that is NULL, and a target that is not valid,
 * are such errors (INVALID_ARGUMENT, or what lathe_convert says). Where tensor i succeeds,
 * errors[i].status is OK and the rest of it means nothing.
 *
 * `options` and `stats` may be NULL. `results` is not looked at, and may be NULL, with
 * options->on_result.
 *
 * Returns OK if every tensor was converted. Otherwise it returns the status of the first, in the
 * order of the sources, that was not; the thread's last error is that tensor's, with its index
 * before the message. Where on_result cancels: CANCELLED; the tensors that it has not been told of
 * have that error too, and no results. Errors of the call as a whole, before anything is done or
 * touched: INVALID_ARGUMENT; INSUFFICIENT_MEMORY (for the batch's own records, under 100 bytes a
 * tensor and 1 KiB for each different shape and conversion). Thread-safe. */
LATHE_API lathe_status lathe_convert_batch(lathe_engine *engine, size_t n_tensors,
                                           lathe_tensor *const *sources,
                                           const lathe_target *targets, size_t n_targets,
                                           const lathe_batch_options *options,
                                           lathe_tensor **results, lathe_error *errors,
                                           lathe_batch_stats *stats);

/* The same into existing tensors, under the rules of lathe_convert_into for each; the results are
 * apart from each other and from all sources. on_result is not used: INVALID_ARGUMENT. With
 * max_bytes, what the results take counts as if they were new. */
LATHE_API lathe_status lathe_convert_batch_into(lathe_engine *engine, size_t n_tensors,
                                                lathe_tensor *const *sources,
                                                const lathe_target *targets, size_t n_targets,
                                                const lathe_batch_options *options,
                                                lathe_tensor *const *results, lathe_error *errors,
                                                lathe_batch_stats *stats);

LATHE_END_DECLS

#endif
