/* SPDX-License-Identifier: Apache-2.0 */
/* OpenCL's own header, for the version that the backend needs. */
#ifndef LT_OPENCL_CL_H
#define LT_OPENCL_CL_H

#ifndef CL_TARGET_OPENCL_VERSION
#define CL_TARGET_OPENCL_VERSION 120
#endif
#include <CL/cl.h>

#endif
