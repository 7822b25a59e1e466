/* SPDX-License-Identifier: Apache-2.0 */
/* The calibration on disk: lines by machine, as JSON. A file that is missing, broken, of another
 * version or another machine's gives no lines, and what is measured then takes its place. */
#include "core/checked.h"
#include "core/error.h"
#include "engine/plan/planner.h"
#include "files/atomic_file.h"
#include "files/file_io.h"
#include <jansson.h>
#include <lathe/version.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_FORMAT = 1, MOST_FILE_BYTES = 1 << 20, MOST_MACHINES = 16 };

static const char *const place_names[LT_PLACES] = {"caller", "threads", "device", "through_device"};

static const char *const kind_names[LT_WORK_KINDS] = {
    "plain",       "rows",    "groups", "two_pass",     "sampled",
    "sampled_own", "precise", "strict", "precise_rows", "precise_groups"};

static bool find_name(const char *const *names, int n, const char *name, int *index) {
    for (int i = 0; name != NULL && i < n; i++) {
        if (strcmp(names[i], name) == 0) {
            *index = i;
            return true;
        }
    }
    return false;
}

/* ---- the machine */

/* JSON takes UTF-8 only, which drivers need not speak. */
static void put_ascii(char *text) {
    for (; *text != '\0'; text++) {
        *text = (unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f ? '?' : *text;
    }
}

/* What lines depend on: the processor and its threads, and for a device's the device and driver. */
static json_t *machine_of(const lathe_engine *engine) {
    lathe_device_info cpu = {.struct_size = sizeof cpu};
    lathe_device_info device = {.struct_size = sizeof device};
    char driver[sizeof device.name + sizeof device.platform + sizeof device.driver + 8] = "";
    engine->cpu->ops->describe(engine->cpu, &cpu);
    if (engine->device != NULL) {
        engine->device->ops->describe(engine->device, &device);
        (void)snprintf(driver, sizeof driver, "%s, %s, %s", device.name, device.platform,
                       device.driver);
    }
    put_ascii(cpu.name);
    put_ascii(driver);
    return json_pack("{s:s, s:s, s:i, s:I, s:s}", "cpu", cpu.name, "isa", lathe_isa_name(cpu.isa),
                     "threads", (int)cpu.threads, "l3_bytes",
                     (json_int_t)lt_min(cpu.l3_bytes, INT64_MAX), "device", driver);
}

/* The entry of that machine; NULL if there is none. A borrowed reference. */
static json_t *find_machine(const json_t *root, const json_t *machine, size_t *index) {
    const json_t *machines = json_object_get(root, "machines");
    for (size_t i = 0; i < json_array_size(machines); i++) {
        json_t *entry = json_array_get(machines, i);
        if (json_equal(json_object_get(entry, "machine"), machine)) {
            *index = i;
            return entry;
        }
    }
    return NULL;
}

/* ---- the file */

/* A new reference; NULL where the file does not hold what this version writes. */
static json_t *load(const lt_planner *planner) {
    lathe_pool *pool = planner->engine->pool;
    int fd = -1;
    uint64_t n_bytes = 0;
    void *text = NULL;
    json_t *root = NULL;
    if (lt_file_open(planner->calibration_file, &fd, &n_bytes) != LATHE_OK) {
        return NULL;
    }
    if (n_bytes <= MOST_FILE_BYTES && lathe_pool_alloc(pool, (size_t)n_bytes, &text) == LATHE_OK &&
        lt_file_read(fd, 0, text, (size_t)n_bytes) == LATHE_OK) {
        root = json_loadb(text, (size_t)n_bytes, JSON_REJECT_DUPLICATES, NULL);
    }
    (void)close(fd);
    lt_pool_delete(pool, text);
    const char *version = json_string_value(json_object_get(root, "version"));
    bool is_ours = json_integer_value(json_object_get(root, "lathe_calibration")) == FILE_FORMAT &&
                   version != NULL && strcmp(version, lathe_version()) == 0;
    if (!is_ours) {
        json_decref(root);
        return NULL;
    }
    return root;
}

/* mkdir -p of the folder that the path lies in. Whether it worked shows when the file is made. */
static void make_folder(const char *path) {
    char folder[4096];
    size_t length = strlen(path);
    if (length >= sizeof folder) {
        return;
    }
    memcpy(folder, path, length + 1);
    for (size_t i = 1; i < length; i++) {
        if (folder[i] == '/') {
            folder[i] = '\0';
            (void)mkdir(folder, 0700);
            folder[i] = '/';
        }
    }
}

static void store(const lt_planner *planner, const json_t *root) {
    lt_atomic_file *file = NULL;
    char *text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    if (text == NULL) {
        return;
    }
    make_folder(planner->calibration_file);
    lathe_status status =
        lt_atomic_create(planner->engine->pool, planner->calibration_file, true, &file);
    if (status == LATHE_OK) {
        status = lt_atomic_write(file, 0, text, strlen(text));
    }
    if (status == LATHE_OK) {
        status = lt_atomic_sync(file);
    }
    if (status == LATHE_OK) {
        status = lt_atomic_publish(file);
    }
    if (status != LATHE_OK) {
        lt_engine_notice(planner->engine, LATHE_NOTICE_INFO, "the calibration was not kept: %s",
                         lt_error()->message);
    }
    lt_atomic_close(file);
    free(text);
}

/* ---- lines */

static bool is_time(double value, double most) {
    return isfinite(value) && value >= 0 && value < most;
}

static void read_line(lt_planner *planner, const json_t *entry, bool of_device) {
    const char *place_name = json_string_value(json_object_get(entry, "place"));
    const char *kind_name = json_string_value(json_object_get(entry, "kind"));
    const char *from = json_string_value(json_object_get(entry, "from"));
    const char *to = json_string_value(json_object_get(entry, "to"));
    double start = json_number_value(json_object_get(entry, "start_ns"));
    double rate = json_number_value(json_object_get(entry, "ns_per_byte"));
    double beyond = json_number_value(json_object_get(entry, "ns_per_byte_beyond"));
    int place = 0;
    int kind = 0;
    if (!find_name(place_names, LT_PLACES, place_name, &place) ||
        !find_name(kind_names, LT_WORK_KINDS, kind_name, &kind) || from == NULL || to == NULL) {
        return;
    }
    bool is_on_device = place == LT_ON_DEVICE || place == LT_THROUGH_DEVICE;
    bool is_nothing = from[0] == '\0' && to[0] == '\0'; /* transfers, or no conversion at all */
    const lt_case c = {.from = lathe_dtype_from_name(from),
                       .to = lathe_dtype_from_name(to),
                       .kind = (lt_work_kind)kind};
    bool has_dtypes = c.from != 0 && c.to != 0;
    if (is_on_device == of_device && (has_dtypes || is_nothing) && is_time(start, 1e10) &&
        is_time(rate, LT_IMPOSSIBLE_NS_PER_BYTE) && rate > 0 &&
        is_time(beyond, LT_IMPOSSIBLE_NS_PER_BYTE)) {
        const lt_line line = {(float)start, (float)rate, (float)beyond};
        (void)lt_costs_set_line(planner->costs, (lt_place)place, &c, &line);
    }
}

void lt_calibration_read(lt_planner *planner, const lathe_engine *engine) {
    size_t index = 0;
    if (planner->calibration_file == NULL) {
        return;
    }
    json_t *root = load(planner);
    json_t *machine = machine_of(engine);
    const json_t *lines = json_object_get(find_machine(root, machine, &index), "lines");
    for (size_t i = 0; i < json_array_size(lines); i++) {
        read_line(planner, json_array_get(lines, i), engine->device != NULL);
    }
    json_decref(machine);
    json_decref(root);
}

static void add_line(json_t *lines, const lt_costs *costs, lt_place place, const lt_case *c) {
    lt_line line;
    if (lt_costs_line(costs, place, c, &line) && line.ns_per_byte < LT_IMPOSSIBLE_NS_PER_BYTE) {
        json_array_append_new(
            lines,
            json_pack("{s:s, s:s, s:s, s:s, s:f, s:f, s:f}", "place", place_names[place], "kind",
                      kind_names[c->kind], "from", c->from == 0 ? "" : lathe_dtype_name(c->from),
                      "to", c->to == 0 ? "" : lathe_dtype_name(c->to), "start_ns",
                      (double)line.start_ns, "ns_per_byte", (double)line.ns_per_byte,
                      "ns_per_byte_beyond", (double)line.ns_per_byte_beyond));
    }
}

/* The lines of the CPU, or of the device. */
static json_t *lines_of(const lt_costs *costs, bool of_device) {
    enum { N_DTYPES = LATHE_DTYPE_LAST + 1 };
    json_t *lines = json_array();
    const int first = of_device ? LT_ON_DEVICE : LT_ON_CALLER;
    const int last = of_device ? LT_THROUGH_DEVICE : LT_ON_THREADS;
    for (int place = first; place <= last; place++) {
        for (int i = 0; i < LT_WORK_KINDS * N_DTYPES * N_DTYPES; i++) {
            const lt_case c = {.from = (lathe_dtype)(i / N_DTYPES % N_DTYPES),
                               .to = (lathe_dtype)(i % N_DTYPES),
                               .kind = (lt_work_kind)(i / (N_DTYPES * N_DTYPES))};
            add_line(lines, costs, (lt_place)place, &c);
        }
    }
    return lines;
}

/* Puts this machine's lines in the place of its older ones. */
static void put_machine(json_t *root, const lt_planner *planner, const lathe_engine *engine) {
    size_t index = 0;
    json_t *machines = json_object_get(root, "machines");
    json_t *machine = machine_of(engine);
    if (find_machine(root, machine, &index) != NULL) {
        json_array_remove(machines, index);
    }
    while (json_array_size(machines) >= MOST_MACHINES) {
        json_array_remove(machines, 0);
    }
    json_array_append_new(machines, json_pack("{s:o, s:o}", "machine", machine, "lines",
                                              lines_of(planner->costs, engine->device != NULL)));
}

void lt_calibration_write(lt_planner *planner) {
    if (planner->calibration_file == NULL || !planner->is_dirty) {
        return;
    }
    const lathe_error before = *lt_error();
    json_t *root = load(planner);
    if (root == NULL || !json_is_array(json_object_get(root, "machines"))) {
        json_decref(root);
        root = json_pack("{s:i, s:s, s:[]}", "lathe_calibration", FILE_FORMAT, "version",
                         lathe_version(), "machines");
    }
    const lathe_engine plain = {.pool = planner->engine->pool, .cpu = planner->engine->cpu};
    const lathe_engine *on_device =
        planner->engine->device != NULL ? planner->engine : planner->on_device;
    put_machine(root, planner, &plain);
    if (on_device != NULL) {
        put_machine(root, planner, on_device);
    }
    store(planner, root);
    json_decref(root);
    planner->is_dirty = false;
    *lt_error() = before;
}
