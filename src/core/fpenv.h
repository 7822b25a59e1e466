/* SPDX-License-Identifier: Apache-2.0 */
/* The floating-point environment that every result is defined in: rounding to nearest even,
 * subnormals kept. A caller may run with flushing or another rounding mode; its setting comes back
 * afterwards. */
#ifndef LT_CORE_FPENV_H
#define LT_CORE_FPENV_H

#if defined(__x86_64__)
#include <xmmintrin.h>

/* SSE does all arithmetic, and is told by one register; fesetenv, which also saves and loads the
 * x87's state, would take longer than converting a few KiB. */
typedef unsigned int lt_fpenv;

static inline void lt_fpenv_enter(lt_fpenv *saved) {
    const unsigned int defaults = 0x1f80; /* no flag, every exception masked, nearest even */
    *saved = _mm_getcsr();
    if (*saved != defaults) {
        _mm_setcsr(defaults);
    }
}

static inline void lt_fpenv_leave(const lt_fpenv *saved) {
    if (_mm_getcsr() != *saved) {
        _mm_setcsr(*saved);
    }
}
#else
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

#endif
