/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the pool's pressure levels: from the budget, with hysteresis, and from files such as the
 * kernel's; what is trimmed and who is told; and the statistics of each kind of block. */
#include "check.h"
#include "support.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
/* A capacity of the pool, so that nothing is rounded. */
#define UNIT (UINT64_C(64) << 10)

enum { MAX_BLOCKS = 128 };

typedef struct holder {
    lathe_pool *pool;
    void *blocks[MAX_BLOCKS];
    size_t n_blocks;
} holder;

static lathe_pool_stats stats_of(lathe_pool *pool) {
    lathe_pool_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(lathe_pool_get_stats(pool, &stats));
    uint64_t in_use = 0;
    uint64_t cached = 0;
    uint64_t n_live = 0;
    for (int kind = 0; kind < LATHE_POOL_KINDS; kind++) {
        in_use += stats.kinds[kind].in_use_bytes;
        cached += stats.kinds[kind].cached_bytes;
        n_live += stats.kinds[kind].n_live;
    }
    CHECK(in_use == stats.in_use_bytes && cached == stats.cached_bytes && n_live == stats.n_live,
          "the kinds do not add up");
    return stats;
}

static void take(holder *h, size_t n) {
    for (size_t i = 0; i < n; i++) {
        CHECK(h->n_blocks < MAX_BLOCKS, "blocks");
        CHECK_OK(lathe_pool_alloc(h->pool, UNIT, &h->blocks[h->n_blocks]));
        h->n_blocks++;
    }
}

/* Gives n units back to the pool, and what is cached back to the system. */
static void give(holder *h, size_t n) {
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(lathe_pool_free(h->pool, h->blocks[--h->n_blocks]));
    }
    (void)lathe_pool_trim(h->pool, 0);
}

static void make(holder *h, lathe_pool_config *config) {
    *h = (holder){.pool = NULL};
    config->struct_size = sizeof *config;
    CHECK_OK(lathe_pool_create(config, &h->pool));
}

static void unmake(holder *h) {
    give(h, h->n_blocks);
    lathe_pool_release(h->pool);
}

Test(pool_pressure, names) {
    static const char *const names[] = {"none", "low", "medium", "high", "critical"};
    for (int i = 0; i < 5; i++) {
        CHECK(strcmp(lathe_pressure_name((lathe_pressure)i), names[i]) == 0, "%d", i);
    }
    CHECK(strcmp(lathe_pressure_name((lathe_pressure)5), "invalid") == 0, "5");
    CHECK(strcmp(lathe_pressure_name((lathe_pressure)-1), "invalid") == 0, "-1");
}

/* A hundredth of the budget a step, up and down: each edge is where the header says. */
Test(pool_pressure, levels_of_a_budget) {
    static const unsigned rise[] = {70, 80, 90, 95};
    static const unsigned fall[] = {64, 74, 84, 92};
    holder h;
    lathe_pool_config config = {.budget_bytes = 100 * UNIT};
    make(&h, &config);
    for (unsigned held = 1; held <= 100; held++) {
        take(&h, 1);
        int expected = 0;
        for (int i = 0; i < 4; i++) {
            expected += held >= rise[i];
        }
        CHECK((int)lathe_pool_pressure(h.pool) == expected, "%u%%: %s", held,
              lathe_pressure_name(lathe_pool_pressure(h.pool)));
        CHECK(stats_of(h.pool).pressure == lathe_pool_pressure(h.pool), "statistics");
    }
    for (unsigned held = 99; held > 0; held--) {
        give(&h, 1);
        int expected = 0;
        for (int i = 0; i < 4; i++) {
            expected += held > fall[i];
        }
        CHECK((int)lathe_pool_pressure(h.pool) == expected, "down at %u%%: %s", held,
              lathe_pressure_name(lathe_pool_pressure(h.pool)));
    }
    CHECK(stats_of(h.pool).n_pressure_changes == 8, "%d changes",
          (int)stats_of(h.pool).n_pressure_changes);
    unmake(&h);
    CHECK(lathe_pool_pressure(NULL) == LATHE_PRESSURE_NONE, "NULL");
}

