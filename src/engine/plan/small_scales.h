/* SPDX-License-Identifier: Apache-2.0 */
/* The scales of a small tensor's target, found on one thread. */
#ifndef LT_ENGINE_SMALL_SCALES_H
#define LT_ENGINE_SMALL_SCALES_H

#include "backend.h"

/* Statistics of a small tensor are kept on the stack: at most those of so many tiles. */
enum { LT_SMALL_TILES = 256 };

/* Finds the scales of the target of a pass of at most LT_SMALL_TILES tiles, whose source is in host
 * memory: dst.n_scales floats. Errors: those of a conversion's data. */
lathe_status lt_small_scales(lt_backend *cpu, const lt_pass *pass, const lt_span *source,
                             float *scales);

#endif
