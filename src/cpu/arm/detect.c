/* SPDX-License-Identifier: Apache-2.0 */
/* What this aarch64 processor can do, as the kernel tells it: user space may not read the registers
 * themselves. */
#include "cpu/arm/detect.h"
#include <asm/hwcap.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

/* The first line of a file below /sys/devices/system/cpu/cpu0, without its end. */
static bool read_line(const char *name, char line[64]) {
    char path[128];
    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/%s", name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    const bool is_read = fgets(line, 64, file) != NULL;
    (void)fclose(file);
    if (is_read)
        line[strcspn(line, "\n")] = '\0';
    return is_read;
}

static bool read_cache(int index, const char *name, char line[64]) {
    char path[64];
    (void)snprintf(path, sizeof path, "cache/index%d/%s", index, name);
    return read_line(path, line);
}

/* As in "1024K". */
static size_t size_of(const char *text) {
    char *end;
    const unsigned long long n = strtoull(text, &end, 10);
    const unsigned shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 0;
    return n > SIZE_MAX >> shift ? 0 : (size_t)n << shift;
}

static void detect_caches(lt_cpu_features *features) {
    char level[64];
    char type[64];
    char size[64];

    for (int i = 0; i < 16; i++) {
        if (!read_cache(i, "level", level) || !read_cache(i, "type", type) ||
            !read_cache(i, "size", size))
            return;
        if (strcmp(type, "Instruction") == 0)
            continue;
        if (strcmp(level, "1") == 0)
            features->l1d_bytes = size_of(size);
        else if (strcmp(level, "2") == 0)
            features->l2_bytes = size_of(size);
        else if (strcmp(level, "3") == 0)
            features->l3_bytes = size_of(size);
    }
}

void lt_cpu_features_detect_arm(lt_cpu_features *features) {
    char id[64];
    features->neon = (getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0;
    detect_caches(features);
    if (read_line("regs/identification/midr_el1", id))
        (void)snprintf(features->name, sizeof features->name, "aarch64 %.32s", id);
    else
        memcpy(features->name, "aarch64", sizeof "aarch64");
}
