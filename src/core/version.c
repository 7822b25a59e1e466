/* SPDX-License-Identifier: Apache-2.0 */
/* The version of the library that is running. */
#include <lathe/version.h>

#define STRINGIFY(x) #x
#define STRING(x) STRINGIFY(x)

int lathe_version_number(void) {
    return LATHE_VERSION_NUMBER;
}

const char *lathe_version(void) {
    return STRING(LATHE_VERSION_MAJOR) "." STRING(LATHE_VERSION_MINOR) "." STRING(
        LATHE_VERSION_PATCH);
}
