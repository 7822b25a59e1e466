/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine's memory can do: copies, reads and writes of the CPU, with a team of threads. */
#include "yardsticks.h"
#include "cli.h"
#include "cpu/features.h"
#include "measure.h"
#include <stdatomic.h>
#include <string.h>

static const char *const names[BENCH_N_YARDSTICKS] = {
    [BENCH_MEMCPY] = "memcpy",
    [BENCH_COPY_PREFETCH] = "prefetching copy",
    [BENCH_COPY_STREAM] = "streaming copy",
    [BENCH_READ] = "read",
    [BENCH_READ_PREFETCH] = "prefetching read",
    [BENCH_MEMSET] = "memset",
    [BENCH_WRITE_STREAM] = "streaming write",
};

const char *bench_yardstick_name(bench_yardstick which) {
    return names[which];
}

static const bench_loops *best_loops(void) {
#if defined(__x86_64__)
    lt_cpu_features features;
    lt_cpu_features_detect(&features);
    if (features.avx512) {
        return &bench_loops_avx512;
    }
    if (features.avx2) {
        return &bench_loops_avx2;
    }
#endif
    return &bench_loops_portable;
}

lathe_status bench_yardsticks_open(bench_yardsticks *y, lathe_pool *pool, uint32_t n_threads) {
    *y = (bench_yardsticks){.pool = pool, .loops = best_loops()};
    y->team = bench_team_start(n_threads);
    return y->team != NULL ? LATHE_OK : LATHE_INSUFFICIENT_MEMORY;
}

static void free_buffers(bench_yardsticks *y) {
    lathe_pool_free(y->pool, y->src);
    lathe_pool_free(y->pool, y->dst);
    y->src = y->dst = NULL;
    y->buffer_bytes = 0;
}

void bench_yardsticks_close(bench_yardsticks *y) {
    free_buffers(y);
    bench_team_end(y->team);
    y->team = NULL;
}

/* Of each kind the first is always there. */
static bool exists(const bench_yardsticks *y, bench_yardstick which) {
    switch (which) {
    case BENCH_COPY_PREFETCH:
        return y->loops->copy_prefetch != NULL;
    case BENCH_COPY_STREAM:
        return y->loops->copy_stream != NULL;
    case BENCH_READ_PREFETCH:
        return y->loops->read_prefetch != NULL;
    case BENCH_WRITE_STREAM:
        return y->loops->write_stream != NULL;
    default:
        return true;
    }
}

/* What a thread does. */
typedef struct part {
    const bench_yardsticks *y;
    bench_yardstick which;
} part;

static atomic_uint_fast64_t read_sums; /* so that reads have a use */

static void copy_part(const bench_yardsticks *y, bench_yardstick which, size_t begin, size_t end) {
    const size_t n_bytes = end - begin;
    if (which == BENCH_COPY_PREFETCH) {
        y->loops->copy_prefetch(y->dst + begin, y->src + begin, n_bytes);
    } else if (which == BENCH_COPY_STREAM) {
        y->loops->copy_stream(y->dst + begin, y->src + begin, n_bytes);
    } else {
        memcpy(y->dst + begin, y->src + begin, n_bytes);
    }
}

static void run_part(void *ctx, size_t begin, size_t end) {
    const part *p = ctx;
    const bench_yardsticks *y = p->y;
    const size_t n_bytes = end - begin;
    if (p->which <= BENCH_COPY_STREAM) {
        copy_part(y, p->which, begin, end);
    } else if (p->which == BENCH_READ || p->which == BENCH_READ_PREFETCH) {
        uint64_t (*read)(const void *, size_t) =
            p->which == BENCH_READ ? y->loops->read : y->loops->read_prefetch;
        atomic_fetch_add_explicit(&read_sums,
                                  read(y->src + begin, n_bytes) + read(y->dst + begin, n_bytes),
                                  memory_order_relaxed);
    } else if (p->which == BENCH_WRITE_STREAM) {
        y->loops->write_stream(y->src + begin, n_bytes);
        y->loops->write_stream(y->dst + begin, n_bytes);
    } else {
        memset(y->src + begin, 1, n_bytes);
        memset(y->dst + begin, 1, n_bytes);
    }
}

