# GPTOSS_BUILD_METAL: 1/on/true/yes builds the Metal backend (Apple only), 0/off/false/no leaves it
# out, host builds it over an emulation for tests; unset or empty: on for arm64 macOS, off elsewhere.
# pip takes it from the environment variable of this name, CMake from -DGPTOSS_BUILD_METAL=...
#
# Sets gptoss_metal to "apple", "host" or "off".

set(GPTOSS_BUILD_METAL "" CACHE STRING
    "Metal backend: 1/on/true/yes, 0/off/false/no, host; empty: on for arm64 macOS, off elsewhere")
option(GPTOSS_METAL_HOST_TRACE "With GPTOSS_BUILD_METAL=host, compile the kernels for trace mode, too" OFF)

string(TOLOWER "${GPTOSS_BUILD_METAL}" gptoss_metal_wish)
set(gptoss_metal off)
if(gptoss_metal_wish MATCHES "^(1|on|true|yes)$")
  if(NOT APPLE)
    message(FATAL_ERROR
      "GPTOSS_BUILD_METAL=${GPTOSS_BUILD_METAL} asks for the Metal backend, which needs macOS; "
      "this build is for ${CMAKE_SYSTEM_NAME}. Unset it, or set it to 0, for the CPU backend alone.")
  endif()
  set(gptoss_metal apple)
elseif(gptoss_metal_wish STREQUAL "host")
  if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
    message(FATAL_ERROR
      "GPTOSS_BUILD_METAL=host builds the Metal backend over an emulation, which runs on Linux only; "
      "this build is for ${CMAKE_SYSTEM_NAME}. Unset it for the backend that the system can have.")
  endif()
  set(gptoss_metal host)
elseif(gptoss_metal_wish STREQUAL "")
  if(APPLE AND (CMAKE_OSX_ARCHITECTURES STREQUAL "arm64" OR
      (NOT CMAKE_OSX_ARCHITECTURES AND CMAKE_SYSTEM_PROCESSOR STREQUAL "arm64")))
    set(gptoss_metal apple)
  endif()
elseif(NOT gptoss_metal_wish MATCHES "^(0|off|false|no)$")
  message(FATAL_ERROR
    "GPTOSS_BUILD_METAL=${GPTOSS_BUILD_METAL} is not known. Use 1, on, true or yes to build the "
    "Metal backend (macOS), 0, off, false or no to leave it out, host to build it for tests "
    "without a Mac; unset: on for arm64 macOS, off elsewhere.")
endif()
