/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of the cost model. Readers and writers take no locks: an entry is one word, or is
 * published by its last field. */
#include "engine/plan/cost.h"

#include "core/checked.h"
#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum {
    N_DTYPES = LATHE_DTYPE_LAST + 1,
    N_SEEN = 512, /* entries of what was seen: one for each place, family and size class in use */
    LEAST_CLASS = 8,
    MOST_SEEN = 4096,
};

/* A line, published by ns_per_byte: 0 until it is measured. */
typedef struct shared_line {
    _Atomic float start_ns;
    _Atomic float ns_per_byte;
    _Atomic float ns_per_byte_beyond;
} shared_line;

typedef struct line_table {
    shared_line lines[LT_PLACES][LT_WORK_KINDS][N_DTYPES][N_DTYPES];
} line_table;

struct lt_costs {
    lathe_pool *pool;
    uint64_t cache_bytes;
    uint32_t n_threads;
    _Atomic(line_table *) table; /* NULL until there is a line */
    /* key (20 bits), number of conversions (12 bits), ns for each byte as a float (32 bits) */
    atomic_uint_fast64_t seen[N_SEEN];
};

static bool is_sampled(const lt_layout *to, const lathe_target *target) {
    return target->quality == LATHE_FAST && to->n_scales > 0;
}

static lt_work_kind kind_of(const lt_layout *to, const lathe_target *target) {
    enum { SHORT_SCOPE_ELEMS = 1024 };
    if (target->strict != 0) {
        return LT_WORK_STRICT;
    }
    if (!lathe_dtype_is_quantized(to->dtype)) {
        return LT_WORK_PLAIN;
    }
    if (target->quality == LATHE_PRECISE && to->dtype != LATHE_I1) {
        return to->scale_elems == 0                  ? LT_WORK_PRECISE
               : to->scale_elems < SHORT_SCOPE_ELEMS ? LT_WORK_PRECISE_GROUPS
                                                     : LT_WORK_PRECISE_ROWS;
    }
    if (to->scale_elems == 0) {
        return is_sampled(to, target) ? LT_WORK_SAMPLED : LT_WORK_TWO_PASS;
    }
    if (is_sampled(to, target)) {
        return LT_WORK_SAMPLED_OWN;
    }
    return to->scale_elems < SHORT_SCOPE_ELEMS ? LT_WORK_GROUPS : LT_WORK_ROWS;
}

lt_case lt_case_of(const lt_layout *from, const lt_layout *to, const lathe_target *target) {
    return (lt_case){
        .from = from->dtype,
        .to = to->dtype,
        .kind = kind_of(to, target),
        .n_bytes = from->n_bytes + to->n_bytes,
        .precise_elems = lt_plan_precise_elems(to, target),
    };
}

lt_costs *lt_costs_create(lathe_pool *pool, uint64_t cache_bytes, uint32_t n_threads) {
    lt_costs *costs = lt_pool_new(pool, sizeof *costs);
    if (costs != NULL) {
        costs->pool = pool;
        costs->cache_bytes = cache_bytes;
        costs->n_threads = n_threads;
    }
    return costs;
}

void lt_costs_destroy(lt_costs *costs) {
    if (costs != NULL) {
        lathe_pool *pool = costs->pool;
        lt_pool_delete(pool, atomic_load(&costs->table));
        lt_pool_delete(pool, costs);
    }
}

static float load(const _Atomic float *value) {
    return atomic_load_explicit(value, memory_order_relaxed);
}

bool lt_costs_line(const lt_costs *costs, lt_place place, const lt_case *c, lt_line *line) {
    line_table *table = atomic_load_explicit(&costs->table, memory_order_acquire);
    if (table == NULL) {
        return false;
    }
    const shared_line *from = &table->lines[place][c->kind][c->from][c->to];
    line->ns_per_byte = atomic_load_explicit(&from->ns_per_byte, memory_order_acquire);
    line->start_ns = load(&from->start_ns);
    line->ns_per_byte_beyond = load(&from->ns_per_byte_beyond);
    return line->ns_per_byte > 0;
}

bool lt_costs_set_line(lt_costs *costs, lt_place place, const lt_case *c, const lt_line *line) {
    line_table *table = atomic_load_explicit(&costs->table, memory_order_relaxed);
    if (table == NULL) {
        table = lt_pool_new(costs->pool, sizeof *table);
        if (table == NULL) {
            return false;
        }
        atomic_store_explicit(&costs->table, table, memory_order_release);
    }
    shared_line *to = &table->lines[place][c->kind][c->from][c->to];
    atomic_store_explicit(&to->start_ns, line->start_ns, memory_order_relaxed);
    atomic_store_explicit(&to->ns_per_byte_beyond, line->ns_per_byte_beyond, memory_order_relaxed);
    atomic_store_explicit(&to->ns_per_byte, line->ns_per_byte, memory_order_release);
    return true;
}

/* ---- what was seen */

static uint32_t log2_of(uint64_t n) {
    uint32_t log = 0;
    for (uint32_t step = 32; step > 0; step /= 2) {
        if (n >> step != 0) {
            log += step;
            n >>= step;
        }
    }
    return log;
}

/* 20 bits, of which none is 0. */
static uint64_t key_of(lt_place place, const lt_case *c) {
    uint64_t size_class = lt_max(log2_of(c->n_bytes), LEAST_CLASS) - LEAST_CLASS + 1;
    return ((((uint64_t)place * LT_WORK_KINDS + c->kind) << 4 | c->from) << 4 | c->to) << 6 |
           size_class;
}

static size_t slot_of(uint64_t key) {
    /* 2^32 divided by the golden ratio. */
    return (size_t)((key * UINT64_C(0x9e3779b9)) >> 16) % N_SEEN;
}

