/* SPDX-License-Identifier: Apache-2.0 */
/* Whether one tensor can receive what converting another gives. */
#include "engine/check_result.h"

#include "core/error.h"
#include "engine/device/device_tensor.h"
#include <string.h>

/* Bytes of a device's memory object, or of the host's address space. */
typedef struct region {
    const void *memory; /* NULL: the host's */
    uint64_t first;
    uint64_t n_bytes;
} region;

enum { N_REGIONS = 2 }; /* data and scales */

static void regions_of(const lathe_tensor *tensor, region regions[N_REGIONS]) {
    const lt_device_memory *memory = tensor->on_device;
    uint64_t scale_bytes = tensor->layout.n_scales * sizeof(float);
    if (tensor->memory == LATHE_MEMORY_DEVICE) {
        regions[0] = (region){memory->data.device, memory->data_offset, tensor->layout.n_bytes};
        regions[1] =
            (region){memory->scales.device, memory->scale_offset * sizeof(float), scale_bytes};
    } else {
        regions[0] = (region){NULL, (uintptr_t)tensor->data, tensor->layout.n_bytes};
        regions[1] = (region){NULL, (uintptr_t)tensor->scales, scale_bytes};
    }
}

static bool share_memory(const lathe_tensor *source, const lathe_tensor *result) {
    region theirs[N_REGIONS];
    region ours[N_REGIONS];
    regions_of(source, theirs);
    regions_of(result, ours);
    for (int i = 0; i < N_REGIONS * N_REGIONS; i++) {
        const region *a = &theirs[i / N_REGIONS];
        const region *b = &ours[i % N_REGIONS];
        if (a->n_bytes > 0 && b->n_bytes > 0 && a->memory == b->memory &&
            a->first < b->first + b->n_bytes && b->first < a->first + a->n_bytes) {
            return true;
        }
    }
    return false;
}

lathe_status lt_check_result(const lathe_tensor *source, const lathe_target *target,
                             const lathe_tensor *result) {
    lathe_tensor_desc desc;
    lt_layout layout;
    lathe_status status = lathe_target_desc(target, source->n_dims, source->shape, &desc);
    if (status == LATHE_OK) {
        status = lt_layout_of(&desc, &layout);
    }
    return status == LATHE_OK ? lt_check_result_is(source, &desc, &layout, result) : status;
}

lathe_status lt_check_result_is(const lathe_tensor *source, const lathe_tensor_desc *desc,
                                const lt_layout *layout, const lathe_tensor *result) {
    bool same_shape =
        source->n_dims == result->n_dims &&
        memcmp(source->shape, result->shape, source->n_dims * sizeof source->shape[0]) == 0;
    if (!same_shape || !lt_tensor_is(result, desc, layout)) {
        return lt_fail(LATHE_INCOMPATIBLE_TYPES,
                       "the result's shape, dtype or granularity is not that of the target");
    }
    if (result->read_only) {
        return lt_fail(LATHE_READ_ONLY, "the result is read-only");
    }
    if (share_memory(source, result)) {
        return lt_fail(LATHE_INVALID_ARGUMENT, "the source and the result share memory");
    }
    lt_tensor_touch(result); /* it is about to be written to */
    return LATHE_OK;
}
