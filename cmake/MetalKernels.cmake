# Embeds metal/*.metal in gptoss_objects, which has to exist: as source that macOS compiles when a kernel is first used,
# or compiled already where the build has Apple's offline compiler. That comes with Xcode, not with the Command Line
# Tools, and since Xcode 26 as a component of its own; so whether it works is tried, not asked.

include("${CMAKE_CURRENT_LIST_DIR}/MetalFastMath.cmake")

set(gptoss_kernel_folder "${PROJECT_SOURCE_DIR}/metal")
file(GLOB gptoss_kernel_files CONFIGURE_DEPENDS "${gptoss_kernel_folder}/*.metal")
file(GLOB gptoss_kernel_headers CONFIGURE_DEPENDS "${gptoss_kernel_folder}/*.h")
set(gptoss_embedded_kernels "${PROJECT_BINARY_DIR}/metal_kernels.cpp")
set(gptoss_embed_script "${CMAKE_CURRENT_LIST_DIR}/EmbedMetalKernels.cmake")

# The language and the oldest system are those of device.mm, which compiles the source elsewhere.
set(gptoss_metal_command xcrun -sdk macosx metal -std=metal3.0 -mmacosx-version-min=14.0)

set(gptoss_has_metal_compiler FALSE)
if(APPLE)
  set(probe "${PROJECT_BINARY_DIR}/metal_probe")
  file(WRITE "${probe}.metal" "#include <metal_stdlib>\nkernel void probe() {}\n")
  execute_process(
    COMMAND ${gptoss_metal_command} "${probe}.metal" -o "${probe}.metallib"
    RESULT_VARIABLE gptoss_metal_status OUTPUT_QUIET ERROR_QUIET)
  if(gptoss_metal_status EQUAL 0)
    set(gptoss_has_metal_compiler TRUE)
    message(STATUS "Metal kernels: compiled by this build")
  else()
    message(STATUS "Metal kernels: compiled when they are first used, as this machine has no offline Metal compiler")
  endif()
endif()

set(gptoss_embed_arguments "-DFOLDER=${gptoss_kernel_folder}" "-DOUTPUT=${gptoss_embedded_kernels}")
set(gptoss_embedded_files ${gptoss_kernel_files} ${gptoss_kernel_headers})
if(gptoss_has_metal_compiler)
  set(gptoss_metallib_folder "${PROJECT_BINARY_DIR}/metallibs")
  file(MAKE_DIRECTORY "${gptoss_metallib_folder}")
  set(gptoss_embedded_files "")
  foreach(file IN LISTS gptoss_kernel_files)
    get_filename_component(name "${file}" NAME_WE)
    set(fast_math -ffast-math)
    if(name MATCHES "${gptoss_kernels_without_fast_math}")
      set(fast_math -fno-fast-math)
    endif()
    add_custom_command(
      OUTPUT "${gptoss_metallib_folder}/${name}.metallib"
      COMMAND ${gptoss_metal_command} ${fast_math} "${file}" -o "${gptoss_metallib_folder}/${name}.metallib"
      DEPENDS "${file}" ${gptoss_kernel_headers}
      COMMENT "Compiling metal/${name}.metal"
      VERBATIM)
    list(APPEND gptoss_embedded_files "${gptoss_metallib_folder}/${name}.metallib")
  endforeach()
  list(APPEND gptoss_embed_arguments "-DMETALLIBS=${gptoss_metallib_folder}")
endif()

add_custom_command(
  OUTPUT "${gptoss_embedded_kernels}"
  COMMAND "${CMAKE_COMMAND}" ${gptoss_embed_arguments} -P "${gptoss_embed_script}"
  DEPENDS ${gptoss_embedded_files} "${gptoss_embed_script}" "${CMAKE_CURRENT_LIST_DIR}/MetalFastMath.cmake"
  COMMENT "Embedding the Metal kernels"
  VERBATIM)
target_sources(gptoss_objects PRIVATE "${gptoss_embedded_kernels}")
