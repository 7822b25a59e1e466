/* SPDX-License-Identifier: Apache-2.0 */
/* Lathe converts tensors between data types in as little memory as possible.
 *
 * The simple way, for a tensor in memory:
 *
 *     lathe_engine *engine;
 *     lathe_engine_create(NULL, &engine);
 *     lathe_tensor_wrap(lathe_engine_pool(engine), &desc, data, NULL, 0, NULL, NULL, &source);
 *     lathe_convert(engine, source, &(lathe_target){.struct_size = sizeof(lathe_target),
 *                                                   .dtype = LATHE_BITNET158}, &result, NULL);
 *
 * The way for a checkpoint larger than memory: lathe_checkpoint_convert in lathe/checkpoint.h.
 *
 * Every call that can fail returns a lathe_status; lathe_last_error has the details. Structs that
 * begin with struct_size are zeroed by the caller, who then sets that field and the ones that
 * matter. This version takes exactly the structs of its own headers, and lathe_config as it was
 * before it grew. */
#ifndef LATHE_H
#define LATHE_H

#include <lathe/async.h>
#include <lathe/batch.h>
#include <lathe/checkpoint.h>
#include <lathe/config.h>
#include <lathe/device.h>
#include <lathe/dlpack.h>
#include <lathe/dtype.h>
#include <lathe/engine.h>
#include <lathe/in_place.h>
#include <lathe/metrics.h>
#include <lathe/pipeline.h>
#include <lathe/plan.h>
#include <lathe/pool.h>
#include <lathe/quality.h>
#include <lathe/status.h>
#include <lathe/stream.h>
#include <lathe/tensor.h>
#include <lathe/version.h>
#include <lathe/view.h>

#endif
