/* SPDX-License-Identifier: Apache-2.0 */
/* The list of devices: the CPU, then what OpenCL has. */
#include <lathe/device.h>

#include "core/error.h"
#include "cpu/features.h"
#if LT_HAVE_OPENCL
#include "opencl/device.h"
#endif

static size_t count_others(void) {
#if LT_HAVE_OPENCL
    return lt_cl_device_count();
#else
    return 0;
#endif
}

static bool describe_other(size_t index, lathe_device_info *info) {
#if LT_HAVE_OPENCL
    lt_cl_found found;
    if (lt_cl_device_find(index, &found) != LATHE_OK) {
        return false;
    }
    info->self_check = LATHE_CHECK_NONE;
    lt_cl_device_describe(&found, info);
    return true;
#else
    (void)index;
    (void)info;
    return false;
#endif
}

size_t lathe_device_count(void) {
    return 1 + count_others();
}

lathe_status lathe_device_at(size_t index, lathe_device_info *info) {
    if (info == NULL || info->struct_size != sizeof *info) {
        return lt_fail(LATHE_INVALID_ARGUMENT,
                       "info is NULL, or struct_size is not sizeof(lathe_device_info)");
    }
    if (index > 0) {
        return describe_other(index - 1, info)
                   ? LATHE_OK
                   : lt_fail(LATHE_NOT_FOUND, "there is no device %zu", index);
    }
    lt_cpu_features features;
    lt_cpu_features_detect(&features);
    lt_cpu_describe(&features, info);
    return LATHE_OK;
}
