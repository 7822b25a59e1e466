/* SPDX-License-Identifier: Apache-2.0 */
/* The floating-point environment that every result is defined in: rounding to nearest even,
 * subnormals kept. A caller may run with flushing or another rounding mode; its setting comes back
 * afterwards. */
#ifndef LT_CORE_FPENV_H
#define LT_CORE_FPENV_H

#include <fenv.h>

typedef fenv_t lt_fpenv;

static inline void lt_fpenv_enter(lt_fpenv *saved) {
    (void)fegetenv(saved);
    (void)fesetenv(FE_DFL_ENV);
}

static inline void lt_fpenv_leave(const lt_fpenv *saved) {
    (void)fesetenv(saved);
}

#endif
