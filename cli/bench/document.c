/* SPDX-License-Identifier: Apache-2.0 */
/* The results of lathe bench as a whole: with what they are results of, as JSON and as CSV. */
#include "document.h"
#include <string.h>
#include <time.h>

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

json_t *bench_machine(void) {
    char date[32] = "";
    const time_t now = time(NULL);
    struct tm utc;
    lathe_device_info cpu = {.struct_size = sizeof(cpu)};
    if (gmtime_r(&now, &utc) != NULL) {
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &utc);
    }
    if (lathe_device_at(0, &cpu) != LATHE_OK) {
        return json_object();
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "version",
                     lathe_version(), "date", date, "compiler", COMPILER, "build", LATHE_BUILD_TYPE,
                     "cpu", cli_json_text(cpu.name), "best_isa", lathe_isa_name(cpu.isa),
                     "processors", cli_json_count(cpu.threads), "memory_bytes",
                     cli_json_count(cpu.memory_bytes), "l1d_bytes", cli_json_count(cpu.l1d_bytes),
                     "l2_bytes", cli_json_count(cpu.l2_bytes), "l3_bytes",
                     cli_json_count(cpu.l3_bytes));
}

void bench_add_device(bench *b) {
    const lathe_device_info *info = &b->device;
    json_array_append_new(
        b->devices, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "selector", info->selector,
                              "kind", info->kind, "name", cli_json_text(info->name), "platform",
                              cli_json_text(info->platform), "driver", cli_json_text(info->driver),
                              "units", cli_json_count(info->threads), "memory_bytes",
                              cli_json_count(info->memory_bytes)));
}

json_t *bench_document(const bench *b) {
    json_t *document = json_pack("{s:O, s:O, s:O}", "machine", b->machine, "devices", b->devices,
                                 "results", b->results);
    const json_t *first = json_array_get(b->devices, 0);
    json_object_set(document, "device", json_object_get(first, "selector"));
    json_object_set(document, "device_name", json_object_get(first, "name"));
    if (b->start != NULL) {
        json_object_set(document, "start", b->start);
    }
    return document;
}

void bench_print_machine(const bench *b) {
    char caches[3][CLI_BYTES_TEXT];
    static const char *const keys[] = {"l1d_bytes", "l2_bytes", "l3_bytes"};
    const json_t *machine = b->machine;
    for (int i = 0; i < 3; i++) {
        cli_bytes_text((uint64_t)json_integer_value(json_object_get(machine, keys[i])), caches[i]);
    }
    printf("lathe %s, %s, %s; %s\n", json_string_value(json_object_get(machine, "version")),
           json_string_value(json_object_get(machine, "compiler")),
           json_string_value(json_object_get(machine, "build")),
           json_string_value(json_object_get(machine, "date")));
    printf("cpu: %s, %d processors, %s; L1d %s, L2 %s, L3 %s\n",
           json_string_value(json_object_get(machine, "cpu")),
           (int)json_integer_value(json_object_get(machine, "processors")),
           json_string_value(json_object_get(machine, "best_isa")), caches[0], caches[1],
           caches[2]);
}

void bench_print_device(const bench *b) {
    if (bench_has_table(b) && strcmp(b->device.selector, "cpu") != 0) {
        printf("%s: %s, driver %s\n", b->device.selector, b->device.name, b->device.driver);
    }
}

/* ---- CSV, as RFC 4180 has it */

static void print_text(const char *text) {
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, stdout);
        return;
    }
    putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"') {
            putchar('"');
        }
        putchar(*text);
    }
    putchar('"');
}

static void print_value(const json_t *value) {
    if (json_is_string(value)) {
        print_text(json_string_value(value));
    } else if (json_is_integer(value)) {
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        printf("%.9g", json_real_value(value));
    }
}

static const json_t *device_named(const json_t *document, const char *selector) {
    const json_t *devices = json_object_get(document, "devices");
    size_t i = 0;
    const json_t *device = NULL;
    json_array_foreach(devices, i, device) {
        const char *name = json_string_value(json_object_get(device, "selector"));
        if (name != NULL && selector != NULL && strcmp(name, selector) == 0) {
            return device;
        }
    }
    return NULL;
}

/* What a line of CSV has of its row, and of the machine. */
static const char *const of_row[] = {
    "name",
    "mode",
    "what",
    "against",
    "device",
    "isa",
    "threads",
    "elements",
    "bytes",
    "gbps",
    "seconds",
    "seconds_q1",
    "seconds_q3",
    "copy",
    "copy_gbps",
    "ratio",
    "ratio_q1",
    "ratio_q3",
    "limit",
    "best_copy",
    "best_copy_gbps",
    "read_gbps",
    "write_gbps",
    "best_peer",
    "best_peer_ratio",
};
static const char *const of_machine[] = {"version", "date",      "compiler", "build",
                                         "cpu",     "l1d_bytes", "l2_bytes", "l3_bytes"};
enum {
    N_ROW = sizeof(of_row) / sizeof(of_row[0]),
    N_MACHINE = sizeof(of_machine) / sizeof(of_machine[0]),
};

static void print_names(const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        printf("%s,", names[i]);
    }
}

static void print_fields(const json_t *object, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++) {
        print_value(json_object_get(object, names[i]));
        putchar(',');
    }
}

int bench_print_csv(const json_t *document) {
    const json_t *machine = json_object_get(document, "machine");
    size_t index = 0;
    const json_t *row = NULL;
    print_names(of_row, N_ROW);
    print_names(of_machine, N_MACHINE);
    puts("device_name,driver");
    json_array_foreach(json_object_get(document, "results"), index, row) {
        const json_t *device =
            device_named(document, json_string_value(json_object_get(row, "device")));
        print_fields(row, of_row, N_ROW);
        print_fields(machine, of_machine, N_MACHINE);
        print_value(json_object_get(device, "name"));
        putchar(',');
        print_value(json_object_get(device, "driver"));
        putchar('\n');
    }
    return CLI_OK;
}
