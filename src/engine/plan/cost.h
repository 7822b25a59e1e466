/* SPDX-License-Identifier: Apache-2.0 */
/* What conversions cost on this machine: lines that the calibration has measured, and what
 * conversions have really taken since. */
#ifndef LT_ENGINE_COST_H
#define LT_ENGINE_COST_H

#include "engine/plan/plan.h"
#include "pool/pool.h"

/* Where, and how, a conversion can run. */
typedef enum lt_place {
    LT_ON_CALLER = 0,      /* the CPU, on the calling thread alone */
    LT_ON_THREADS = 1,     /* the CPU, on all of the engine's threads */
    LT_ON_DEVICE = 2,      /* a device that reaches both tensors */
    LT_THROUGH_DEVICE = 3, /* a device, host memory in chunks through its own */
} lt_place;
enum { LT_PLACES = 4 };

/* What is done to each element: with the two dtypes it makes a kernel family. */
typedef enum lt_work_kind {
    LT_WORK_PLAIN = 0,       /* one pass, without scales to find */
    LT_WORK_ROWS = 1,        /* one pass that finds scales of long scopes */
    LT_WORK_GROUPS = 2,      /* of short ones */
    LT_WORK_TWO_PASS = 3,    /* statistics first */
    LT_WORK_SAMPLED = 4,     /* FAST, one scale: statistics of a sample first */
    LT_WORK_SAMPLED_OWN = 5, /* FAST, scales of rows and groups */
    LT_WORK_PRECISE = 6,     /* least squared error, one scale; */
    LT_WORK_STRICT = 7,      /* whatever it is, verified */
    LT_WORK_PRECISE_ROWS = 8,
    LT_WORK_PRECISE_GROUPS = 9, /* several times as long: element by element */
} lt_work_kind;
enum { LT_WORK_KINDS = 10 };

/* A conversion, as far as its cost goes. */
typedef struct lt_case {
    lathe_dtype from;
    lathe_dtype to;
    lt_work_kind kind;
    uint64_t n_bytes;       /* of source and result */
    uint64_t precise_elems; /* lt_plan_precise_elems */
} lt_case;

/* True if PRECISE scales are the CPU's to find, unless the device has both tensors at once. */
static inline bool lt_case_is_for_cpu(const lt_case *c, const lt_backend *device) {
    return c->precise_elems > device->max_chunk_scope_elems;
}

lt_case lt_case_of(const lt_layout *from, const lt_layout *to, const lathe_target *target);

/* Time over bytes. */
typedef struct lt_line {
    float start_ns;
    float ns_per_byte;
    float ns_per_byte_beyond; /* where the data is larger than the caches; 0: not measured */
} lt_line;

typedef struct lt_costs lt_costs;

/* Data of more than cache_bytes is beyond the caches. NULL where there is no memory. */
lt_costs *lt_costs_create(lathe_pool *pool, uint64_t cache_bytes, uint32_t n_threads);

/* NULL is legal. */
void lt_costs_destroy(lt_costs *costs);

/* The line of a family at a place, if it was measured. Thread-safe. */
bool lt_costs_line(const lt_costs *costs, lt_place place, const lt_case *c, lt_line *line);

/* Sets it. Calls do not overlap; readers may run. False where there is no memory for lines. */
bool lt_costs_set_line(lt_costs *costs, lt_place place, const lt_case *c, const lt_line *line);

/* Counts what a conversion has taken. Thread-safe, lock-free; of two at the same moment one may be
 * forgotten. */
void lt_costs_observe(lt_costs *costs, lt_place place, const lt_case *c, uint64_t ns);

typedef struct lt_estimate {
    double ns;
    uint32_t n_seen; /* conversions of that size that it comes from; 0: from the line */
    bool is_known;   /* false: nothing was measured, and ns is a rule of thumb */
} lt_estimate;

/* What the case would take there: as conversions of its size class (a factor of 2) took, else by
 * the line, else by a rule of thumb. Thread-safe; about ten nanoseconds. */
lt_estimate lt_costs_estimate(const lt_costs *costs, lt_place place, const lt_case *c);

/* True if the CPU should spread the case over its threads: what has been faster. With `may_try` the
 * other way is tried where it is not clear: to convert, not to say. Thread-safe. */
bool lt_costs_spread(const lt_costs *costs, const lt_case *c, bool may_try);

#endif
