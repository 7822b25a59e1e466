# SPDX-License-Identifier: Apache-2.0
# Builds for aarch64 Linux on another machine, and runs what it built in qemu's user-mode emulator.
#   LATHE_SYSROOT: the folder that scripts/aarch64-sysroot made
#   CMAKE_C_COMPILER: Debian's cross gcc by default; clang too

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LATHE_SYSROOT)
if(NOT LATHE_SYSROOT)
    message(FATAL_ERROR "LATHE_SYSROOT names no folder: see scripts/aarch64-sysroot")
endif()

if(NOT CMAKE_C_COMPILER)
    set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
endif()
set(CMAKE_C_COMPILER_TARGET aarch64-linux-gnu) # for clang; gcc has but one
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

set(CMAKE_SYSROOT "${LATHE_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH "${LATHE_SYSROOT}")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${LATHE_SYSROOT}")
set(ENV{PKG_CONFIG_LIBDIR}
    "${LATHE_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${LATHE_SYSROOT}/usr/share/pkgconfig")

find_program(LATHE_QEMU NAMES qemu-aarch64 qemu-aarch64-static REQUIRED)
mark_as_advanced(LATHE_QEMU)
set(CMAKE_CROSSCOMPILING_EMULATOR "${LATHE_QEMU}" -L "${LATHE_SYSROOT}")
