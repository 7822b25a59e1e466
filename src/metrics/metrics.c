/* SPDX-License-Identifier: Apache-2.0 */
/* Recording conversions. The counters exist several times, in shards. A thread that records takes a
 * shard that nobody holds, which costs one atomic exchange, and then adds with plain loads and
 * stores; threads keep to shards of their own as long as there are enough. One that finds every
 * shard it tries taken adds to a shard that belongs to all, with atomic additions. So nobody waits,
 * and who reads a shard holds it and sees whole conversions. */
#include "metrics/metrics.h"

#include "core/checked.h"
#include "pool/pool.h"
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { MAX_SHARDS = 64, MAX_TRIES = 8 };

/* Shards take no more of the pool's budget than this part of it, as far as one suffices. */
enum { BUDGET_PART = 32 };

/* Two lines of the cache, as processors fetch them in pairs. */
#define LINE_BYTES ((size_t)128)

typedef enum field { DONE, FAILED, SRC_BYTES, DST_BYTES, NS, SATURATED, N_FIELDS } field;

typedef struct group {
    atomic_uint_least64_t fields[N_FIELDS];
} group;

/* Conversions that were alike and over at the same time. */
typedef struct event {
    uint64_t end_ns;
    uint64_t n;
    lt_metric metric;
} event;

typedef struct shard {
    atomic_uint is_taken;
    bool is_shared;    /* belongs to all: never taken */
    uint64_t n_events; /* those that went into `events` */
    event *events;     /* the last n_recent, event i at i % n_recent; NULL if shared */
    group by_strategy[LATHE_METRICS_STRATEGIES];
    group by_processor[LATHE_METRICS_PROCESSORS];
    group by_dtypes[LATHE_METRICS_DTYPES][LATHE_METRICS_DTYPES];
    atomic_uint_least64_t failed_by_status[LATHE_METRICS_STATUSES];
    atomic_uint_least64_t times[LATHE_METRICS_STRATEGIES][LATHE_METRICS_TIMES];
} shard;

struct lt_metrics {
    atomic_uint_least64_t start_ns;
    uint32_t n_shards; /* without the shared one, which comes last */
    uint32_t n_recent;
    size_t shard_bytes;
};

static size_t padded(size_t n_bytes) {
    return (n_bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES;
}

static shard *shard_at(const lt_metrics *metrics, uint32_t i) {
    return (shard *)((uintptr_t)metrics + padded(sizeof *metrics) + i * metrics->shard_bytes);
}

static uint32_t choose_shards(lathe_pool *pool, uint32_t n_threads, size_t shard_bytes) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    (void)lathe_pool_get_stats(pool, &stats);
    uint64_t most = lt_min(stats.budget_bytes / BUDGET_PART / shard_bytes, MAX_SHARDS);
    return (uint32_t)lt_max(lt_min(lt_max(n_threads, 2), most), 1);
}

lt_metrics *lt_metrics_create(lathe_pool *pool, uint32_t n_threads, uint32_t n_recent) {
    const size_t head = padded(sizeof(lt_metrics));
    const size_t shard_bytes = padded(sizeof(shard) + n_recent * sizeof(event));
    const uint32_t n_shards = choose_shards(pool, n_threads, shard_bytes);
    lt_metrics *metrics = lt_pool_new(pool, head + n_shards * shard_bytes + padded(sizeof(shard)));
    if (metrics == NULL) {
        return NULL;
    }
    metrics->n_shards = n_shards;
    metrics->n_recent = n_recent;
    metrics->shard_bytes = shard_bytes;
    for (uint32_t i = 0; i < n_shards; i++) {
        shard *s = shard_at(metrics, i);
        s->events = (event *)(s + 1);
    }
    shard_at(metrics, n_shards)->is_shared = true;
    atomic_store(&metrics->start_ns, lt_now_ns());
    return metrics;
}

void lt_metrics_destroy(lt_metrics *metrics, lathe_pool *pool) {
    lt_pool_delete(pool, metrics);
}

uint64_t lt_now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* ---- taking shards */

static bool try_take(shard *s) {
    return atomic_exchange_explicit(&s->is_taken, 1, memory_order_acquire) == 0;
}

static void give_back(shard *s) {
    if (!s->is_shared) {
        atomic_store_explicit(&s->is_taken, 0, memory_order_release);
    }
}

/* For a reader: waits for a writer, which holds a shard for some nanoseconds. */
static void take(shard *s) {
    while (!s->is_shared && !try_take(s)) {
        (void)sched_yield();
    }
}

/* A shard for the calling thread, its own from the last time if that is free. */
static shard *take_any(const lt_metrics *metrics) {
    static atomic_uint n_threads;
    static _Thread_local uint32_t own; /* 0: none yet */
    if (own == 0) {
        own = atomic_fetch_add_explicit(&n_threads, 1, memory_order_relaxed) + 1;
    }
    uint32_t tries = (uint32_t)lt_min(metrics->n_shards, MAX_TRIES);
    for (uint32_t i = 0; i < tries; i++) {
        shard *s = shard_at(metrics, own % metrics->n_shards);
        if (try_take(s)) {
            return s;
        }
        own++; /* somebody else's as well: keep to the next */
        own += own == 0;
    }
    return shard_at(metrics, metrics->n_shards);
}

