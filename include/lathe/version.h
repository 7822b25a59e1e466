/* SPDX-License-Identifier: Apache-2.0 */
/* The version of these headers, and of the library that is running. */
#ifndef LATHE_VERSION_H
#define LATHE_VERSION_H

#include <lathe/export.h>

/* The build reads these three lines; they are the only place where the version is written. */
#define LATHE_VERSION_MAJOR 0
#define LATHE_VERSION_MINOR 1
#define LATHE_VERSION_PATCH 0

/* One number that grows with every release: 10000 * major + 100 * minor + patch. */
#define LATHE_VERSION_NUMBER                                                                       \
    (LATHE_VERSION_MAJOR * 10000 + LATHE_VERSION_MINOR * 100 + LATHE_VERSION_PATCH)

LATHE_BEGIN_DECLS

/* LATHE_VERSION_NUMBER of the library at run time. Thread-safe. */
LATHE_API int lathe_version_number(void);

/* The same as text, "0.1.0": a static string that is never freed. Thread-safe. */
LATHE_API const char *lathe_version(void);

LATHE_END_DECLS

#endif
