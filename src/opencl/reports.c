/* SPDX-License-Identifier: Apache-2.0 */
/* What comes back from the device: it lands in the host's memory when a queue is finished, and is
 * handed over to those whose work it was. */
#include "opencl/reports.h"

#include "core/checked.h"
#include "core/dtype.h"
#include "core/quality.h"
#include "lathe_constants.h"
#include <math.h>
#include <string.h>

static const uint32_t fresh_report[LATHE_CL_REPORT_WORDS] = {LATHE_CL_NO_FAULT, 0};

/* ---- what launches report */

/* Fills a part of the reports' memory with what a launch expects there. */
static lathe_status fill_reports(lt_queue *queue, const uint32_t *pattern, size_t n_words,
                                 size_t first_word, size_t end_word) {
    cl_event event = NULL;
    cl_int error = clEnqueueFillBuffer(queue->commands, queue->reports.device, pattern,
                                       n_words * sizeof *pattern, first_word * sizeof *pattern,
                                       (end_word - first_word) * sizeof *pattern,
                                       lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    return lt_cl_queue_chain(queue, "clEnqueueFillBuffer", error, event);
}

lathe_status lt_cl_ready_report(lt_queue *queue) {
    const uint32_t zero = 0;
    lathe_status status = LATHE_OK;
    if (queue->n_launches == LT_CL_MAX_LAUNCHES) {
        status = lt_cl_finish(&queue->backend->base, queue);
    }
    if (status != LATHE_OK || queue->n_launches > 0 || !queue->is_dirty) {
        return status;
    }
    status = fill_reports(queue, fresh_report, LATHE_CL_REPORT_WORDS, 0, LT_CL_SUMS_AT);
    if (status == LATHE_OK) {
        status = fill_reports(queue, &zero, 1, LT_CL_SUMS_AT, LT_CL_REPORTS_WORDS);
    }
    queue->is_dirty = status != LATHE_OK;
    return status;
}

lathe_status lt_cl_land(lt_queue *queue, const lt_buffer *from, uint64_t n_bytes, void *to) {
    cl_event event = NULL;
    cl_int error = clEnqueueReadBuffer(queue->commands, from->device, CL_FALSE, 0, (size_t)n_bytes,
                                       to, lt_cl_n_wait(queue), lt_cl_wait_list(queue), &event);
    return lt_cl_queue_chain(queue, "clEnqueueReadBuffer", error, event);
}

/* Reports and a sum in one read, if there are any: each costs as much as thousands of words. */
static lathe_status land_reports(lt_queue *queue) {
    size_t n_words = queue->n_launches * LATHE_CL_REPORT_WORDS;
    if (queue->sum != NULL) {
        n_words = lt_cl_sum_at(queue) + LATHE_CL_SUM_WORDS;
    }
    return n_words == 0 ? LATHE_OK
                        : lt_cl_land(queue, &queue->reports, n_words * sizeof(uint32_t),
                                     queue->reports_landing.host);
}

/* Hands what a launch reported, LATHE_CL_REPORT_WORDS words, to the outcome. */
static void deliver_report(const lathe_launch *args, const uint32_t *words, lt_outcome *outcome) {
    static const lathe_status statuses[LATHE_CL_FAULT_KINDS] = {
        [LATHE_CL_FAULT_NON_FINITE] = LATHE_NON_FINITE,
        [LATHE_CL_FAULT_DATA_LOSS] = LATHE_DATA_LOSS,
        [LATHE_CL_FAULT_CORRUPT_DATA] = LATHE_CORRUPT_DATA,
    };
    lathe_status status = statuses[words[0] % LATHE_CL_FAULT_KINDS];
    if (words[0] != LATHE_CL_NO_FAULT && status != LATHE_OK) {
        lt_outcome_fault(outcome, status, args->fault_base + words[0] / LATHE_CL_FAULT_KINDS);
    }
    if (words[1] > 0 && (args->flags & LATHE_CL_SURVEY) != 0) {
        (void)atomic_fetch_add_explicit(&outcome->n_saturated, words[1], memory_order_relaxed);
    }
}

/* Adds a number, not 0, of 2^shift units to a sum of units; 2^53 units or more are all the same. */
static uint64_t add_units(uint64_t sum, uint64_t number, uint32_t shift) {
    const uint64_t too_much = UINT64_C(1) << 53;
    bool is_too_much = shift > 53 || number > too_much >> shift;
    return is_too_much ? too_much : lt_min(sum + (number << shift), too_much);
}

/* What tiles come to, from the LATHE_CL_SUM_WORDS words that were gathered. */
static void deliver_sum(lathe_dtype dtype, const uint32_t *words, lt_tile_sum *sum) {
    *sum = (lt_tile_sum){.is_set = true, .is_exact = true, .lowest = INT32_MAX};
    if (lt_dtype_traits_of(dtype)->rule == LT_RULE_ABSMAX) {
        float top;
        memcpy(&top, words, sizeof top);
        sum->value = top;
        return;
    }
    uint64_t units = 0;
    uint32_t first = 0;
    for (uint32_t i = 0; i < LATHE_CL_SUM_BUCKETS * LATHE_CL_SUM_PARTS; i++) {
        const uint32_t number = words[1 + i];
        const uint32_t bucket = i / LATHE_CL_SUM_PARTS;
        if (number == 0) {
            continue;
        }
        if (sum->lowest == INT32_MAX) {
            first = bucket;
            sum->lowest = (int32_t)bucket + LATHE_CL_SUM_LOWEST;
        }
        units =
            add_units(units, number, bucket - first + i % LATHE_CL_SUM_PARTS * LATHE_CL_SUM_BITS);
    }
    sum->is_exact = units < UINT64_C(1) << 53;
    sum->value = units == 0 ? 0 : ldexp((double)units, sum->lowest);
}

/* Tiles' statistics from what the stats kernel stored for them. */
static void deliver_tiles(const float *stored, uint64_t n_tiles, double *stats) {
    for (uint64_t i = 0; i < n_tiles; i++) {
        stats[i] = stored[i] < 0 ? -LATHE_STAT_GROW * (double)stored[i] : (double)stored[i];
    }
}

static void deliver_reports(lt_queue *queue) {
    const uint32_t *words = queue->reports_landing.host;
    const float *floats = queue->stats_landing.host;
    for (uint32_t i = 0; i < queue->n_launches; i++, words += LATHE_CL_REPORT_WORDS) {
        const lt_cl_pending *launch = &queue->launches[i];
        bool is_fresh = words[0] == fresh_report[0] && words[1] == fresh_report[1];
        queue->is_dirty = queue->is_dirty || !is_fresh;
        queue->has_odd_rows |= words[1] != 0 && (launch->args.flags & LATHE_CL_LONG) != 0;
        deliver_report(&launch->args, words, launch->outcome);
    }
    for (uint32_t i = 0; i < queue->n_stats; i++) {
        const lt_cl_pending_stats *landed = &queue->pending_stats[i];
        deliver_tiles(floats + landed->first, landed->n_tiles, landed->stats);
    }
    if (queue->sum != NULL) {
        const uint32_t *sums = queue->reports_landing.host;
        deliver_sum(queue->sum_dtype, sums + lt_cl_sum_at(queue), queue->sum);
    }
    queue->sum = NULL;
    queue->n_launches = 0;
    queue->n_stats = 0;
    queue->n_stats_floats = 0;
}

/* ---- what a launch for many tensors reports */

static lathe_status land_table(lt_queue *queue) {
    const uint64_t n_bytes = queue->n_many * LATHE_CL_REPORT_WORDS * sizeof(uint32_t);
    return queue->n_many == 0 ? LATHE_OK
                              : lt_cl_land(queue, &queue->table, n_bytes, queue->table_host.host);
}

static void deliver_table(lt_queue *queue) {
    const uint32_t *words = queue->table_host.host;
    const lathe_launch args = {.flags = LATHE_CL_SURVEY, /* which alone counts */
                               .fault_base = UINT64_C(0) - LATHE_CL_FAULT_MARGIN};
    for (size_t i = 0; i < queue->n_many; i++) {
        deliver_report(&args, words + LATHE_CL_REPORT_WORDS * i, queue->many[i].outcome);
    }
    queue->n_many = 0;
}

/* ---- what has been measured (measure.c) */

static lathe_status land_measured(lt_queue *queue) {
    const lt_cl_measured *measured = &queue->measured;
    return measured->outcome == NULL
               ? LATHE_OK
               : lt_cl_land(queue, &measured->words, LT_CL_MEASURED_BYTES, measured->landing.host);
}

/* What a pattern of the greatest error stands for. */
static double error_of(uint32_t bits) {
    const uint32_t octave = UINT32_C(1) << 23;
    const bool is_beyond = bits >= UINT32_C(0x7f800000);
    const uint32_t held = is_beyond ? bits - octave : bits;
    float value;
    memcpy(&value, &held, sizeof value);
    return is_beyond ? 2 * (double)value : (double)value;
}

static void take_sum(lt_exact_sum *sum, const int32_t *words) {
    for (int i = 0; i < LATHE_CL_SUM_DIGITS; i++) {
        sum->digits[i / 2] += (int64_t)words[i] * (i % 2 == 0 ? 1 : 65536);
    }
}

static void deliver_measured(lt_queue *queue) {
    const uint32_t *words = queue->measured.landing.host;
    lt_outcome *outcome = queue->measured.outcome;
    int32_t sums[LATHE_CL_EXACT_SUMS][LATHE_CL_SUM_DIGITS];
    if (outcome == NULL) {
        return;
    }
    memcpy(sums, words + LATHE_CL_EXACT_AT, sizeof sums);
    lt_quality_sums found = {
        .n_elems = queue->measured.n_elems,
        .n_nonfinite = words[LATHE_CL_N_NONFINITE],
        .n_saturated = words[LATHE_CL_N_SATURATED],
        .n_zero = words[LATHE_CL_N_ZERO],
        .max_abs_error = error_of(words[LATHE_CL_MAX_ERROR]),
    };
    take_sum(&found.squares, sums[0]);
    take_sum(&found.decoded, sums[1]);
    take_sum(&found.product, sums[2]);
    take_sum(&found.errors, sums[3]);
    lt_quality_merge(outcome->quality, &found);
    queue->measured.outcome = NULL;
}

/* ---- all of it */

lathe_status lt_cl_finish(lt_backend *backend, lt_queue *queue) {
    (void)backend;
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK) {
        status = land_reports(queue);
    }
    if (status == LATHE_OK) {
        status = land_table(queue);
    }
    if (status == LATHE_OK) {
        status = land_measured(queue);
    }
    if (status == LATHE_OK) {
        status = lt_cl_queue_wait(queue);
    }
    if (status == LATHE_OK) {
        deliver_reports(queue);
        deliver_table(queue);
        deliver_measured(queue);
    }
    return status;
}

lathe_status lt_cl_fetch_stats(lt_backend *backend, lt_queue *queue, const lt_work *work) {
    lt_cl_memory *memory = &lt_cl_of(backend)->memory;
    const uint64_t n_bytes = work->n_tiles * sizeof(float);
    lt_buffer landing = {0};
    lathe_status status = lt_cl_queue_check(queue);
    if (status == LATHE_OK) {
        status = lt_cl_buffer_create(memory, LT_MEMORY_PINNED, n_bytes, &landing);
    }
    if (status != LATHE_OK) {
        return lt_cl_queue_give_up(queue, status);
    }
    status = lt_cl_land(queue, &queue->stats, n_bytes, landing.host);
    if (status == LATHE_OK) {
        status = lt_cl_queue_wait(queue);
    }
    if (status == LATHE_OK) {
        deliver_tiles(landing.host, work->n_tiles, work->stats);
    }
    lt_cl_buffer_destroy(memory, &landing);
    return status;
}
