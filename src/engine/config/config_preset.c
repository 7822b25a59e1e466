/* SPDX-License-Identifier: Apache-2.0 */
/* Presets of configs and targets. */
#include "core/error.h"
#include "core/layout.h"
#include <lathe/config.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

static const char *const names[] = {
#define PRESET_NAME(name, number, text) [number] = text,
    LATHE_PRESET_LIST(PRESET_NAME)
#undef PRESET_NAME
};

enum { N_PRESETS = sizeof names / sizeof names[0] };

const char *lathe_preset_name(lathe_preset preset) {
    return (unsigned)preset < N_PRESETS ? names[preset] : "invalid";
}

bool lathe_preset_from_name(const char *name, lathe_preset *preset) {
    for (unsigned i = 0; name != NULL && i < N_PRESETS; i++) {
        if (strcmp(name, names[i]) == 0) {
            *preset = (lathe_preset)i;
            return true;
        }
    }
    return false;
}

/* Memory buys deeper queues of chunks for a device, and results that are not made twice. */
static const lathe_config high_performance = {
    .struct_size = sizeof high_performance,
    .streaming = {.buffer_bytes = 256 * MIB},
    .pipeline_cache_bytes = 256 * MIB,
};

/* Two chunks in the making, of a size that still keeps a kernel busy; one tensor of a batch at a
 * time; no pages that are only partly used, none that the system cannot move. */
static const lathe_config low_memory = {
    .struct_size = sizeof low_memory,
    .streaming = {.chunk_bytes = MIB / 4, .parallel_chunks = 2, .buffer_bytes = 2 * MIB},
    .batch = {.max_bytes = 16 * MIB, .parallel = LATHE_OFF},
    .recent_conversions = 8,
    .huge_pages = LATHE_OFF,
    .pinned_staging = LATHE_OFF,
};

lathe_status lathe_config_preset(lathe_preset preset, lathe_config *config) {
    if ((unsigned)preset >= N_PRESETS || config == NULL) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "config is NULL, or preset %d is none", (int)preset);
    }
    switch (preset) {
    case LATHE_PRESET_HIGH_PERFORMANCE:
        *config = high_performance;
        break;
    case LATHE_PRESET_LOW_MEMORY:
        *config = low_memory;
        break;
    case LATHE_PRESET_DEFAULT:
    case LATHE_PRESET_HIGH_PRECISION: /* a matter of the target alone */
        *config = (lathe_config){.struct_size = sizeof *config};
        break;
    }
    return LATHE_OK;
}

lathe_status lathe_target_preset(lathe_preset preset, lathe_dtype dtype, lathe_target *target) {
    if ((unsigned)preset >= N_PRESETS || target == NULL || !lathe_dtype_is_valid(dtype)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "target is NULL, or preset %d or dtype %d is none",
                       (int)preset, (int)dtype);
    }
    const bool is_quantized = lathe_dtype_is_quantized(dtype);
    *target = (lathe_target){.struct_size = sizeof *target, .dtype = dtype};
    if (preset == LATHE_PRESET_HIGH_PERFORMANCE && is_quantized) {
        target->quality = LATHE_FAST;
    }
    if (preset == LATHE_PRESET_HIGH_PRECISION && is_quantized) {
        target->quality = LATHE_PRECISE;
        target->granularity = LATHE_PER_GROUP;
        target->group_size = 128;
    }
    return LATHE_OK;
}
