/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lathe/pool.h: alignment, recycling, the budget, trimming, and what it refuses. */
#include "check.h"
#include "support.h"
#include <pthread.h>
#include <string.h>

/* The pool's own bookkeeping, which no budget covers, may come from the allocator too. */
enum { BOOKKEEPING_BYTES = 256 << 10 };

static lathe_pool_stats stats_of(lathe_pool *pool) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(pool, &stats));
    CHECK(stats.struct_size == sizeof stats, "struct_size");
    CHECK(stats.requested_bytes <= stats.in_use_bytes, "more was asked for than is in use");
    CHECK(stats.peak_in_use_bytes >= stats.in_use_bytes, "peak_in_use");
    CHECK(stats.peak_bytes >= stats.in_use_bytes + stats.cached_bytes, "peak");
    CHECK(stats.peak_bytes <= stats.budget_bytes, "over budget");
    return stats;
}

static lathe_pool *pool_with(uint64_t budget, test_allocator *allocator) {
    lathe_pool_config config = {.struct_size = sizeof config, .budget_bytes = budget};
    lathe_pool *pool = NULL;
    if (allocator != NULL) {
        test_allocator_init(allocator);
        config.allocator = &allocator->interface;
    }
    CHECK_OK(lathe_pool_create(&config, &pool));
    return pool;
}

static void expect_nothing_left(const test_allocator *allocator) {
    CHECK(allocator->n_live == 0 && allocator->live_bytes == 0, "%d blocks leak",
          (int)allocator->n_live);
    CHECK(!allocator->misused, "the allocator was misused");
}

static uint64_t waste_allowed(uint64_t n_bytes) {
    return n_bytes / 8 > 63 ? n_bytes / 8 : 63;
}

Test(pool, blocks_are_aligned_and_hardly_larger) {
    lathe_pool *pool = pool_with(0, NULL);
    test_rng rng = {1};
    for (size_t i = 0; i < 3000; i++) {
        size_t n_bytes = i < 1200 ? i : (size_t)test_random_below(&rng, 1ull << (10 + i % 16));
        void *block = NULL;
        CHECK_OK(lathe_pool_alloc(pool, n_bytes, &block));
        CHECK(block != NULL && (uintptr_t)block % 64 == 0, "%zu bytes at %p", n_bytes, block);
        if (n_bytes > 0) {
            memset(block, 0xa5, n_bytes < 8192 ? n_bytes : 8192);
            ((uint8_t *)block)[n_bytes - 1] = 1;
        }
        lathe_pool_stats stats = stats_of(pool);
        uint64_t asked = n_bytes == 0 ? 1 : n_bytes;
        CHECK(stats.n_live == 1 && stats.in_use_bytes >= asked, "in use");
        CHECK(stats.in_use_bytes - asked <= waste_allowed(asked), "%zu bytes cost %d", n_bytes,
              (int)stats.in_use_bytes);
        CHECK_OK(lathe_pool_free(pool, block));
        (void)lathe_pool_trim(pool, 0);
    }
    lathe_pool_release(pool);
}

Test(pool, blocks_do_not_overlap) {
    enum { N = 500 };
    lathe_pool *pool = pool_with(0, NULL);
    test_rng rng = {2};
    void *blocks[N];
    size_t sizes[N];
    for (size_t i = 0; i < N; i++) {
        sizes[i] = (size_t)test_random_below(&rng, 3000) + 1;
        CHECK_OK(lathe_pool_alloc(pool, sizes[i], &blocks[i]));
        memset(blocks[i], (int)(i & 0xff), sizes[i]);
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t k = 0; k < sizes[i]; k++) {
            CHECK(((uint8_t *)blocks[i])[k] == (i & 0xff), "block %zu was overwritten", i);
        }
        CHECK_OK(lathe_pool_free(pool, blocks[i]));
    }
    CHECK(stats_of(pool).n_live == 0 && stats_of(pool).in_use_bytes == 0, "in use");
    lathe_pool_release(pool);
}

