/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the CPU kernel levels. */
#include <lathe/device.h>
#include <string.h>

static const char *const isa_names[] = {
    [LATHE_ISA_AUTO] = "auto",     [LATHE_ISA_SCALAR] = "scalar", [LATHE_ISA_AVX2] = "avx2",
    [LATHE_ISA_AVX512] = "avx512", [LATHE_ISA_NEON] = "neon",
};

enum { ISA_COUNT = sizeof isa_names / sizeof isa_names[0] };

const char *lathe_isa_name(lathe_isa isa) {
    const unsigned number = (unsigned)isa;
    return number < ISA_COUNT ? isa_names[number] : "invalid";
}

bool lathe_isa_from_name(const char *name, lathe_isa *isa) {
    if (name == NULL)
        return false;
    for (unsigned i = 0; i < ISA_COUNT; i++) {
        if (strcmp(name, isa_names[i]) == 0) {
            *isa = (lathe_isa)i;
            return true;
        }
    }
    return false;
}
