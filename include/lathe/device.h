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

/* Levels of CPU kernels; all give the same bytes. AVX512 contains AVX2, and every level contains
 * SCALAR; a level of another kind of processor is NOT_SUPPORTED. */
typedef enum lathe_isa {
    LATHE_ISA_AUTO = 0,   /* the best that the processor has */
    LATHE_ISA_SCALAR = 1, /* plain C: the reference */
    LATHE_ISA_AVX2 = 2,   /* AVX2 with F16C and BMI2 */
    LATHE_ISA_AVX512 = 3, /* AVX-512 F, BW, DQ and VL */
    LATHE_ISA_NEON = 4,   /* aarch64's baseline NEON */
} lathe_isa;

/* "auto", "scalar", "avx2", "avx512" or "neon"; "invalid" for any other number. Static.
 * Thread-safe. */
LATHE_API const char *lathe_isa_name(lathe_isa isa);

/* Finds the ISA of that name. Returns false, and leaves *isa alone, for any other text or NULL.
 * Thread-safe. */
LATHE_API bool lathe_isa_from_name(const char *name, lathe_isa *isa);

/* Whether a device gives the bits that the reference gives. A device's kernels are compared with it
 * before their first use; one that computes other bits is not used. */
typedef enum lathe_self_check {
    LATHE_CHECK_NONE = 0, /* not run yet */
    LATHE_CHECK_PASSED = 1,
    LATHE_CHECK_FAILED = 2,
} lathe_self_check;

/* What one device is. Strings are NUL-terminated and cut to fit. */
typedef struct lathe_device_info {
    size_t struct_size;
    char selector[16];        /* what lathe_config.device calls it: "cpu", "opencl:0", ... */
    char kind[16];            /* "cpu", or what OpenCL calls it: "gpu", "cpu", "accelerator" */
    char name[128];           /* the device's own name for itself */
    char platform[128];       /* OpenCL: the platform's name; "" for the CPU itself */
    char driver[64];          /* OpenCL: the driver's version */
    lathe_isa isa;            /* the kernels in use; LATHE_ISA_AUTO on an OpenCL device */
    uint32_t threads;         /* CPU threads; OpenCL: compute units */
    uint64_t memory_bytes;    /* memory in all */
    uint64_t max_alloc_bytes; /* of one block */
    uint64_t l1d_bytes;       /* caches of one core; 0 where unknown */
    uint64_t l2_bytes;
    uint64_t l3_bytes;
    uint32_t shares_host_memory; /* 1 if host pointers can be used without a copy */
    lathe_self_check self_check; /* the CPU is the reference: PASSED */
} lathe_device_info;

/* How many devices there are: the CPU, which is device 0, and what the OpenCL loader offers.
 * Without OpenCL, a loader's driver or a working one it is 1. Thread-safe. */
LATHE_API size_t lathe_device_count(void);

/* Describes device `index`; the caller has set info->struct_size. self_check is PASSED for the CPU
 * and NONE otherwise: lathe_engine_self_check runs it. Errors: INVALID_ARGUMENT, NOT_FOUND.
 * Thread-safe. */
LATHE_API lathe_status lathe_device_at(size_t index, lathe_device_info *info);

LATHE_END_DECLS

#endif
