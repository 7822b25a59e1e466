/* SPDX-License-Identifier: Apache-2.0 */
/* Reading memory.current and memory.max of a cgroup, and pressure stall information. */
#include "pool/pressure_files.h"

#include "core/error.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_INTERVAL_MS = 200, FILE_BYTES = 8192, LEVELS = LATHE_PRESSURE_CRITICAL + 1 };

/* The text of a small file; false if there is none. */
static bool read_text(const char *path, char text[FILE_BYTES]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    ssize_t n;
    do {
        n = read(fd, text, FILE_BYTES - 1);
    } while (n < 0 && errno == EINTR);
    (void)close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool read_in_folder(const char *folder, const char *name, char text[FILE_BYTES]) {
    char path[640];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof path && read_text(path, text);
}

/* The number behind "key" at the beginning of a line; 0 if there is none. */
static uint64_t number_after(const char *text, const char *key) {
    size_t length = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, key, length) == 0) {
            return strtoull(line + length, NULL, 10);
        }
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return 0;
}

/* The process's own cgroup: "0::/path" in /proc/self/cgroup. */
static void find_cgroup(char *folder, size_t room) {
    char text[FILE_BYTES];
    folder[0] = '\0';
    if (!read_text("/proc/self/cgroup", text)) {
        return;
    }
    const char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    if (line == NULL) {
        return;
    }
    line = strstr(line, "0::") + 3;
    int length = snprintf(folder, room, "/sys/fs/cgroup%.*s", (int)strcspn(line, "\n"), line);
    if (length < 0 || (size_t)length >= room) {
        folder[0] = '\0';
    }
}

static lathe_status copy_path(char *out, size_t room, const char *path, const char *field) {
    if (strlen(path) >= room) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "pool config %s: the path is too long", field);
    }
    memcpy(out, path, strlen(path) + 1);
    return LATHE_OK;
}

lathe_status lt_pressure_files_init(lt_pressure_files *files, const lathe_pool_config *config) {
    uint32_t ms = config->pressure_interval_ms;
    *files = (lt_pressure_files){0};
    files->interval_ns = (uint64_t)(ms != 0 ? ms : DEFAULT_INTERVAL_MS) * 1000000;
    lathe_status status = LATHE_OK;
    if (config->cgroup_dir != NULL) {
        status = copy_path(files->cgroup_dir, sizeof files->cgroup_dir, config->cgroup_dir,
                           "cgroup_dir");
    } else {
        find_cgroup(files->cgroup_dir, sizeof files->cgroup_dir);
    }
    const char *psi = config->psi_file != NULL ? config->psi_file : "/proc/pressure/memory";
    return status == LATHE_OK ? copy_path(files->psi_file, sizeof files->psi_file, psi, "psi_file")
                              : status;
}

/* The share of the cgroup's limit that is in use; 0 where there is no limit. The file cache is
 * given up before anything else is. */
static double cgroup_share(const lt_pressure_files *files) {
    char text[FILE_BYTES];
    if (files->cgroup_dir[0] == '\0' || !read_in_folder(files->cgroup_dir, "memory.max", text)) {
        return 0;
    }
    uint64_t limit = strtoull(text, NULL, 10); /* "max": 0 */
    if (limit == 0 || !read_in_folder(files->cgroup_dir, "memory.current", text)) {
        return 0;
    }
    uint64_t used = strtoull(text, NULL, 10);
    if (read_in_folder(files->cgroup_dir, "memory.stat", text)) {
        uint64_t cache = number_after(text, "inactive_file ") + number_after(text, "active_file ");
        used -= cache < used ? cache : used;
    }
    return (double)used / (double)limit;
}

/* Percent of the last ten seconds in which some, or all, tasks waited for memory. */
typedef struct stalls {
    double some;
    double full;
} stalls;

/* The number behind `key`, which the kernel writes with two decimals and a point whatever the
 * locale; 0 if there is none. */
static double percent_after(const char *text, const char *key) {
    const char *found = strstr(text, key);
    if (found == NULL) {
        return 0;
    }
    char *end = NULL;
    double value = (double)strtoul(found + strlen(key), &end, 10);
    if (*end == '.') {
        value += (double)strtoul(end + 1, NULL, 10) / 100;
    }
    return value;
}

static void add_stalls(const char *text, stalls *most) {
    double some = percent_after(text, "some avg10=");
    double full = percent_after(text, "full avg10=");
    most->some = some > most->some ? some : most->some;
    most->full = full > most->full ? full : most->full;
}

static stalls read_stalls(const lt_pressure_files *files) {
    char text[FILE_BYTES];
    stalls most = {0};
    if (read_text(files->psi_file, text)) {
        add_stalls(text, &most);
    }
    if (files->cgroup_dir[0] != '\0' &&
        read_in_folder(files->cgroup_dir, "memory.pressure", text)) {
        add_stalls(text, &most);
    }
    return most;
}

/* The highest level that is entered, or not left yet. */
static lathe_pressure level_after(lathe_pressure before, const double values[LEVELS],
                                  const double rise[LEVELS], const double fall[LEVELS]) {
    int level = LATHE_PRESSURE_CRITICAL;
    while (level > LATHE_PRESSURE_NONE && values[level] < rise[level] &&
           !(level <= (int)before && values[level] >= fall[level])) {
        level--;
    }
    return (lathe_pressure)level;
}

lathe_pressure lt_pressure_files_read(lt_pressure_files *files) {
    static const double share_rise[LEVELS] = {0, 0.70, 0.80, 0.90, 0.95};
    static const double share_fall[LEVELS] = {0, 0.65, 0.75, 0.85, 0.925};
    static const double stall_rise[LEVELS] = {0, 10, 25, 10, 25};
    static const double stall_fall[LEVELS] = {0, 5, 12.5, 5, 12.5};
    const double share = cgroup_share(files);
    const double shares[LEVELS] = {share, share, share, share, share};
    const stalls most = read_stalls(files);
    const double waits[LEVELS] = {0, most.some, most.some, most.full, most.full};
    files->of_cgroup = level_after(files->of_cgroup, shares, share_rise, share_fall);
    files->of_stalls = level_after(files->of_stalls, waits, stall_rise, stall_fall);
    return files->of_cgroup > files->of_stalls ? files->of_cgroup : files->of_stalls;
}