Test(pool_pressure, no_budget_no_pressure) {
    holder h;
    lathe_pool_config config = {.budget_bytes = 0};
    make(&h, &config);
    take(&h, 100);
    CHECK(lathe_pool_pressure(h.pool) == LATHE_PRESSURE_NONE, "pressure");
    CHECK_OK(lathe_pool_free(h.pool, h.blocks[--h.n_blocks]));
    CHECK(stats_of(h.pool).cached_bytes == UNIT, "cached");
    unmake(&h);
    config.budget_bytes = 1; /* too little for anything */
    make(&h, &config);
    CHECK(lathe_pool_pressure(h.pool) == LATHE_PRESSURE_NONE, "pressure");
    unmake(&h);
}

/* Cached blocks count, and go when they bring the pool to MEDIUM. */
Test(pool_pressure, the_pool_trims_itself) {
    holder h;
    lathe_pool_config config = {.budget_bytes = 100 * UNIT};
    make(&h, &config);
    take(&h, 70);
    for (int i = 0; i < 30; i++) {
        CHECK_OK(lathe_pool_free(h.pool, h.blocks[--h.n_blocks]));
    }
    CHECK(stats_of(h.pool).cached_bytes == 30 * UNIT, "nothing is to be trimmed at LOW");
    CHECK(lathe_pool_pressure(h.pool) == LATHE_PRESSURE_LOW, "level");
    /* Blocks of another size, which the cache does not serve. */
    void *large = NULL;
    CHECK_OK(lathe_pool_alloc(h.pool, 9 * UNIT, &large));
    CHECK(stats_of(h.pool).cached_bytes == 30 * UNIT, "at 79%% already");
    void *more = NULL;
    CHECK_OK(lathe_pool_alloc(h.pool, 2 * UNIT, &more));
    lathe_pool_stats stats = stats_of(h.pool);
    CHECK(stats.in_use_bytes == 51 * UNIT, "in use");
    CHECK(stats.in_use_bytes + stats.cached_bytes < 75 * UNIT &&
              stats.in_use_bytes + stats.cached_bytes >= 73 * UNIT,
          "%d units are held", (int)((stats.in_use_bytes + stats.cached_bytes) / UNIT));
    CHECK(stats.pressure == LATHE_PRESSURE_LOW, "level");
    /* Beyond that nothing stays cached. */
    take(&h, 23);
    take(&h, 20);
    CHECK(stats_of(h.pool).pressure >= LATHE_PRESSURE_HIGH, "level");
    CHECK(stats_of(h.pool).cached_bytes == 0, "cached at HIGH");
    CHECK_OK(lathe_pool_free(h.pool, more));
    CHECK(stats_of(h.pool).cached_bytes == 0, "cached at HIGH");
    CHECK_OK(lathe_pool_free(h.pool, large));
    unmake(&h);
}

Test(pool_pressure, trimming_by_level) {
    static const uint64_t kept[] = {100, 75, 50, 25, 0};
    holder h;
    lathe_pool_config config = {.budget_bytes = 0};
    for (int level = 0; level <= 4; level++) {
        make(&h, &config);
        take(&h, 100);
        for (int i = 0; i < 100; i++) {
            CHECK_OK(lathe_pool_free(h.pool, h.blocks[--h.n_blocks]));
        }
        CHECK(lathe_pool_trim_level(h.pool, (lathe_pressure)level) == (100 - kept[level]) * UNIT,
              "level %d", level);
        CHECK(stats_of(h.pool).cached_bytes == kept[level] * UNIT, "level %d", level);
        unmake(&h);
    }
    CHECK(lathe_pool_trim_level(NULL, LATHE_PRESSURE_HIGH) == 0, "NULL");
    make(&h, &config);
    CHECK(lathe_pool_trim_level(h.pool, (lathe_pressure)7) == 0, "7");
    unmake(&h);
}

/* ---- listeners */

typedef struct listener {
    int levels[64];
    size_t n_calls;
    bool trims;
    bool leaves;
    bool allocates;
} listener;