/* ---- recording */

static void add(const shard *s, atomic_uint_least64_t *counter, uint64_t n) {
    if (s->is_shared) {
        (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
    } else {
        uint64_t sum = atomic_load_explicit(counter, memory_order_relaxed) + n;
        atomic_store_explicit(counter, sum, memory_order_relaxed);
    }
}

static void add_to_group(const shard *s, group *g, const lt_metric *metric, uint64_t n) {
    if (metric->status != LATHE_OK) {
        add(s, &g->fields[FAILED], n);
        return;
    }
    add(s, &g->fields[DONE], n);
    add(s, &g->fields[SRC_BYTES], n * metric->src_bytes);
    add(s, &g->fields[DST_BYTES], n * metric->dst_bytes);
    add(s, &g->fields[NS], n * metric->ns);
    if (metric->n_saturated != 0) {
        add(s, &g->fields[SATURATED], n * metric->n_saturated);
    }
}

static lathe_processor processor_of(const lt_metric *metric) {
    if (metric->fell_back) {
        return LATHE_PROCESSOR_BOTH;
    }
    return metric->on_device ? LATHE_PROCESSOR_DEVICE : LATHE_PROCESSOR_CPU;
}

/* A failed conversion may have been asked for with types that are none. */
static size_t dtype_index(lathe_dtype dtype) {
    return lathe_dtype_is_valid(dtype) ? (size_t)dtype : 0;
}

void lt_metrics_record_alike(lt_metrics *metrics, const lt_metric *metric, uint64_t n,
                             uint64_t end_ns) {
    shard *s = take_any(metrics);
    add_to_group(s, &s->by_strategy[metric->strategy], metric, n);
    add_to_group(s, &s->by_processor[processor_of(metric)], metric, n);
    add_to_group(s, &s->by_dtypes[dtype_index(metric->from)][dtype_index(metric->to)], metric, n);
    if (metric->status == LATHE_OK) {
        add(s, &s->times[metric->strategy][lt_metrics_time_index(metric->ns)], n);
    } else {
        add(s, &s->failed_by_status[metric->status], n);
    }
    if (s->events != NULL) {
        s->events[s->n_events % metrics->n_recent] = (event){end_ns, n, *metric};
        s->n_events++;
    }
    give_back(s);
}

void lt_metrics_record(lt_metrics *metrics, const lt_metric *metric) {
    lt_metrics_record_alike(metrics, metric, 1, lt_now_ns());
}

void lt_metrics_record_since(lt_metrics *metrics, lt_metric *metric, uint64_t start_ns) {
    const uint64_t now = lt_now_ns();
    metric->ns = now - start_ns;
    lt_metrics_record_alike(metrics, metric, 1, now);
}

/* ---- reading */

static uint64_t value(const atomic_uint_least64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void read_group(const group *g, lathe_metrics_group *out) {
    out->n_done += value(&g->fields[DONE]);
    out->n_failed += value(&g->fields[FAILED]);
    out->src_bytes += value(&g->fields[SRC_BYTES]);
    out->dst_bytes += value(&g->fields[DST_BYTES]);
    out->ns += value(&g->fields[NS]);
    out->n_saturated += value(&g->fields[SATURATED]);
}

static void read_shard(const shard *s, lathe_metrics *out) {
    for (size_t i = 0; i < LATHE_METRICS_STRATEGIES; i++) {
        read_group(&s->by_strategy[i], &out->by_strategy[i]);
        read_group(&s->by_strategy[i], &out->total);
        for (size_t t = 0; t < LATHE_METRICS_TIMES; t++) {
            out->times[i].n[t] += value(&s->times[i][t]);
        }
    }
    for (size_t i = 0; i < LATHE_METRICS_PROCESSORS; i++) {
        read_group(&s->by_processor[i], &out->by_processor[i]);
    }
    for (size_t from = 0; from < LATHE_METRICS_DTYPES; from++) {
        for (size_t to = 0; to < LATHE_METRICS_DTYPES; to++) {
            read_group(&s->by_dtypes[from][to], &out->by_dtypes[from][to]);
        }
    }
    for (size_t i = 0; i < LATHE_METRICS_STATUSES; i++) {
        out->failed_by_status[i] += value(&s->failed_by_status[i]);
    }
}

void lt_metrics_read(lt_metrics *metrics, lathe_metrics *out) {
    memset(&out->total, 0, sizeof out->total);
    memset(out->by_strategy, 0, sizeof out->by_strategy);
    memset(out->by_processor, 0, sizeof out->by_processor);
    memset(out->by_dtypes, 0, sizeof out->by_dtypes);
    memset(out->failed_by_status, 0, sizeof out->failed_by_status);
    memset(out->times, 0, sizeof out->times);
    for (uint32_t i = 0; i <= metrics->n_shards; i++) {
        shard *s = shard_at(metrics, i);
        take(s);
        read_shard(s, out);
        give_back(s);
    }
    out->window_ns = lt_now_ns() - value(&metrics->start_ns);
}

void lt_metrics_read_processors(lt_metrics *metrics, lathe_metrics_group *groups) {
    memset(groups, 0, LATHE_METRICS_PROCESSORS * sizeof *groups);
    for (uint32_t i = 0; i <= metrics->n_shards; i++) {
        shard *s = shard_at(metrics, i);
        take(s);
        for (size_t p = 0; p < LATHE_METRICS_PROCESSORS; p++) {
            read_group(&s->by_processor[p], &groups[p]);
        }
        give_back(s);
    }
}

static void clear(atomic_uint_least64_t *counters, size_t n) {
    for (size_t i = 0; i < n; i++) {
        atomic_store_explicit(&counters[i], 0, memory_order_relaxed);
    }
}

static void clear_groups(group *groups, size_t n) {
    for (size_t i = 0; i < n; i++) {
        clear(groups[i].fields, N_FIELDS);
    }
}

void lt_metrics_reset(lt_metrics *metrics) {
    for (uint32_t i = 0; i <= metrics->n_shards; i++) {
        shard *s = shard_at(metrics, i);
        take(s);
        if (!s->is_shared) { /* which has no events, and no owner either */
            s->n_events = 0;
        }
        clear_groups(s->by_strategy, LATHE_METRICS_STRATEGIES);
        clear_groups(s->by_processor, LATHE_METRICS_PROCESSORS);
        clear(s->failed_by_status, LATHE_METRICS_STATUSES);
        for (size_t from = 0; from < LATHE_METRICS_DTYPES; from++) {
            clear_groups(s->by_dtypes[from], LATHE_METRICS_DTYPES);
        }
        for (size_t strategy = 0; strategy < LATHE_METRICS_STRATEGIES; strategy++) {
            clear(s->times[strategy], LATHE_METRICS_TIMES);
        }
        give_back(s);
    }
    atomic_store_explicit(&metrics->start_ns, lt_now_ns(), memory_order_relaxed);
}

/* ---- the last conversions: while they are gathered, age_ns is the time when one was over, and the
 * array a heap with the oldest at its root */

static void swap(lathe_recent_conversion *a, lathe_recent_conversion *b) {
    const lathe_recent_conversion held = *a;
    *a = *b;
    *b = held;
}

/* Lets entry i of a heap of n sink to its place. */
static void sink(lathe_recent_conversion *heap, size_t n, size_t i) {
    for (size_t child = 2 * i + 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && heap[child + 1].age_ns < heap[child].age_ns) {
            child++;
        }
        if (heap[i].age_ns <= heap[child].age_ns) {
            return;
        }
        swap(&heap[i], &heap[child]);
        i = child;
    }
}

static void rise(lathe_recent_conversion *heap, size_t i) {
    while (i > 0 && heap[i].age_ns < heap[(i - 1) / 2].age_ns) {
        swap(&heap[i], &heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
}

static lathe_recent_conversion recent_of(const event *e) {
    return (lathe_recent_conversion){
        .age_ns = e->end_ns,
        .ns = e->metric.ns,
        .src_bytes = e->metric.src_bytes,
        .dst_bytes = e->metric.dst_bytes,
        .n_saturated = e->metric.n_saturated,
        .strategy = e->metric.strategy,
        .from = e->metric.from,
        .to = e->metric.to,
        .processor = processor_of(&e->metric),
        .status = e->metric.status,
    };
}

/* The conversions that are over last, as far as there is room for them. */
typedef struct latest {
    lathe_recent_conversion *heap;
    size_t n;
    size_t room;
} latest;

static void add_event(latest *l, const event *e) {
    const lathe_recent_conversion one = recent_of(e);
    for (uint64_t i = 0; i < e->n; i++) {
        if (l->n < l->room) {
            l->heap[l->n] = one;
            rise(l->heap, l->n++);
        } else if (one.age_ns > l->heap[0].age_ns) {
            l->heap[0] = one;
            sink(l->heap, l->n, 0);
        } else {
            return;
        }
    }
}

size_t lt_metrics_recent(lt_metrics *metrics, lathe_recent_conversion *recent, size_t capacity) {
    latest l = {.heap = recent, .room = (size_t)lt_min(capacity, metrics->n_recent)};
    for (uint32_t i = 0; l.room > 0 && i < metrics->n_shards; i++) {
        shard *s = shard_at(metrics, i);
        take(s);
        uint64_t n_events = lt_min(s->n_events, metrics->n_recent);
        for (uint64_t e = 0; e < n_events; e++) {
            add_event(&l, &s->events[e]);
        }
        give_back(s);
    }
    for (size_t left = l.n; left > 1; left--) { /* the oldest goes last */
        swap(&recent[0], &recent[left - 1]);
        sink(recent, left - 1, 0);
    }
    const uint64_t now = lt_now_ns();
    for (size_t i = 0; i < l.n; i++) {
        recent[i].age_ns = now - recent[i].age_ns;
    }
    return l.n;
}
