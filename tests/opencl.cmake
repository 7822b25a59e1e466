# SPDX-License-Identifier: Apache-2.0
# The tests that need an OpenCL driver. They run on POCL where it is installed, and otherwise on
# what the loader prefers; they share one folder of compiled programs in the build tree, which
# opencl_pairs fills first. They run in two lanes, in each of which they take turns: a lane has a
# cache of POCL's of its own, which two processes at once could spoil.

set(LATHE_TEST_DEVICE "opencl" CACHE STRING "The device that the OpenCL tests run on")
# Without optimisation POCL compiles the kernels five times as fast: all pairs in a minute or two.
set(LATHE_TEST_POCL_FLAGS "-cl-opt-disable" CACHE STRING "What POCL compiles kernels with")
# Several builds may share it, one after another: compiling all kernels takes POCL minutes.
set(LATHE_TEST_OPENCL_DIR "${CMAKE_CURRENT_BINARY_DIR}/opencl" CACHE PATH
    "Where the OpenCL tests keep compiled kernels")
set(lathe_opencl_dir "${LATHE_TEST_OPENCL_DIR}")
file(MAKE_DIRECTORY "${lathe_opencl_dir}/empty"
    "${lathe_opencl_dir}/pocl-cache-0" "${lathe_opencl_dir}/pocl-cache-1")
# About half of the time, and tests that need the same kernels together.
set(lathe_opencl_lane_1
    test_opencl_faults test_opencl_batch test_opencl_batch_limits test_opencl_in_place
    test_opencl_in_place_again test_opencl_pipeline_again test_opencl_pipeline_cache_again
    test_opencl_pipeline_cost_again test_opencl_pipeline_optimize_again stress_opencl_two_devices)
# Tests that begin early, because they take long: seconds, about.
set(lathe_opencl_costs
    opencl_pairs 200 test_opencl_faults 140 test_opencl_convert_again 70 test_opencl_in_place_again 45
    test_opencl_pipeline_again 45 test_opencl_precise_again 45 cli_opencl 40 test_opencl_batch 40
    test_opencl_allocations 30 test_opencl_convert 30)

# ---- the fault layer that the loader puts in front of the driver

add_library(cl_fault_layer MODULE cl_fault_layer.c cl_layer_state.c)
lathe_compile_options(cl_fault_layer)
lathe_link_options(cl_fault_layer)
target_include_directories(cl_fault_layer PRIVATE "${PROJECT_SOURCE_DIR}/kernels")
target_link_libraries(cl_fault_layer PRIVATE OpenCL::OpenCL Threads::Threads)

# ---- what they have in common

set(lathe_opencl_environment
    "OPENCL_LAYERS=$<TARGET_FILE:cl_fault_layer>"
    "LATHE_TEST_CACHE=${lathe_opencl_dir}/programs"
    "LATHE_TEST_DEVICE=${LATHE_TEST_DEVICE}"
    "LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/opencl_lsan.supp:print_suppressions=0")
find_file(LATHE_POCL_ICD pocl.icd PATHS /etc/OpenCL/vendors NO_DEFAULT_PATH)
mark_as_advanced(LATHE_POCL_ICD)
if(LATHE_POCL_ICD AND LATHE_TEST_DEVICE STREQUAL "opencl")
    list(APPEND lathe_opencl_environment "OCL_ICD_VENDORS=${LATHE_POCL_ICD}")
endif()

# lathe_opencl_turn(TEST VARIABLE): puts the test in its lane, after opencl_pairs, and the name of the
# lane's cache in the variable. POCL compiles a kernel once, not again for other sizes of a launch.
function(lathe_opencl_turn name variable)
    set(lane 0)
    if(name IN_LIST lathe_opencl_lane_1)
        set(lane 1)
    endif()
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT
        "${variable}=${lathe_opencl_dir}/pocl-cache-${lane}"
        "POCL_EXTRA_BUILD_FLAGS=${LATHE_TEST_POCL_FLAGS}"
        "POCL_WORK_GROUP_SPECIALIZATION=0")
    set_tests_properties(${name} PROPERTIES RESOURCE_LOCK opencl_${lane})
    if(NOT name STREQUAL "opencl_pairs")
        set_tests_properties(${name} PROPERTIES FIXTURES_REQUIRED opencl_programs)
    endif()
    list(FIND lathe_opencl_costs ${name} place)
    if(NOT place EQUAL -1)
        math(EXPR place "${place} + 1")
        list(GET lathe_opencl_costs ${place} cost)
        set_tests_properties(${name} PROPERTIES COST ${cost})
    endif()
endfunction()

