/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the pool's sources: blocks of several kinds under one budget, in one order of trimming.
 */
#include "check.h"
#include "pool/page_runs.h"
#include "pool/pool.h"
#include "support.h"
#include <sys/mman.h>
#include <unistd.h>

/* A source whose blocks are numbers, not memory. */
enum { MAX_LOG = 256 };

typedef struct fake {
    lt_pool_source source;
    uintptr_t first_handle;
    uint64_t n_calls; /* of allocate */
    uint64_t n_live;
    uint64_t live_bytes;
    uint64_t limit_bytes; /* what the device has */
    uint64_t n_failed;
    uintptr_t released[MAX_LOG];
    size_t n_released;
} fake;

static void *fake_allocate(void *ctx, size_t n_bytes, size_t alignment) {
    fake *self = ctx;
    (void)alignment;
    if (self->live_bytes + n_bytes > self->limit_bytes) {
        self->n_failed++;
        return NULL;
    }
    self->n_live++;
    self->live_bytes += n_bytes;
    return (void *)(self->first_handle + 16 * self->n_calls++);
}

static void fake_release(void *ctx, void *memory, size_t n_bytes) {
    fake *self = ctx;
    self->n_live--;
    self->live_bytes -= n_bytes;
    if (self->n_released < MAX_LOG) {
        self->released[self->n_released++] = (uintptr_t)memory;
    }
}

static void fake_init(fake *self, uintptr_t first_handle) {
    *self = (fake){.first_handle = first_handle, .limit_bytes = UINT64_MAX};
    self->source.allocator =
        (lathe_allocator){.ctx = self, .allocate = fake_allocate, .release = fake_release};
}

typedef struct fixture {
    test_allocator allocator;
    lathe_pool *pool;
    fake device;
    fake pinned;
} fixture;

static void set_up(fixture *f, uint64_t budget) {
    test_allocator_init(&f->allocator);
    lathe_pool_config config = {
        .struct_size = sizeof config,
        .budget_bytes = budget,
        .allocator = &f->allocator.interface,
    };
    CHECK_OK(lathe_pool_create(&config, &f->pool));
    fake_init(&f->device, 0x1000);
    fake_init(&f->pinned, 0x800000);
}

static lathe_pool_stats stats_of(const fixture *f) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(f->pool, &stats));
    CHECK(stats.in_use_bytes + stats.cached_bytes <= stats.budget_bytes, "over budget");
    return stats;
}

static void tear_down(fixture *f) {
    lt_pool_source_close(f->pool, &f->device.source);
    lt_pool_source_close(f->pool, &f->pinned.source);
    CHECK(f->device.n_live == 0 && f->device.live_bytes == 0, "device blocks leak");
    CHECK(f->pinned.n_live == 0 && f->pinned.live_bytes == 0, "pinned blocks leak");
    lathe_pool_release(f->pool);
    CHECK(f->allocator.n_live == 0 && !f->allocator.misused, "host blocks leak");
}

static void *take(fixture *f, fake *from, uint64_t n_bytes) {
    void *block = NULL;
    if (from == NULL) {
        CHECK_OK(lathe_pool_alloc(f->pool, (size_t)n_bytes, &block));
    } else {
        CHECK_OK(lt_pool_source_alloc(f->pool, &from->source, n_bytes, &block));
    }
    CHECK(block != NULL, "no block");
    return block;
}

