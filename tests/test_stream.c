/* SPDX-License-Identifier: Apache-2.0 */
/* INTERNAL (includes headers of src/): streaming through memory sources and sinks that watch what
 * is read and written. The bytes must be those of lathe_convert, whatever the memory and the
 * threads. */
#include "lathe_constants.h"
#include "streamer_case.h"

/* ---- one tensor through one streamer */

static void check_pairs(uint32_t n_dims, const uint64_t *shape, size_t n_targets, uint64_t seed) {
    test_rng rng = {seed};
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        const granularity_option *held = &options[test_random_below(&rng, N_OPTIONS)];
        stream_case c =
            case_new((lathe_dtype)from, n_dims, shape, held->granularity, held->group_size);
        test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
        for (size_t i = 0; i < n_targets; i++) {
            lathe_dtype to = (lathe_dtype)(1 + test_random_below(&rng, 8));
            lathe_target target = target_of(to, &options[test_random_below(&rng, N_OPTIONS)]);
            target.quality = test_random_below(&rng, 3) == 0 ? LATHE_FAST : LATHE_BALANCED;
            target.strict = test_random_below(&rng, 8) == 0;
            if (n_dims > 1) {
                target.row_dims = (uint32_t)test_random_below(&rng, n_dims + 1);
            }
            check_case(&c, &target, 2);
        }
        case_free(&c);
    }
}

Test(stream, small_tensors) {
    static const uint64_t shapes[][3] = {{1, 1, 1},  {0, 3, 4},  {3, 0, 4},  {3, 4, 0},
                                         {2, 3, 33}, {1, 7, 97}, {40, 1, 3}, {3, 5, 1001}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (uint32_t n_dims = 0; n_dims <= 3; n_dims++) {
            check_pairs(n_dims, shapes[i], 12, i + 1);
        }
    }
}

Test(stream, tensors_of_many_chunks) {
    static const uint64_t shapes[][2] = {
        {1, 1000003}, {1000003, 1}, {3, 400001},  {2, 1 << 20},
        {1000, 1777}, {7, 171072},  {129, 20480},
    };
    enum { N = sizeof shapes / sizeof shapes[0] };
    for (size_t i = 0; i < (TEST_SANITIZED ? 3 : N); i++) {
        check_pairs(2, shapes[i], TEST_SANITIZED ? 2 : 5, 100 + i);
    }
}

/* Every memory size on every engine, for the pairs that checkpoints are converted with. */
Test(stream, any_memory_and_threads) {
    static const uint64_t shape[] = {37, 12345};
    static const lathe_dtype to[] = {LATHE_F16, LATHE_I8, LATHE_BITNET158, LATHE_I4};
    test_rng rng = {7};
    stream_case c = case_new(LATHE_F32, 2, shape, LATHE_PER_TENSOR, 0);
    test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
    for (size_t t = 0; t < 4; t++) {
        for (size_t o = 0; o < 3; o++) {
            lathe_target target = target_of(to[t], &options[o]);
            direct_result direct = direct_of(&c, &target);
            for (size_t e = 0; e < n_engines; e++) {
                for (size_t m = 0; m < N_MEMORIES; m += TEST_SANITIZED ? 3 : 1) {
                    lt_streamer *streamer = NULL;
                    CHECK_OK(lt_streamer_create(engines[e], memories[m], &streamer));
                    check_streamed(streamer, &c, &target, &direct);
                    lt_streamer_free(streamer);
                }
            }
            lathe_tensor_release(direct.tensor);
        }
    }
    case_free(&c);
}

/* ---- memory */

Test(stream, stays_within_its_memory) {
    static const uint64_t shapes[][2] = {{1, 3000000}, {3000, 1001}, {2, 1500000}};
    test_rng rng = {8};
    for (size_t s = 0; s < 3; s++) {
        for (int from = LATHE_F32; from <= LATHE_BITNET158; from += 3) {
            for (size_t m = 0; m < N_MEMORIES; m++) {
                stream_case c = case_new((lathe_dtype)from, 2, shapes[s], LATHE_PER_ROW, 0);
                test_fill_tensor(&rng, &c.from, TEST_DATA_NORMAL, c.bytes, c.scales);
                lathe_target target =
                    target_of(m % 2 == 0 ? LATHE_BITNET158 : LATHE_I8, &options[(s + m) % 3]);
                lathe_tensor_desc to;
                uint64_t n_bytes = 0;
                uint64_t n_scales = 0;
                CHECK_OK(lathe_target_desc(&target, 2, shapes[s], &to));
                CHECK_OK(lathe_tensor_desc_sizes(&to, NULL, &n_bytes, &n_scales));
                lathe_config config = {.struct_size = sizeof config, .n_threads = 1 + (uint32_t)m};
                lathe_engine *engine = NULL;
                lt_streamer *streamer = NULL;
                CHECK_OK(lathe_engine_create(&config, &engine));
                uint64_t before = stats_of(engine).in_use_bytes;
                CHECK_OK(lt_streamer_create(engine, memories[m], &streamer));
                memory_source source = source_of(&c);
                memory_sink sink = sink_new(n_bytes, n_scales);
                CHECK_OK(stream(streamer, &c, &target, &source, &sink, NULL, NULL));
                uint64_t peak = stats_of(engine).peak_bytes;
                CHECK(peak - before <= memories[m], "%s within %d: %d bytes", describe(&c, &target),
                      (int)memories[m], (int)(peak - before));
                lt_streamer_free(streamer);
                CHECK(stats_of(engine).in_use_bytes == before, "blocks left");
                lathe_engine_free(engine);
                sink_free(&sink);
                case_free(&c);
            }
        }
    }
}

