# GPTOSS_BUILD_METAL: 1/on/true/yes builds the Metal backend (Apple only), 0/off/false/no leaves it
# out, host builds it over an emulation for tests; unset or empty: on for arm64 macOS, off elsewhere.
# pip takes it from the environment variable of this name, CMake from -DGPTOSS_BUILD_METAL=...

set(GPTOSS_BUILD_METAL "" CACHE STRING
    "Metal backend: 1/on/true/yes, 0/off/false/no, host; empty: on for arm64 macOS, off elsewhere")

string(TOLOWER "${GPTOSS_BUILD_METAL}" gptoss_metal)
if(gptoss_metal MATCHES "^(1|on|true|yes)$")
  if(NOT APPLE)
    message(FATAL_ERROR
      "GPTOSS_BUILD_METAL=${GPTOSS_BUILD_METAL} asks for the Metal backend, which needs macOS; "
      "this build is for ${CMAKE_SYSTEM_NAME}. Unset it, or set it to 0, for the CPU backend alone.")
  endif()
  message(FATAL_ERROR
    "GPTOSS_BUILD_METAL=${GPTOSS_BUILD_METAL} asks for the Metal backend, which gptoss "
    "${PROJECT_VERSION} does not have yet. Unset it, or set it to 0, for the CPU backend alone.")
elseif(gptoss_metal STREQUAL "host")
  message(FATAL_ERROR
    "GPTOSS_BUILD_METAL=host asks for the Metal backend on the test host, which gptoss "
    "${PROJECT_VERSION} does not have yet. Unset it, or set it to 0, for the CPU backend alone.")
elseif(gptoss_metal STREQUAL "")
  if(APPLE)
    message(STATUS
      "gptoss ${PROJECT_VERSION} has no Metal backend yet: building the CPU backend alone")
  endif()
elseif(NOT gptoss_metal MATCHES "^(0|off|false|no)$")
  message(FATAL_ERROR
    "GPTOSS_BUILD_METAL=${GPTOSS_BUILD_METAL} is not known. Use 1, on, true or yes to build the "
    "Metal backend (macOS), 0, off, false or no to leave it out, host to build it for tests "
    "without a Mac; unset: on for arm64 macOS, off elsewhere.")
endif()
