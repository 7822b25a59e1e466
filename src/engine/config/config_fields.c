/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a config's fields, and of a target's. */
#include "engine/config/config.h"
#include "metrics/metrics.h"
#include <stdio.h>
#include <string.h>

/* JSON readers know integers of 63 bits. */
#define MOST_BYTES ((uint64_t)INT64_MAX)

static const char *const isa_names[] = {"auto", "scalar", "avx2", "avx512", "neon"};
static const char *const dtype_names[] = {NULL, "f32", "f16", "bf16",     "i8",
                                          "i4", "i2",  "i1",  "bitnet158"};
static const char *const granularity_names[] = {"tensor", "row", "group"};
static const char *const quality_names[] = {"balanced", "fast", "precise"};
static const char *const nonfinite_names[] = {"error", "saturate"};

#define AT(field) offsetof(lathe_config, field)
#define NAMES(list) .most = sizeof(list) / sizeof(list)[0] - 1, .names = (list)

const lt_field lt_config_fields[] = {
    {NULL, "n_threads", LT_FIELD_U32, AT(n_threads), 0, LT_MAX_THREADS, NULL},
    {NULL, "isa", LT_FIELD_NAMED, AT(isa), 0, NAMES(isa_names)},
    {NULL, "memory_budget_bytes", LT_FIELD_U64, AT(memory_budget_bytes), 0, MOST_BYTES, NULL},
    {NULL, "device", LT_FIELD_TEXT, AT(device), 0, 0, NULL},
    {NULL, "require_device", LT_FIELD_FLAG, AT(require_device), 0, 1, NULL},
    {NULL, "program_cache_dir", LT_FIELD_TEXT, AT(program_cache_dir), 0, 0, NULL},
    {"streaming", "chunk_bytes", LT_FIELD_U64, AT(streaming.chunk_bytes), 64 << 10, MOST_BYTES,
     NULL},
    {"streaming", "parallel_chunks", LT_FIELD_U32, AT(streaming.parallel_chunks), 0, LT_MAX_THREADS,
     NULL},
    {"streaming", "prefetch_chunks", LT_FIELD_U32, AT(streaming.prefetch_chunks), 0, LT_MAX_THREADS,
     NULL},
    {"streaming", "buffer_bytes", LT_FIELD_U64, AT(streaming.buffer_bytes), 1 << 20, MOST_BYTES,
     NULL},
    {"batch", "max_tensors", LT_FIELD_U64, AT(batch.max_tensors), 0, MOST_BYTES, NULL},
    {"batch", "max_bytes", LT_FIELD_U64, AT(batch.max_bytes), 0, MOST_BYTES, NULL},
    {"batch", "group", LT_FIELD_TOGGLE, AT(batch.group), 0, LATHE_OFF, NULL},
    {"batch", "sort_by_size", LT_FIELD_TOGGLE, AT(batch.sort_by_size), 0, LATHE_OFF, NULL},
    {"batch", "parallel", LT_FIELD_TOGGLE, AT(batch.parallel), 0, LATHE_OFF, NULL},
    {NULL, "pipeline_cache_bytes", LT_FIELD_U64, AT(pipeline_cache_bytes), 0, MOST_BYTES, NULL},
    {NULL, "calibration_file", LT_FIELD_TEXT, AT(calibration_file), 0, 0, NULL},
    {NULL, "recent_conversions", LT_FIELD_U32, AT(recent_conversions), 0, LT_RECENT_MOST, NULL},
    {NULL, "huge_pages", LT_FIELD_TOGGLE, AT(huge_pages), 0, LATHE_OFF, NULL},
    {NULL, "pinned_staging", LT_FIELD_TOGGLE, AT(pinned_staging), 0, LATHE_OFF, NULL},
};

const size_t lt_n_config_fields = sizeof lt_config_fields / sizeof lt_config_fields[0];

#undef AT
#define AT(field) offsetof(lathe_target, field)

const lt_field lt_target_fields[] = {
    {NULL, "dtype", LT_FIELD_NAMED, AT(dtype), 0, NAMES(dtype_names)},
    {NULL, "granularity", LT_FIELD_NAMED, AT(granularity), 0, NAMES(granularity_names)},
    {NULL, "group_size", LT_FIELD_U64, AT(group_size), 32, MOST_BYTES, NULL},
    {NULL, "row_dims", LT_FIELD_U32, AT(row_dims), 0, LATHE_MAX_DIMS, NULL},
    {NULL, "quality", LT_FIELD_NAMED, AT(quality), 0, NAMES(quality_names)},
    {NULL, "nonfinite", LT_FIELD_NAMED, AT(nonfinite), 0, NAMES(nonfinite_names)},
    {NULL, "strict", LT_FIELD_FLAG, AT(strict), 0, 1, NULL},
};

const size_t lt_n_target_fields = sizeof lt_target_fields / sizeof lt_target_fields[0];

uint64_t lt_field_get(const lt_field *field, const void *object) {
    const char *place = (const char *)object + field->offset;
    uint64_t wide;
    uint32_t narrow; /* enums are as wide */
    if (field->kind == LT_FIELD_U64) {
        memcpy(&wide, place, sizeof wide);
        return wide;
    }
    memcpy(&narrow, place, sizeof narrow);
    return narrow;
}

void lt_field_set(const lt_field *field, void *object, uint64_t value) {
    char *place = (char *)object + field->offset;
    const uint32_t narrow = (uint32_t)value;
    if (field->kind == LT_FIELD_U64) {
        memcpy(place, &value, sizeof value);
    } else {
        memcpy(place, &narrow, sizeof narrow);
    }
}

const char *lt_field_path(const lt_field *field, char path[LT_FIELD_PATH]) {
    (void)snprintf(path, LT_FIELD_PATH, "%s%s%s", field->section != NULL ? field->section : "",
                   field->section != NULL ? "." : "", field->name);
    return path;
}
