# Options of the build and the flags that hold for every target.

option(BUILD_SHARED_LIBS "Build the gptoss library as a shared library" OFF)
option(GPTOSS_BUILD_PYTHON "Build the Python extension gptoss._native (pip install does)" OFF)
option(GPTOSS_BUILD_TESTS "Build the native tests, run by ctest" ${PROJECT_IS_TOP_LEVEL})
option(GPTOSS_BUILD_FUZZERS "Build the libFuzzer targets (Clang only)" OFF)
option(GPTOSS_INSTALL "Install the library, its header and its package files" ${PROJECT_IS_TOP_LEVEL})
option(GPTOSS_WERROR "Treat compiler warnings as errors" OFF)
option(GPTOSS_COVERAGE "Instrument for line coverage (gcov)" OFF)
set(GPTOSS_SANITIZE "" CACHE STRING
    "Sanitizers to build with: \"address,undefined\", \"thread\" or empty")
set_property(CACHE GPTOSS_SANITIZE PROPERTY STRINGS "" "address,undefined" "thread")

if(PROJECT_IS_TOP_LEVEL AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Type of the build" FORCE)
endif()

if(NOT CMAKE_CXX_COMPILER_ID MATCHES "^(GNU|Clang|AppleClang)$")
  message(FATAL_ERROR
    "gptoss builds with GCC 11, Clang 14 or Apple Clang 14 and later; the C++ compiler found is "
    "${CMAKE_CXX_COMPILER_ID} (${CMAKE_CXX_COMPILER}). "
    "Choose another one with -DCMAKE_CXX_COMPILER=g++.")
endif()
set(gptoss_minimum_compiler 14)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(gptoss_minimum_compiler 11)
endif()
if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS gptoss_minimum_compiler)
  message(FATAL_ERROR
    "gptoss needs ${CMAKE_CXX_COMPILER_ID} ${gptoss_minimum_compiler} or later for C++20; "
    "${CMAKE_CXX_COMPILER} is version ${CMAKE_CXX_COMPILER_VERSION}.")
endif()

set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# Everything of this project, and nothing of a project that includes it, is compiled with these.
add_compile_options(-Wall -Wextra)
if(GPTOSS_WERROR)
  add_compile_options(-Werror)
endif()

if(GPTOSS_SANITIZE STREQUAL "address,undefined" OR GPTOSS_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=${GPTOSS_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer -g1) # lines suffice: variables of vectors take minutes
  add_link_options(-fsanitize=${GPTOSS_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # GCC warns of its own instrumentation of the standard library, <regex> for instance.
    add_compile_options(-Wno-maybe-uninitialized)
  endif()
elseif(NOT GPTOSS_SANITIZE STREQUAL "")
  message(FATAL_ERROR
    "GPTOSS_SANITIZE=\"${GPTOSS_SANITIZE}\" is not known: "
    "use \"address,undefined\", \"thread\" or leave it empty.")
endif()

if(GPTOSS_COVERAGE)
  # Threads count the same lines: without atomic counters the figures would be wrong.
  add_compile_options(--coverage -fprofile-update=atomic)
  add_link_options(--coverage)
endif()

if(GPTOSS_BUILD_FUZZERS)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR
      "GPTOSS_BUILD_FUZZERS needs Clang for libFuzzer; the compiler is "
      "${CMAKE_CXX_COMPILER_ID}. Configure with -DCMAKE_C_COMPILER=clang "
      "-DCMAKE_CXX_COMPILER=clang++.")
  endif()
  # Edge counters in the library itself; only the fuzz targets link libFuzzer's main.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
