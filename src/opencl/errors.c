/* SPDX-License-Identifier: Apache-2.0 */
/* OpenCL's error codes: their names, and the statuses that they become. */
#include "core/error.h"
#include "opencl/device.h"
#include <string.h>

#define ERROR_NAME(code) [-(code)] = #code

static const char *const error_names[] = {
    ERROR_NAME(CL_SUCCESS),
    ERROR_NAME(CL_DEVICE_NOT_FOUND),
    ERROR_NAME(CL_DEVICE_NOT_AVAILABLE),
    ERROR_NAME(CL_COMPILER_NOT_AVAILABLE),
    ERROR_NAME(CL_MEM_OBJECT_ALLOCATION_FAILURE),
    ERROR_NAME(CL_OUT_OF_RESOURCES),
    ERROR_NAME(CL_OUT_OF_HOST_MEMORY),
    ERROR_NAME(CL_PROFILING_INFO_NOT_AVAILABLE),
    ERROR_NAME(CL_MEM_COPY_OVERLAP),
    ERROR_NAME(CL_IMAGE_FORMAT_MISMATCH),
    ERROR_NAME(CL_IMAGE_FORMAT_NOT_SUPPORTED),
    ERROR_NAME(CL_BUILD_PROGRAM_FAILURE),
    ERROR_NAME(CL_MAP_FAILURE),
    ERROR_NAME(CL_MISALIGNED_SUB_BUFFER_OFFSET),
    ERROR_NAME(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
    ERROR_NAME(CL_COMPILE_PROGRAM_FAILURE),
    ERROR_NAME(CL_LINKER_NOT_AVAILABLE),
    ERROR_NAME(CL_LINK_PROGRAM_FAILURE),
    ERROR_NAME(CL_DEVICE_PARTITION_FAILED),
    ERROR_NAME(CL_KERNEL_ARG_INFO_NOT_AVAILABLE),
    ERROR_NAME(CL_INVALID_VALUE),
    ERROR_NAME(CL_INVALID_DEVICE_TYPE),
    ERROR_NAME(CL_INVALID_PLATFORM),
    ERROR_NAME(CL_INVALID_DEVICE),
    ERROR_NAME(CL_INVALID_CONTEXT),
    ERROR_NAME(CL_INVALID_QUEUE_PROPERTIES),
    ERROR_NAME(CL_INVALID_COMMAND_QUEUE),
    ERROR_NAME(CL_INVALID_HOST_PTR),
    ERROR_NAME(CL_INVALID_MEM_OBJECT),
    ERROR_NAME(CL_INVALID_IMAGE_FORMAT_DESCRIPTOR),
    ERROR_NAME(CL_INVALID_IMAGE_SIZE),
    ERROR_NAME(CL_INVALID_SAMPLER),
    ERROR_NAME(CL_INVALID_BINARY),
    ERROR_NAME(CL_INVALID_BUILD_OPTIONS),
    ERROR_NAME(CL_INVALID_PROGRAM),
    ERROR_NAME(CL_INVALID_PROGRAM_EXECUTABLE),
    ERROR_NAME(CL_INVALID_KERNEL_NAME),
    ERROR_NAME(CL_INVALID_KERNEL_DEFINITION),
    ERROR_NAME(CL_INVALID_KERNEL),
    ERROR_NAME(CL_INVALID_ARG_INDEX),
    ERROR_NAME(CL_INVALID_ARG_VALUE),
    ERROR_NAME(CL_INVALID_ARG_SIZE),
    ERROR_NAME(CL_INVALID_KERNEL_ARGS),
    ERROR_NAME(CL_INVALID_WORK_DIMENSION),
    ERROR_NAME(CL_INVALID_WORK_GROUP_SIZE),
    ERROR_NAME(CL_INVALID_WORK_ITEM_SIZE),
    ERROR_NAME(CL_INVALID_GLOBAL_OFFSET),
    ERROR_NAME(CL_INVALID_EVENT_WAIT_LIST),
    ERROR_NAME(CL_INVALID_EVENT),
    ERROR_NAME(CL_INVALID_OPERATION),
    ERROR_NAME(CL_INVALID_GL_OBJECT),
    ERROR_NAME(CL_INVALID_BUFFER_SIZE),
    ERROR_NAME(CL_INVALID_MIP_LEVEL),
    ERROR_NAME(CL_INVALID_GLOBAL_WORK_SIZE),
    ERROR_NAME(CL_INVALID_PROPERTY),
    ERROR_NAME(CL_INVALID_IMAGE_DESCRIPTOR),
    ERROR_NAME(CL_INVALID_COMPILER_OPTIONS),
    ERROR_NAME(CL_INVALID_LINKER_OPTIONS),
    ERROR_NAME(CL_INVALID_DEVICE_PARTITION_COUNT),
};

enum { ERROR_COUNT = sizeof error_names / sizeof error_names[0] };

static const char *error_name(cl_int error) {
    const char *name = NULL;
    if (error <= 0 && error > -(cl_int)ERROR_COUNT) {
        name = error_names[-error];
    }
    return name == NULL ? "error" : name;
}

/* CL_OUT_OF_RESOURCES is also what a kernel that went wrong gives; from the functions that make
 * memory it means that there is none. */
static bool means_memory(const char *function, cl_int error) {
    if (error == CL_OUT_OF_RESOURCES) {
        return strcmp(function, "clCreateBuffer") == 0 ||
               strcmp(function, "clCreateSubBuffer") == 0 ||
               strcmp(function, "clEnqueueMapBuffer") == 0;
    }
    return error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_HOST_MEMORY;
}

lathe_status lt_cl_fail(const lt_cl_device *device, const char *function, cl_int error) {
    lathe_status status = means_memory(function, error) ? LATHE_INSUFFICIENT_MEMORY : LATHE_DEVICE;
    if (device == NULL || device->info.name[0] == '\0') {
        return lt_fail(status, "OpenCL: %s: %s (%d)", function, error_name(error), (int)error);
    }
    return lt_fail(status, "%s: %s: %s (%d)", device->info.name, function, error_name(error),
                   (int)error);
}