Test(stream, too_little_memory) {
    lt_streamer *streamer = NULL;
    CHECK_STATUS(lt_streamer_create(engines[1], 0, &streamer), LATHE_INVALID_ARGUMENT);
    CHECK_STATUS(lt_streamer_create(engines[1], MIB - 1, &streamer), LATHE_INVALID_ARGUMENT);
    lathe_config config = {
        .struct_size = sizeof config, .n_threads = 2, .memory_budget_bytes = MIB};
    lathe_engine *engine = NULL;
    CHECK_OK(lathe_engine_create(&config, &engine));
    uint64_t before = stats_of(engine).in_use_bytes;
    CHECK_STATUS(lt_streamer_create(engine, 8 * MIB, &streamer), LATHE_INSUFFICIENT_MEMORY);
    CHECK(streamer == NULL, "the output was touched");
    CHECK(stats_of(engine).in_use_bytes == before, "blocks left");
    lathe_engine_free(engine);
    lt_streamer_free(NULL);
}

/* ---- what is fed */

/* Chunks end where pieces of a power of two do, where bytes and scales let them. */
Test(stream, chunks_of_fed_streams) {
    const uint64_t shape[] = {1000003};
    const lt_stream_sides in_memory = {.has_sink = true};
    const lathe_target target = {.struct_size = sizeof target};
    const uint64_t ideal = UINT64_C(128) << 10;
    lt_backend backend = {.cache_bytes = UINT64_MAX};
    for (int from = LATHE_DTYPE_FIRST; from <= LATHE_DTYPE_LAST; from++) {
        for (int to = LATHE_DTYPE_FIRST; to <= LATHE_DTYPE_LAST; to++) {
            const lathe_tensor_desc descs[] = {
                {.struct_size = sizeof descs[0],
                 .dtype = (lathe_dtype)from,
                 .n_dims = 1,
                 .shape = shape},
                {.struct_size = sizeof descs[0],
                 .dtype = (lathe_dtype)to,
                 .n_dims = 1,
                 .shape = shape},
            };
            lt_layout layouts[2];
            lt_ranges chunks;
            CHECK_OK(lt_layout_of(&descs[0], &layouts[0]));
            CHECK_OK(lt_layout_of(&descs[1], &layouts[1]));
            const lt_plan plan = lt_plan_make(&backend, &layouts[0], &layouts[1], &target, 0);
            CHECK(lt_chunks_cut(&plan, in_memory, UINT64_MAX, ideal, true, &chunks), "fits");
            const bool in_fives = from == LATHE_BITNET158 || to == LATHE_BITNET158;
            const uint64_t cols = chunks.cols_per_range;
            CHECK(cols % LATHE_STAT_TILE == 0, "%d elements", (int)cols);
            CHECK(in_fives ? cols % 5 == 0 : (cols & (cols - 1)) == 0, "%s to %s: %d elements",
                  lathe_dtype_name((lathe_dtype)from), lathe_dtype_name((lathe_dtype)to),
                  (int)cols);
            CHECK(chunks.n_ranges == (shape[0] + cols - 1) / cols, "as many as it takes");
        }
    }
}

/* ---- copies */

static lathe_status copy(lt_streamer *streamer, memory_source *source, memory_sink *sink,
                         watcher *w) {
    lt_source from = {.ctx = source, .read = source_read, .read_scales = source_read_scales};
    lt_sink to = {.ctx = sink, .write = sink_write, .write_scales = sink_write_scales};
    lt_progress progress = {.ctx = w, .advance = watch};
    return lt_streamer_copy(streamer, source->n_bytes, &from, &to, w == NULL ? NULL : &progress);
}

Test(stream, copies) {
    static const uint64_t sizes[] = {0, 1, 63, 4097, 786432, 786433, 5000001};
    test_rng rng = {13};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *bytes = malloc((size_t)sizes[i] + 1);
        CHECK(bytes != NULL, "memory");
        test_random_bytes(&rng, bytes, (size_t)sizes[i]);
        for (size_t e = 0; e < n_engines; e++) {
            lt_streamer *streamer = NULL;
            CHECK_OK(lt_streamer_create(engines[e], memories[(i + e) % N_MEMORIES], &streamer));
            memory_source source = {.bytes = bytes, .n_bytes = sizes[i], .fail_at = UINT64_MAX};
            memory_sink sink = sink_new(sizes[i], 0);
            watcher w = {.cancel_at = UINT64_MAX};
            CHECK_OK(copy(streamer, &source, &sink, &w));
            CHECK(all_once(sink.byte_count, sizes[i]), "not every byte once");
            CHECK(memcmp(sink.bytes, bytes, (size_t)sizes[i]) == 0, "bytes");
            CHECK(w.n_bytes == sizes[i] && !w.misused, "progress");
            if (sizes[i] > 0) {
                atomic_store(&source.n_calls, 0);
                source.fail_at = 0;
                CHECK_STATUS(copy(streamer, &source, &sink, NULL), LATHE_IO);
                source.fail_at = UINT64_MAX;
                atomic_store(&sink.n_calls, 0);
                sink.fail_at = 0;
                CHECK_STATUS(copy(streamer, &source, &sink, NULL), LATHE_IO);
                sink.fail_at = UINT64_MAX;
                w = (watcher){.cancel_at = 0};
                CHECK_STATUS(copy(streamer, &source, &sink, &w), LATHE_CANCELLED);
            }
            sink_free(&sink);
            lt_streamer_free(streamer);
        }
        free(bytes);
    }
}
