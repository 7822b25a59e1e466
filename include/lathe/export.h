/* SPDX-License-Identifier: Apache-2.0 */
/* Which symbols leave the library, and how C++ sees them. */
#ifndef LATHE_EXPORT_H
#define LATHE_EXPORT_H

#if defined(__GNUC__) && __GNUC__ >= 4
#define LATHE_API __attribute__((visibility("default")))
#else
#define LATHE_API
#endif

#ifdef __cplusplus
#define LATHE_BEGIN_DECLS extern "C" {
#define LATHE_END_DECLS }
#else
#define LATHE_BEGIN_DECLS
#define LATHE_END_DECLS
#endif

#endif