typedef struct seen {
    uint64_t key;
    uint32_t n;
    float ns_per_byte;
} seen;

static seen unpack(uint64_t word) {
    seen s = {.key = word >> 44, .n = (uint32_t)(word >> 32) & 0xfff};
    uint32_t bits = (uint32_t)word;
    memcpy(&s.ns_per_byte, &bits, sizeof bits);
    return s;
}

static uint64_t pack(const seen *s) {
    uint32_t bits;
    memcpy(&bits, &s->ns_per_byte, sizeof bits);
    return s->key << 44 | (uint64_t)s->n << 32 | bits;
}

static bool find(const lt_costs *costs, lt_place place, const lt_case *c, seen *found) {
    uint64_t key = key_of(place, c);
    *found = unpack(atomic_load_explicit(&costs->seen[slot_of(key)], memory_order_relaxed));
    return found->key == key && found->n > 0;
}

/* The first times of a family are often those of new pages: what is fastest is kept. An estimate of
 * few times is a low one, so that a way that may be good gets more of them; one of many is their
 * mean. A time of more than twice the mean counts as twice: that is another program's. */
enum { FIRST_TIMES = 2, FEW_TIMES = 12 };

static float average(float before, uint32_t n, float now) {
    if (n < FIRST_TIMES) {
        return fminf(before, now);
    }
    float capped = fminf(now, 2 * before);
    if (n < FEW_TIMES) {
        return capped < before ? (before + capped) / 2 : before + (capped - before) / 8;
    }
    return before + (capped - before) / 8;
}

void lt_costs_observe(lt_costs *costs, lt_place place, const lt_case *c, uint64_t ns) {
    uint64_t key = key_of(place, c);
    atomic_uint_fast64_t *slot = &costs->seen[slot_of(key)];
    uint_fast64_t word = atomic_load_explicit(slot, memory_order_relaxed);
    seen s = unpack(word);
    float now = (float)lt_max(ns, 1) / (float)lt_max(c->n_bytes, 1);
    if (s.key == key && s.n > 0) {
        s.ns_per_byte = average(s.ns_per_byte, s.n, now);
        s.n = s.n + 1 < MOST_SEEN ? s.n + 1 : MOST_SEEN / 2;
    } else {
        s = (seen){.key = key, .n = 1, .ns_per_byte = now};
    }
    (void)atomic_compare_exchange_weak_explicit(slot, &word, pack(&s), memory_order_relaxed,
                                                memory_order_relaxed);
}

/* ---- estimates */

static double on_line(const lt_costs *costs, const lt_line *line, uint64_t n_bytes) {
    double rate = (double)line->ns_per_byte;
    if (n_bytes > costs->cache_bytes && line->ns_per_byte_beyond > 0) {
        rate = (double)line->ns_per_byte_beyond;
    }
    return (double)line->start_ns + rate * (double)n_bytes;
}

/* Before anything was measured: a core that moves 16 GB/s in some way, and threads that take 10 us
 * to wake. */
static double rule_of_thumb(const lt_costs *costs, lt_place place, const lt_case *c) {
    double ns = (double)c->n_bytes / 16;
    return place == LT_ON_CALLER ? ns + 500 : ns / (double)lt_min(costs->n_threads, 16) + 10000;
}

lt_estimate lt_costs_estimate(const lt_costs *costs, lt_place place, const lt_case *c) {
    seen s;
    lt_line line;
    if (find(costs, place, c, &s)) {
        return (lt_estimate){
            .ns = (double)s.ns_per_byte * (double)c->n_bytes, .n_seen = s.n, .is_known = true};
    }
    if (lt_costs_line(costs, place, c, &line)) {
        return (lt_estimate){.ns = on_line(costs, &line, c->n_bytes), .is_known = true};
    }
    return (lt_estimate){.ns = rule_of_thumb(costs, place, c)};
}

/* Less than this is done before another thread has woken. */
#define LEAST_SPREAD_BYTES (UINT64_C(64) << 10)

/* How often the other way should have been tried when the better one has been taken n times: by
 * pairs, since the first of two finds the data in another core's cache. */
static uint32_t trials_due(uint32_t n) {
    enum { PAIR = 2, FIRST_AGAIN_LOG = 3 };
    uint32_t log = log2_of(n);
    return n < (1U << FIRST_AGAIN_LOG) ? PAIR : PAIR * (log - FIRST_AGAIN_LOG + 2);
}

/* Whether it pays to try the other way: a first pair if it may be the better one, and more the
 * later, and the rarer, the slower it was: all trials together are to cost 1/32 of the time. */
static bool is_worth_trying(const lt_estimate *better, const lt_estimate *other) {
    double ratio = other->ns / better->ns;
    bool may_be_better = !other->is_known || ratio < 2;
    if (other->n_seen < FIRST_TIMES && better->n_seen > 0 && may_be_better) {
        return true;
    }
    bool is_due = other->n_seen < trials_due(better->n_seen) || other->n_seen % 2 == 1;
    return is_due && other->n_seen * (ratio - 1) < better->n_seen / 32.0;
}

bool lt_costs_spread(const lt_costs *costs, const lt_case *c, bool may_try) {
    if (costs->n_threads == 1 || c->n_bytes < LEAST_SPREAD_BYTES) {
        return false;
    }
    lt_estimate alone = lt_costs_estimate(costs, LT_ON_CALLER, c);
    lt_estimate spread = lt_costs_estimate(costs, LT_ON_THREADS, c);
    bool is_spread_better = spread.ns < alone.ns;
    const lt_estimate *better = is_spread_better ? &spread : &alone;
    const lt_estimate *other = is_spread_better ? &alone : &spread;
    return may_try && is_worth_trying(better, other) ? !is_spread_better : is_spread_better;
}
