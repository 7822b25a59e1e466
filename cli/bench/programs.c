/* SPDX-License-Identifier: Apache-2.0 */
/* The programs of a GPU, built by several processes at once before anything is measured: a driver
 * may compile one after another for a process, whatever its threads. The program cache is what they
 * share. */
#include "programs.h"
#include "tensors.h"
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A driver takes about a second to load: for fewer pairs that is not worth it. */
enum { LEAST_PAIRS = 4, MOST_BUILDERS = 16, MOST_PAIRS = 256 };

static unsigned char number_of(const bench_case *c) {
    return (unsigned char)((unsigned)c->from << 4 | (unsigned)c->to);
}

/* The numbers of the pairs that have programs, those of quantized types first: they take longest.
 */
static size_t list_pairs(const bench *b, unsigned char pairs[MOST_PAIRS]) {
    size_t n = 0;
    for (size_t i = b->n_cases; i-- > 0;) {
        const bench_case *c = &b->cases[i];
        if (c->from != c->to && memchr(pairs, number_of(c), n) == NULL) {
            pairs[n++] = number_of(c);
        }
    }
    return n;
}

/* ---- the process that builds */

static lathe_status build_case(const bench *b, lathe_engine *engine, const lathe_tensor *values,
                               const bench_case *c) {
    const lathe_target from = bench_target(c, c->from);
    const lathe_target to = bench_target(c, c->to);
    lathe_tensor *source = NULL;
    lathe_tensor *result = NULL;
    lathe_status status =
        lathe_convert(b->setup, (lathe_tensor *)(uintptr_t)values, &from, &source, NULL);
    if (status == LATHE_OK) {
        status = lathe_convert(engine, source, &to, &result, NULL);
    }
    lathe_tensor_release(source);
    lathe_tensor_release(result);
    return status;
}

static void build_pair(const bench *b, lathe_engine *engine, const lathe_tensor *values,
                       unsigned char pair) {
    for (size_t i = 0; i < b->n_cases; i++) {
        const bench_case *c = &b->cases[i];
        /* What fails will fail again where it is measured, and be reported. */
        if (number_of(c) == pair && build_case(b, engine, values, c) != LATHE_OK) {
            return;
        }
    }
}

lathe_status bench_build_programs(bench *b) {
    const uint64_t shape[] = {2, b->options->row_elems};
    const lathe_tensor_desc desc = {
        .struct_size = sizeof(desc), .dtype = LATHE_F32, .n_dims = 2, .shape = shape};
    cli_engine_options options = b->options->engine;
    lathe_engine *engine = NULL;
    lathe_tensor *values = NULL;
    unsigned char pair = 0;
    options.config.device = b->device.selector;
    options.config.require_device = 1;
    lathe_status status = cli_engine_create(&options, &engine);
    if (status == LATHE_OK) {
        status = lathe_tensor_create(b->pool, &desc, &values);
    }
    if (status == LATHE_OK) {
        cli_weights(0, 0, (size_t)(shape[0] * shape[1]), lathe_tensor_mutable_data(values));
        while (read(STDIN_FILENO, &pair, 1) == 1) {
            build_pair(b, engine, values, pair);
        }
    }
    lathe_tensor_release(values);
    lathe_engine_free(engine);
    return status;
}

/* ---- the process that waits for them */

/* Starts the tool again, with pairs as its input. Returns false where it cannot be started. */
static bool spawn_builder(const bench *b, int pairs, pid_t *builder) {
    static char tool[] = "lathe";
    static char command[] = "bench";
    static char builds[] = "--build-programs";
    static char device[] = "--device";
    char selector[sizeof(b->device.selector)];
    posix_spawn_file_actions_t actions;
    char **argv = cli_allocate((size_t)b->argc + 6, sizeof(*argv));
    size_t n = 0;
    memcpy(selector, b->device.selector, sizeof(selector));
    argv[n++] = tool;
    argv[n++] = command;
    for (int i = 1; i < b->argc; i++) {
        argv[n++] = b->argv[i];
    }
    argv[n++] = builds;
    argv[n++] = device;
    argv[n++] = selector;
    argv[n] = NULL;
    bool is_started = posix_spawn_file_actions_init(&actions) == 0;
    if (is_started) {
        is_started = posix_spawn_file_actions_adddup2(&actions, pairs, STDIN_FILENO) == 0 &&
                     posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
                                                      O_WRONLY, 0) == 0 &&
                     posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null",
                                                      O_WRONLY, 0) == 0 &&
                     posix_spawn(builder, "/proc/self/exe", &actions, NULL, argv, environ) == 0;
        (void)posix_spawn_file_actions_destroy(&actions);
    }
    free(argv);
    return is_started;
}

void bench_spawn_builders(bench *b) {
    const char *cache = b->options->engine.program_cache;
    unsigned char pairs[MOST_PAIRS];
    pid_t builders[MOST_BUILDERS];
    int ends[2];
    const size_t n_pairs = list_pairs(b, pairs);
    const bool has_cache = cache == NULL || strcmp(cache, "none") != 0;
    if (strcmp(b->device.kind, "gpu") != 0 || !has_cache || n_pairs < LEAST_PAIRS ||
        pipe2(ends, O_CLOEXEC) != 0) {
        return; /* programs are built when they are needed */
    }
    size_t n = 0;
    cli_progress_note(&b->progress, 0, 0, "building kernels");
    while (n < MOST_BUILDERS && n < n_pairs && n < b->n_processors &&
           spawn_builder(b, ends[0], &builders[n])) {
        n++;
    }
    /* A pipe holds more than that, so that nothing waits. */
    if (write(ends[1], pairs, n_pairs) != (ssize_t)n_pairs) {
        cli_notice(true, "kernels are built one after another");
    }
    (void)close(ends[1]);
    (void)close(ends[0]);
    while (n > 0) {
        (void)waitpid(builders[--n], NULL, 0);
    }
}
