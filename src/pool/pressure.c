/* SPDX-License-Identifier: Apache-2.0 */
/* Pressure: the levels, what a pool gives back for them, and who is told. */
#include "pool/pressure.h"

#include "core/checked.h"
#include "core/error.h"
#include <time.h>

const char *lathe_pressure_name(lathe_pressure level) {
    static const char *const names[] = {"none", "low", "medium", "high", "critical"};
    return (int)level >= 0 && (int)level < LT_PRESSURE_LEVELS ? names[level] : "invalid";
}

/* budget * thousandths / 1000, without overflow. */
static uint64_t share_of(uint64_t budget, uint64_t thousandths) {
    return budget / 1000 * thousandths + budget % 1000 * thousandths / 1000;
}

static void set_edges(lt_pool_pressure *p) {
    p->rise_at = p->of_budget == LATHE_PRESSURE_CRITICAL ? UINT64_MAX : p->rise[p->of_budget + 1];
    p->fall_at = p->fall[p->of_budget];
}

static lathe_status make_files(lathe_pool *pool, const lathe_pool_config *config) {
    const lathe_allocator *allocator = &pool->host.allocator;
    lt_pressure_files *files = allocator->allocate(allocator->ctx, sizeof *files, 64);
    if (files == NULL) {
        lathe_status status = lt_fail(LATHE_INSUFFICIENT_MEMORY, "no memory for a pool");
        lt_error()->required_bytes = sizeof *files;
        return status;
    }
    pool->pressure.files = files;
    return lt_pressure_files_init(files, config);
}

lathe_status lt_pool_pressure_init(lathe_pool *pool, const lathe_pool_config *config) {
    static const uint64_t rise[LT_PRESSURE_LEVELS] = {0, 700, 800, 900, 950};
    static const uint64_t fall[LT_PRESSURE_LEVELS] = {0, 650, 750, 850, 925};
    lt_pool_pressure *p = &pool->pressure;
    const uint64_t budget = pool->stats.budget_bytes;
    for (int i = 0; i < LT_PRESSURE_LEVELS; i++) {
        p->rise[i] = budget == UINT64_MAX ? UINT64_MAX : lt_max(share_of(budget, rise[i]), 1);
        p->fall[i] = budget == UINT64_MAX ? 0 : share_of(budget, fall[i]);
    }
    set_edges(p);
    (void)pthread_cond_init(&p->told_all, NULL);
    return config->pressure_files != 0 ? make_files(pool, config) : LATHE_OK;
}

void lt_pool_pressure_destroy(lathe_pool *pool) {
    const lathe_allocator *allocator = &pool->host.allocator;
    if (pool->pressure.files != NULL) {
        allocator->release(allocator->ctx, pool->pressure.files, sizeof *pool->pressure.files);
    }
    (void)pthread_cond_destroy(&pool->pressure.told_all);
}

/* ---- the budget */

static lathe_pressure budget_level(const lathe_pool *pool) {
    const lt_pool_pressure *p = &pool->pressure;
    uint64_t held = pool->stats.in_use_bytes + pool->stats.cached_bytes;
    int level = (int)p->of_budget;
    while (level < LATHE_PRESSURE_CRITICAL && held >= p->rise[level + 1]) {
        level++;
    }
    while (level > LATHE_PRESSURE_NONE && held < p->fall[level]) {
        level--;
    }
    return (lathe_pressure)level;
}

void lt_pool_update_level(lathe_pool *pool) {
    lt_pool_pressure *p = &pool->pressure;
    lathe_pool_stats *stats = &pool->stats;
    p->of_budget = budget_level(pool);
    if (p->of_budget >= LATHE_PRESSURE_MEDIUM && stats->cached_bytes > 0) {
        uint64_t most = p->fall[LATHE_PRESSURE_MEDIUM] - (p->fall[LATHE_PRESSURE_MEDIUM] > 0);
        (void)lt_pool_trim_locked(pool,
                                  most > stats->in_use_bytes ? most - stats->in_use_bytes : 0);
        p->of_budget = budget_level(pool);
    }
    set_edges(p);
}

/* ---- the system */

static uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

uint64_t lt_pool_trim_for(lathe_pool *pool, lathe_pressure level) {
    uint64_t cached = pool->stats.cached_bytes;
    uint64_t quarters = (uint64_t)(LATHE_PRESSURE_CRITICAL - level); /* that are kept */
    return lt_pool_trim_locked(pool, cached / 4 * quarters + cached % 4 * quarters / 4);
}

