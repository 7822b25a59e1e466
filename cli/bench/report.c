/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of lathe bench: what is measured in each, and what is printed of it. */
#include "report.h"
#include "document.h"
#include "peers.h"
#include <string.h>

/* ---- measuring */

static uint64_t stored_bytes(const lathe_tensor *tensor) {
    return lathe_tensor_n_bytes(tensor) + lathe_tensor_n_scales(tensor) * sizeof(float);
}

void bench_row_count_bytes(bench_row *row, const lathe_tensor *source, const lathe_tensor *result) {
    row->written_bytes = stored_bytes(result);
    row->bytes = stored_bytes(source) + row->written_bytes;
    row->read_bytes = stored_bytes(source) * bench_case_reads(row->bench_case);
}

void bench_row_add(bench_row *row, bench_fn *run, void *ctx, bench_role role, const char *name) {
    const size_t act = row->acts.n++;
    row->acts.run[act] = run;
    row->acts.each[act] = ctx;
    row->roles[act] = role;
    row->names[act] = name;
}

/* The first act of that role; 0: there is none. */
static size_t act_of(const bench_row *row, bench_role role) {
    for (size_t act = 1; act < row->acts.n; act++) {
        if (row->roles[act] == role) {
            return act;
        }
    }
    return 0;
}

/* The least time for the row's traffic: what is both read and written at the speed of a copy, the
 * rest at that of plain reads or writes. Every yardstick moves row->bytes. */
static void set_limit(bench_row *row) {
    const double bytes = (double)row->bytes;
    const double read = (double)row->read_bytes;
    const double written = (double)row->written_bytes;
    const double both = read < written ? read : written;
    /* The fastest copy, where it is not the yardstick. */
    const size_t fastest = act_of(row, BENCH_ROLE_COPY);
    const size_t yardstick = act_of(row, BENCH_ROLE_YARDSTICK);
    double *share = row->acts.limit_share;
    if (row->read_bytes == 0) {
        return;
    }
    if (row->written_bytes == 0) { /* the yardstick is a read */
        share[yardstick] = read / bytes;
        return;
    }
    share[fastest != 0 ? fastest : yardstick] = 2 * both / bytes;
    share[act_of(row, BENCH_ROLE_READ)] = (read - both) / bytes;
    share[act_of(row, BENCH_ROLE_WRITE)] += (written - both) / bytes;
}

/* ---- results */

static double gbps_of(const bench_row *row, size_t act) {
    return (double)row->bytes / row->times.seconds[act] * 1e-9;
}

static void set_text(json_t *object, const char *key, const char *text) {
    json_object_set_new(object, key, cli_json_text(text));
}

static void set_number(json_t *object, const char *key, double number) {
    json_object_set_new(object, key, cli_json_number(number));
}

static size_t best_peer(const bench_row *row) {
    size_t best = 0;
    for (size_t act = 1; act < row->acts.n; act++) {
        if (row->roles[act] == BENCH_ROLE_PEER &&
            (best == 0 || row->times.seconds[act] < row->times.seconds[best])) {
            best = act;
        }
    }
    return best;
}

static void set_peers(json_t *object, const bench_row *row) {
    json_t *peers = json_array();
    const size_t best = best_peer(row);
    for (size_t act = 1; act < row->acts.n; act++) {
        if (row->roles[act] == BENCH_ROLE_PEER) {
            json_array_append_new(peers, json_pack("{s:s, s:f, s:f}", "name", row->names[act],
                                                   "seconds", row->times.seconds[act], "ratio",
                                                   row->times.ratio[act]));
        }
    }
    json_object_set_new(object, "peers", peers);
    if (best != 0) {
        set_text(object, "best_peer", row->names[best]);
        set_number(object, "best_peer_ratio", row->times.ratio[best]);
    }
}

/* The acts whose names and speeds are keys of their own. */
static void set_yardsticks(json_t *object, const bench_row *row) {
    static const char *const keys[BENCH_N_ROLES] = {
        [BENCH_ROLE_YARDSTICK] = "copy", [BENCH_ROLE_OTHER] = "other_copy",
        [BENCH_ROLE_COPY] = "best_copy", [BENCH_ROLE_READ] = "read",
        [BENCH_ROLE_WRITE] = "write",
    };
    for (size_t act = 1; act < row->acts.n; act++) {
        const char *name = keys[row->roles[act]];
        char key[32];
        if (name != NULL) {
            set_text(object, name, row->names[act]);
            snprintf(key, sizeof(key), "%s_gbps", name);
            set_number(object, key, gbps_of(row, act));
        }
    }
}

