/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the two texts that metrics have: JSON, and Prometheus's format. */
#include "metrics_case.h"
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

static json_int_t number_at(const json_t *object, const char *section, const char *name) {
    const json_t *value = json_object_get(json_object_get(object, section), name);
    CHECK(json_is_integer(value), "%s.%s is no integer", section, name);
    return json_integer_value(value);
}

Test(metrics, json) {
    fixture *f = set_up(0);
    char *text = NULL;
    json_error_t error;
    fill_known(f);
    CHECK_OK(lathe_metrics_to_json(&f->now, f->pool, &text));
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    CHECK(object != NULL, "line %d: %s in %s", error.line, error.text, text);
    CHECK(strcmp(json_string_value(json_object_get(object, "device_name")), "a \"b\" \\c\nd ???") ==
              0,
          "the device's name");
    CHECK(number_at(object, "total", "n_done") == 4, "total");
    CHECK(number_at(object, "total", "n_saturated") == 7, "saturated");
    CHECK(number_at(object, "failed", "NON_FINITE") == 1, "failed");
    CHECK(json_object_size(json_object_get(object, "failed")) == 1, "other failures");
    CHECK(number_at(object, "engine", "program_build_ns") == 1500000001, "engine");
    CHECK(number_at(object, "pool", "peak_bytes") == (json_int_t)f->now.pool.peak_bytes, "pool");
    CHECK(json_is_null(json_object_get(json_object_get(object, "pool"), "budget_bytes")),
          "no budget is null");
    CHECK(number_at(json_object_get(json_object_get(object, "pool"), "kinds"), "host",
                    "in_use_bytes") == (json_int_t)f->now.pool.in_use_bytes,
          "all of it is the host's");
    const json_t *summary = json_object_get(object, "summary");
    CHECK(near(json_number_value(json_object_get(summary, "success_rate")), 0.8), "rate");
    CHECK(near(json_number_value(json_object_get(summary, "average_ns")), 1127.5), "average");
    CHECK(strcmp(json_string_value(json_object_get(summary, "fastest")), "in_place") == 0,
          "fastest");
    const json_t *strategies = json_object_get(object, "strategies");
    CHECK(json_object_size(strategies) == 3, "strategies");
    CHECK(number_at(strategies, "direct", "dst_bytes") == 3004, "direct");
    CHECK(number_at(strategies, "direct", "n_failed") == 1, "direct");
    CHECK(number_at(json_object_get(object, "processors"), "device", "ns") == 500, "processor");
    CHECK(json_array_size(json_object_get(object, "dtypes")) == 3, "pairs");
    CHECK((uint64_t)json_integer_value(json_object_get(object, "window_ns")) == f->now.window_ns,
          "window");
    json_decref(object);
    CHECK_OK(lathe_pool_free(f->pool, text));
    tear_down(f);
}

