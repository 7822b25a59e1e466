/* SPDX-License-Identifier: Apache-2.0 */
/* Waves on the threads of the CPU, without a halt between them. */
#ifndef LT_ENGINE_FLOW_H
#define LT_ENGINE_FLOW_H

#include "backend.h"
#include "engine/in_place/waves.h"

/* Converts ranges [first, end) of the wave, one after another. */
typedef void lt_flow_fn(void *ctx, const lt_wave *wave, uint64_t first, uint64_t end);

/* Has the threads do all waves that are left. They draw ranges in the waves' order; each waits only
 * until those before it have read what it is to write over, which they mostly have. */
void lt_flow_run(lt_backend *cpu, lt_waves *waves, lt_flow_fn *convert, void *ctx);

#endif
