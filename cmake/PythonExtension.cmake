# The Python extension gptoss._native. setup.py drives this; by hand:
#   cmake -S . -B build -DGPTOSS_BUILD_PYTHON=ON -DPython_EXECUTABLE=$(which python3)

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter Development.Module)

if(NOT pybind11_DIR)
  execute_process(
    COMMAND "${Python_EXECUTABLE}" -m pybind11 --cmakedir
    OUTPUT_VARIABLE gptoss_pybind11_directory
    OUTPUT_STRIP_TRAILING_WHITESPACE
    ERROR_QUIET)
  if(gptoss_pybind11_directory)
    set(pybind11_DIR "${gptoss_pybind11_directory}" CACHE PATH "pybind11's CMake package" FORCE)
  endif()
endif()
set(PYBIND11_FINDPYTHON ON)
find_package(pybind11 2.12 CONFIG QUIET)
if(NOT pybind11_FOUND)
  message(FATAL_ERROR
    "GPTOSS_BUILD_PYTHON needs pybind11 2.12 or later, which ${Python_EXECUTABLE} does not have: "
    "run '${Python_EXECUTABLE} -m pip install pybind11', or pass -Dpybind11_DIR=...")
endif()

pybind11_add_module(_native MODULE NO_EXTRAS python/native/module.cpp)
target_compile_features(_native PRIVATE cxx_std_20)
target_include_directories(_native PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/include")
target_link_libraries(_native PRIVATE gptoss_objects)
target_compile_definitions(_native PRIVATE GPTOSS_VERSION="${PROJECT_VERSION}")
if(NOT APPLE)
  # The module exports PyInit__native and nothing else: the engine's symbols stay its own even when
  # a process loads another copy of the library.
  file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/native_exports.map"
       "{ global: PyInit__native; local: *; };\n")
  target_link_options(_native PRIVATE
    "-Wl,--version-script=${CMAKE_CURRENT_BINARY_DIR}/native_exports.map"
    "$<$<CONFIG:Release>:-s>")
endif()
if(gptoss_metal STREQUAL "host")
  # The device looks for its kernels beside the extension first: so they are there when the build folder is gone.
  set(gptoss_kernels_beside_native "$<TARGET_FILE_DIR:_native>/metal_host_kernels")
  set(gptoss_kernels_beside_native_stamp "${CMAKE_CURRENT_BINARY_DIR}/kernels_beside_native.stamp")
  add_custom_command(
    OUTPUT "${gptoss_kernels_beside_native_stamp}"
    COMMAND "${CMAKE_COMMAND}" -E rm -rf "${gptoss_kernels_beside_native}"
    COMMAND "${CMAKE_COMMAND}" -E copy_directory "${gptoss_metal_host_kernels}" "${gptoss_kernels_beside_native}"
    COMMAND "${CMAKE_COMMAND}" -E touch "${gptoss_kernels_beside_native_stamp}"
    DEPENDS "${gptoss_metal_host_kernels}.stamp"
    VERBATIM)
  add_custom_target(gptoss_kernels_beside_native DEPENDS "${gptoss_kernels_beside_native_stamp}")
  add_dependencies(gptoss_kernels_beside_native gptoss_metal_host_kernels)
  add_dependencies(_native gptoss_kernels_beside_native)
endif()