static void listen(void *ctx, lathe_pool *pool, lathe_pressure level) {
    listener *self = ctx;
    CHECK(self->n_calls < 64, "calls");
    self->levels[self->n_calls++] = (int)level;
    if (self->trims) {
        (void)lathe_pool_trim(pool, 0);
    }
    if (self->allocates) {
        void *block = NULL;
        CHECK_OK(lathe_pool_alloc(pool, 64, &block));
        CHECK_OK(lathe_pool_free(pool, block));
        CHECK_STATUS(lathe_pool_free(pool, &block), LATHE_INVALID_ARGUMENT);
    }
    if (self->leaves) {
        CHECK_OK(lathe_pool_off_pressure(pool, listen, self));
    }
}

Test(pool_pressure, listeners_are_told) {
    holder h;
    lathe_pool_config config = {.budget_bytes = 100 * UNIT};
    listener all = {.allocates = true};
    listener once = {.leaves = true};
    make(&h, &config);
    CHECK_STATUS(lathe_pool_on_pressure(NULL, listen, &all), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pool_on_pressure(h.pool, NULL, &all), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lathe_pool_off_pressure(h.pool, listen, &all), LATHE_INVALID_ARGUMENT);
    CHECK_OK(lathe_pool_on_pressure(h.pool, listen, &all));
    CHECK_OK(lathe_pool_on_pressure(h.pool, listen, &once));
    take(&h, 69);
    CHECK(all.n_calls == 0, "told of nothing");
    take(&h, 20); /* the listener's own block is in the way of exact edges */
    take(&h, 10);
    CHECK(all.n_calls == 4, "%d calls", (int)all.n_calls);
    for (int i = 0; i < 4; i++) {
        CHECK(all.levels[i] == i + 1, "call %d: level %d", i, all.levels[i]);
    }
    CHECK(once.n_calls == 1 && once.levels[0] == LATHE_PRESSURE_LOW, "removed in its own call");
    give(&h, h.n_blocks);
    CHECK(all.n_calls == 8 && all.levels[7] == LATHE_PRESSURE_NONE, "down");
    CHECK_OK(lathe_pool_off_pressure(h.pool, listen, &all));
    take(&h, 90);
    CHECK(all.n_calls == 8, "told after it was removed");
    CHECK_STATUS(lathe_pool_off_pressure(h.pool, listen, &all), LATHE_INVALID_ARGUMENT);
    listener many[LATHE_POOL_MAX_CALLBACKS];
    for (size_t i = 0; i < LATHE_POOL_MAX_CALLBACKS; i++) {
        CHECK_OK(lathe_pool_on_pressure(h.pool, listen, &many[i]));
    }
    CHECK_STATUS(lathe_pool_on_pressure(h.pool, listen, &all), LATHE_NOT_SUPPORTED);
    for (size_t i = 0; i < LATHE_POOL_MAX_CALLBACKS; i++) {
        CHECK_OK(lathe_pool_off_pressure(h.pool, listen, &many[i]));
    }
    unmake(&h);
}

/* The caller's last error is not the listener's. */
Test(pool_pressure, listeners_leave_errors_alone) {
    holder h;
    lathe_pool_config config = {.budget_bytes = 10 * UNIT};
    listener all = {.allocates = true, .trims = true};
    make(&h, &config);
    CHECK_OK(lathe_pool_on_pressure(h.pool, listen, &all));
    void *block = NULL;
    CHECK_STATUS(lathe_pool_alloc(h.pool, 11 * UNIT, &block), LATHE_INSUFFICIENT_MEMORY);
    take(&h, 8);
    CHECK(all.n_calls > 0, "told");
    CHECK(lathe_last_error()->status == LATHE_INSUFFICIENT_MEMORY, "the last error");
    CHECK(lathe_last_error()->required_bytes >= 11 * UNIT &&
              lathe_last_error()->available_bytes == 10 * UNIT,
          "its bytes");
    unmake(&h);
}

typedef struct churn {
    lathe_pool *pool;
    uint64_t seed;
} churn;

static void *run_churn(void *ctx) {
    const churn *self = ctx;
    test_rng rng = {self->seed};
    void *blocks[8] = {NULL};
    for (int i = 0; i < 4000; i++) {
        size_t which = (size_t)test_random_below(&rng, 8);
        CHECK_OK(lathe_pool_free(self->pool, blocks[which]));
        blocks[which] = NULL;
        if (lathe_pool_alloc(self->pool, (size_t)test_random_below(&rng, 4 * UNIT),
                             &blocks[which]) != LATHE_OK) {
            blocks[which] = NULL;
        }
    }
    for (size_t i = 0; i < 8; i++) {
        CHECK_OK(lathe_pool_free(self->pool, blocks[i]));
    }
    return NULL;
}

