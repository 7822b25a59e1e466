/* SPDX-License-Identifier: Apache-2.0 */
/* What self-checks convert: a source and its result, on the scalar reference and on the device. */
#ifndef LT_ENGINE_CHECK_SIDES_H
#define LT_ENGINE_CHECK_SIDES_H

#include "core/fpenv.h"
#include "engine/engine.h"

typedef struct lt_check_sides {
    lathe_engine *engine; /* whose device is checked */
    lt_backend *reference;
    lathe_tensor *source;
    lathe_tensor *expected; /* what the reference has made of it */
    lathe_tensor *device_source;
    lathe_tensor *device_result;
    lathe_tensor *result; /* what the device has made, fetched */
    lt_fpenv saved;
} lt_check_sides;

/* Sets up the reference and its floating-point environment, for this thread: on success
 * lt_check_end follows. */
lathe_status lt_check_begin(lt_check_sides *sides, lathe_engine *engine);
void lt_check_end(lt_check_sides *sides);

/* Makes the tensors. lt_check_close follows, on failure too. */
lathe_status lt_check_open(lt_check_sides *sides, const lathe_tensor_desc *from,
                           const lathe_tensor_desc *to);
void lt_check_close(lt_check_sides *sides);

/* Sets element i of a source of floats to what these bits of an F32 become in its type. */
void lt_check_put(const lt_check_sides *sides, uint64_t i, uint32_t bits);

/* Rounds a source of F32 as passes with such roundings do (lt_pass). */
void lt_check_round(const lt_check_sides *sides, const lathe_dtype *rounds);

/* Replaces its finite elements that would become infinite. */
void lt_check_keep_finite(const lt_check_sides *sides, const lathe_dtype *rounds);

/* True if the result is what was expected, scales included. */
bool lt_check_agrees(const lt_check_sides *sides);

#endif
