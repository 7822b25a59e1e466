/* SPDX-License-Identifier: Apache-2.0 */
/* Giving OpenCL objects back. A call that fails is tried again: what a driver's passing trouble
 * keeps alive would be lost for good. NULL is legal. */
#ifndef LT_OPENCL_RELEASE_H
#define LT_OPENCL_RELEASE_H

#include "opencl/cl.h"
#include <stddef.h>

enum { LT_CL_TRIES = 4 };

#define LT_CL_RELEASER(name, type, call)                                                           \
    static inline void name(type object) {                                                         \
        if (object != NULL) {                                                                      \
            for (int i = 0; i < LT_CL_TRIES && call(object) != CL_SUCCESS; i++) {                  \
            }                                                                                      \
        }                                                                                          \
    }

LT_CL_RELEASER(lt_cl_release_mem, cl_mem, clReleaseMemObject)
LT_CL_RELEASER(lt_cl_release_event, cl_event, clReleaseEvent)
LT_CL_RELEASER(lt_cl_release_kernel, cl_kernel, clReleaseKernel)
LT_CL_RELEASER(lt_cl_release_queue, cl_command_queue, clReleaseCommandQueue)
LT_CL_RELEASER(lt_cl_release_program, cl_program, clReleaseProgram)
LT_CL_RELEASER(lt_cl_release_context, cl_context, clReleaseContext)
LT_CL_RELEASER(lt_cl_finish_queue, cl_command_queue, clFinish)

#undef LT_CL_RELEASER

#endif
