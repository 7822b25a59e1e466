/* SPDX-License-Identifier: Apache-2.0 */
/* Planning: how a conversion would be done, where, and what it would cost. */
#ifndef LATHE_PLAN_H
#define LATHE_PLAN_H

#include <lathe/engine.h>
#include <lathe/export.h>
#include <lathe/status.h>
#include <lathe/tensor.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* X(name, number, text). The numbers are part of the ABI. */
#define LATHE_STRATEGY_LIST(X)                                                                     \
    X(AUTO, 0, "auto")           /* whichever is fastest within the memory there is */             \
    X(ZERO_COPY, 1, "zero_copy") /* the result shares the source's memory */                       \
    X(IN_PLACE, 2, "in_place")   /* the result takes the source's place */                         \
    X(DIRECT, 3, "direct")       /* all at once, from one tensor to another */                     \
    X(STREAMING, 4, "streaming") /* in chunks, through slots */                                    \
    X(BATCH, 5, "batch")         /* many tensors in one call */                                    \
    X(PIPELINE, 6, "pipeline")   /* a chain of targets without intermediates */

typedef enum lathe_strategy {
#define LATHE_STRATEGY_ENUM(name, number, text) LATHE_STRATEGY_##name = number,
    LATHE_STRATEGY_LIST(LATHE_STRATEGY_ENUM)
#undef LATHE_STRATEGY_ENUM
} lathe_strategy;

/* "auto", "zero_copy", ...; "invalid" for any other number. Static. Thread-safe. */
LATHE_API const char *lathe_strategy_name(lathe_strategy strategy);

LATHE_END_DECLS

#endif
