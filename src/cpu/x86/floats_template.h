/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels between F32, F16 and BF16.
 *
 * Parameters: the including file has included one of simd_*.h. */
#include "cpu/x86/convert_template.h"
#include "cpu/x86/values_template.h"

#define FLOATS_STEP(from, to, pair_bytes)                                                          \
    LT_INLINE void from##_to_##to##_step(const uint8_t *src, uint8_t *dst,                         \
                                         const lt_kernel_params *params, lt_store store) {         \
        vf x[4];                                                                                   \
        (void)params;                                                                              \
        load_##from(src, x);                                                                       \
        store_##to##_pair(dst, x[0], x[1], store);                                                 \
        store_##to##_pair(dst + pair_bytes, x[2], x[3], store);                                    \
    }

#define FLOATS_KERNEL(from, from_bytes, to, to_bytes, pair_bytes)                                  \
    FLOATS_STEP(from, to, pair_bytes)                                                              \
    LT_CONVERT_KERNEL(from##_to_##to, ((shape){.step = from##_to_##to##_step,                      \
                                               .n_elems = STEP_ELEMS,                              \
                                               .src_bytes = from_bytes * STEP_ELEMS,               \
                                               .dst_bytes = to_bytes * STEP_ELEMS}))

FLOATS_KERNEL(f32, 4, f16, 2, F16_PAIR_BYTES)
FLOATS_KERNEL(f32, 4, bf16, 2, BF16_PAIR_BYTES)
FLOATS_KERNEL(f16, 2, f32, 4, F32_PAIR_BYTES)
FLOATS_KERNEL(bf16, 2, f32, 4, F32_PAIR_BYTES)
FLOATS_KERNEL(f16, 2, bf16, 2, BF16_PAIR_BYTES)
FLOATS_KERNEL(bf16, 2, f16, 2, F16_PAIR_BYTES)

/* Copying: elements are bytes. */
FLOATS_STEP(f32, f32, F32_PAIR_BYTES)
LT_CONVERT_KERNEL(copy, ((shape){.step = f32_to_f32_step,
                                 .n_elems = sizeof(float) * STEP_ELEMS,
                                 .src_bytes = sizeof(float) * STEP_ELEMS,
                                 .dst_bytes = sizeof(float) * STEP_ELEMS}))