# lathe_opencl_environment(TEST [VARIABLE=VALUE...]): runs the test in its lane, with the layer and
# the caches.
function(lathe_opencl_environment name)
    lathe_opencl_turn(${name} POCL_CACHE_DIR)
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT ${lathe_opencl_environment} ${ARGN})
    set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 LABELS opencl)
endfunction()

# lathe_opencl_once(TEST...): labels tests that take long and look for the same faults in every
# build: scripts/test runs them under the sanitizers alone, which find more.
function(lathe_opencl_once)
    set_property(TEST ${ARGN} APPEND PROPERTY LABELS once)
endfunction()

# A plain program, or a script around one.
function(lathe_opencl_program name)
    lathe_test_program(${name} ${ARGN})
    target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/kernels")
    target_link_libraries(${name} PRIVATE OpenCL::OpenCL ${CMAKE_DL_LIBS})
    add_dependencies(${name} cl_fault_layer)
endfunction()

# lathe_opencl_test(NAME sources...): a Criterion program whose engines are those of TEST_OPENCL,
# with loops as short as under a sanitizer.
function(lathe_opencl_test name)
    if(lathe_tsan)
        return()
    endif()
    lathe_opencl_program(${name} ${ARGN})
    target_compile_definitions(${name} PRIVATE TEST_OPENCL LT_TEST_SANITIZED)
    target_link_libraries(${name} PRIVATE PkgConfig::criterion)
    lathe_add_test(${name} "${CMAKE_CURRENT_SOURCE_DIR}/run_criterion.sh" $<TARGET_FILE:${name}>
        -j1)
    lathe_opencl_environment(${name})
endfunction()

# ---- without a driver

lathe_test_program(test_no_platform test_no_platform.c)
lathe_add_test(test_no_platform $<TARGET_FILE:test_no_platform>)
set_property(TEST test_no_platform APPEND PROPERTY
    ENVIRONMENT "OCL_ICD_VENDORS=${lathe_opencl_dir}/empty")