Test(pool_sources, recycle_their_own_blocks_only) {
    fixture f;
    set_up(&f, 0);
    void *device = take(&f, &f.device, 100000);
    void *pinned = take(&f, &f.pinned, 100000);
    void *host = take(&f, NULL, 100000);
    CHECK(stats_of(&f).n_live == 3 && stats_of(&f).in_use_bytes >= 300000, "totals");
    CHECK_OK(lathe_pool_free(f.pool, device));
    CHECK_OK(lathe_pool_free(f.pool, pinned));
    CHECK_OK(lathe_pool_free(f.pool, host));
    CHECK(stats_of(&f).n_live == 0 && stats_of(&f).cached_bytes >= 300000, "totals");
    uint64_t n_hits = stats_of(&f).n_hits;
    CHECK(take(&f, NULL, 100000) == host, "another host block");
    CHECK(take(&f, &f.pinned, 100000) == pinned, "another pinned block");
    CHECK(take(&f, &f.device, 100000) == device, "another device block");
    CHECK(stats_of(&f).n_hits == n_hits + 3, "hits");
    CHECK(f.device.n_calls == 1 && f.pinned.n_calls == 1, "a source was asked again");
    void *second = take(&f, &f.device, 100000);
    CHECK(second != device && f.device.n_calls == 2, "the same block twice");
    CHECK_OK(lathe_pool_free(f.pool, device));
    CHECK_OK(lathe_pool_free(f.pool, second));
    CHECK_STATUS(lathe_pool_free(f.pool, second), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pool_free(f.pool, (void *)(uintptr_t)0x1001), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_pool_free(f.pool, pinned));
    CHECK_OK(lathe_pool_free(f.pool, host));
    tear_down(&f);
}

Test(pool_sources, share_one_budget) {
    enum { BUDGET = 1 << 20, PART = 256 << 10 };
    fixture f;
    set_up(&f, BUDGET);
    void *blocks[4] = {take(&f, &f.device, PART), take(&f, &f.pinned, PART), take(&f, NULL, PART),
                       take(&f, &f.device, PART)};
    void *more = &f;
    CHECK_STATUS(lt_pool_source_alloc(f.pool, &f.pinned.source, 1, &more),
                 LATHE_INSUFFICIENT_MEMORY);
    CHECK(lathe_last_error()->available_bytes == 0, "available");
    CHECK(lathe_last_error()->required_bytes == 64, "required");
    CHECK_STATUS(lathe_pool_alloc(f.pool, 1, &more), LATHE_INSUFFICIENT_MEMORY);
    CHECK(more == &f && stats_of(&f).n_refused == 2, "refused");
    CHECK_OK(lathe_pool_free(f.pool, blocks[0]));
    /* A cached device block makes room for host memory. */
    blocks[0] = take(&f, NULL, PART);
    CHECK(f.device.n_live == 1 && f.device.n_released == 1, "the device block is still there");
    CHECK(stats_of(&f).in_use_bytes == BUDGET && stats_of(&f).peak_bytes == BUDGET, "totals");
    for (size_t i = 0; i < 4; i++) {
        CHECK_OK(lathe_pool_free(f.pool, blocks[i]));
    }
    /* And all the others for one large device block. */
    void *large = take(&f, &f.device, BUDGET);
    CHECK(f.pinned.n_live == 0 && f.device.n_live == 1, "cached blocks are still there");
    CHECK(stats_of(&f).cached_bytes == 0 && stats_of(&f).in_use_bytes == BUDGET, "totals");
    CHECK_OK(lathe_pool_free(f.pool, large));
    tear_down(&f);
}

Test(pool_sources, trim_the_least_recently_used_of_all_kinds) {
    enum { N = 6 };
    fixture f;
    set_up(&f, 0);
    fake *const from[N] = {&f.device, &f.pinned, &f.device, &f.pinned, &f.device, &f.pinned};
    void *blocks[N];
    for (size_t i = 0; i < N; i++) {
        blocks[i] = take(&f, from[i], 1024);
    }
    static const size_t order[N] = {3, 0, 5, 2, 4, 1}; /* in which they are freed */
    for (size_t i = 0; i < N; i++) {
        CHECK_OK(lathe_pool_free(f.pool, blocks[order[i]]));
    }
    for (size_t i = 0; i < N; i++) {
        const fake *next = from[order[i]];
        size_t n_before = next->n_released;
        CHECK(lathe_pool_trim(f.pool, 1024 * (N - 1 - i)) == 1024, "one block");
        CHECK(next->n_released == n_before + 1, "block %zu: not the oldest", i);
        CHECK(next->released[n_before] == (uintptr_t)blocks[order[i]], "block %zu", i);
        CHECK(stats_of(&f).n_trimmed == i + 1, "n_trimmed");
    }
    CHECK(stats_of(&f).cached_bytes == 0, "totals");
    tear_down(&f);
}