bool lt_pool_look(lathe_pool *pool) {
    lt_pool_pressure *p = &pool->pressure;
    if (p->files == NULL) {
        return false;
    }
    const uint64_t now = now_ns();
    (void)pthread_mutex_lock(&pool->mutex);
    bool is_due = now >= p->next_look_ns;
    if (is_due) {
        p->next_look_ns = UINT64_MAX; /* nobody else looks meanwhile */
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    if (!is_due) {
        return false;
    }
    const lathe_pressure level = lt_pressure_files_read(p->files);
    (void)pthread_mutex_lock(&pool->mutex);
    p->next_look_ns = now + p->files->interval_ns;
    p->of_system = level;
    if (level >= LATHE_PRESSURE_MEDIUM) {
        (void)lt_pool_trim_for(pool, level);
    }
    bool has_news = lt_pool_settle(pool);
    (void)pthread_mutex_unlock(&pool->mutex);
    return has_news;
}

/* ---- listeners */

void lt_pool_tell(lathe_pool *pool) {
    lt_pool_pressure *p = &pool->pressure;
    const lathe_error error = *lt_error(); /* the caller's, not the listeners' */
    (void)pthread_mutex_lock(&pool->mutex);
    /* Whoever is telling already goes on until there is no news. */
    bool is_mine = !p->is_telling;
    if (is_mine) {
        p->is_telling = true;
        p->teller = pthread_self();
        while (lt_pool_level(pool) != p->told) {
            p->told = lt_pool_level(pool);
            pool->stats.n_pressure_changes++;
            const lathe_pressure level = p->told;
            for (int i = 0; i < LATHE_POOL_MAX_CALLBACKS; i++) {
                const lt_pressure_listener listener = p->listeners[i];
                if (listener.fn != NULL) {
                    (void)pthread_mutex_unlock(&pool->mutex);
                    listener.fn(listener.ctx, pool, level);
                    (void)pthread_mutex_lock(&pool->mutex);
                }
            }
        }
        p->is_telling = false;
        (void)pthread_cond_broadcast(&p->told_all);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    (void)lt_fail_with(&error);
}

/* Mutex held. The listener's place; or, with NULL, a free one; NULL: there is none. */
static lt_pressure_listener *find_listener(lathe_pool *pool, lathe_pressure_fn *fn,
                                           const void *ctx) {
    for (int i = 0; i < LATHE_POOL_MAX_CALLBACKS; i++) {
        lt_pressure_listener *listener = &pool->pressure.listeners[i];
        if (listener->fn == fn && (fn == NULL || listener->ctx == ctx)) {
            return listener;
        }
    }
    return NULL;
}

lathe_status lathe_pool_on_pressure(lathe_pool *pool, lathe_pressure_fn *fn, void *ctx) {
    if (pool == NULL || fn == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool or fn is NULL");
    }
    (void)pthread_mutex_lock(&pool->mutex);
    lt_pressure_listener *place = find_listener(pool, NULL, NULL);
    if (place != NULL) {
        *place = (lt_pressure_listener){.fn = fn, .ctx = ctx};
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return place != NULL ? LATHE_OK
                         : lt_fail(LATHE_NOT_SUPPORTED, "a pool has at most %d callbacks",
                                   LATHE_POOL_MAX_CALLBACKS);
}

lathe_status lathe_pool_off_pressure(lathe_pool *pool, lathe_pressure_fn *fn, void *ctx) {
    if (pool == NULL || fn == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool or fn is NULL");
    }
    lt_pool_pressure *p = &pool->pressure;
    (void)pthread_mutex_lock(&pool->mutex);
    lt_pressure_listener *place = find_listener(pool, fn, ctx);
    if (place != NULL) {
        *place = (lt_pressure_listener){0};
    }
    while (p->is_telling && !pthread_equal(p->teller, pthread_self())) {
        (void)pthread_cond_wait(&p->told_all, &pool->mutex);
    }
    (void)pthread_mutex_unlock(&pool->mutex);
    return place != NULL ? LATHE_OK : lt_fail(LATHE_INVALID_ARGUMENT, "the callback is not there");
}