Test(pool, recycles) {
    test_allocator allocator;
    lathe_pool *pool = pool_with(0, &allocator);
    static const size_t sizes[] = {1, 64, 100, 4096, 65536, 700000, 1 << 20, 5000000, 100 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *first = NULL;
        void *second = NULL;
        CHECK_OK(lathe_pool_alloc(pool, sizes[i], &first));
        CHECK_OK(lathe_pool_free(pool, first));
        lathe_pool_stats before = stats_of(pool);
        uint64_t n_calls = allocator.n_calls;
        CHECK_OK(lathe_pool_alloc(pool, sizes[i], &second));
        lathe_pool_stats after = stats_of(pool);
        CHECK(second == first, "%zu bytes: another block", sizes[i]);
        CHECK(after.n_hits == before.n_hits + 1 && after.n_misses == before.n_misses, "a hit");
        CHECK(allocator.n_calls == n_calls, "the allocator was asked");
        CHECK(after.in_use_bytes + after.cached_bytes == before.in_use_bytes + before.cached_bytes,
              "nothing was taken or given back");
        CHECK_OK(lathe_pool_free(pool, second));
    }
    lathe_pool_release(pool);
    expect_nothing_left(&allocator);
}

Test(pool, trims) {
    enum { N = 20 };
    test_allocator allocator;
    lathe_pool *pool = pool_with(0, &allocator);
    void *blocks[N];
    for (size_t i = 0; i < N; i++) {
        CHECK_OK(lathe_pool_alloc(pool, 10000 * (i + 1), &blocks[i]));
    }
    for (size_t i = 0; i < N; i++) {
        CHECK_OK(lathe_pool_free(pool, blocks[i]));
    }
    uint64_t cached = stats_of(pool).cached_bytes;
    CHECK(cached >= 10000ull * N * (N + 1) / 2, "cached");
    CHECK(lathe_pool_trim(pool, UINT64_MAX) == 0, "nothing to do");
    CHECK(lathe_pool_trim(pool, cached) == 0, "nothing to do");
    uint64_t given_back = lathe_pool_trim(pool, cached / 2);
    CHECK(given_back >= cached / 2 && stats_of(pool).cached_bytes == cached - given_back, "half");
    CHECK(stats_of(pool).n_trimmed > 0, "n_trimmed");
    void *block = NULL;
    uint64_t n_hits = stats_of(pool).n_hits;
    CHECK_OK(
        lathe_pool_alloc(pool, 10000 * N, &block)); /* the most recently used one is still there */
    CHECK(stats_of(pool).n_hits == n_hits + 1 && block == blocks[N - 1], "not the oldest first");
    uint64_t in_use = stats_of(pool).in_use_bytes;
    CHECK(lathe_pool_trim(pool, 0) == cached - given_back - in_use, "all but the live block");
    CHECK(stats_of(pool).cached_bytes == 0 && stats_of(pool).in_use_bytes == in_use, "live blocks");
    CHECK(stats_of(pool).n_trimmed == N - 1, "n_trimmed");
    CHECK_OK(lathe_pool_free(pool, block));
    CHECK(lathe_pool_trim(NULL, 0) == 0, "NULL");
    lathe_pool_release(pool);
    expect_nothing_left(&allocator);
}

