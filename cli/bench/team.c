/* SPDX-License-Identifier: Apache-2.0 */
/* Work on memory, split over threads that wait for their turn. */
#include "team.h"
#include "cli.h"
#include <pthread.h>
#include <stdlib.h>

typedef struct member {
    bench_team *team;
    pthread_t thread;
    uint32_t number;
} member;

struct bench_team {
    pthread_mutex_t lock; /* of the next three */
    pthread_cond_t wake;  /* for the members: a new job */
    pthread_cond_t idle;  /* for the caller: all have finished */
    uint64_t job;
    uint32_t n_busy;
    bool ending;
    bench_team_fn *fn;
    void *ctx;
    size_t n_bytes;
    uint64_t rounds;
    uint32_t n_threads;
    member *members; /* n_threads - 1 of them */
};

/* Parts begin on a page's boundary, or a cache line's where they are small; the last thread's has
 * the end. */
static void run_part(const bench_team *team, uint32_t number) {
    const size_t page = 4096;
    const size_t line = 64;
    const size_t share = team->n_bytes / team->n_threads;
    const size_t unit = share >= 16 * page ? page : line;
    const size_t part = share / unit * unit;
    const size_t begin = part * number;
    const size_t end = number + 1 == team->n_threads ? team->n_bytes : begin + part;
    for (uint64_t i = 0; i < team->rounds; i++) {
        team->fn(team->ctx, begin, end);
    }
}

static void *serve(void *ctx) {
    member *self = ctx;
    bench_team *team = self->team;
    uint64_t seen = 0;
    pthread_mutex_lock(&team->lock);
    for (;;) {
        while (team->job == seen && !team->ending) {
            pthread_cond_wait(&team->wake, &team->lock);
        }
        if (team->ending) {
            break;
        }
        seen = team->job;
        pthread_mutex_unlock(&team->lock);
        run_part(team, self->number);
        pthread_mutex_lock(&team->lock);
        if (--team->n_busy == 0) {
            pthread_cond_signal(&team->idle);
        }
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

bench_team *bench_team_start(uint32_t n_threads) {
    bench_team *team = cli_allocate(1, sizeof(*team));
    *team = (bench_team){.lock = PTHREAD_MUTEX_INITIALIZER,
                         .wake = PTHREAD_COND_INITIALIZER,
                         .idle = PTHREAD_COND_INITIALIZER,
                         .n_threads = 1};
    team->members = cli_allocate(n_threads, sizeof(*team->members));
    for (uint32_t i = 1; i < n_threads; i++) {
        member *m = &team->members[i - 1];
        *m = (member){.team = team, .number = i};
        if (pthread_create(&m->thread, NULL, serve, m) != 0) {
            bench_team_end(team);
            return NULL;
        }
        team->n_threads++;
    }
    return team;
}

void bench_team_run(bench_team *team, bench_team_fn *fn, void *ctx, size_t n_bytes,
                    uint64_t rounds) {
    pthread_mutex_lock(&team->lock);
    team->fn = fn;
    team->ctx = ctx;
    team->n_bytes = n_bytes;
    team->rounds = rounds;
    team->n_busy = team->n_threads - 1;
    team->job++;
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);

    run_part(team, 0);

    pthread_mutex_lock(&team->lock);
    while (team->n_busy != 0) {
        pthread_cond_wait(&team->idle, &team->lock);
    }
    pthread_mutex_unlock(&team->lock);
}

void bench_team_end(bench_team *team) {
    if (team == NULL) {
        return;
    }
    pthread_mutex_lock(&team->lock);
    team->ending = true;
    pthread_cond_broadcast(&team->wake);
    pthread_mutex_unlock(&team->lock);
    for (uint32_t i = 0; i + 1 < team->n_threads; i++) {
        pthread_join(team->members[i].thread, NULL);
    }
    pthread_cond_destroy(&team->wake);
    pthread_cond_destroy(&team->idle);
    pthread_mutex_destroy(&team->lock);
    free(team->members);
    free(team);
}