static lathe_status run(bench_yardsticks *y, bench_yardstick which, uint64_t rounds) {
    part p = {.y = y, .which = which};
    bench_team_run(y->team, run_part, &p, y->bytes / 2, rounds);
    return LATHE_OK;
}

lathe_status bench_run_memcpy(void *ctx, uint64_t rounds) {
    return run(ctx, BENCH_MEMCPY, rounds);
}

lathe_status bench_run_copy(void *ctx, uint64_t rounds) {
    bench_yardsticks *y = ctx;
    return run(y, y->now.copy, rounds);
}

lathe_status bench_run_read(void *ctx, uint64_t rounds) {
    bench_yardsticks *y = ctx;
    return run(y, y->now.read, rounds);
}

lathe_status bench_run_write(void *ctx, uint64_t rounds) {
    bench_yardsticks *y = ctx;
    return run(y, y->now.write, rounds);
}

/* The least time of a few tries, of a millisecond or more each. */
static double try(bench_yardsticks *y, bench_yardstick which) {
    enum { TRIES = 4 };
    const double least_seconds = 1e-3;
    double best = 0;
    uint64_t rounds = 1;
    for (int i = 0; i < TRIES;) {
        const uint64_t start_ns = cli_now_ns();
        (void)run(y, which, rounds);
        const double seconds = bench_seconds_since(start_ns);
        if (seconds < least_seconds) {
            rounds *= 4;
            continue;
        }
        const double each = seconds / (double)rounds;
        best = i == 0 || each < best ? each : best;
        i++;
    }
    return best;
}

static bench_yardstick fastest(bench_yardsticks *y, bench_yardstick first, bench_yardstick last) {
    bench_yardstick best = first;
    double least = try(y, first);
    for (int i = (int)first + 1; i <= (int)last; i++) {
        const bench_yardstick which = (bench_yardstick)i;
        const double seconds = exists(y, which) ? try(y, which) : least;
        if (seconds < least) {
            best = which;
            least = seconds;
        }
    }
    return best;
}

static lathe_status make_buffers(bench_yardsticks *y, size_t n_bytes) {
    void *src = NULL;
    void *dst = NULL;
    if (n_bytes <= y->buffer_bytes) {
        return LATHE_OK;
    }
    free_buffers(y);
    lathe_status status = lathe_pool_alloc(y->pool, n_bytes, &src);
    y->src = src;
    if (status == LATHE_OK) {
        status = lathe_pool_alloc(y->pool, n_bytes, &dst);
        y->dst = dst;
    }
    if (status == LATHE_OK) {
        memset(y->src, 1, n_bytes);
        memset(y->dst, 2, n_bytes);
        y->buffer_bytes = n_bytes;
    }
    return status;
}

lathe_status bench_yardsticks_set(bench_yardsticks *y, uint64_t bytes) {
    size_t power = 0;
    while (bytes >> power > 1) {
        power++;
    }
    bench_best *best = &y->best[power];
    const lathe_status status = make_buffers(y, (size_t)(bytes / 2));
    if (status != LATHE_OK) {
        return status;
    }
    y->bytes = (size_t)bytes;
    if (!best->is_known) {
        *best = (bench_best){.is_known = true,
                             .copy = fastest(y, BENCH_MEMCPY, BENCH_COPY_STREAM),
                             .read = fastest(y, BENCH_READ, BENCH_READ_PREFETCH),
                             .write = fastest(y, BENCH_MEMSET, BENCH_WRITE_STREAM)};
    }
    y->now = *best;
    return LATHE_OK;
}
