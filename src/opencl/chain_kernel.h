/* SPDX-License-Identifier: Apache-2.0 */
/* Chains on a device: one kernel through several types. */
#ifndef LT_OPENCL_CHAIN_KERNEL_H
#define LT_OPENCL_CHAIN_KERNEL_H

#include "chain.h"
#include "opencl/queue.h"
#include "opencl/release.h"

/* As lt_backend_ops says. */
bool lt_cl_takes_chain(const lt_backend *backend, const lt_chain_work *work);

/* As lt_backend_ops says. NOT_SUPPORTED: more than LATHE_CL_CHAIN_STEPS steps before the last; a
 * step before it that is strict or FAST; a last one to BITNET158; rows that do not lie alike, or
 * that vectors cannot begin at; statistics of values after a step. */
lathe_status lt_cl_submit_chain(lt_backend *backend, lt_queue *queue, const lt_chain_work *work);
lathe_status lt_cl_submit_chain_stats(lt_backend *backend, lt_queue *queue,
                                      const lt_chain_work *work);

/* The same for works with own_scales (scaled_chain.c). NOT_SUPPORTED: work-groups of fewer than
 * LATHE_CL_GROUP; a source that has scales; a step that is strict, or is not BALANCED, or has a
 * mean for a scale; scopes that are not the same for all, or neither all elements, as many as
 * launches take statistics of at once, nor powers of two from LATHE_CL_CHAIN_LEAST to a block. */
bool lt_cl_takes_scaled_chain(const lt_backend *backend, const lt_chain_work *work);
lathe_status lt_cl_submit_scaled_chain(lt_queue *queue, const lt_chain_work *work);

/* A kernel of a chain's program, which may be used: an object of the caller's. After an error the
 * queue is empty. */
lathe_status lt_cl_chain_kernel(lt_queue *queue, const lt_chain_work *work, const char *name,
                                cl_kernel *kernel);

/* A kernel of a pair's that rounds the source as the work's pass says, likewise, but the queue's
 * own. */
lathe_status lt_cl_rounded_kernel(lt_queue *queue, const lt_work *work, lt_cl_kernel which,
                                  cl_kernel *kernel);

/* Releases these kernels of a queue's. */
static inline void lt_cl_drop_rounded(lt_queue *queue) {
    for (size_t i = 0; i < LT_CL_KERNEL_COUNT; i++) {
        lt_cl_release_kernel(queue->rounded[i]);
        queue->rounded[i] = NULL;
    }
}

/* Frees the programs of chains (chain_programs.c), which nothing uses any more. */
void lt_cl_chains_destroy(lt_cl_backend *backend);

#endif