static atomic_int inside;
static atomic_int told;

static void listen_alone(void *ctx, lathe_pool *pool, lathe_pressure level) {
    (void)ctx;
    CHECK(atomic_fetch_add(&inside, 1) == 0, "two calls at a time");
    (void)lathe_pool_trim_level(pool, level);
    (void)atomic_fetch_add(&told, 1);
    (void)atomic_fetch_sub(&inside, 1);
}

Test(pool_pressure, many_threads) {
    enum { N_THREADS = 4 };
    pthread_t threads[N_THREADS];
    churn churns[N_THREADS];
    holder h;
    lathe_pool_config config = {.budget_bytes = 70 * UNIT};
    make(&h, &config);
    CHECK_OK(lathe_pool_on_pressure(h.pool, listen_alone, NULL));
    for (size_t i = 0; i < N_THREADS; i++) {
        churns[i] = (churn){h.pool, i + 1};
        CHECK(pthread_create(&threads[i], NULL, run_churn, &churns[i]) == 0, "thread");
    }
    for (size_t i = 0; i < N_THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0, "join");
    }
    CHECK(atomic_load(&told) > 0, "nobody was told");
    CHECK(stats_of(h.pool).n_live == 0 && stats_of(h.pool).peak_bytes <= 70 * UNIT, "budget");
    CHECK_OK(lathe_pool_off_pressure(h.pool, listen_alone, NULL));
    unmake(&h);
}

/* ---- files */

static char folder[32];

static void put(const char *name, const char *text) {
    FILE *file = fopen(test_text("%s/%s", folder, name), "w");
    CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, "%s", name);
}

static void drop(const char *name) {
    (void)unlink(test_text("%s/%s", folder, name));
}

/* The level once the files are due again. */
static lathe_pressure look(lathe_pool *pool) {
    (void)usleep(2500);
    return lathe_pool_pressure(pool);
}

static void make_with_files(holder *h, uint64_t budget) {
    static char psi[64];
    memcpy(folder, "pool-XXXXXX", sizeof "pool-XXXXXX");
    CHECK(mkdtemp(folder) != NULL, "folder");
    (void)snprintf(psi, sizeof psi, "%s/psi", folder);
    lathe_pool_config config = {.budget_bytes = budget,
                                .pressure_files = 1,
                                .pressure_interval_ms = 1,
                                .cgroup_dir = folder,
                                .psi_file = psi};
    make(h, &config);
}

static void unmake_with_files(holder *h) {
    static const char *const names[] = {"memory.max", "memory.current", "memory.stat",
                                        "memory.pressure", "psi"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        drop(names[i]);
    }
    CHECK(rmdir(folder) == 0, "files are left");
    unmake(h);
}

static void put_current(unsigned used) {
    char text[32];
    (void)snprintf(text, sizeof text, "%u\n", used);
    put("memory.current", text);
}

Test(pool_pressure, levels_of_a_cgroup) {
    holder h;
    make_with_files(&h, 0);
    CHECK(look(h.pool) == LATHE_PRESSURE_NONE, "no files");
    put("memory.max", "max\n");
    put_current(1000);
    CHECK(look(h.pool) == LATHE_PRESSURE_NONE, "no limit");
    put("memory.max", "1000\n");
    static const struct {
        unsigned used;
        lathe_pressure level;
    } steps[] = {
        {699, LATHE_PRESSURE_NONE}, {700, LATHE_PRESSURE_LOW},      {660, LATHE_PRESSURE_LOW},
        {649, LATHE_PRESSURE_NONE}, {820, LATHE_PRESSURE_MEDIUM},   {760, LATHE_PRESSURE_MEDIUM},
        {740, LATHE_PRESSURE_LOW},  {960, LATHE_PRESSURE_CRITICAL}, {930, LATHE_PRESSURE_CRITICAL},
        {920, LATHE_PRESSURE_HIGH}, {860, LATHE_PRESSURE_HIGH},     {840, LATHE_PRESSURE_MEDIUM},
        {600, LATHE_PRESSURE_NONE}, {900, LATHE_PRESSURE_HIGH}};
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        put_current(steps[i].used);
        CHECK(look(h.pool) == steps[i].level, "%u: %s", steps[i].used,
              lathe_pressure_name(lathe_pool_pressure(h.pool)));
    }
    /* The file cache is not in anybody's way. */
    put("memory.stat", "anon 100\nfile 400\ninactive_file 300\nactive_file 100\n");
    CHECK(look(h.pool) == LATHE_PRESSURE_NONE, "with the file cache");
    drop("memory.stat");
    put("memory.max", "what is this\n");
    CHECK(look(h.pool) == LATHE_PRESSURE_NONE, "nonsense");
    unmake_with_files(&h);
}

