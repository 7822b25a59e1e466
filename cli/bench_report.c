/* SPDX-License-Identifier: Apache-2.0 */
/* What lathe bench prints of each case. */
#include "bench.h"
#include <string.h>

static bool on_cpu(const bench *b) {
    return strcmp(b->device.selector, "cpu") == 0;
}

void bench_report_head(const bench *b) {
    if (b->options->json) {
        return;
    }
    if (on_cpu(b)) {
        printf("%-26s %-7s %7s %10s %10s %7s\n", "conversion", "isa", "threads", "GB/s",
               "copy GB/s", "ratio");
    } else {
        printf("%s, %s\n", b->device.selector, b->device.name);
        printf("%-26s %10s %10s %7s  %s\n", "case", "GB/s", "copy GB/s", "ratio", "copy");
    }
    fflush(stdout);
}

static void add_json(bench *b, const bench_row *row, double gbps, double copy_gbps) {
    const lathe_device_info *device = &b->device;
    json_t *object = json_pack(
        "{s:s, s:s, s:o, s:o, s:o, s:o, s:f, s:s, s:f, s:f, s:f}", "name", row->bench_case->name,
        "device", device->selector, "isa", cli_isa_json(device), "threads",
        cli_json_count(b->n_threads), "elements", cli_json_count(lathe_tensor_n_elems(b->base)),
        "bytes", cli_json_count(row->bytes), "gbps", gbps, "copy", row->yardstick, "copy_gbps",
        copy_gbps, "ratio", row->times.ratio[1], "seconds", row->times.seconds[0]);
    if (row->other != NULL) {
        json_object_set_new(object, "other_copy", json_string(row->other));
        json_object_set_new(object, "other_copy_gbps",
                            json_real((double)row->bytes / row->times.seconds[2] * 1e-9));
        json_object_set_new(object, "other_ratio", json_real(row->times.ratio[2]));
    }
    json_array_append_new(b->results, object);
}

void bench_report_row(bench *b, const bench_row *row) {
    double gbps = (double)row->bytes / row->times.seconds[0] * 1e-9;
    double copy_gbps = (double)row->bytes / row->times.seconds[1] * 1e-9;
    if (b->results != NULL) {
        add_json(b, row, gbps, copy_gbps);
        return;
    }
    if (on_cpu(b)) {
        printf("%-26s %-7s %7u %10.2f %10.2f %7.2f\n", row->bench_case->name,
               lathe_isa_name(b->device.isa), (unsigned)b->n_threads, gbps, copy_gbps,
               row->times.ratio[1]);
    } else {
        printf("%-26s %10.2f %10.2f %7.2f  %s\n", row->bench_case->name, gbps, copy_gbps,
               row->times.ratio[1], row->yardstick);
    }
    if (row->other != NULL) {
        printf("%-26s %10s %10.2f %7.2f  %s\n", "", "",
               (double)row->bytes / row->times.seconds[2] * 1e-9, row->times.ratio[2], row->other);
    }
    fflush(stdout);
}
