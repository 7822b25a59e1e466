/* SPDX-License-Identifier: Apache-2.0 */
/* What this CPU can do: asked of the processor itself, because compilers' own feature tests differ
 * in the names that they know. */
#include "cpu/features.h"
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)

#include "cpu/x86/cpuid.h"

enum { LEAF_CACHES_INTEL = 4, CACHE_DATA = 1, CACHE_UNIFIED = 3 };
#define LEAF_CACHES_AMD 0x8000001du
#define LEAF_BRAND 0x80000002u

static bool has_bits(uint64_t value, uint64_t bits) {
    return (value & bits) == bits;
}

enum { LEAF_EXTENDED_FEATURES = 7 };

static void detect_isa(lt_cpu_features *features, uint32_t highest_leaf) {
    if (highest_leaf < LEAF_EXTENDED_FEATURES)
        return;
    const cpuid_regs basic = cpuid(1, 0);
    const cpuid_regs extended = cpuid(LEAF_EXTENDED_FEATURES, 0);
    const uint32_t basic_ecx = 1u << 12     /* FMA */
                               | 1u << 23   /* POPCNT */
                               | 1u << 27   /* OSXSAVE */
                               | 1u << 28   /* AVX */
                               | 1u << 29;  /* F16C */
    const uint32_t avx2_ebx = 1u << 5       /* AVX2 */
                              | 1u << 8;    /* BMI2 */
    const uint32_t avx512_ebx = 1u << 16    /* F */
                                | 1u << 17  /* DQ */
                                | 1u << 30  /* BW */
                                | 1u << 31; /* VL */
    const uint32_t vbmi_ecx = 1u << 1       /* VBMI */
                              | 1u << 6     /* VBMI2 */
                              | 1u << 11;   /* VNNI */
    const uint64_t ymm_state = 0x06;        /* XMM and YMM */
    const uint64_t zmm_state = 0xe6;        /* and mask registers, both parts of ZMM */

    if (!has_bits(basic.ecx, basic_ecx))
        return;
    const uint64_t saved = xgetbv0();
    features->avx2 = has_bits(extended.ebx, avx2_ebx) && has_bits(saved, ymm_state);
    features->avx512 =
        features->avx2 && has_bits(extended.ebx, avx512_ebx) && has_bits(saved, zmm_state);
    features->avx512_vbmi = features->avx512 && has_bits(extended.ecx, vbmi_ecx);
}

static void detect_caches(lt_cpu_features *features, uint32_t leaf) {
    for (uint32_t i = 0; i < 16; i++) {
        const cpuid_regs regs = cpuid(leaf, i);
        const uint32_t type = regs.eax & 0x1f;
        const uint32_t level = regs.eax >> 5 & 7;
        const size_t ways = (regs.ebx >> 22) + 1;
        const size_t partitions = (regs.ebx >> 12 & 0x3ff) + 1;
        const size_t line_bytes = (regs.ebx & 0xfff) + 1;
        const size_t n_bytes = ways * partitions * line_bytes * ((size_t)regs.ecx + 1);

        if (type == 0)
            return;
        if (type != CACHE_DATA && type != CACHE_UNIFIED)
            continue;
        if (level == 1)
            features->l1d_bytes = n_bytes;
        else if (level == 2)
            features->l2_bytes = n_bytes;
        else if (level == 3)
            features->l3_bytes = n_bytes;
    }
}

/* Cuts the spaces with which vendors pad the brand string. */
static void detect_name(lt_cpu_features *features) {
    char brand[49] = {0};
    if (cpuid(0x80000000u, 0).eax < LEAF_BRAND + 2)
        return;
    for (uint32_t i = 0; i < 3; i++) {
        const cpuid_regs regs = cpuid(LEAF_BRAND + i, 0);
        memcpy(brand + 16 * i, &regs, sizeof regs);
    }
    const char *start = brand + strspn(brand, " ");
    size_t length = strlen(start);
    while (length > 0 && start[length - 1] == ' ')
        length--;
    if (length > 0) {
        memcpy(features->name, start, length);
        features->name[length] = '\0';
    }
}

static void detect(lt_cpu_features *features) {
    const cpuid_regs leaf0 = cpuid(0, 0);
    char vendor[12];
    memcpy(vendor, &leaf0.ebx, 4);
    memcpy(vendor + 4, &leaf0.edx, 4);
    memcpy(vendor + 8, &leaf0.ecx, 4);
    const bool is_amd =
        memcmp(vendor, "AuthenticAMD", 12) == 0 || memcmp(vendor, "HygonGenuine", 12) == 0;

    detect_isa(features, leaf0.eax);
    features->stream_stores = is_amd || features->avx512_vbmi;
    features->far_prefetch = !is_amd;
    detect_caches(features, is_amd ? LEAF_CACHES_AMD : LEAF_CACHES_INTEL);
    detect_name(features);
}

#elif defined(__AARCH64EL__)

#include "cpu/arm/detect.h"

static void detect(lt_cpu_features *features) {
    lt_cpu_features_detect_arm(features);
}

#else

static void detect(lt_cpu_features *features) {
    (void)features;
}

#endif

void lt_cpu_features_detect(lt_cpu_features *features) {
    memset(features, 0, sizeof *features);
    memcpy(features->name, "CPU", 4);
    detect(features);
}

lathe_isa lt_cpu_best_isa(const lt_cpu_features *features) {
    if (features->neon)
        return LATHE_ISA_NEON;
    if (features->avx512)
        return LATHE_ISA_AVX512;
    if (features->avx2)
        return LATHE_ISA_AVX2;
    return LATHE_ISA_SCALAR;
}

bool lt_cpu_has_isa(const lt_cpu_features *features, lathe_isa isa) {
    switch (isa) {
    case LATHE_ISA_SCALAR:
        return true;
    case LATHE_ISA_AVX2:
        return features->avx2;
    case LATHE_ISA_AVX512:
        return features->avx512;
    case LATHE_ISA_NEON:
        return features->neon;
    default:
        return false;
    }
}

uint32_t lt_usable_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        return (uint32_t)CPU_COUNT(&set);
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (uint32_t)online;
}

void lt_cpu_describe(const lt_cpu_features *features, lathe_device_info *info) {
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    uint64_t memory = pages > 0 && page_bytes > 0 ? (uint64_t)pages * (uint64_t)page_bytes : 0;
    *info = (lathe_device_info){
        .struct_size = info->struct_size,
        .selector = "cpu",
        .kind = "cpu",
        .isa = lt_cpu_best_isa(features),
        .threads = lt_usable_cpus(),
        .memory_bytes = memory,
        .max_alloc_bytes = memory,
        .l1d_bytes = features->l1d_bytes,
        .l2_bytes = features->l2_bytes,
        .l3_bytes = features->l3_bytes,
        .shares_host_memory = 1,
        .self_check = LATHE_CHECK_PASSED,
    };
    (void)snprintf(info->name, sizeof info->name, "%s", features->name);
}
