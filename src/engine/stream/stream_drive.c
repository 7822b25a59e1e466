/* SPDX-License-Identifier: Apache-2.0 */
/* How the slots are driven: which thread reads or works on which unit next, in what order, and when
 * it is over. */
#include "core/checked.h"
#include "core/error.h"
#include "core/fpenv.h"
#include "engine/stream/stream_job.h"
#include <signal.h>

/* All functions named locked_* are called with the job's mutex held. */

static bool is_stopped(const lt_stream_job *j) {
    return j->stop_at != UINT64_MAX;
}

/* Units before `unit` go on, so that the first faulty element is always found: units are read in
 * ascending order. */
static void locked_stop(lt_stream_job *j, uint64_t unit) {
    j->stop_at = lt_min(j->stop_at, unit);
}

/* Keeps the first error that happens, which ends everything. */
static void locked_fail(lt_stream_job *j) {
    if (j->error.status == LATHE_OK) {
        j->error = *lt_error();
    }
    locked_stop(j, 0);
}

/* The slot of the first unit that is in, and may be worked on; NULL: none. */
static lt_slot *locked_ready(lt_stream_job *j) {
    lt_slot *first = NULL;
    for (uint32_t i = 0; i < j->streamer->n_slots; i++) {
        lt_slot *slot = &j->streamer->slots[i];
        if (slot->state == LT_SLOT_READY && slot->unit.index < j->stop_at &&
            (first == NULL || slot->unit.index < first->unit.index)) {
            first = slot;
        }
    }
    /* Who works on a unit waits for its turn with the slot: the units before must have workers. */
    bool is_early = first != NULL && j->sink->in_order && first->unit.index != j->next_work;
    return is_early ? NULL : first;
}

static lt_slot *locked_in_state(lt_stream_job *j, lt_slot_state state) {
    for (uint32_t i = 0; i < j->streamer->n_slots; i++) {
        if (j->streamer->slots[i].state == state) {
            return &j->streamer->slots[i];
        }
    }
    return NULL;
}

static bool locked_has_unread(const lt_stream_job *j) {
    return !is_stopped(j) && j->next_read < j->read_end;
}

/* A slot that the next unit can be read into by this thread; NULL: none. */
static lt_slot *locked_readable(lt_stream_job *j) {
    bool is_taken = !locked_has_unread(j) || (j->source->in_order && j->is_reading);
    return is_taken ? NULL : locked_in_state(j, LT_SLOT_FREE);
}

static void locked_put(lt_stream_job *j, lt_slot *slot, lathe_status status) {
    slot->state = status == LATHE_OK ? LT_SLOT_READY : LT_SLOT_FREE;
    if (status != LATHE_OK) {
        locked_fail(j);
    }
    (void)pthread_cond_broadcast(&j->changed);
}

static void locked_read(lt_stream_job *j, lt_slot *slot) {
    uint64_t unit = j->next_read;
    j->next_read = lt_min(unit + j->at_once, j->read_end);
    slot->state = LT_SLOT_READING;
    j->is_reading = true;
    (void)pthread_mutex_unlock(&j->mutex);
    j->phase.prepare(j, slot, unit);
    lathe_status status =
        j->phase.load != NULL ? j->phase.load(j, slot) : lt_stream_load_slot(j, slot);
    (void)pthread_mutex_lock(&j->mutex);
    j->is_reading = false;
    locked_put(j, slot, status);
}

static void locked_work(lt_stream_job *j, lt_slot *slot) {
    slot->state = LT_SLOT_WORKING;
    j->next_work = slot->unit.index + 1;
    (void)pthread_mutex_unlock(&j->mutex);
    lathe_status status = j->phase.work(j, slot);
    (void)pthread_mutex_lock(&j->mutex);
    slot->state = LT_SLOT_FREE;
    if (status != LATHE_OK) {
        locked_fail(j);
    } else if (lt_outcome_element(&slot->unit.outcome) != LATHE_NO_ELEMENT) {
        locked_stop(j, slot->unit.index);
    }
    (void)pthread_cond_broadcast(&j->changed);
}

/* True if there is nothing more to do for a thread that works, or for one that only reads. */
static bool locked_is_over(lt_stream_job *j, bool works) {
    if (j->has_workers ? !j->is_closed : locked_has_unread(j)) {
        return false;
    }
    bool is_coming = !j->has_workers && locked_in_state(j, LT_SLOT_READING) != NULL;
    return !works || (locked_ready(j) == NULL && !is_coming);
}

/* What a thread does: work on what is in before it reads more, so that a chunk that it has read
 * itself is still in its cache. */
static void run(lt_stream_job *j, bool works) {
    (void)pthread_mutex_lock(&j->mutex);
    while (!locked_is_over(j, works)) {
        lt_slot *ready = works ? locked_ready(j) : NULL;
        lt_slot *readable = ready == NULL ? locked_readable(j) : NULL;
        if (ready != NULL) {
            locked_work(j, ready);
        } else if (readable != NULL) {
            locked_read(j, readable);
        } else {
            (void)pthread_cond_wait(&j->changed, &j->mutex);
        }
    }
    (void)pthread_mutex_unlock(&j->mutex);
}

static void work_task(void *ctx, size_t i) {
    (void)i;
    run(ctx, true);
}

static void *read_ahead(void *ctx) {
    run(ctx, false);
    return NULL;
}

static void *work_thread(void *ctx) {
    lt_fpenv saved;
    lt_fpenv_enter(&saved);
    run(ctx, true);
    lt_fpenv_leave(&saved);
    return NULL;
}

