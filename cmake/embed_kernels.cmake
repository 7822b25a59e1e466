# SPDX-License-Identifier: Apache-2.0
# Writes the C file with the OpenCL C sources that src/opencl/kernel_sources.h declares.
#
#   cmake -DOUTPUT=FILE -P embed_kernels.cmake -- INPUT...
#
# Each input becomes one string, in the order given, without its #include lines (the strings are
# compiled as one text) and after a #line directive with its name, so that a build log names the file
# and the line. The output depends on the contents and the names of the inputs alone. Characters are
# written as numbers: a string literal is portable up to 4095 characters only.
cmake_minimum_required(VERSION 3.25)

set(inputs "")
set(after_dashes OFF)
foreach(i RANGE 1 ${CMAKE_ARGC})
    if(after_dashes AND i LESS CMAKE_ARGC)
        list(APPEND inputs "${CMAKE_ARGV${i}}")
    elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
        set(after_dashes ON)
    endif()
endforeach()
if(NOT OUTPUT OR NOT inputs)
    message(FATAL_ERROR "usage: cmake -DOUTPUT=FILE -P embed_kernels.cmake -- INPUT...")
endif()

set(arrays "")
set(names "")
set(n_sources 0)
foreach(input IN LISTS inputs)
    get_filename_component(name "${input}" NAME)
    file(READ "${input}" text)
    string(REPLACE "\r\n" "\n" text "${text}")
    if(text MATCHES "[^\t\n -~]")
        message(FATAL_ERROR "${input}: only printable ASCII can be embedded")
    endif()
    # An #include line becomes an empty one: the lines keep their numbers.
    string(REGEX REPLACE "\n[ \t]*#[ \t]*include[^\n]*" "\n" text "\n${text}")
    string(HEX "#line 1 \"${name}\"${text}\n" hex)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
    string(REPEAT "0x..," 16 line)
    string(REGEX REPLACE "(${line})" "\\1\n" bytes "${bytes}")
    string(APPEND arrays
        "/* ${name} */\nstatic const char source_${n_sources}[] = {\n${bytes}0x00};\n\n")
    string(APPEND names "    source_${n_sources},\n")
    math(EXPR n_sources "${n_sources} + 1")
endforeach()

file(WRITE "${OUTPUT}"
"/* SPDX-License-Identifier: Apache-2.0 */
/* Written by cmake/embed_kernels.cmake: the OpenCL C sources. */
#include \"opencl/kernel_sources.h\"

${arrays}const char *const lt_kernel_sources[] = {
${names}};

const size_t lt_n_kernel_sources = ${n_sources};
")
