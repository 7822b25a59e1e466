/* SPDX-License-Identifier: Apache-2.0 */
/* Lathe converts tensors between data types in as little memory as possible.
 *
 * The simple way, for a tensor in memory:
 *
 *     lathe_engine *engine;
 *     lathe_tensor *source, *result;
 *     lathe_engine_create(NULL, &engine);
 *     lathe_tensor_wrap(lathe_engine_pool(engine), &desc, data, NULL, 0, NULL, NULL, &source);
 *     lathe_convert(engine, source, &(lathe_target){.struct_size = sizeof(lathe_target),
 *                                                   .dtype = LATHE_BITNET158}, &result, NULL);
 *     ...
 *     lathe_tensor_release(result);
 *     lathe_tensor_release(source);
 *     lathe_engine_free(engine);
 *
 * It takes three headers: dtype.h, tensor.h and engine.h, which has lathe_convert_into for results
 * that are used again. The others, in the order in which they may be wanted:
 *
 *     checkpoint.h  safetensors files, read, written, and converted in bounded memory
 *     config.h      threads, memory, device and presets of an engine
 *     stream.h      tensors that need not fit in memory: from and to callbacks and files, or fed
 *     in_place.h    conversions in the tensor's own memory; view.h: results that share memory
 *     batch.h       many tensors in one call; pipeline.h: chains without intermediate tensors
 *     async.h       conversions that run meanwhile
 *     plan.h        how a conversion would be done, and what it would cost
 *     quality.h     how far a result is from its source; metrics.h: what conversions have cost
 *     pool.h        memory under one budget, from the caller's own allocator
 *     device.h      what there is to convert on
 *     dlpack.h      tensors of other libraries; opencl.h, which is not included here: the caller's
 *                   own context, memory and queues
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
