/* SPDX-License-Identifier: Apache-2.0 */
/* Devices: what a conversion can run on. */
#ifndef LATHE_DEVICE_H
#define LATHE_DEVICE_H

#include <lathe/export.h>
#include <lathe/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

LATHE_BEGIN_DECLS

/* Levels of CPU kernels. Each contains the ones before it; all give the same bytes. */
typedef enum lathe_isa {
    LATHE_ISA_AUTO = 0,   /* the best that the processor has */
    LATHE_ISA_SCALAR = 1, /* plain C: the reference */
    LATHE_ISA_AVX2 = 2,   /* AVX2 with F16C and BMI2 */
    LATHE_ISA_AVX512 = 3, /* AVX-512 F, BW, DQ and VL */
} lathe_isa;

/* "auto", "scalar", "avx2" or "avx512"; "invalid" for any other number. Static. Thread-safe. */
LATHE_API const char *lathe_isa_name(lathe_isa isa);

/* Finds the ISA of that name. Returns false, and leaves *isa alone, for any other text or NULL.
 * Thread-safe. */
LATHE_API bool lathe_isa_from_name(const char *name, lathe_isa *isa);

/* What one device is. Strings are NUL-terminated and cut to fit. */
typedef struct lathe_device_info {
    size_t struct_size;
    char kind[16];         /* "cpu" */
    char name[128];        /* the device's own name for itself */
    lathe_isa isa;         /* the kernels in use; LATHE_ISA_AUTO on a device that is no CPU */
    uint32_t threads;      /* ranges that it works on at once */
    uint64_t memory_bytes; /* memory in all */
    uint64_t l1d_bytes;    /* caches of one core; 0 where unknown */
    uint64_t l2_bytes;
    uint64_t l3_bytes;
    uint32_t shares_host_memory; /* 1 if host pointers can be used without a copy */
} lathe_device_info;

LATHE_END_DECLS

#endif
