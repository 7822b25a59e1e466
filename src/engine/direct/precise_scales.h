/* SPDX-License-Identifier: Apache-2.0 */
/* PRECISE scales of scopes that a convert pass does not find by itself. */
#ifndef LT_ENGINE_PRECISE_SCALES_H
#define LT_ENGINE_PRECISE_SCALES_H

#include "backend.h"
#include "core/precise.h"

/* Runs a scan over tiles [first_tile, first_tile + n_tiles) of the pass's tiling, which are those
 * of one scope. */
typedef lathe_status lt_scan_fn(void *ctx, lt_scan *scan, uint64_t first_tile, uint64_t n_tiles);

/* Scans that lt_precise_scales runs over each scope. */
enum { LT_PRECISE_SCANS = 2 };

/* Replaces the standard scales of all scopes by the PRECISE ones. Errors: INSUFFICIENT_MEMORY, and
 * those of `run`. */
lathe_status lt_precise_scales(lathe_pool *pool, const lt_pass *pass, float *scales,
                               lt_scan_fn *run, void *ctx);

#endif