static json_t *json_of(const bench *b, const bench_row *row) {
    const bench_times *times = &row->times;
    const size_t yardstick = act_of(row, BENCH_ROLE_YARDSTICK);
    const size_t other = act_of(row, BENCH_ROLE_OTHER);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:f, s:f, s:f, s:f}", "name", row->bench_case->name,
        "mode", b->options->kernels ? "kernel" : "call", "device", b->device.selector, "isa",
        cli_isa_json(&b->device), "threads", cli_json_count(b->n_threads), "elements",
        cli_json_count(lathe_tensor_n_elems(b->base)), "bytes", cli_json_count(row->bytes), "gbps",
        gbps_of(row, 0), "seconds", times->seconds[0], "seconds_q1", times->quartiles[0][0],
        "seconds_q3", times->quartiles[0][1]);
    json_object_set_new(object, "row_elements", cli_json_count(b->shape[1]));
    set_number(object, "ratio", times->ratio[yardstick]);
    set_number(object, "ratio_q1", times->ratio_quartiles[yardstick][0]);
    set_number(object, "ratio_q3", times->ratio_quartiles[yardstick][1]);
    set_yardsticks(object, row);
    if (other != 0) {
        set_number(object, "other_ratio", times->ratio[other]);
    }
    if (times->limit > 0) {
        set_number(object, "limit", times->limit);
    }
    if (b->options->peers) {
        set_peers(object, row);
    }
    return object;
}

/* ---- the table */

void bench_report_head(const bench *b) {
    if (!bench_has_table(b)) {
        return;
    }
    bench_print_machine(b);
    if (b->options->strategy != NULL) {
        return; /* which has a heading of its own */
    }
    printf("%-26s %-9s %-7s %7s %9s %10s %10s %6s %6s  %s\n", "conversion", "device", "isa",
           "threads", "size", "GB/s", "copy GB/s", "ratio", "limit",
           b->options->peers ? "best peer" : "copy");
    fflush(stdout);
}

static void line_of(const bench *b, const bench_row *row, char *line, size_t size) {
    char bytes[CLI_BYTES_TEXT];
    char limit[16] = "-";
    const bench_times *times = &row->times;
    const size_t yardstick = act_of(row, BENCH_ROLE_YARDSTICK);
    const size_t best = best_peer(row);
    if (times->limit > 0) {
        snprintf(limit, sizeof(limit), "%.2f", times->limit);
    }
    int length = snprintf(line, size, "%-26s %-9s %-7s %7u %9s %10.2f %10.2f %6.2f %6s  ",
                          row->bench_case->name, b->device.selector,
                          b->device.isa == LATHE_ISA_AUTO ? "-" : lathe_isa_name(b->device.isa),
                          (unsigned)b->n_threads, cli_bytes_text(b->size, bytes), gbps_of(row, 0),
                          gbps_of(row, yardstick), times->ratio[yardstick], limit);
    char *end = line + length;
    const size_t left = size - (size_t)length;
    if (best != 0) {
        snprintf(end, left, "%.2f x %s", times->ratio[best], row->names[best]);
    } else {
        snprintf(end, left, "%s", row->names[yardstick]);
    }
}

void bench_report_progress(bench *b, const char *name) {
    char text[96];
    snprintf(text, sizeof(text), "%s, %s", b->device.selector, name);
    cli_progress_note(&b->progress, b->n_done, b->n_rows, text);
    b->n_done++;
}

void bench_report_add(bench *b, json_t *row, const char *line) {
    json_array_append_new(b->results, row);
    if (bench_has_table(b)) {
        cli_progress_hide();
        puts(line);
        fflush(stdout);
    }
}

int bench_report_failure(const char *name) {
    cli_progress_hide();
    return cli_fail("%s: %s", name, lathe_last_error()->message);
}

lathe_status bench_row_measure(bench *b, bench_row *row) {
    char line[256];
    set_limit(row);
    const lathe_status status = bench_measure(&row->acts, b->options->repeat, &row->times);
    if (status == LATHE_OK) {
        line_of(b, row, line, sizeof(line));
        bench_report_add(b, json_of(b, row), line);
        const size_t other = act_of(row, BENCH_ROLE_OTHER);
        if (other != 0 && bench_has_table(b)) {
            printf("%-26s %-9s %-7s %7s %9s %10s %10.2f %6.2f %6s  %s\n", "", "", "", "", "", "",
                   gbps_of(row, other), row->times.ratio[other], "", row->names[other]);
        }
    }
    return status;
}