Test(pool_sources, close_gives_back_one_kind) {
    fixture f;
    set_up(&f, 0);
    static const uint64_t sizes[] = {0, 1, 64, 5000, 1 << 20, UINT64_C(1) << 40};
    enum { N = sizeof sizes / sizeof sizes[0] };
    void *device[N];
    void *pinned[N];
    for (size_t i = 0; i < N; i++) {
        device[i] = take(&f, &f.device, sizes[i]);
        pinned[i] = take(&f, &f.pinned, sizes[i]);
    }
    void *host = take(&f, NULL, 5000);
    for (size_t i = 0; i < N; i++) {
        CHECK_OK(lathe_pool_free(f.pool, device[i]));
        CHECK_OK(lathe_pool_free(f.pool, pinned[i]));
    }
    CHECK_OK(lathe_pool_free(f.pool, host));
    lt_pool_source_close(f.pool, &f.device.source);
    CHECK(f.device.n_live == 0 && f.device.n_released == N, "device blocks are left");
    CHECK(f.pinned.n_live == N, "pinned blocks are gone");
    CHECK(stats_of(&f).cached_bytes == f.pinned.live_bytes + 5120, "totals");
    CHECK(take(&f, NULL, 5000) == host, "the host block is gone");
    CHECK_OK(lathe_pool_free(f.pool, host));
    /* A source can be used again after it was closed. */
    CHECK_OK(lathe_pool_free(f.pool, take(&f, &f.device, 64)));
    CHECK(f.device.n_live == 1, "a new block");
    tear_down(&f);
}

Test(pool_sources, a_full_device_is_trimmed_and_asked_again) {
    fixture f;
    set_up(&f, 0);
    f.device.limit_bytes = 1 << 20;
    void *small = take(&f, &f.device, 512 << 10);
    void *host = take(&f, NULL, 4096);
    CHECK_OK(lathe_pool_free(f.pool, small));
    CHECK_OK(lathe_pool_free(f.pool, host));
    void *large = take(&f, &f.device, 1 << 20);
    CHECK(f.device.n_failed == 1 && f.device.n_live == 1, "asked twice");
    CHECK(stats_of(&f).cached_bytes == 0, "cached blocks are still there");
    uint64_t in_use = stats_of(&f).in_use_bytes;
    void *more = &f;
    CHECK_STATUS(lt_pool_source_alloc(f.pool, &f.device.source, 1, &more),
                 LATHE_INSUFFICIENT_MEMORY);
    CHECK(more == &f && f.device.n_failed == 2, "nothing was cached, so it is asked once");
    CHECK(stats_of(&f).n_refused == 1 && stats_of(&f).in_use_bytes == in_use, "refused");
    CHECK_OK(lathe_pool_free(f.pool, large));
    CHECK_STATUS(lt_pool_source_alloc(f.pool, &f.device.source, 2 << 20, &more),
                 LATHE_INSUFFICIENT_MEMORY);
    CHECK(more == &f && f.device.n_failed == 4 && f.device.n_live == 0, "asked twice, trimmed");
    CHECK_STATUS(lt_pool_source_alloc(f.pool, &f.device.source, UINT64_MAX, &more),
                 LATHE_INSUFFICIENT_MEMORY);
    tear_down(&f);
}

Test(pool_sources, a_block_without_a_record_goes_back) {
    for (uint64_t fail_at = 0; fail_at < 8; fail_at++) {
        fixture f;
        set_up(&f, 0);
        test_allocator_reset(&f.allocator, fail_at); /* the records' memory */
        void *blocks[200] = {0};
        size_t n_failed = 0;
        for (size_t i = 0; i < 200; i++) {
            n_failed += lt_pool_source_alloc(f.pool, &f.device.source, 1000, &blocks[i]) != 0;
        }
        CHECK(n_failed <= 1 && f.device.n_live == 200 - n_failed, "%zu failed", n_failed);
        for (size_t i = 0; i < 200; i++) {
            CHECK_OK(lathe_pool_free(f.pool, blocks[i]));
        }
        tear_down(&f);
    }
}

