# SPDX-License-Identifier: Apache-2.0
# Compile and link options that every target of this project shares.

if(LATHE_FUZZ AND NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "LATHE_FUZZ needs clang: libFuzzer is part of it")
endif()

set(LATHE_IS_X86_64 OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|amd64|AMD64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
    set(LATHE_IS_X86_64 ON)
endif()
set(LATHE_IS_AARCH64 OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$" AND CMAKE_SIZEOF_VOID_P EQUAL 8)
    set(LATHE_IS_AARCH64 ON)
endif()

set(lathe_instrument_compile "")
set(lathe_instrument_link "")
if(LATHE_SANITIZE)
    list(APPEND lathe_instrument_compile
        -fsanitize=${LATHE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
    list(APPEND lathe_instrument_link -fsanitize=${LATHE_SANITIZE})
endif()
if(LATHE_COVERAGE)
    list(APPEND lathe_instrument_compile --coverage)
    list(APPEND lathe_instrument_link --coverage)
endif()
if(LATHE_FUZZ)
    list(APPEND lathe_instrument_compile -fsanitize=fuzzer-no-link)
endif()

# Bits must not depend on the compiler: no contraction of a*b+c, in any file.
function(lathe_compile_options target)
    target_compile_features(${target} PRIVATE c_std_11)
    set_target_properties(${target} PROPERTIES
        C_STANDARD 11
        C_STANDARD_REQUIRED ON
        C_EXTENSIONS OFF
        C_VISIBILITY_PRESET hidden)
    target_compile_definitions(${target} PRIVATE _GNU_SOURCE)
    target_compile_options(${target} PRIVATE
        -ffp-contract=off
        -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
        $<$<BOOL:${LATHE_WERROR}>:-Werror>
        ${lathe_instrument_compile})
endfunction()

function(lathe_link_options target)
    target_link_options(${target} PRIVATE ${lathe_instrument_link})
endfunction()

# lathe_isa_sources(NAME flags...): adds the files of LATHE_<NAME>_SOURCES to LATHE_SOURCES,
# compiled for that instruction set. Kernels get -O3 in an optimised build. A file named *_vbmi_*
# may use VBMI, VBMI2 and VNNI as well.
macro(lathe_isa_sources name)
    foreach(file IN LISTS LATHE_${name}_SOURCES)
        set(flags ${ARGN})
        if(file MATCHES "vbmi_")
            list(APPEND flags -mavx512vbmi -mavx512vbmi2 -mavx512vnni)
        endif()
        if(LATHE_FUZZ)
            # The fuzzers parse; instrumenting the kernels too takes clang minutes.
            list(APPEND flags -fno-sanitize=undefined)
        endif()
        set_source_files_properties("${file}" PROPERTIES
            COMPILE_OPTIONS "${flags};$<$<CONFIG:Release,RelWithDebInfo>:-O3>")
        list(APPEND LATHE_SOURCES "${file}")
    endforeach()
endmacro()
