# Project-wide compile rules and the helpers that declare a folder's library and its tests.
include(GNUInstallDirs)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

add_library(sw_options INTERFACE)
target_include_directories(sw_options INTERFACE "${CMAKE_SOURCE_DIR}")
# -ffp-contract=off: a fused multiply-add chosen by the compiler would make the bits depend on
# inlining. No -march: vector kernels are target-specific functions chosen at run time.
# g++ 12 reports false string overflows inside fmt's inlined writers at -O3.
target_compile_options(sw_options INTERFACE
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-stringop-overflow>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-ffp-contract=off>
  $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Werror>)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_options(sw_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-UNDEBUG>)
endif()
if(SEAMWRIGHT_SANITIZE)
  target_compile_options(sw_options INTERFACE
    -fsanitize=${SEAMWRIGHT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
    # GCC 12's own AVX-512 headers read a variable before setting it, on purpose (bug 105593).
    -Wno-uninitialized
    $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-maybe-uninitialized>)
  target_link_options(sw_options INTERFACE -fsanitize=${SEAMWRIGHT_SANITIZE})
  if(SEAMWRIGHT_SANITIZE MATCHES "thread")
    # Boost.Asio's fences, which ThreadSanitizer does not model; its locks are seen.
    target_compile_options(sw_options INTERFACE -Wno-tsan)
  endif()
endif()

if(SEAMWRIGHT_FUZZ)
  target_compile_options(sw_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# Where CMAKE_UNITY_BUILD is on (the cpu preset), files are compiled several at a time: a build from
# nothing takes half the time, for most of it goes into the same headers again and again.
set(CMAKE_UNITY_BUILD_BATCH_SIZE 6)
# Each by itself: what chooses its own instruction set (`#pragma GCC target` would reach the next
# file), and the kernels around it, which are tuned one file at a time. g++ 12 takes the frames of
# coroutines for types of a header (-Wsubobject-linkage). A test may bring its own of what is absent.
function(seamwright_unity)
  set(alone ${ARGN})
  list(FILTER alone INCLUDE REGEX
       "/model/cpu/|/bench/peak\\.cpp$|/http/connection\\.cpp$|_absent\\.cpp$")
  set_source_files_properties(${alone} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# seamwright_library(<folder> [PUBLIC <libs>] [PRIVATE <libs>] [EXCLUDE <regex>])
# Declares target sw_<folder> from every .cpp below the current folder.
function(seamwright_library folder)
  cmake_parse_arguments(ARG "" "EXCLUDE" "PUBLIC;PRIVATE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cpp")
  if(ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${ARG_EXCLUDE}")
  endif()
  if(sources)
    add_library(sw_${folder} STATIC ${sources})
    target_link_libraries(sw_${folder} PUBLIC sw_options ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
    set_target_properties(sw_${folder} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    seamwright_unity(${sources})
  else()
    add_library(sw_${folder} INTERFACE)
    target_link_libraries(sw_${folder} INTERFACE sw_options ${ARG_PUBLIC})
  endif()
endfunction()

# seamwright_test(<name> SOURCES ... LINK ... [LABELS ...])
# One GoogleTest binary; each case becomes one ctest entry.
function(seamwright_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LINK;LABELS" ${ARGN})
  if(NOT ARG_SOURCES)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(SEAMWRIGHT_SANITIZE MATCHES "thread")
    list(APPEND ARG_SOURCES "${CMAKE_SOURCE_DIR}/tests/tsan_defaults.cpp")
  endif()
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE ${ARG_LINK} GTest::gmock_main)
  target_compile_definitions(${name} PRIVATE
    SEAMWRIGHT_FIXTURES="${CMAKE_SOURCE_DIR}/tests/fixtures"
    SEAMWRIGHT_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
    SEAMWRIGHT_BINARY_DIR="${CMAKE_BINARY_DIR}")
  gtest_discover_tests(${name} DISCOVERY_MODE PRE_TEST
    PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT})
endfunction()
