/* SPDX-License-Identifier: Apache-2.0 */
/* The cpuid and xgetbv instructions. */
#ifndef LT_CPU_X86_CPUID_H
#define LT_CPU_X86_CPUID_H

#include <cpuid.h>
#include <stdint.h>

typedef struct cpuid_regs {
    uint32_t eax, ebx, ecx, edx;
} cpuid_regs;

/* All zero for a leaf that the processor does not have. */
static inline cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf) {
    cpuid_regs regs = {0, 0, 0, 0};
    (void)__get_cpuid_count(leaf, subleaf, &regs.eax, &regs.ebx, &regs.ecx, &regs.edx);
    return regs;
}

/* Which register states the operating system saves. Only valid where cpuid reports OSXSAVE. */
static inline uint64_t xgetbv0(void) {
    uint32_t eax;
    uint32_t edx;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return (uint64_t)edx << 32 | eax;
}

#endif