Test(pool, never_exceeds_its_budget) {
    enum { N = 64, BUDGET = 4 << 20 };
    test_allocator allocator;
    lathe_pool *pool = pool_with(BUDGET, &allocator);
    test_rng rng = {3};
    void *blocks[N] = {0};
    uint64_t n_refused = 0;
    CHECK(stats_of(pool).budget_bytes == BUDGET, "budget");
    for (int i = 0; i < 20000; i++) {
        size_t k = (size_t)test_random_below(&rng, N);
        if (blocks[k] != NULL) {
            CHECK_OK(lathe_pool_free(pool, blocks[k]));
            blocks[k] = NULL;
            continue;
        }
        size_t n_bytes = (size_t)test_random_below(&rng, 1ull << test_random_below(&rng, 21));
        lathe_pool_stats before = stats_of(pool);
        lathe_status status = lathe_pool_alloc(pool, n_bytes, &blocks[k]);
        if (status != LATHE_OK) {
            n_refused++;
            CHECK(status == LATHE_INSUFFICIENT_MEMORY, "%s", lathe_status_name(status));
            CHECK(blocks[k] == NULL, "the output was touched");
            CHECK(n_bytes + waste_allowed(n_bytes) > BUDGET - before.in_use_bytes,
                  "%zu bytes refused with %d left", n_bytes, (int)(BUDGET - before.in_use_bytes));
            CHECK(lathe_last_error()->required_bytes >= n_bytes, "required");
            CHECK(lathe_last_error()->available_bytes == BUDGET - before.in_use_bytes, "available");
        }
        CHECK(allocator.peak_bytes <= BUDGET + BOOKKEEPING_BYTES, "the allocator gave %d bytes",
              (int)allocator.peak_bytes);
    }
    CHECK(n_refused > 0 && stats_of(pool).n_refused == n_refused, "n_refused");
    for (size_t k = 0; k < N; k++) {
        CHECK_OK(lathe_pool_free(pool, blocks[k]));
    }
    lathe_pool_release(pool);
    expect_nothing_left(&allocator);
}

Test(pool, trims_itself_before_it_refuses) {
    test_allocator allocator;
    lathe_pool *pool = pool_with(1 << 20, &allocator);
    void *blocks[8];
    void *large = NULL;
    for (size_t i = 0; i < 8; i++) {
        CHECK_OK(lathe_pool_alloc(pool, 100000, &blocks[i]));
    }
    CHECK_STATUS(lathe_pool_alloc(pool, 700000, &large), LATHE_INSUFFICIENT_MEMORY);
    for (size_t i = 0; i < 8; i++) {
        CHECK_OK(lathe_pool_free(pool, blocks[i]));
    }
    CHECK_OK(lathe_pool_alloc(pool, 900000, &large));
    CHECK_OK(lathe_pool_free(pool, large));
    CHECK_OK(
        lathe_pool_alloc(pool, 1 << 20, &large)); /* the whole budget, a size class of its own */
    CHECK(stats_of(pool).in_use_bytes == 1 << 20, "in use");
    CHECK_OK(lathe_pool_free(pool, large));
    lathe_pool_release(pool);
    expect_nothing_left(&allocator);
}

Test(pool, refuses_absurd_sizes) {
    test_allocator allocator;
    lathe_pool *pool = pool_with(0, &allocator);
    void *block = &allocator;
    for (int shift = 47; shift < 64; shift++) {
        CHECK_STATUS(lathe_pool_alloc(pool, (size_t)1 << shift, &block), LATHE_INSUFFICIENT_MEMORY);
        CHECK_STATUS(lathe_pool_alloc(pool, SIZE_MAX - ((size_t)1 << (63 - shift)), &block),
                     LATHE_INSUFFICIENT_MEMORY);
    }
    CHECK_STATUS(lathe_pool_alloc(pool, SIZE_MAX, &block), LATHE_INSUFFICIENT_MEMORY);
    CHECK(block == &allocator, "the output was touched");
    CHECK(stats_of(pool).n_live == 0 && stats_of(pool).in_use_bytes == 0, "in use");
    lathe_pool_release(pool);
    expect_nothing_left(&allocator);
}

Test(pool, refuses_foreign_pointers_and_double_frees) {
    lathe_pool *pool = pool_with(0, NULL);
    lathe_pool *other = pool_with(0, NULL);
    void *block = NULL;
    void *foreign = NULL;
    int local = 0;
    CHECK_OK(lathe_pool_alloc(pool, 1000, &block));
    CHECK_OK(lathe_pool_alloc(other, 1000, &foreign));
    lathe_pool_stats before = stats_of(pool);
    CHECK_STATUS(lathe_pool_free(pool, &local), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pool_free(pool, foreign), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pool_free(pool, (uint8_t *)block + 1), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pool_free(pool, (uint8_t *)block + 64), LATHE_INVALID_ARGUMENT);
    lathe_pool_stats after = stats_of(pool);
    CHECK(memcmp(&before, &after, sizeof before) == 0, "something changed");
    CHECK_OK(lathe_pool_free(pool, block));
    CHECK_STATUS(lathe_pool_free(pool, block), LATHE_INVALID_ARGUMENT);
    (void)lathe_pool_trim(pool, 0);
    CHECK_STATUS(lathe_pool_free(pool, block), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_pool_free(pool, NULL));
    CHECK_OK(lathe_pool_free(other, foreign));
    lathe_pool_release(pool);
    lathe_pool_release(other);
}

