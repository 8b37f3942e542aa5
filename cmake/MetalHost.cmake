# The Metal backend's device on the processor, for tests: tests/metal_device, which runs the kernels with the machine of
# tests/metal_host. Kernels are shared objects that the device loads, compiled by a script of its own in Python.

find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)

set(gptoss_metal_host_kernels "${PROJECT_BINARY_DIR}/metal_host_kernels")
set(gptoss_metal_host_modes --mode plain)
if(GPTOSS_METAL_HOST_TRACE)
  list(APPEND gptoss_metal_host_modes --mode trace)
endif()

file(GLOB gptoss_metal_files CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/metal/*.metal")
file(GLOB gptoss_metal_headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/metal/*.h")
set(host "${PROJECT_SOURCE_DIR}/tests/metal_host")
file(GLOB gptoss_metal_host_files CONFIGURE_DEPENDS
  "${host}/*.py" "${host}/runtime/*" "${host}/include/*" "${host}/include/metal_host/*")
add_custom_command(
  OUTPUT "${gptoss_metal_host_kernels}.stamp"
  COMMAND "${CMAKE_COMMAND}" -E env "PYTHONPATH=${PROJECT_SOURCE_DIR}/tests"
    "${Python_EXECUTABLE}" -B -m metal_host build ${gptoss_metal_files} ${gptoss_metal_host_modes}
    --output "${gptoss_metal_host_kernels}"
  COMMAND "${CMAKE_COMMAND}" -E touch "${gptoss_metal_host_kernels}.stamp"
  DEPENDS ${gptoss_metal_files} ${gptoss_metal_headers} ${gptoss_metal_host_files}
  COMMENT "Compiling the Metal kernels for this machine"
  USES_TERMINAL
  VERBATIM)
add_custom_target(gptoss_metal_host_kernels ALL DEPENDS "${gptoss_metal_host_kernels}.stamp")

file(GLOB gptoss_metal_device_sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/tests/metal_device/*.cpp")
target_sources(gptoss_objects PRIVATE ${gptoss_metal_device_sources})
target_compile_definitions(gptoss_objects PUBLIC GPTOSS_METAL_HOST
  "$<$<BOOL:${GPTOSS_METAL_HOST_TRACE}>:GPTOSS_METAL_HOST_TRACE=1>")
set_source_files_properties("${PROJECT_SOURCE_DIR}/tests/metal_device/kernel_library.cpp" PROPERTIES
  COMPILE_DEFINITIONS "GPTOSS_METAL_HOST_KERNELS=\"${gptoss_metal_host_kernels}\"")
target_link_libraries(gptoss_objects PUBLIC ${CMAKE_DL_LIBS})
