/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of the bytes that a stream is fed. Into a tensor on the host, the CPU converts whole
 * chunks where the producer has them, on the engine's threads, while it waits. Otherwise, and where
 * a call brings less, bytes are copied into slots, which threads of the stream's own work on. */
#include "core/checked.h"
#include "core/error.h"
#include "engine/plan/planner.h"
#include "engine/stream/stream_push.h"
#include <string.h>

/* ---- which threads */

static bool finds_stats(const lathe_stream *s) {
    return s->n_rounds == 2 && s->round == 0;
}

/* Work on n_bytes of the source as the planner knows it: the scales are known, or soon are. */
static lt_case case_of(const lathe_stream *s, uint64_t n_bytes) {
    const lt_pass *pass = &s->job.plan.pass;
    lt_case c = lt_case_of(&pass->src, &pass->dst, &s->call.target);
    double share = (double)n_bytes / (double)pass->src.n_bytes;
    c.n_bytes = (uint64_t)((double)c.n_bytes * share);
    if (s->n_rounds == 2) {
        c.kind = LT_WORK_PLAIN;
    }
    return c;
}

/* Waking threads takes as long as some hundred kilobytes: whether it pays was seen before. */
static void choose_threads(lathe_stream *s, uint64_t n_bytes) {
    const lt_case c = case_of(s, n_bytes);
    s->job.on_this_thread = !lt_costs_spread(s->engine->planner->costs, &c, !finds_stats(s));
}

/* ---- filling slots */

/* A slot for the next unit, open for its bytes, with the scales in it. */
static lathe_status open_unit(lathe_stream *s) {
    lt_stream_job *j = &s->job;
    choose_threads(s, j->streamer->n_slots * j->streamer->slot_bytes);
    lt_slot *slot = lt_stream_take_slot(j);
    if (slot == NULL) {
        return lt_stream_drain(j);
    }
    j->phase.prepare(j, slot, s->next_unit);
    lathe_status status = lt_stream_open_slot(j, slot);
    if (status != LATHE_OK) {
        lt_stream_give_slot(j, slot, status);
        return status;
    }
    for (uint32_t i = 0; i < slot->unit.n_pieces; i++) {
        const lt_piece *piece = &slot->unit.pieces[i];
        if (piece->src.n_scales > 0) {
            memcpy((uint8_t *)slot->data.host + piece->scales_at,
                   s->scales + piece->src.first_scale, piece->src.n_scales * sizeof(float));
        }
    }
    s->slot = slot;
    s->piece = 0;
    s->filled = 0;
    s->next_unit++;
    return LATHE_OK;
}

static lathe_status close_unit(lathe_stream *s) {
    lt_slot *slot = s->slot;
    s->slot = NULL;
    lathe_status status = lt_stream_close_slot(&s->job, slot);
    lt_stream_give_slot(&s->job, slot, status);
    return status;
}

/* Takes up to n_bytes bytes that are next in the round, passing over those that no unit needs;
 * returns how many. *is_full: the slot has all its bytes. */
static size_t fill(lathe_stream *s, const uint8_t *bytes, size_t n_bytes, bool *is_full) {
    const lt_unit *u = &s->slot->unit;
    size_t used = 0;
    while (s->piece < u->n_pieces) {
        const lt_piece *piece = &u->pieces[s->piece];
        uint64_t wanted = piece->src.first_byte + s->filled;
        uint8_t *out = (uint8_t *)s->slot->data.host + piece->data_at + s->filled;
        if (s->filled == piece->src.n_bytes) {
            s->piece++;
            s->filled = 0;
        } else if (s->position > wanted) { /* two units share a byte */
            *out = s->last_byte;
            s->filled++;
        } else if (used == n_bytes) {
            break;
        } else {
            bool is_needed = s->position == wanted;
            uint64_t most = is_needed ? piece->src.n_bytes - s->filled : wanted - s->position;
            size_t count = (size_t)lt_min(most, n_bytes - used);
            if (is_needed) {
                memcpy(out, bytes + used, count);
                s->filled += count;
            }
            used += count;
            s->position += count;
            s->last_byte = bytes[used - 1];
        }
    }
    *is_full = s->piece == u->n_pieces;
    return used;
}

/* ---- units that are converted where their bytes are */

/* The bytes of the source that a unit needs, and what lies between them: [*first, *end). Sampled
 * tiles may be empty. */
static void unit_bytes(lathe_stream *s, uint64_t unit, uint64_t *first, uint64_t *end) {
    lt_slot probe = {.on_host = false};
    s->job.phase.prepare(&s->job, &probe, unit);
    *first = UINT64_MAX;
    *end = 0;
    for (uint32_t i = 0; i < probe.unit.n_pieces; i++) {
        const lt_part *src = &probe.unit.pieces[i].src;
        *first = src->n_bytes > 0 ? lt_min(*first, src->first_byte) : *first;
        *end = src->n_bytes > 0 ? lt_max(*end, src->first_byte + src->n_bytes) : *end;
    }
}