file(GLOB lathe_icds /etc/OpenCL/vendors/*.icd)
if(NOT lathe_icds AND NOT DEFINED ENV{OCL_ICD_VENDORS} AND NOT DEFINED ENV{OCL_ICD_FILENAMES})
    message(STATUS "No OpenCL driver: the tests that need one are left out (POCL would do)")
    return()
endif()

# ---- with one

# Programs that choose the driver and its caches themselves.
if(NOT lathe_tsan)
    foreach(name IN ITEMS test_devices test_program_cache test_program_cache_damage)
        lathe_test(${name} ${name}.c INTERNAL)
        target_compile_definitions(${name} PRIVATE LT_HAVE_OPENCL=1)
        target_link_libraries(${name} PRIVATE OpenCL::OpenCL)
        lathe_opencl_turn(${name} LATHE_TEST_POCL) # they choose when it is used
        set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT
            "LSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/opencl_lsan.supp:print_suppressions=0")
    endforeach()
    if(TARGET lathe_cli)
        lathe_opencl_turn(cli_opencl LATHE_TEST_POCL)
        lathe_opencl_once(cli_opencl)
    endif()
endif()

if(NOT lathe_tsan)
    lathe_opencl_program(opencl_pairs opencl_pairs.c)
    lathe_add_test(opencl_pairs $<TARGET_FILE:opencl_pairs>)
    set_tests_properties(opencl_pairs PROPERTIES FIXTURES_SETUP opencl_programs)
    lathe_opencl_environment(opencl_pairs)
    # Each lane gets what the other one has compiled.
    add_test(NAME opencl_lanes COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/merge_folders.sh"
        "${lathe_opencl_dir}/pocl-cache-0" "${lathe_opencl_dir}/pocl-cache-1")
    set_tests_properties(opencl_lanes PROPERTIES
        FIXTURES_SETUP opencl_programs DEPENDS opencl_pairs COST 199 LABELS opencl)

    lathe_opencl_program(test_opencl_faults test_opencl_faults.c opencl_fault_scenarios.c)
    lathe_add_test(test_opencl_faults $<TARGET_FILE:test_opencl_faults>)
    lathe_opencl_environment(test_opencl_faults)
    lathe_opencl_once(test_opencl_faults)
endif()

# Reaches inside the planner.
lathe_test(test_plan_opencl test_plan_opencl.c INTERNAL)
if(NOT lathe_tsan)
    target_compile_definitions(test_plan_opencl PRIVATE TEST_OPENCL)
    target_link_libraries(test_plan_opencl PRIVATE OpenCL::OpenCL ${CMAKE_DL_LIBS})
    add_dependencies(test_plan_opencl cl_fault_layer)
    lathe_opencl_environment(test_plan_opencl)
endif()

lathe_opencl_program(stress_opencl stress_opencl.c)
lathe_add_test(stress_opencl "${CMAKE_CURRENT_SOURCE_DIR}/run_stress.sh"
    $<TARGET_FILE:stress_opencl>)
set(lathe_tsan_options
    "TSAN_OPTIONS=halt_on_error=1:suppressions=${CMAKE_CURRENT_SOURCE_DIR}/opencl_tsan.supp")
lathe_opencl_environment(stress_opencl "${lathe_tsan_options}")
if(LATHE_POCL_ICD AND LATHE_TEST_DEVICE STREQUAL "opencl")
    lathe_add_test(stress_opencl_two_devices "${CMAKE_CURRENT_SOURCE_DIR}/run_stress.sh"
        $<TARGET_FILE:stress_opencl>)
    lathe_opencl_environment(stress_opencl_two_devices
        "POCL_DEVICES=pthread pthread" "${lathe_tsan_options}")
endif()

lathe_opencl_test(test_device_tensors test_device_tensors.c)
lathe_opencl_test(test_device_small test_device_small.c)
lathe_opencl_test(test_zero_copy test_zero_copy.c)
lathe_opencl_test(test_opencl_convert test_opencl_convert.c)
lathe_opencl_test(test_opencl_allocations test_allocations.c)
lathe_opencl_test(test_opencl_batch test_batch.c)
lathe_opencl_test(test_opencl_batch_limits test_batch_limits.c)
lathe_opencl_test(test_opencl_config test_opencl_config.c)
lathe_opencl_test(test_opencl_fold test_opencl_fold.c INTERNAL)
lathe_opencl_test(test_opencl_interop test_opencl_interop.c)
lathe_opencl_test(test_opencl_plain test_opencl_plain.c)
lathe_opencl_test(test_opencl_interop_faults test_opencl_interop_faults.c)
# The tests of the CPU once more.
set(lathe_again convert convert_faults convert_large convert_modes dlpack pipeline pipeline_cache
    pipeline_cost pipeline_optimize precise quality stream_api stream_ends stream_memory views)
foreach(name IN LISTS lathe_again)
    lathe_opencl_test(test_opencl_${name}_again test_${name}.c)
endforeach()
lathe_opencl_test(test_opencl_in_place_again test_in_place.c INTERNAL)
lathe_opencl_test(test_opencl_in_place test_in_place_device.c INTERNAL)

if(lathe_tsan)
    return()
endif()
foreach(name IN LISTS lathe_again ITEMS in_place)
    lathe_opencl_once(test_opencl_${name}_again)
endforeach()
lathe_opencl_once(test_opencl_allocations test_opencl_batch test_opencl_batch_limits
    test_opencl_convert test_opencl_in_place)

# ---- an example

lathe_opencl_program(example_opencl_queue "${PROJECT_SOURCE_DIR}/examples/opencl_queue.c")
lathe_add_test(example_opencl_queue $<TARGET_FILE:example_opencl_queue>)
lathe_opencl_environment(example_opencl_queue)

# ---- other drivers, where they are installed

if(LATHE_SANITIZE)
    return()
endif()

# POCL as its users have it: its optimiser has miscompiled barriers that are correct OpenCL C.
if(LATHE_POCL_ICD AND LATHE_TEST_DEVICE STREQUAL "opencl")
    file(MAKE_DIRECTORY "${lathe_opencl_dir}/pocl-cache-optimised")
    lathe_add_test(test_opencl_plain_optimised "${CMAKE_CURRENT_SOURCE_DIR}/run_criterion.sh"
        $<TARGET_FILE:test_opencl_plain> -j1 --filter opencl_plain/shared_sums)
    set_property(TEST test_opencl_plain_optimised APPEND PROPERTY ENVIRONMENT
        ${lathe_opencl_environment}
        "LATHE_TEST_CACHE=${lathe_opencl_dir}/programs-optimised"
        "POCL_CACHE_DIR=${lathe_opencl_dir}/pocl-cache-optimised")
    set_tests_properties(test_opencl_plain_optimised PROPERTIES
        SKIP_RETURN_CODE 77 LABELS opencl)
endif()

foreach(other IN ITEMS oclgrind rusticl)
    lathe_add_test(${other} "${CMAKE_CURRENT_SOURCE_DIR}/run_${other}.sh"
        $<TARGET_FILE:opencl_pairs>)
    set_tests_properties(${other} PROPERTIES SKIP_RETURN_CODE 77 LABELS opencl COST 300)
endforeach()