static void put_stalls(const char *name, const char *some, const char *full) {
    char text[256];
    (void)snprintf(text, sizeof text,
                   "some avg10=%s avg60=99.00 avg300=99.00 total=1\n"
                   "full avg10=%s avg60=99.00 avg300=99.00 total=1\n",
                   some, full);
    put(name, text);
}

Test(pool_pressure, levels_of_stalls) {
    static const struct {
        const char *some;
        const char *full;
        lathe_pressure level;
    } steps[] = {
        {"9.99", "0.00", LATHE_PRESSURE_NONE},    {"10.00", "0.00", LATHE_PRESSURE_LOW},
        {"6.00", "0.00", LATHE_PRESSURE_LOW},     {"4.00", "0.00", LATHE_PRESSURE_NONE},
        {"30.00", "5.00", LATHE_PRESSURE_MEDIUM}, {"13.00", "0.00", LATHE_PRESSURE_MEDIUM},
        {"11.00", "11.00", LATHE_PRESSURE_HIGH},  {"50.00", "25.00", LATHE_PRESSURE_CRITICAL},
        {"50.00", "12.00", LATHE_PRESSURE_HIGH},  {"0.00", "0.00", LATHE_PRESSURE_NONE}};
    holder h;
    make_with_files(&h, 0);
    for (int of_cgroup = 0; of_cgroup < 2; of_cgroup++) {
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            put_stalls(of_cgroup ? "memory.pressure" : "psi", steps[i].some, steps[i].full);
            CHECK(look(h.pool) == steps[i].level, "%s %s: %s", steps[i].some, steps[i].full,
                  lathe_pressure_name(lathe_pool_pressure(h.pool)));
        }
    }
    unmake_with_files(&h);
}

Test(pool_pressure, the_system_has_the_pool_trimmed) {
    holder h;
    make_with_files(&h, 0);
    listener all = {.trims = false};
    CHECK_OK(lathe_pool_on_pressure(h.pool, listen, &all));
    take(&h, 100);
    for (int i = 0; i < 80; i++) {
        CHECK_OK(lathe_pool_free(h.pool, h.blocks[--h.n_blocks]));
    }
    put_stalls("psi", "12.00", "0.00");
    CHECK(look(h.pool) == LATHE_PRESSURE_LOW && stats_of(h.pool).cached_bytes == 80 * UNIT, "LOW");
    put_stalls("psi", "26.00", "0.00");
    CHECK(look(h.pool) == LATHE_PRESSURE_MEDIUM && stats_of(h.pool).cached_bytes == 40 * UNIT,
          "MEDIUM");
    put_stalls("psi", "26.00", "30.00");
    CHECK(look(h.pool) == LATHE_PRESSURE_CRITICAL && stats_of(h.pool).cached_bytes == 0,
          "CRITICAL");
    CHECK(all.n_calls == 3 && all.levels[2] == LATHE_PRESSURE_CRITICAL, "listeners");
    /* A large new block has a look, too; small ones do not. */
    put_stalls("psi", "0.00", "0.00");
    (void)usleep(2500);
    take(&h, 1);
    CHECK(stats_of(h.pool).pressure == LATHE_PRESSURE_CRITICAL, "a small block looked");
    void *large = NULL;
    CHECK_OK(lathe_pool_alloc(h.pool, MIB, &large));
    CHECK(stats_of(h.pool).pressure == LATHE_PRESSURE_NONE, "a large block did not look");
    CHECK_OK(lathe_pool_free(h.pool, large));
    unmake_with_files(&h);
}

