/* SPDX-License-Identifier: Apache-2.0 */
/* What a conversion found in its data, gathered from many threads: the first fault, and counts. */
#ifndef LT_CORE_OUTCOME_H
#define LT_CORE_OUTCOME_H

#include <lathe/status.h>
#include <stdatomic.h>
#include <stdbool.h>

struct lt_quality_sums;

typedef struct lt_outcome {
    /* The first faulty element (LATHE_NO_ELEMENT: none) and its status in one word, so that the
     * least element wins whatever the order of the threads: element * 16 + status. */
    atomic_uint_fast64_t fault;
    atomic_uint_fast64_t n_saturated;
    /* Where a convert pass adds up what a quality report is made of (core/quality.h); NULL, as
     * lt_outcome_init sets it: nobody asks. */
    struct lt_quality_sums *quality;
} lt_outcome;

void lt_outcome_init(lt_outcome *outcome);

/* Records a fault: NON_FINITE, DATA_LOSS or CORRUPT_DATA at `element` (below 2^60). Thread-safe. */
void lt_outcome_fault(lt_outcome *outcome, lathe_status status, uint64_t element);

/* Adds what `from`, the outcome of a part of the conversion, has found; to its quality sums, unless
 * both use the same. */
void lt_outcome_merge(lt_outcome *outcome, const lt_outcome *from);

/* The first faulty element so far; LATHE_NO_ELEMENT if there is none. What comes after it need not
 * be converted any more. Thread-safe. */
uint64_t lt_outcome_element(const lt_outcome *outcome);

/* OK, or the fault as the thread's last error. */
lathe_status lt_outcome_status(const lt_outcome *outcome, lathe_dtype from, lathe_dtype to);

#endif
