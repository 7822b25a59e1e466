# SPDX-License-Identifier: Apache-2.0
# Reads the version from the public header, the only place where it is written.

# lathe_read_version(HEADER OUT): sets OUT to "major.minor.patch".
function(lathe_read_version header out)
    set(version "")
    foreach(part IN ITEMS MAJOR MINOR PATCH)
        set(pattern "^#define LATHE_VERSION_${part} ([0-9]+)$")
        file(STRINGS "${header}" line REGEX "${pattern}")
        if(NOT line MATCHES "${pattern}")
            message(FATAL_ERROR "${header}: no LATHE_VERSION_${part}")
        endif()
        list(APPEND version "${CMAKE_MATCH_1}")
    endforeach()
    list(JOIN version "." version)
    set(${out} "${version}" PARENT_SCOPE)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${header}")
endfunction()