/* Not more often than the interval, and the higher of the two levels. */
Test(pool_pressure, files_and_budget_together) {
    holder h;
    make_with_files(&h, 100 * UNIT);
    take(&h, 82);
    put_stalls("psi", "12.00", "0.00");
    CHECK(look(h.pool) == LATHE_PRESSURE_MEDIUM, "the budget's");
    put_stalls("psi", "12.00", "12.00");
    CHECK(look(h.pool) == LATHE_PRESSURE_HIGH, "the system's");
    give(&h, 82);
    CHECK(look(h.pool) == LATHE_PRESSURE_HIGH, "the system's");
    unmake_with_files(&h);
    memcpy(folder, "pool-XXXXXX", sizeof "pool-XXXXXX");
    CHECK(mkdtemp(folder) != NULL, "folder");
    lathe_pool_config config = {.pressure_files = 1,
                                .pressure_interval_ms = 3600000,
                                .cgroup_dir = folder,
                                .psi_file = "/nowhere/at/all"};
    make(&h, &config);
    CHECK(lathe_pool_pressure(h.pool) == LATHE_PRESSURE_NONE, "the first look");
    put("memory.max", "1000\n");
    put_current(990);
    CHECK(look(h.pool) == LATHE_PRESSURE_NONE, "a second look within the hour");
    drop("memory.max");
    drop("memory.current");
    CHECK(rmdir(folder) == 0, "files are left");
    unmake(&h);
}

/* The machine's own files, whatever they say. */
Test(pool_pressure, files_of_this_machine) {
    holder h;
    lathe_pool_config config = {.pressure_files = 1, .pressure_interval_ms = 1};
    make(&h, &config);
    lathe_pressure level = look(h.pool);
    CHECK((int)level >= 0 && level <= LATHE_PRESSURE_CRITICAL, "level");
    unmake(&h);
}

Test(pool_pressure, bad_config) {
    static char path[600];
    memset(path, 'x', sizeof path - 1);
    lathe_pool *pool = NULL;
    lathe_pool_config config = {.struct_size = sizeof config, .pressure_files = 2};
    CHECK_STATUS(lathe_pool_create(&config, &pool), LATHE_INVALID_ARGUMENT);
    config.pressure_files = 1;
    config.cgroup_dir = path;
    CHECK_STATUS(lathe_pool_create(&config, &pool), LATHE_INVALID_ARGUMENT);
    config.cgroup_dir = NULL;
    config.psi_file = path;
    CHECK_STATUS(lathe_pool_create(&config, &pool), LATHE_INVALID_ARGUMENT);
    for (uint64_t fail_at = 0; fail_at < 2; fail_at++) {
        test_allocator allocator;
        test_allocator_init(&allocator);
        test_allocator_reset(&allocator, fail_at);
        config = (lathe_pool_config){
            .struct_size = sizeof config, .pressure_files = 1, .allocator = &allocator.interface};
        CHECK_STATUS(lathe_pool_create(&config, &pool), LATHE_INSUFFICIENT_MEMORY);
        CHECK(allocator.n_live == 0 && !allocator.misused, "a leak");
    }
    CHECK(pool == NULL, "the output was touched");
}

/* ---- statistics */

Test(pool_pressure, fragmentation) {
    holder h;
    lathe_pool_config config = {.budget_bytes = 0};
    make(&h, &config);
    CHECK(stats_of(h.pool).fragmentation == 0, "an empty pool");
    take(&h, 2);
    CHECK(stats_of(h.pool).fragmentation == 0, "full blocks");
    CHECK_OK(lathe_pool_free(h.pool, h.blocks[--h.n_blocks]));
    CHECK(stats_of(h.pool).fragmentation == 0.5, "half is cached");
    void *odd = NULL;
    CHECK_OK(lathe_pool_alloc(h.pool, UNIT - UNIT / 32, &odd)); /* 31 of 32 */
    CHECK(stats_of(h.pool).fragmentation == 1 - 63.0 / 64, "rounding");
    CHECK_OK(lathe_pool_free(h.pool, odd));
    unmake(&h);
}