Test(pool, bad_arguments) {
    lathe_pool *pool = NULL;
    void *block = NULL;
    lathe_pool_config config = {.struct_size = 1};
    CHECK_STATUS(lathe_pool_create(&config, &pool), LATHE_INVALID_ARGUMENT);
    config.struct_size = sizeof config;
    test_allocator allocator;
    test_allocator_init(&allocator);
    lathe_allocator half = allocator.interface;
    half.release = NULL;
    config.allocator = &half;
    CHECK_STATUS(lathe_pool_create(&config, &pool), LATHE_INVALID_ARGUMENT);
    half = allocator.interface;
    half.allocate = NULL;
    CHECK_STATUS(lathe_pool_create(&config, &pool), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pool_create(NULL, NULL), LATHE_INVALID_ARGUMENT);
    CHECK(pool == NULL, "the output was touched");
    CHECK_STATUS(lathe_pool_alloc(NULL, 1, &block), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_pool_create(NULL, &pool));
    CHECK_STATUS(lathe_pool_alloc(pool, 1, NULL), LATHE_INVALID_ARGUMENT);
    lathe_pool_stats stats = {.struct_size = 0};
    CHECK_STATUS(lathe_pool_get_stats(pool, &stats), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pool_get_stats(pool, NULL), LATHE_INVALID_ARGUMENT);
    stats.struct_size = sizeof stats;
    CHECK_STATUS(lathe_pool_get_stats(NULL, &stats), LATHE_INVALID_ARGUMENT);
    CHECK(stats_of(pool).budget_bytes == UINT64_MAX, "no limit");
    lathe_pool_release(NULL);
    CHECK(lathe_pool_retain(NULL) == NULL, "NULL is legal");
    lathe_pool_release(pool);
}

Test(pool, outlives_its_last_reference_while_blocks_live) {
    test_allocator allocator;
    lathe_pool *pool = pool_with(0, &allocator);
    void *blocks[2];
    CHECK(lathe_pool_retain(pool) == pool, "retain");
    CHECK_OK(lathe_pool_alloc(pool, 1000, &blocks[0]));
    CHECK_OK(lathe_pool_alloc(pool, 2000, &blocks[1]));
    lathe_pool_release(pool);
    lathe_pool_release(pool);
    memset(blocks[0], 1, 1000);
    CHECK_OK(lathe_pool_free(pool, blocks[0]));
    memset(blocks[1], 1, 2000);
    CHECK(allocator.n_live > 0, "gone too early");
    CHECK_OK(lathe_pool_free(pool, blocks[1]));
    expect_nothing_left(&allocator);
}

Test(pool, survives_any_failing_allocation) {
    enum { N = 300 };
    for (uint64_t fail_at = 0; fail_at < 40; fail_at++) {
        test_allocator allocator;
        test_allocator_init(&allocator);
        test_allocator_reset(&allocator, fail_at);
        lathe_pool_config config = {.struct_size = sizeof config,
                                    .allocator = &allocator.interface};
        lathe_pool *pool = NULL;
        lathe_status status = lathe_pool_create(&config, &pool);
        if (status != LATHE_OK) {
            CHECK(status == LATHE_INSUFFICIENT_MEMORY && pool == NULL, "create");
            expect_nothing_left(&allocator);
            continue;
        }
        void *blocks[N] = {0};
        uint64_t n_failed = 0;
        for (size_t i = 0; i < N; i++) {
            status = lathe_pool_alloc(pool, 100 * (i + 1), &blocks[i]);
            CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "alloc");
            CHECK((status == LATHE_OK) == (blocks[i] != NULL), "alloc");
            n_failed += status != LATHE_OK;
        }
        CHECK(n_failed <= 1 && stats_of(pool).n_live == N - n_failed, "%d failed", (int)n_failed);
        for (size_t i = 0; i < N; i++) {
            CHECK_OK(lathe_pool_free(pool, blocks[i]));
        }
        lathe_pool_release(pool);
        expect_nothing_left(&allocator);
    }
}

