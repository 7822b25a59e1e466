/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of batches whose tensors lie one after another, which are converted as one: the bytes, the
 * scales and the failures are still each tensor's own. */
#include "batch_case.h"
#include <math.h>

TestSuite(batch, .init = setup_engines, .fini = teardown_engines);

enum { GAP_BYTES = 64 };

/* Memory in which tensors lie one after another. */
typedef struct arena {
    uint8_t *data;
    float *scales;
    size_t n_bytes;
    size_t n_scales;
} arena;

static arena arena_new(size_t n_bytes, size_t n_scales) {
    arena a = {.data = malloc(n_bytes + 1), .scales = malloc(n_scales * sizeof(float) + 1)};
    CHECK(a.data != NULL && a.scales != NULL, "memory");
    memset(a.data, CANARY, n_bytes);
    memset(a.scales, CANARY, n_scales * sizeof(float));
    return a;
}

static void arena_free(arena *a) {
    free(a->data);
    free(a->scales);
}

/* A tensor of that layout behind those before it, after a gap or none. */
static lathe_tensor *place(arena *a, const lathe_tensor_desc *desc, const oracle_layout *layout,
                           bool after_gap) {
    lathe_tensor *tensor = NULL;
    a->n_bytes += after_gap ? GAP_BYTES : 0;
    a->n_scales += after_gap ? 1 : 0;
    CHECK_OK(lathe_tensor_wrap(pool, desc, a->data + a->n_bytes, a->scales + a->n_scales, 0, NULL,
                               NULL, &tensor));
    a->n_bytes += (size_t)layout->n_bytes;
    a->n_scales += (size_t)layout->n_scales;
    return tensor;
}

/* Where there are gaps: `every` tensors follow each other. */
static bool has_gap(size_t i, size_t every) {
    return i % every == 0;
}

/* The batch's sources with the same contents, so placed. */
static arena place_sources(size_t every) {
    size_t n_bytes = 0;
    size_t n_scales = 0;
    for (size_t i = 0; i < batch.n; i++) {
        n_bytes += (size_t)batch.cases[i].layout.n_bytes + GAP_BYTES;
        n_scales += (size_t)batch.cases[i].layout.n_scales + 1;
    }
    arena a = arena_new(n_bytes, n_scales);
    for (size_t i = 0; i < batch.n; i++) {
        const convert_case *c = &batch.cases[i];
        const size_t scale_bytes = (size_t)c->layout.n_scales * sizeof(float);
        batch.sources[i] = place(&a, &c->from, &c->layout, has_gap(i, every));
        memcpy(a.data + a.n_bytes - c->layout.n_bytes, c->bytes, (size_t)c->layout.n_bytes);
        memcpy(a.scales + a.n_scales - c->layout.n_scales, c->scales, scale_bytes);
    }
    return a;
}

static void drop_sources(arena *a) {
    for (size_t i = 0; i < batch.n; i++) {
        lathe_tensor_release(batch.sources[i]);
        batch.sources[i] = batch.cases[i].tensor;
    }
    arena_free(a);
}

static lathe_tensor *result_of(arena *a, size_t i, bool after_gap) {
    const convert_case *c = &batch.cases[i];
    lathe_tensor_desc to;
    oracle_layout layout;
    CHECK_OK(lathe_target_desc(&batch.targets[i], c->from.n_dims, c->from.shape, &to));
    CHECK(oracle_layout_of(&to, &layout), "the result's layout");
    return place(a, &to, &layout, after_gap);
}

/* What lies before a result is as it was, if that is a gap. */
static void check_gap(const lathe_tensor *result, size_t i) {
    const uint8_t *before = (const uint8_t *)lathe_tensor_data(result) - GAP_BYTES;
    for (size_t k = 0; k < GAP_BYTES; k++) {
        CHECK(before[k] == CANARY, "written into the gap before tensor %zu", i);
    }
    const float *scales = lathe_tensor_scales(result);
    CHECK(scales == NULL || test_bits(scales[-1]) == 0x5c5c5c5cu, "a scale before tensor %zu", i);
}

