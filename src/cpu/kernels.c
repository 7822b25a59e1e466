/* SPDX-License-Identifier: Apache-2.0 */
/* Fills the table of kernels level by level. */
#include "cpu/kernels.h"
#include <string.h>

void lt_kernels_init(lt_kernels *kernels, lathe_isa isa, const lt_cpu_features *features) {
    memset(kernels, 0, sizeof *kernels);
    if (isa == LATHE_ISA_AUTO)
        isa = lt_cpu_best_isa(features);

    lt_kernels_init_scalar(kernels);
#if defined(__x86_64__)
    if (isa < LATHE_ISA_AVX2 || !features->avx2)
        return;
    lt_kernels_init_avx2(kernels, features);
    if (isa < LATHE_ISA_AVX512 || !features->avx512)
        return;
    lt_kernels_init_avx512(kernels, features);
#elif defined(__AARCH64EL__)
    if (isa == LATHE_ISA_NEON && features->neon)
        lt_kernels_init_neon(kernels);
#endif
}