Test(pool, gives_the_cache_back_before_the_allocator_fails) {
    test_allocator allocator;
    lathe_pool *pool = pool_with(0, &allocator);
    void *small = NULL;
    void *large = NULL;
    CHECK_OK(lathe_pool_alloc(pool, 100000, &small));
    CHECK_OK(lathe_pool_free(pool, small));
    test_allocator_reset(&allocator, 0); /* the first try fails, as it would with no memory left */
    CHECK_OK(lathe_pool_alloc(pool, 200000, &large));
    CHECK(stats_of(pool).cached_bytes == 0, "the cache is still there");
    CHECK_OK(lathe_pool_free(pool, large));
    lathe_pool_release(pool);
    expect_nothing_left(&allocator);
}

/* ---- threads */

typedef struct worker {
    lathe_pool *pool;
    uint64_t seed;
    const char *failure;
} worker;

static void *churn(void *ctx) {
    enum { N = 16, ROUNDS = 4000 };
    worker *self = ctx;
    test_rng rng = {self->seed};
    uint8_t *blocks[N] = {0};
    size_t sizes[N] = {0};
    for (int round = 0; round < ROUNDS && self->failure == NULL; round++) {
        size_t k = (size_t)test_random_below(&rng, N);
        uint8_t mark = (uint8_t)(self->seed * 16 + k);
        if (blocks[k] == NULL) {
            void *block = NULL;
            sizes[k] = (size_t)test_random_below(&rng, 40000) + 1;
            if (lathe_pool_alloc(self->pool, sizes[k], &block) == LATHE_OK) {
                blocks[k] = block;
                memset(block, mark, sizes[k]);
            } else if (lathe_last_error()->status != LATHE_INSUFFICIENT_MEMORY) {
                self->failure = "alloc";
            }
            continue;
        }
        if (blocks[k][0] != mark || blocks[k][sizes[k] - 1] != mark ||
            blocks[k][sizes[k] / 2] != mark) {
            self->failure = "a block was overwritten";
        }
        if (lathe_pool_free(self->pool, blocks[k]) != LATHE_OK) {
            self->failure = "free";
        }
        blocks[k] = NULL;
        if (round % 100 == 0) {
            (void)lathe_pool_trim(self->pool, 10000);
        }
    }
    for (size_t k = 0; k < N; k++) {
        (void)lathe_pool_free(self->pool, blocks[k]);
    }
    return NULL;
}

Test(pool, many_threads) {
    enum { N_THREADS = 8, BUDGET = 1 << 20 };
    test_allocator allocator;
    lathe_pool *pool = pool_with(BUDGET, &allocator);
    pthread_t threads[N_THREADS];
    worker workers[N_THREADS];
    for (size_t i = 0; i < N_THREADS; i++) {
        workers[i] = (worker){.pool = pool, .seed = i + 1};
        CHECK(pthread_create(&threads[i], NULL, churn, &workers[i]) == 0, "pthread_create");
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0, "pthread_join");
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(workers[i].failure == NULL, "thread %zu: %s", i, workers[i].failure);
    }
    lathe_pool_stats stats = stats_of(pool);
    CHECK(stats.n_live == 0 && stats.in_use_bytes == 0 && stats.requested_bytes == 0, "in use");
    CHECK(allocator.peak_bytes <= BUDGET + BOOKKEEPING_BYTES, "over budget");
    lathe_pool_release(pool);
    expect_nothing_left(&allocator);
}