static uint64_t end_of_unit(lathe_stream *s, uint64_t unit) {
    uint64_t first;
    uint64_t end;
    unit_bytes(s, unit, &first, &end);
    return first < end ? end : UINT64_MAX;
}

/* How many units from the next one on lie whole in the next n_bytes bytes. Most are as long as the
 * first. */
static uint64_t count_whole(lathe_stream *s, size_t n_bytes) {
    const lt_stream_job *j = &s->job;
    const uint64_t limit = s->position + n_bytes;
    const uint64_t unit = s->next_unit;
    uint64_t first;
    uint64_t end;
    if (j->has_workers || j->backend->is_remote || j->dst_memory.host == NULL) {
        return 0;
    }
    unit_bytes(s, unit, &first, &end);
    if (first < s->position || end > limit || first >= end) {
        return 0;
    }
    uint64_t n_left = j->phase.n_units - unit;
    uint64_t n_units = lt_max(lt_min((limit - first) / (end - first), n_left), 1);
    while (n_units > 1 && end_of_unit(s, unit + n_units - 1) > limit) {
        n_units--;
    }
    while (n_units < n_left && end_of_unit(s, unit + n_units) <= limit) {
        n_units++;
    }
    return n_units;
}

/* Converts such units; *used gets how many bytes that takes. */
static lathe_status convert_whole(lathe_stream *s, const uint8_t *bytes, size_t n_bytes,
                                  size_t *used) {
    lt_stream_job *j = &s->job;
    const uint64_t n_units = count_whole(s, n_bytes);
    *used = 0;
    if (n_units == 0) {
        return LATHE_OK;
    }
    const uint64_t end = end_of_unit(s, s->next_unit + n_units - 1);
    *used = (size_t)(end - s->position);
    j->src_memory = (lt_buffer){.host = (void *)(uintptr_t)bytes, .n_bytes = n_bytes};
    j->src_memory_at = s->position;
    choose_threads(s, *used);
    uint64_t start_ns = lt_now_ns();
    lathe_status status = lt_stream_run(j, s->next_unit, s->next_unit + n_units);
    if (status == LATHE_OK && !finds_stats(s)) {
        const lt_case c = case_of(s, *used);
        lt_costs_observe(s->engine->planner->costs,
                         j->on_this_thread ? LT_ON_CALLER : LT_ON_THREADS, &c,
                         lt_now_ns() - start_ns);
    }
    j->src_memory = (lt_buffer){.host = NULL};
    s->next_unit += n_units;
    s->position = end;
    s->last_byte = bytes[*used - 1];
    return status;
}

/* ---- windows and rounds */

void lt_fed_begin_phase(lathe_stream *s, lt_stream_phase phase) {
    s->next_unit = 0;
    lt_stream_begin_phase(&s->job, &phase);
}

/* All units of a window of statistics, or of the pass, have been brought: folds the window. Sets
 * *is_over unless there is another one, which it begins. */
static lathe_status end_window(lathe_stream *s, bool *is_over) {
    lt_stream_job *j = &s->job;
    lathe_status status = lt_stream_drain(j);
    *is_over = true;
    if (status == LATHE_OK && finds_stats(s)) {
        uint64_t next = j->first_tile + j->n_tiles;
        if (j->n_tiles > 0) {
            lt_stream_fold_window(j);
        }
        *is_over = next >= j->plan.pass.tiling.n_tiles;
        if (*is_over) {
            j->first_tile = next;
            j->n_tiles = 0;
        } else {
            lt_fed_begin_phase(s, lt_stream_stats_window(j, next));
        }
    }
    return status;
}

lathe_status lt_fed_bring(lathe_stream *s, const uint8_t *bytes, size_t n_bytes) {
    const bool ends_round = n_bytes == 0;
    bool is_over = false;
    lathe_status status = LATHE_OK;
    while (status == LATHE_OK && !is_over && (ends_round || n_bytes > 0)) {
        if (s->slot == NULL && s->next_unit == s->job.phase.n_units) {
            status = end_window(s, &is_over);
            continue;
        }
        if (s->slot == NULL) {
            size_t used;
            status = convert_whole(s, bytes, n_bytes, &used);
            n_bytes -= used;
            if (used > 0) {
                bytes += used;
                continue;
            }
            status = open_unit(s);
        }
        if (s->slot != NULL) {
            bool is_full = false;
            size_t used = fill(s, bytes, n_bytes, &is_full);
            n_bytes -= used;
            bytes = used > 0 ? bytes + used : bytes;
            status = is_full ? close_unit(s) : LATHE_OK;
        }
    }
    s->position += n_bytes; /* what lies behind the last sampled tile */
    return status;
}