/* Into results that are placed so. */
static void check_into(size_t engine, size_t every) {
    enum { MOST_BYTES = 64 * 64 * 4 + GAP_BYTES, MOST_SCALES = 64 * 2 + 1 };
    arena a = arena_new(batch.n * MOST_BYTES, batch.n * MOST_SCALES);
    lathe_batch_stats stats = {.struct_size = sizeof stats};
    for (size_t i = 0; i < batch.n; i++) {
        batch.results[i] = result_of(&a, i, has_gap(i, every));
    }
    check_overall(lathe_convert_batch_into(engines[engine], batch.n, batch.sources, batch.targets,
                                           batch.n, NULL, batch.results, batch.errors, &stats),
                  &stats);
    for (size_t i = 0; i < batch.n; i++) {
        bool failed = batch.expected[i].status != LATHE_OK;
        check_one(i, engine, failed ? NULL : batch.results[i], &batch.errors[i]);
        if (has_gap(i, every)) {
            check_gap(batch.results[i], i);
        }
        lathe_tensor_release(batch.results[i]);
    }
    arena_free(&a);
}

static void check_placed(size_t every, size_t every_result) {
    for (size_t engine = 0; engine < n_engines; engine++) {
        arena sources = place_sources(every);
        check_batch(engine, NULL);
        check_into(engine, every_result);
        drop_sources(&sources);
    }
}

/* One of the shapes whose rows end bytes, do not, or are the tensor. */
static shape_option shape_at(size_t i) {
    static const shape_option shapes[] = {{2, {64, 64}}, {2, {3, 41}}, {1, {320}}, {2, {5, 96}}};
    return shapes[i % (sizeof shapes / sizeof shapes[0])];
}

/* All pairs, each with all granularities on either side. */
Test(batch, neighbours_of_all_pairs) {
    enum { ALIKE = 9, N_TRIED = 3 };
    test_rng rng = {87};
    for (size_t pair = 0; pair < 64; pair++) {
        const lathe_dtype from = (lathe_dtype)(1 + pair % 8);
        const lathe_dtype to = (lathe_dtype)(1 + pair / 8);
        for (size_t k = 0; k < (size_t)N_TRIED * N_TRIED && is_tried(from, to); k++) {
            const shape_option shape = shape_at(k + pair);
            lathe_target target = target_of(to, &layout_options[k / N_TRIED], 0);
            target.quality = (k + pair) % 5 == 0 ? LATHE_FAST : LATHE_BALANCED;
            target.strict = (k + pair) % 7 == 0;
            for (size_t i = 0; i < ALIKE; i++) {
                add(&shape, &layout_options[k % N_TRIED], TEST_DATA_NORMAL, &rng, from, &target);
            }
        }
        expect_all();
        check_placed(pair % 2 == 0 ? SIZE_MAX : 5, pair % 3 == 0 ? 4 : SIZE_MAX);
        free_all();
    }
}

/* Faults of one tensor among many that lie one after another. */
Test(batch, neighbours_that_fail) {
    enum { ALIKE = 40 };
    test_rng rng = {88};
    const shape_option shape = {2, {8, 64}};
    const lathe_dtype to[] = {LATHE_I8, LATHE_F16, LATHE_BITNET158, LATHE_F32};
    for (size_t k = 0; k < 4; k++) {
        lathe_target target = target_of(to[k], &layout_options[k % 2], 0);
        const lathe_dtype from = k < 3 ? LATHE_F32 : LATHE_BITNET158;
        target.strict = k == 1;
        for (size_t i = 0; i < ALIKE; i++) {
            add(&shape, layout_options, k == 1 ? TEST_DATA_ZERO : TEST_DATA_NORMAL, &rng, from,
                &target);
        }
    }
    put(&batch.cases[0], 0, 0x7fc00000u);
    put(&batch.cases[13], 511, 0x7f800000u);
    put(&batch.cases[14], 0, 0x7f800000u);
    put(&batch.cases[ALIKE + 7], 100, 0x3f800001u); /* DATA_LOSS */
    put(&batch.cases[2 * ALIKE + 39], 64, 0x7fc00000u);
    batch.cases[3 * ALIKE + 3].bytes[20] = 250; /* CORRUPT_DATA */
    expect_all();
    size_t first = 0;
    CHECK(count_failures(&first) == 6, "what is to be tried");
    check_placed(SIZE_MAX, SIZE_MAX);
    check_placed(11, 7);
    free_all();
}