Test(metrics, texts_refuse_what_they_cannot_do) {
    fixture *f = set_up(MIB / 8);
    char *text = NULL;
    void *blocks[MIB / 8 / 1024];
    size_t n_blocks = 0;
    fill_known(f);
    lathe_status (*const functions[])(const lathe_metrics *, lathe_pool *, char **) = {
        lathe_metrics_to_json, lathe_metrics_to_prometheus};
    while (lathe_pool_alloc(f->pool, 1024, &blocks[n_blocks]) == LATHE_OK) {
        n_blocks++;
    }
    for (size_t i = 0; i < 2; i++) {
        CHECK_STATUS(functions[i](&f->now, f->pool, &text), LATHE_INSUFFICIENT_MEMORY);
        CHECK_STATUS(functions[i](NULL, f->pool, &text), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(functions[i](&f->now, NULL, &text), LATHE_INVALID_ARGUMENT);
        CHECK_STATUS(functions[i](&f->now, f->pool, NULL), LATHE_INVALID_ARGUMENT);
        f->now.struct_size++;
        CHECK_STATUS(functions[i](&f->now, f->pool, &text), LATHE_INVALID_ARGUMENT);
        f->now.struct_size--;
    }
    CHECK(text == NULL, "the output was touched");
    while (n_blocks > 0) {
        CHECK_OK(lathe_pool_free(f->pool, blocks[--n_blocks]));
    }
    tear_down(f);
}

/* A reader of the Prometheus text format that takes nothing that is not in its description. */
typedef struct exposition {
    const char *at;
    char family[128]; /* of the last TYPE line */
    char type[16];
    char seen[128][128]; /* families so far */
    size_t n_seen;
    char helped[128]; /* of the last HELP line */
} exposition;

static void read_word(exposition *e, char *word, size_t size) {
    size_t n = 0;
    while (isalnum((unsigned char)*e->at) || *e->at == '_') {
        CHECK(n + 1 < size, "a long name");
        word[n++] = *e->at++;
    }
    word[n] = '\0';
    CHECK(n > 0 && !isdigit((unsigned char)word[0]), "a name is missing at %.40s", e->at);
}

static void expect(exposition *e, const char *text) {
    CHECK(strncmp(e->at, text, strlen(text)) == 0, "'%s' is missing at '%.40s'", text, e->at);
    e->at += strlen(text);
}

static void read_comment(exposition *e) {
    char name[128];
    if (strncmp(e->at, "# HELP ", 7) == 0) {
        e->at += 7;
        read_word(e, e->helped, sizeof e->helped);
        e->at = strchr(e->at, '\n');
        return;
    }
    expect(e, "# TYPE ");
    read_word(e, name, sizeof name);
    CHECK(strcmp(name, e->helped) == 0, "TYPE of %s after HELP of %s", name, e->helped);
    for (size_t i = 0; i < e->n_seen; i++) {
        CHECK(strcmp(e->seen[i], name) != 0, "%s is there twice", name);
    }
    CHECK(e->n_seen < 128, "many families");
    memcpy(e->seen[e->n_seen++], name, sizeof name);
    memcpy(e->family, name, sizeof name);
    expect(e, " ");
    read_word(e, e->type, sizeof e->type);
    const size_t length = strlen(name);
    const bool is_total = length > 6 && strcmp(name + length - 6, "_total") == 0;
    CHECK(is_total == (strcmp(e->type, "counter") == 0), "%s is a %s", name, e->type);
}

static void read_labels(exposition *e) {
    char name[128];
    expect(e, "{");
    do {
        read_word(e, name, sizeof name);
        expect(e, "=\"");
        for (; *e->at != '"'; e->at++) {
            CHECK((unsigned char)*e->at >= 0x20, "a bare control character");
            if (*e->at == '\\') {
                e->at++;
                CHECK(strchr("\\\"n", *e->at) != NULL, "\\%c", *e->at);
            }
        }
        e->at++;
    } while (*e->at == ',' && e->at++ != NULL);
    expect(e, "}");
}

static void read_sample(exposition *e) {
    char name[128];
    char *end;
    read_word(e, name, sizeof name);
    const char *suffix = name + strlen(e->family);
    CHECK(strncmp(name, e->family, strlen(e->family)) == 0, "%s in the family %s", name, e->family);
    bool is_part = strcmp(e->type, "histogram") == 0 &&
                   (strcmp(suffix, "_bucket") == 0 || strcmp(suffix, "_sum") == 0 ||
                    strcmp(suffix, "_count") == 0);
    CHECK(is_part || suffix[0] == '\0', "%s in the family %s", name, e->family);
    if (*e->at == '{') {
        read_labels(e);
    }
    expect(e, " ");
    const double value = strtod(e->at, &end);
    CHECK(end != e->at && value >= 0, "no number at %.40s", e->at);
    e->at = end;
}

/* The value of a series, which is there once. */
static double series(const char *text, const char *name) {
    const char *found = strstr(text, test_text("\n%s ", name));
    CHECK(found != NULL, "%s is missing", name);
    CHECK(strstr(found + 1, test_text("\n%s ", name)) == NULL, "%s is there twice", name);
    return strtod(found + strlen(name) + 2, NULL);
}

static void check_buckets(const char *text, uint64_t n, double seconds) {
    const char *bucket = "lathe_conversion_duration_seconds_bucket{strategy=\"direct\",le=\"";
    double last_bound = 0;
    double last = 0;
    int n_buckets = 0;
    for (const char *p = strstr(text, bucket); p != NULL; p = strstr(p, bucket)) {
        p += strlen(bucket);
        const double bound = strtod(p, NULL); /* reads Inf too */
        const double count = strtod(strchr(p, ' '), NULL);
        CHECK(bound > last_bound && count >= last, "buckets do not grow");
        CHECK(bound < 1000e-9 || bound > 2000e-9 || count == 1, "%f up to %g", count, bound);
        last_bound = bound;
        last = count;
        n_buckets++;
    }
    CHECK(n_buckets > 10 && isinf(last_bound) && last == (double)n, "the last bucket");
    CHECK(series(text, "lathe_conversion_duration_seconds_count{strategy=\"direct\"}") == last,
          "count");
    CHECK(near(series(text, "lathe_conversion_duration_seconds_sum{strategy=\"direct\"}"), seconds),
          "sum");
}

Test(metrics, prometheus) {
    fixture *f = set_up(0);
    char *text = NULL;
    fill_known(f);
    CHECK_OK(lathe_metrics_to_prometheus(&f->now, f->pool, &text));
    exposition e = {.at = text};
    while (*e.at != '\0') {
        if (*e.at == '#') {
            read_comment(&e);
        } else {
            read_sample(&e);
        }
        expect(&e, "\n");
    }
    CHECK(e.n_seen > 30, "%zu families", e.n_seen);
    CHECK(series(text, "lathe_conversions_total{strategy=\"direct\"}") == 2, "conversions");
    CHECK(series(text, "lathe_failures_total{strategy=\"direct\"}") == 1, "failures");
    CHECK(series(text, "lathe_errors_total{status=\"NON_FINITE\"}") == 1, "errors");
    CHECK(series(text, "lathe_errors_total{status=\"IO\"}") == 0, "no errors");
    CHECK(series(text, "lathe_dtypes_source_bytes_total{from=\"f32\",to=\"i8\"}") == 4000, "pair");
    CHECK(series(text, "lathe_processor_conversion_seconds_total{processor=\"device\"}") == 500e-9,
          "processor");
    CHECK(series(text, "lathe_device_uploaded_bytes_total") == 34, "uploaded");
    CHECK(near(series(text, "lathe_program_build_seconds_total"), 1.500000001), "seconds");
    CHECK(series(text, "lathe_pool_peak_bytes") == (double)f->now.pool.peak_bytes, "peak");
    CHECK(series(text, "lathe_pool_kind_in_use_bytes{kind=\"host\"}") ==
              (double)f->now.pool.in_use_bytes,
          "kinds");
    CHECK(strstr(text, "device_name=\"a \\\"b\\\" \\\\c\\nd ???\"} 1\n") != NULL, "escapes");
    check_buckets(text, 2, 4000e-9);
    CHECK_OK(lathe_pool_free(f->pool, text));
    tear_down(f);
}
