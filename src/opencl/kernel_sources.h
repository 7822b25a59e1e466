/* SPDX-License-Identifier: Apache-2.0 */
/* The OpenCL C sources that the library carries: a file that cmake/embed_kernels.cmake writes. */
#ifndef LT_OPENCL_KERNEL_SOURCES_H
#define LT_OPENCL_KERNEL_SOURCES_H

#include <stddef.h>

/* In order, they make the text of every program. */
extern const char *const lt_kernel_sources[];
extern const size_t lt_n_kernel_sources;

#endif