/* More tensors at a time than a thread converts without a break where they lie apart. */
Test(batch, many_that_lie_apart) {
    enum { ALIKE = 700 };
    test_rng rng = {92};
    const shape_option shape = {2, {2, 64}};
    const lathe_target target = target_of(LATHE_I8, layout_options, 0);
    for (size_t i = 0; i < ALIKE; i++) {
        add(&shape, layout_options, TEST_DATA_NORMAL, &rng, LATHE_F32, &target);
    }
    put(&batch.cases[64], 3, 0x7fc00000u);
    put(&batch.cases[65], 127, 0x7f800000u);
    put(&batch.cases[ALIKE - 1], 0, 0x7fc00000u);
    expect_all();
    check_placed(1, 1);
    check_placed(2, 2);
    check_placed(3, SIZE_MAX);
    free_all();
}

/* A scale that is none of one tensor among them. */
Test(batch, neighbours_with_bad_scales) {
    enum { ALIKE = 40, BAD = 17 };
    test_rng rng = {91};
    const shape_option shape = {2, {2, 64}};
    const lathe_target target = target_of(LATHE_F16, layout_options, 0);
    for (size_t i = 0; i < ALIKE; i++) {
        add(&shape, layout_options, TEST_DATA_NORMAL, &rng, LATHE_I8, &target);
    }
    expect_all();
    batch.cases[BAD].scales[0] = -1;
    for (size_t engine = 0; engine < n_engines; engine++) {
        arena sources = place_sources(SIZE_MAX);
        CHECK_STATUS(lathe_convert_batch(engines[engine], ALIKE, batch.sources, batch.targets, 1,
                                         NULL, batch.results, batch.errors, NULL),
                     LATHE_CORRUPT_DATA);
        for (size_t i = 0; i < ALIKE; i++) {
            CHECK((batch.errors[i].status == LATHE_CORRUPT_DATA) == (i == BAD), "tensor %zu", i);
            if (i != BAD) {
                check_one(i, engine, batch.results[i], &batch.errors[i]);
            }
            lathe_tensor_release(batch.results[i]);
        }
        drop_sources(&sources);
    }
    free_all();
}