/* Starts up to n_threads threads, which get no signals: those are for the program's own. Returns
 * how many the system had to give. */
static uint32_t start_helpers(lt_stream_job *j, uint32_t n_threads, void *(*fn)(void *)) {
    sigset_t all;
    sigset_t before;
    uint32_t n_started = 0;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    while (n_started < n_threads &&
           pthread_create(&j->streamer->slots[n_started].helper, NULL, fn, j) == 0) {
        n_started++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n_started;
}

static void join_helpers(lt_stream_job *j, uint32_t n_started) {
    for (uint32_t i = 0; i < n_started; i++) {
        (void)pthread_join(j->streamer->slots[i].helper, NULL);
    }
}

static lathe_status job_status(lt_stream_job *j) {
    if (j->error.status != LATHE_OK) {
        return lt_fail_with(&j->error);
    }
    return lt_outcome_status(&j->outcome, j->plan.pass.src.dtype, j->plan.pass.dst.dtype);
}

void lt_stream_begin_phase(lt_stream_job *j, const lt_stream_phase *phase) {
    (void)pthread_mutex_lock(&j->mutex);
    j->phase = *phase;
    j->next_read = 0;
    j->read_end = 0;
    j->next_work = 0;
    j->next_write = 0;
    (void)pthread_mutex_unlock(&j->mutex);
}

/* Has the engine's threads do what there is to do, in at most n_units units. */
static void run_on_threads(lt_stream_job *j, uint64_t n_units) {
    uint64_t most = j->on_this_thread ? 1 : j->streamer->n_parallel;
    size_t n_tasks = (size_t)lt_min(most, n_units);
    j->backend->ops->parallel_for(j->backend, n_tasks, work_task, j);
}

lathe_status lt_stream_drive(lt_stream_job *j, const lt_stream_phase *phase) {
    lt_streamer *streamer = j->streamer;
    lt_stream_begin_phase(j, phase);
    j->read_end = phase->n_units;
    uint32_t n_ahead = phase->n_units > 1 ? streamer->n_slots - streamer->n_parallel : 0;
    n_ahead = start_helpers(j, n_ahead, read_ahead);
    run_on_threads(j, phase->n_units);
    join_helpers(j, n_ahead);
    for (uint32_t i = 0; i < streamer->n_slots; i++) {
        streamer->slots[i].state = LT_SLOT_FREE; /* units that are of no use any more */
    }
    return job_status(j);
}

/* ---- units that are brought */

uint32_t lt_stream_start_workers(lt_stream_job *j) {
    j->has_workers = true; /* for the first of them, which begins at once */
    uint32_t n_started = start_helpers(j, j->streamer->n_parallel, work_thread);
    if (n_started == 0) {
        j->has_workers = false;
    }
    return n_started;
}

void lt_stream_close(lt_stream_job *j, uint32_t n_workers) {
    (void)pthread_mutex_lock(&j->mutex);
    j->is_closed = true;
    (void)pthread_cond_broadcast(&j->changed);
    (void)pthread_mutex_unlock(&j->mutex);
    join_helpers(j, n_workers);
}

lathe_status lt_stream_run(lt_stream_job *j, uint64_t first, uint64_t end) {
    enum { TURNS = 2 };
    uint64_t n_turns = j->on_this_thread ? 1 : TURNS * (uint64_t)j->streamer->n_parallel;
    (void)pthread_mutex_lock(&j->mutex);
    j->next_read = first;
    j->read_end = end;
    j->at_once = lt_min(lt_ceil_div(end - first, n_turns), lt_stream_most_at_once(j));
    (void)pthread_mutex_unlock(&j->mutex);
    run_on_threads(j, end - first + j->streamer->n_slots);
    j->at_once = 1;
    return job_status(j);
}

/* Waits for those who work; or has the engine's threads work. */
static void locked_wait(lt_stream_job *j) {
    if (j->has_workers) {
        (void)pthread_cond_wait(&j->changed, &j->mutex);
    } else {
        (void)pthread_mutex_unlock(&j->mutex);
        run_on_threads(j, j->streamer->n_slots);
        (void)pthread_mutex_lock(&j->mutex);
    }
}

lt_slot *lt_stream_take_slot(lt_stream_job *j) {
    lt_slot *slot = NULL;
    (void)pthread_mutex_lock(&j->mutex);
    while (!is_stopped(j) && (slot = locked_in_state(j, LT_SLOT_FREE)) == NULL) {
        locked_wait(j);
    }
    if (slot != NULL) {
        slot->state = LT_SLOT_READING;
    }
    (void)pthread_mutex_unlock(&j->mutex);
    return slot;
}

void lt_stream_give_slot(lt_stream_job *j, lt_slot *slot, lathe_status status) {
    (void)pthread_mutex_lock(&j->mutex);
    locked_put(j, slot, status);
    (void)pthread_mutex_unlock(&j->mutex);
}

void lt_stream_stop(lt_stream_job *j) {
    (void)pthread_mutex_lock(&j->mutex);
    locked_stop(j, 0);
    (void)pthread_cond_broadcast(&j->changed);
    (void)pthread_mutex_unlock(&j->mutex);
}

lathe_status lt_stream_drain(lt_stream_job *j) {
    (void)pthread_mutex_lock(&j->mutex);
    while (locked_ready(j) != NULL || locked_in_state(j, LT_SLOT_WORKING) != NULL) {
        locked_wait(j);
    }
    (void)pthread_mutex_unlock(&j->mutex);
    return job_status(j);
}
