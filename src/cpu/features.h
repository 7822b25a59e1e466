/* SPDX-License-Identifier: Apache-2.0 */
/* What this CPU can do, as far as the kernels care. */
#ifndef LT_CPU_FEATURES_H
#define LT_CPU_FEATURES_H

#include <lathe/device.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct lt_cpu_features {
    bool avx2;        /* AVX2, F16C, FMA and BMI2, with the OS saving the registers */
    bool avx512;      /* AVX-512 F, BW, DQ, VL on top of avx2, likewise */
    bool avx512_vbmi; /* VBMI, VBMI2 and VNNI on top of avx512 */
    bool neon;        /* aarch64's NEON, little-endian */
    /* Out of cache, non-temporal stores beat prefetching for write: so on AMD Zen 4 and on Intel's
     * Sapphire Rapids; on Cascade Lake it is the other way round. VBMI tells Intel's newer cores.
     */
    bool stream_stores;
    /* Where a scope is read twice, its scale first, it pays to prefetch beyond it: so on Sapphire
     * Rapids. Zen 4 reads ahead by itself, and was slower with prefetches further than a page. */
    bool far_prefetch;
    size_t l1d_bytes; /* of one core */
    size_t l2_bytes;  /* of one core */
    size_t l3_bytes;  /* as one core sees it; 0 if there is none */
    char name[64];    /* the brand string; on aarch64 the main ID register */
} lt_cpu_features;

/* Asks the processor (cpuid, xgetbv), on aarch64 the kernel. Thread-safe. */
void lt_cpu_features_detect(lt_cpu_features *features);

/* The highest ISA that the features allow. */
lathe_isa lt_cpu_best_isa(const lt_cpu_features *features);

/* Whether the features allow an ISA, other than AUTO. */
bool lt_cpu_has_isa(const lt_cpu_features *features, lathe_isa isa);

/* How many CPUs the process may use. */
uint32_t lt_usable_cpus(void);

/* The CPU as a device, with its best kernels and a thread for each CPU that the process may use:
 * all but struct_size. Thread-safe. */
void lt_cpu_describe(const lt_cpu_features *features, lathe_device_info *info);

#endif