/* Sources that are missing, there twice or in descending order, and results that do not match. */
Test(batch, neighbours_in_any_order) {
    enum { ALIKE = 48 };
    test_rng rng = {89};
    const shape_option shape = {2, {4, 64}};
    const lathe_target target = target_of(LATHE_F16, layout_options, 0);
    for (size_t i = 0; i < ALIKE; i++) {
        add(&shape, layout_options, TEST_DATA_NORMAL, &rng, LATHE_F32, &target);
    }
    expect_all();
    for (size_t engine = 0; engine < n_engines; engine++) {
        lathe_tensor *given[ALIKE];
        size_t is_of[ALIKE];
        arena sources = place_sources(SIZE_MAX);
        for (size_t i = 0; i < ALIKE; i++) {
            is_of[i] = i < 16 ? i : i < 32 ? 47 - i : (i * 7) % ALIKE;
            given[i] = i == 9 ? NULL : batch.sources[is_of[i]];
        }
        CHECK_STATUS(lathe_convert_batch(engines[engine], ALIKE, given, batch.targets, 1, NULL,
                                         batch.results, batch.errors, NULL),
                     LATHE_INVALID_ARGUMENT);
        for (size_t i = 0; i < ALIKE; i++) {
            CHECK((batch.errors[i].status == LATHE_OK) == (i != 9), "tensor %zu", i);
            if (i != 9) {
                check_one(is_of[i], engine, batch.results[i], &batch.errors[i]);
            }
            lathe_tensor_release(batch.results[i]);
        }
        arena results = arena_new((size_t)ALIKE * 512, 1);
        for (size_t i = 0; i < ALIKE; i++) {
            batch.results[i] = result_of(&results, i, false);
        }
        lathe_tensor *const last = batch.results[20];
        batch.results[20] = NULL;
        CHECK_STATUS(lathe_convert_batch_into(engines[engine], ALIKE, batch.sources, batch.targets,
                                              1, NULL, batch.results, batch.errors, NULL),
                     LATHE_INVALID_ARGUMENT);
        batch.results[20] = last;
        for (size_t i = 0; i < ALIKE; i++) {
            if (i != 20) {
                check_one(i, engine, batch.results[i], &batch.errors[i]);
            }
            lathe_tensor_release(batch.results[i]);
        }
        CHECK(results.data[20 * 512] == CANARY && results.data[21 * 512 - 1] == CANARY,
              "a result that was not there was written to");
        arena_free(&results);
        drop_sources(&sources);
    }
    free_all();
}

#ifndef TEST_OPENCL
/* The contents of a tensor, unlike those of its neighbours. */
static void fill(test_rng *rng, const lathe_tensor_desc *desc, lathe_tensor *const *sources,
                 size_t i) {
    enum { N_UNLIKE = 61 };
    void *bytes = lathe_tensor_mutable_data(sources[i]);
    if (i < N_UNLIKE) {
        test_fill_tensor(rng, desc, TEST_DATA_NORMAL, bytes, NULL);
    } else { /* which is fast */
        memcpy(bytes, lathe_tensor_data(sources[i - N_UNLIKE]),
               (size_t)lathe_tensor_n_bytes(sources[i]));
    }
}

/* More than the caches hold, which other kernels convert: as lathe_convert does it one by one. */
Test(batch, neighbours_beyond_the_caches) {
    enum { N = TEST_SANITIZED ? 300 : 1300 };
    static const lathe_dtype to[] = {LATHE_F16, LATHE_I8, LATHE_I4, LATHE_BITNET158};
    const uint64_t shape[] = {64, 320};
    static lathe_tensor_desc descs[N];
    static lathe_tensor *sources[N];
    static lathe_tensor *results[N];
    test_rng rng = {90};
    for (size_t k = 0; k < 16; k++) {
        const lathe_dtype from = k % 8 < 4 ? LATHE_F32 : LATHE_F16;
        const lathe_target target = target_of(to[k % 4], &layout_options[k / 8], 0);
        lathe_engine *engine = engines[1 + k % (n_engines - 1)];
        for (size_t i = 0; i < N; i++) {
            descs[i] = (lathe_tensor_desc){
                .struct_size = sizeof descs[i], .dtype = from, .n_dims = 2, .shape = shape};
        }
        CHECK_OK(lathe_engine_tensors_create(engine, LATHE_MEMORY_HOST, N, descs, sources));
        for (size_t i = 0; i < N; i++) {
            fill(&rng, &descs[i], sources, i);
        }
        CHECK_OK(lathe_convert_batch(engine, N, sources, &target, 1, NULL, results, NULL, NULL));
        for (size_t i = 0; i < N; i++) {
            lathe_tensor *alone = NULL;
            CHECK_OK(lathe_convert(engine, sources[i], &target, &alone, NULL));
            CHECK(test_same(alone, results[i]), "tensor %zu of conversion %zu", i, k);
            lathe_tensor_release(alone);
            lathe_tensor_release(results[i]);
            lathe_tensor_release(sources[i]);
        }
    }
}
#endif
