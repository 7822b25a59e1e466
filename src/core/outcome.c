/* SPDX-License-Identifier: Apache-2.0 */
/* The first fault of a conversion. */
#include "core/outcome.h"

#include "core/error.h"
#include "core/quality.h"
#include <inttypes.h>

enum { STATUS_FACTOR = 16 };

void lt_outcome_init(lt_outcome *outcome) {
    atomic_init(&outcome->fault, UINT64_MAX);
    atomic_init(&outcome->n_saturated, 0);
    outcome->quality = NULL;
}

static void take_least(lt_outcome *outcome, uint_fast64_t fault) {
    uint_fast64_t seen = atomic_load_explicit(&outcome->fault, memory_order_relaxed);
    while (fault < seen &&
           !atomic_compare_exchange_weak_explicit(&outcome->fault, &seen, fault,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void lt_outcome_fault(lt_outcome *outcome, lathe_status status, uint64_t element) {
    take_least(outcome, element * STATUS_FACTOR + (uint64_t)status);
}

void lt_outcome_merge(lt_outcome *outcome, const lt_outcome *from) {
    take_least(outcome, atomic_load(&from->fault));
    (void)atomic_fetch_add_explicit(&outcome->n_saturated, atomic_load(&from->n_saturated),
                                    memory_order_relaxed);
    bool is_apart = from->quality != outcome->quality;
    if (outcome->quality != NULL && from->quality != NULL && is_apart) {
        lt_quality_merge(outcome->quality, from->quality);
    }
}

uint64_t lt_outcome_element(const lt_outcome *outcome) {
    uint_fast64_t fault = atomic_load_explicit(&outcome->fault, memory_order_relaxed);
    return fault == UINT64_MAX ? LATHE_NO_ELEMENT : fault / STATUS_FACTOR;
}

lathe_status lt_outcome_status(const lt_outcome *outcome, lathe_dtype from, lathe_dtype to) {
    uint_fast64_t fault = atomic_load_explicit(&outcome->fault, memory_order_relaxed);
    if (fault == UINT64_MAX) {
        return LATHE_OK;
    }
    lathe_status status = (lathe_status)(fault % STATUS_FACTOR);
    uint64_t element = fault / STATUS_FACTOR;
    (void)lt_fail(status, "%s to %s: element %" PRIu64 " %s", lathe_dtype_name(from),
                  lathe_dtype_name(to), element,
                  status == LATHE_NON_FINITE  ? "is a NaN or an infinity"
                  : status == LATHE_DATA_LOSS ? "would lose its exact value"
                                              : "is stored in a byte that no encoder emits");
    lt_error()->from = from;
    lt_error()->to = to;
    lt_error()->element = element;
    lt_error()->stage = "convert";
    return status;
}
