/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench: measures conversions against copies of the same number of bytes. */
#include "compare.h"
#include "document.h"
#include "plot.h"
#include "programs.h"
#include "report.h"
#include "strategies.h"
#include "tensors.h"
#include <stdlib.h>
#include <string.h>

/* ---- what is measured */

/* Finds out which device the options mean here. */
static lathe_status find_device(bench *b, const cli_engine_options *options,
                                uint64_t *first_engine_ns) {
    lathe_engine *engine = NULL;
    uint64_t start_ns = cli_now_ns();
    lathe_status status = cli_engine_create(options, &engine);
    *first_engine_ns = cli_now_ns() - start_ns;
    if (status == LATHE_OK) {
        status = lathe_engine_device(engine, &b->device);
    }
    lathe_engine_free(engine);
    return status;
}

/* The engine that makes the sources. */
static lathe_status make_setup(bench *b) {
    lathe_device_info cpu = {.struct_size = sizeof(cpu)};
    lathe_status status = lathe_pool_create(NULL, &b->pool);
    if (status == LATHE_OK) {
        const cli_engine_options options = {.config = {.device = "cpu", .pool = b->pool}};
        status = cli_engine_create(&options, &b->setup);
    }
    if (status == LATHE_OK) {
        status = lathe_engine_device(b->setup, &cpu);
    }
    b->n_processors = cpu.threads;
    return status;
}

/* From 4 KiB to four times the last cache, and 256 MiB at least. */
static void set_sweep(bench *b) {
    lathe_device_info cpu = {.struct_size = sizeof(cpu)};
    uint64_t last = UINT64_C(256) << 20;
    if (lathe_device_at(0, &cpu) == LATHE_OK && 4 * cpu.l3_bytes > last) {
        last = 4 * cpu.l3_bytes;
    }
    b->n_sizes = 0;
    for (uint64_t size = BENCH_LEAST_SIZE; b->n_sizes < BENCH_MOST_SIZES; size *= 4) {
        b->sizes[b->n_sizes++] = size;
        if (size >= last) {
            break;
        }
    }
}

/* One device: every ISA, number of threads and size. */
static int run_cases(bench *b, uint64_t first_engine_ns) {
    static const lathe_isa any_isa = LATHE_ISA_AUTO;
    const bench_options *options = b->options;
    const bool on_cpu = strcmp(b->device.selector, "cpu") == 0;
    const uint32_t default_threads = on_cpu ? 1 : b->n_processors;
    const uint32_t *threads = options->n_threads != 0 ? options->threads : &default_threads;
    const size_t n_threads = options->n_threads != 0 ? options->n_threads : 1;
    const lathe_isa *isas = options->n_isas != 0 && on_cpu ? options->isas : &any_isa;
    const size_t n_isas = options->n_isas != 0 && on_cpu ? options->n_isas : 1;
    int status = CLI_OK;
    b->n_done = 0;
    b->n_rows = n_isas * n_threads * b->n_sizes * b->n_cases;
    for (size_t size = 0; size < b->n_sizes; size++) {
        b->size = b->sizes[size];
        for (size_t i = 0; i < n_isas * n_threads; i++) {
            b->n_threads = threads[i % n_threads];
            const int done = on_cpu ? bench_run_cpu(b, isas[i / n_threads])
                                    : bench_run_opencl(b, first_engine_ns);
            status = done != CLI_OK ? done : status;
        }
        bench_drop_tensors(b);
    }
    return status;
}

static bench_extent extent_of(const bench *b) {
    const bench_options *options = b->options;
    if (options->all) {
        return BENCH_ALL;
    }
    return options->quick || (b->n_sizes > 1 && !options->peers) ? BENCH_CORE : BENCH_USUAL;
}

