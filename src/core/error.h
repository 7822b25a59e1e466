/* SPDX-License-Identifier: Apache-2.0 */
/* How the library records why a call failed. */
#ifndef LT_CORE_ERROR_H
#define LT_CORE_ERROR_H

#include <lathe/status.h>

#if defined(__GNUC__)
#define LT_PRINTF(format_index, first_arg) __attribute__((format(printf, format_index, first_arg)))
#else
#define LT_PRINTF(format_index, first_arg)
#endif

/* Makes `status` (not OK) with this message the thread's last error, all details cleared, and
 * returns it. A message is one line with no final full stop; control characters in it become '?'.
 */
lathe_status lt_fail(lathe_status status, const char *format, ...) LT_PRINTF(2, 3);

/* The calling thread's last error, for adding details after lt_fail. */
lathe_error *lt_error(void);

/* Makes *error, copied, the thread's last error and returns its status: for errors that happened on
 * another thread. */
lathe_status lt_fail_with(const lathe_error *error);

/* Puts "prefix: " before the last error's message and returns its status. */
lathe_status lt_fail_prefix(const char *format, ...) LT_PRINTF(1, 2);

#endif
