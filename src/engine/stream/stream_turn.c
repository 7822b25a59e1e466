/* SPDX-License-Identifier: Apache-2.0 */
/* Turns: units that a sink gets in order are written one after another. */
#include "engine/stream/stream_job.h"

bool lt_stream_await_turn(lt_stream_job *j, const lt_unit *u) {
    if (!j->sink->in_order) {
        return true;
    }
    (void)pthread_mutex_lock(&j->mutex);
    while (j->next_write != u->index && u->index < j->stop_at) {
        (void)pthread_cond_wait(&j->changed, &j->mutex);
    }
    bool is_its_turn = u->index < j->stop_at;
    (void)pthread_mutex_unlock(&j->mutex);
    return is_its_turn;
}

void lt_stream_end_turn(lt_stream_job *j) {
    if (j->sink->in_order) {
        (void)pthread_mutex_lock(&j->mutex);
        j->next_write++;
        (void)pthread_cond_broadcast(&j->changed);
        (void)pthread_mutex_unlock(&j->mutex);
    }
}
