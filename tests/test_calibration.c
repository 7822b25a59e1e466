/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what the planner measures, and of the file that keeps it. */
#include "plan_case.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char file[96];

static void setup_file(void) {
    (void)snprintf(folder, sizeof folder, P_tmpdir "/lathe-plan-XXXXXX");
    CHECK(mkdtemp(folder) != NULL, "a folder");
    (void)snprintf(file, sizeof file, "%s/below/calibration.json", folder);
}

static void teardown_file(void) {
    char below[96];
    (void)snprintf(below, sizeof below, "%s/below", folder);
    (void)remove(file);
    (void)rmdir(below);
    CHECK(rmdir(folder) == 0, "nothing else is left in %s", folder);
}

TestSuite(calibration, .init = setup_file, .fini = teardown_file);

/* Plans with an engine of its own, which reads and may write the file. */
static lathe_plan plan_with_file(lathe_dtype to) {
    lathe_engine *own = engine_of((lathe_config){.n_threads = 2, .calibration_file = file});
    lathe_plan plan = plan_of(own, small_shape, LATHE_F32, to, (lathe_plan_options){0});
    lathe_engine_free(own);
    return plan;
}

static json_t *load_file(void) {
    json_t *root = json_load_file(file, 0, NULL);
    CHECK(root != NULL, "%s is JSON", file);
    return root;
}

static json_t *machine_at(const json_t *root, size_t i) {
    return json_array_get(json_object_get(root, "machines"), i);
}

static void save_and_drop(json_t *root) {
    cr_assert_eq(json_dump_file(root, file, 0), 0);
    json_decref(root);
}

static void write_text(const char *text) {
    FILE *stream = fopen(file, "w");
    CHECK(stream != NULL, "%s", file);
    (void)fputs(text, stream);
    (void)fclose(stream);
}

/* Gives a machine's lines a rate that no machine has. */
static void slow_down(const json_t *machine) {
    size_t i = 0;
    json_t *line = NULL;
    json_array_foreach(json_object_get(machine, "lines"), i, line) {
        json_object_set_new(line, "ns_per_byte", json_real(100));
    }
}

Test(calibration, is_written_and_read) {
    (void)plan_with_file(LATHE_F16);
    json_t *root = load_file();
    cr_assert_eq(json_array_size(json_object_get(root, "machines")), 1);
    cr_assert_eq(json_array_size(json_object_get(machine_at(root, 0), "lines")), 2);
    slow_down(machine_at(root, 0));
    save_and_drop(root);
    struct stat before;
    struct stat after;
    cr_assert_eq(stat(file, &before), 0);
    /* What the file says is believed, and it is not written where nothing was measured. */
    cr_assert_gt(plan_with_file(LATHE_F16).estimated_ns, UINT64_C(10000000));
    cr_assert_eq(stat(file, &after), 0);
    cr_assert_eq(before.st_ino, after.st_ino);
    /* What it lacks is added. */
    (void)plan_with_file(LATHE_I8);
    root = load_file();
    cr_assert_eq(json_array_size(json_object_get(machine_at(root, 0), "lines")), 4);
    json_decref(root);
    cr_assert_gt(plan_with_file(LATHE_F16).estimated_ns, UINT64_C(10000000));
}

Test(calibration, of_another_machine_is_not_used) {
    (void)plan_with_file(LATHE_F16);
    json_t *root = load_file();
    slow_down(machine_at(root, 0));
    json_object_set_new(json_object_get(machine_at(root, 0), "machine"), "cpu",
                        json_string("another"));
    save_and_drop(root);
    cr_assert_lt(plan_with_file(LATHE_F16).estimated_ns, UINT64_C(10000000));
    root = load_file();
    cr_assert_eq(json_array_size(json_object_get(root, "machines")), 2, "it stays, beside ours");
    json_decref(root);
}

Test(calibration, that_is_in_doubt_is_measured_again) {
    (void)plan_with_file(LATHE_F16);
    json_t *good = load_file();
    slow_down(machine_at(good, 0));
    json_object_set_new(good, "version", json_string("0.0.0"));
    save_and_drop(good);
    cr_assert_lt(plan_with_file(LATHE_F16).estimated_ns, UINT64_C(10000000), "another version");

    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "7",
        "{\"lathe_calibration\": 1}",
        "\xff\xfe",
        "{\"lathe_calibration\": 1, \"version\": \"0.1.0\", \"machines\": {}}",
        "{\"lathe_calibration\": 1, \"version\": \"0.1.0\", \"machines\": [1, {\"machine\": 2}]}"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_text(texts[i]);
        cr_assert_lt(plan_with_file(LATHE_F16).estimated_ns, UINT64_C(10000000));
        json_t *root = load_file();
        CHECK(json_array_size(json_object_get(root, "machines")) >= 1, "text %zu: written", i);
        json_decref(root);
    }
    static const double rates[] = {-1, 0, 1e9};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        json_t *root = load_file();
        json_t *machine = machine_at(root, json_array_size(json_object_get(root, "machines")) - 1);
        size_t at = 0;
        json_t *line = NULL;
        json_array_foreach(json_object_get(machine, "lines"), at, line) {
            json_object_set_new(line, "ns_per_byte", json_real(rates[i]));
        }
        save_and_drop(root);
        cr_assert_lt(plan_with_file(LATHE_F16).estimated_ns, UINT64_C(10000000));
    }
}

Test(calibration, that_cannot_be_kept_is_no_error) {
    lathe_engine *own =
        engine_of((lathe_config){.n_threads = 2, .calibration_file = "/dev/null/calibration"});
    const lathe_status before = lathe_last_error()->status;
    (void)plan_of(own, small_shape, LATHE_F32, LATHE_F16, (lathe_plan_options){0});
    cr_assert_eq(lathe_last_error()->status, before);
    lathe_engine_free(own);
}

/* Plans for every kind of work: each has a line of its own, in the caches and beyond them. */
Test(calibration, of_every_kind_of_work) {
    lathe_engine *own = engine_of((lathe_config){.n_threads = 2, .calibration_file = file});
    const lathe_tensor_desc desc = desc_of(LATHE_F32, small_shape);
    for (unsigned i = 0; i < 3 * 3 * 2; i++) {
        const lathe_granularity granularity = (lathe_granularity)(i % 3);
        const lathe_target target = {.struct_size = sizeof target,
                                     .dtype = LATHE_I8,
                                     .granularity = granularity,
                                     .group_size = granularity == LATHE_PER_GROUP ? 64 : 0,
                                     .quality = (lathe_quality)(i / 3 % 3),
                                     .strict = i / 9};
        lathe_plan plan = {.struct_size = sizeof plan};
        CHECK_OK(lathe_plan_make(own, &desc, LATHE_MEMORY_HOST, &target, NULL, &plan));
        CHECK(plan.estimated_ns > 0, "case %u", i);
    }
    lathe_engine_free(own);
    json_t *root = load_file();
    cr_assert_gt(json_array_size(json_object_get(machine_at(root, 0), "lines")), 12);
    json_decref(root);
}
