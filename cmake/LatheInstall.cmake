# SPDX-License-Identifier: Apache-2.0
# The install tree: libraries, headers, CMake package, lathe.pc, the tool and its man page.
include(CMakePackageConfigHelpers)

set(lathe_cmake_dir "${CMAKE_INSTALL_LIBDIR}/cmake/lathe")

# An export set each, so that a shared-only consumer needs none of the static library's dependencies.
foreach(kind IN ITEMS shared static)
    install(TARGETS lathe_${kind} EXPORT lathe-${kind}-targets
        LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
        ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
    install(EXPORT lathe-${kind}-targets NAMESPACE lathe:: DESTINATION "${lathe_cmake_dir}")
endforeach()

set(LATHE_PUBLIC_HEADERS
    include/lathe/async.h
    include/lathe/batch.h
    include/lathe/checkpoint.h
    include/lathe/config.h
    include/lathe/device.h
    include/lathe/dlpack.h
    include/lathe/dtype.h
    include/lathe/engine.h
    include/lathe/export.h
    include/lathe/in_place.h
    include/lathe/lathe.h
    include/lathe/metrics.h
    include/lathe/pipeline.h
    include/lathe/plan.h
    include/lathe/pool.h
    include/lathe/quality.h
    include/lathe/status.h
    include/lathe/stream.h
    include/lathe/tensor.h
    include/lathe/version.h
    include/lathe/view.h)

if(LATHE_OPENCL)
    list(APPEND LATHE_PUBLIC_HEADERS include/lathe/opencl.h)
endif()
list(TRANSFORM LATHE_PUBLIC_HEADERS PREPEND "${PROJECT_SOURCE_DIR}/")
install(FILES ${LATHE_PUBLIC_HEADERS} DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/lathe")

configure_package_config_file(
    "${PROJECT_SOURCE_DIR}/cmake/lathe-config.cmake.in"
    "${PROJECT_BINARY_DIR}/lathe-config.cmake"
    INSTALL_DESTINATION "${lathe_cmake_dir}"
    NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/lathe-config-version.cmake"
    COMPATIBILITY SameMinorVersion)
install(FILES
    "${PROJECT_BINARY_DIR}/lathe-config.cmake"
    "${PROJECT_BINARY_DIR}/lathe-config-version.cmake"
    "${PROJECT_SOURCE_DIR}/cmake/FindPthreadpool.cmake"
    DESTINATION "${lathe_cmake_dir}")

# lathe.pc finds its prefix from its own place, so the tree can be moved.
set(LATHE_PC_PREFIX "${CMAKE_INSTALL_PREFIX}")
set(LATHE_PC_LIBDIR "${CMAKE_INSTALL_LIBDIR}")
set(LATHE_PC_INCLUDEDIR "${CMAKE_INSTALL_INCLUDEDIR}")
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
    file(RELATIVE_PATH up "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
    string(REGEX REPLACE "/$" "" up "${up}")
    set(LATHE_PC_PREFIX "\${pcfiledir}/${up}")
    set(LATHE_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
endif()
if(NOT IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(LATHE_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
set(LATHE_PC_OPENCL "")
if(LATHE_OPENCL)
    set(LATHE_PC_OPENCL " -lOpenCL")
endif()
configure_file("${PROJECT_SOURCE_DIR}/cmake/lathe.pc.in" "${PROJECT_BINARY_DIR}/lathe.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/lathe.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

if(LATHE_BUILD_CLI)
    install(TARGETS lathe_cli RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
    install(FILES "${PROJECT_SOURCE_DIR}/docs/lathe.1" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
endif()
