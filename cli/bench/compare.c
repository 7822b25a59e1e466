/* SPDX-License-Identifier: Apache-2.0 */
/* lathe bench --compare: what became slower since earlier results. */
#include "compare.h"
#include "options.h"
#include <string.h>

json_t *bench_load(const char *path) {
    json_error_t error;
    json_t *document = json_load_file(path, 0, &error);
    if (document == NULL) {
        if (error.line < 0) {
            cli_fail("%s", error.text); /* it names the file */
        } else {
            cli_fail("%s, line %d: %s", path, error.line, error.text);
        }
        return NULL;
    }
    if (!json_is_array(json_object_get(document, "results"))) {
        cli_fail("%s: no results of lathe bench --json", path);
        json_decref(document);
        return NULL;
    }
    return document;
}

/* What a row is of, in words. Rows of the same words are the same measurement. */
enum { MOST_WORDS = 256 };
static const char *words_of(const json_t *row, char words[MOST_WORDS]) {
    static const char *const texts[] = {"name", "what", "against", "device", "isa", "mode"};
    size_t length = 0;
    words[0] = '\0';
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *text = json_string_value(json_object_get(row, texts[i]));
        if (text != NULL && length < MOST_WORDS) {
            length += (size_t)snprintf(words + length, MOST_WORDS - length, "%s%s",
                                       length == 0 ? "" : ", ", text);
        }
    }
    const json_int_t threads = json_integer_value(json_object_get(row, "threads"));
    const json_int_t elements = json_integer_value(json_object_get(row, "elements"));
    if (length < MOST_WORDS) {
        length +=
            (size_t)snprintf(words + length, MOST_WORDS - length, ", threads %d", (int)threads);
    }
    if (elements != 0 && length < MOST_WORDS) {
        char size[CLI_BYTES_TEXT];
        length += (size_t)snprintf(words + length, MOST_WORDS - length, ", %s",
                                   cli_bytes_text((uint64_t)elements * sizeof(float), size));
    }
    /* Earlier results do not say it: theirs are the usual ones. */
    const json_int_t n_cols = json_integer_value(json_object_get(row, "row_elements"));
    if (n_cols > 0 && n_cols != BENCH_ROW_ELEMS && length < MOST_WORDS) {
        snprintf(words + length, MOST_WORDS - length, ", rows of %d", (int)n_cols);
    }
    return words;
}

static const json_t *row_like(const json_t *rows, const json_t *wanted) {
    char words[MOST_WORDS];
    char others[MOST_WORDS];
    size_t i = 0;
    const json_t *row = NULL;
    words_of(wanted, words);
    json_array_foreach(rows, i, row) {
        if (strcmp(words_of(row, others), words) == 0) {
            return row;
        }
    }
    return NULL;
}

static double number_of(const json_t *row, const char *key) {
    return json_number_value(json_object_get(row, key));
}

/* Whether `b` takes longer than `a` by more than the threshold, and by more than the spread of
 * both: the middle halves of the repetitions lie apart. Where a copy ran in turns with the
 * conversion, it has to be so beside the copy too: else it is the machine that has changed. */
static bool is_slower(const json_t *a, const json_t *b, double threshold) {
    const double factor = 1 + threshold;
    const bool by_time = number_of(b, "seconds") > factor * number_of(a, "seconds") &&
                         number_of(b, "seconds_q1") > number_of(a, "seconds_q3");
    const bool has_copy = json_object_get(a, "copy") != NULL && json_object_get(b, "copy") != NULL;
    const bool by_copy = number_of(a, "ratio") > factor * number_of(b, "ratio") &&
                         number_of(a, "ratio_q1") > number_of(b, "ratio_q3");
    return by_time && (by_copy || !has_copy);
}

static void print_change(FILE *out, const char *what, const json_t *a, const json_t *b) {
    char words[MOST_WORDS];
    fprintf(out, "%s: %s: %.4g s, was %.4g s (%.2f times)", what, words_of(b, words),
            number_of(b, "seconds"), number_of(a, "seconds"),
            number_of(b, "seconds") / number_of(a, "seconds"));
    if (json_object_get(a, "copy") != NULL) {
        fprintf(out, "; beside the copy %.2f, was %.2f", number_of(b, "ratio"),
                number_of(a, "ratio"));
    }
    fputc('\n', out);
}

static void print_missing(FILE *out, const json_t *rows, const json_t *others, const char *where) {
    char words[MOST_WORDS];
    size_t i = 0;
    const json_t *row = NULL;
    json_array_foreach(rows, i, row) {
        if (row_like(others, row) == NULL) {
            fprintf(out, "only in the %s results: %s\n", where, words_of(row, words));
        }
    }
}

/* Other processors and devices are no change of the software. */
static void print_machines(FILE *out, const json_t *older, const json_t *newer) {
    const json_t *a = json_object_get(json_object_get(older, "machine"), "cpu");
    const json_t *b = json_object_get(json_object_get(newer, "machine"), "cpu");
    if (!json_equal(a, b)) {
        fprintf(out, "the results are of different processors: %s, %s\n",
                json_is_string(a) ? json_string_value(a) : "?",
                json_is_string(b) ? json_string_value(b) : "?");
    }
}

int bench_compare(const json_t *older, const json_t *newer, double threshold, FILE *out) {
    const json_t *olds = json_object_get(older, "results");
    const json_t *news = json_object_get(newer, "results");
    size_t i = 0;
    size_t n_slower = 0;
    size_t n_faster = 0;
    size_t n_both = 0;
    const json_t *b = NULL;
    print_machines(out, older, newer);
    json_array_foreach(news, i, b) {
        const json_t *a = row_like(olds, b);
        if (a == NULL) {
            continue;
        }
        n_both++;
        if (is_slower(a, b, threshold)) {
            print_change(out, "slower", a, b);
            n_slower++;
        } else if (is_slower(b, a, threshold)) {
            print_change(out, "faster", a, b);
            n_faster++;
        }
    }
    print_missing(out, olds, news, "older");
    print_missing(out, news, olds, "newer");
    if (n_both == 0) {
        return cli_fail("the older and the newer results have no row in common");
    }
    fprintf(out, "%zu rows compared, threshold %.3g %%: %zu slower, %zu faster\n", n_both,
            threshold * 100, n_slower, n_faster);
    return n_slower == 0 ? CLI_OK : CLI_FAILURE;
}