Test(pool_sources, many_random_steps_keep_the_counts) {
    enum { N = 48, BUDGET = 2 << 20, STEPS = 20000 };
    fixture f;
    set_up(&f, BUDGET);
    f.device.limit_bytes = 1 << 20;
    test_rng rng = {7};
    void *blocks[N] = {0};
    for (int step = 0; step < STEPS; step++) {
        size_t k = (size_t)test_random_below(&rng, N);
        if (blocks[k] != NULL) {
            CHECK_OK(lathe_pool_free(f.pool, blocks[k]));
            blocks[k] = NULL;
            continue;
        }
        size_t n_bytes = (size_t)test_random_below(&rng, 1ull << test_random_below(&rng, 20));
        uint64_t kind = test_random_below(&rng, 3);
        lathe_status status =
            kind == 0
                ? lathe_pool_alloc(f.pool, n_bytes, &blocks[k])
                : lt_pool_source_alloc(f.pool, kind == 1 ? &f.device.source : &f.pinned.source,
                                       n_bytes, &blocks[k]);
        CHECK(status == LATHE_OK || status == LATHE_INSUFFICIENT_MEMORY, "status");
        if (step % 500 == 0) {
            (void)lathe_pool_trim(f.pool, 100000);
        }
        lathe_pool_stats stats = stats_of(&f);
        uint64_t elsewhere = f.device.live_bytes + f.pinned.live_bytes;
        CHECK(elsewhere <= stats.in_use_bytes + stats.cached_bytes, "sources gave more");
        CHECK(stats.peak_bytes <= BUDGET, "over budget");
    }
    for (size_t k = 0; k < N; k++) {
        CHECK_OK(lathe_pool_free(f.pool, blocks[k]));
    }
    CHECK(stats_of(&f).n_live == 0 && stats_of(&f).in_use_bytes == 0, "in use");
    tear_down(&f);
}

/* How many of the block's pages are in memory. */
static size_t count_resident(void *block, size_t n_bytes) {
    unsigned char pages[8];
    size_t n = 0;
    CHECK(mincore(block, n_bytes, pages) == 0, "mincore");
    for (size_t i = 0; i < n_bytes / LT_RUN_PAGE_BYTES; i++) {
        n += pages[i] & 1;
    }
    return n;
}

Test(page_runs, blocks_follow_each_other_and_give_their_pages_back) {
    enum { N = 600, BYTES = 4 * LT_RUN_PAGE_BYTES };
    static uint8_t *blocks[N];
    size_t n_gaps = 0;
    for (size_t i = 0; i < N; i++) {
        blocks[i] = lt_run_allocate(BYTES, false);
        CHECK(blocks[i] != NULL && (uintptr_t)blocks[i] % LT_RUN_PAGE_BYTES == 0, "block %zu", i);
        CHECK(blocks[i][0] == 0 && blocks[i][BYTES - 1] == 0, "block %zu is not zero", i);
        memset(blocks[i], (int)(i % 251) + 1, BYTES);
        n_gaps += i > 0 && blocks[i] != blocks[i - 1] + BYTES;
    }
    CHECK(n_gaps <= 5, "%zu gaps", n_gaps); /* 9.4 MiB: five runs */
    for (size_t i = 1; i < N; i += 2) {
        lt_run_release(blocks[i], BYTES);
    }
    CHECK(count_resident(blocks[1], BYTES) == 0, "a released block's pages are there");
    for (size_t i = 0; i < N; i += 2) {
        CHECK(count_resident(blocks[i], BYTES) == 4, "block %zu has lost pages", i);
        for (size_t k = 0; k < BYTES; k++) {
            CHECK(blocks[i][k] == i % 251 + 1, "block %zu, byte %zu", i, k);
        }
        lt_run_release(blocks[i], BYTES);
    }
}