/* The device that the options mean. */
static int run_device(bench *b) {
    const bench_options *options = b->options;
    uint64_t first_engine_ns = 0;
    if (find_device(b, &options->engine, &first_engine_ns) != LATHE_OK) {
        return cli_fail_last();
    }
    const bench_selection selection = {
        .on_opencl = strcmp(b->device.selector, "cpu") != 0,
        .kernels = options->kernels,
        .extent = extent_of(b),
        .filter = options->filter,
        .group_size = options->group_size,
    };
    if (options->kernels && selection.on_opencl) {
        return cli_fail("--kernels, --peers: the CPU only");
    }
    bench_case *cases = bench_cases(&selection, &b->n_cases);
    if (b->n_cases == 0) {
        free(cases);
        return cli_fail("no conversion is named like '%s'", options->filter);
    }
    if (json_array_size(b->devices) == 0) {
        bench_report_head(b);
    }
    bench_add_device(b);
    bench_print_device(b);
    b->cases = cases;
    int status = CLI_OK;
    if (options->builds) {
        status = bench_build_programs(b) == LATHE_OK ? CLI_OK : cli_fail_last();
    } else if (options->strategy != NULL) {
        b->n_threads = options->n_threads != 0 ? options->threads[0] : b->n_processors;
        b->size = b->sizes[0];
        status = bench_run_strategies(b);
    } else {
        bench_spawn_builders(b);
        status = run_cases(b, first_engine_ns);
    }
    b->cases = NULL;
    free(cases);
    return status;
}

/* The CPU, and every OpenCL device. */
static int run_every_device(bench *b) {
    const bench_options *options = b->options;
    const size_t n_devices = lathe_device_count();
    int status = CLI_OK;
    for (size_t i = 0; i < n_devices; i++) {
        bench_options one = *options;
        lathe_device_info info = {.struct_size = sizeof(info)};
        if (lathe_device_at(i, &info) != LATHE_OK) {
            status = cli_fail_last();
            continue;
        }
        one.engine.config.device = info.selector;
        b->options = &one;
        const int done = run_device(b);
        status = done != CLI_OK ? done : status;
        b->options = options;
    }
    return status;
}

static int measure(bench *b) {
    if (make_setup(b) != LATHE_OK) {
        return cli_fail_last();
    }
    cli_progress_start(&b->progress, true);
    const int status = b->options->engine.all_devices ? run_every_device(b) : run_device(b);
    cli_progress_end(&b->progress);
    return status;
}

/* ---- what is made of the results */

static int report(const bench *b, json_t *document, const json_t *older) {
    const bench_options *options = b->options;
    int status = CLI_OK;
    if (options->json && cli_print_json(json_incref(document)) != CLI_OK) {
        status = CLI_FAILURE;
    }
    if (options->csv && bench_print_csv(document) != CLI_OK) {
        status = CLI_FAILURE;
    }
    if (options->plot != NULL && bench_plot(document, options->plot) != CLI_OK) {
        status = CLI_FAILURE;
    }
    if (older != NULL) {
        FILE *out = options->json || options->csv ? stderr : stdout;
        const int compared = bench_compare(older, document, options->threshold, out);
        status = compared != CLI_OK ? compared : status;
    }
    return status;
}

static int run(bench *b) {
    const bench_options *options = b->options;
    json_t *document = NULL;
    json_t *older = NULL;
    int status = CLI_OK;
    if (options->builds) {
        return measure(b);
    }
    if (options->compare != NULL) { /* before minutes are spent */
        older = bench_load(options->compare);
        if (older == NULL) {
            return CLI_FAILURE;
        }
    }
    if (options->earlier != NULL) {
        document = bench_load(options->earlier);
        status = document == NULL ? CLI_FAILURE : CLI_OK;
    } else {
        status = measure(b);
        document = status == CLI_OK || json_array_size(b->results) != 0 ? bench_document(b) : NULL;
    }
    if (document != NULL) {
        const int reported = report(b, document, older);
        status = reported != CLI_OK ? reported : status;
    }
    json_decref(document);
    json_decref(older);
    return status;
}

int cli_bench(int argc, char **argv) {
    bench_options options = {0};
    bench_parse_options(argc, argv, &options);

    bench b = {.options = &options,
               .argc = argc,
               .argv = argv,
               .device = {.struct_size = sizeof(b.device)},
               .n_sizes = options.n_sizes,
               .machine = bench_machine(),
               .devices = json_array(),
               .results = json_array()};
    memcpy(b.sizes, options.sizes, sizeof(b.sizes));
    if (options.sweep) {
        set_sweep(&b);
    }
    int status = run(&b);
    bench_drop_tensors(&b);
    lathe_engine_free(b.setup);
    lathe_pool_release(b.pool);
    json_decref(b.machine);
    json_decref(b.devices);
    json_decref(b.results);
    json_decref(b.start);
    return status;
}
