# Adds the Metal backend to gptoss_objects, as MetalOption.cmake has decided, and the device below it.

if(NOT gptoss_metal STREQUAL "off")
  file(GLOB gptoss_metal_sources CONFIGURE_DEPENDS
    "${PROJECT_SOURCE_DIR}/source/metal/*.cpp" "${PROJECT_SOURCE_DIR}/source/metal/selftest/*.cpp")
  target_sources(gptoss_objects PRIVATE ${gptoss_metal_sources})
  target_compile_definitions(gptoss_objects PUBLIC GPTOSS_METAL)
  # The kernels' arguments and geometry, which the launches share.
  target_include_directories(gptoss_objects PUBLIC "${PROJECT_SOURCE_DIR}/metal")
endif()
if(gptoss_metal STREQUAL "apple")
  include("${CMAKE_CURRENT_LIST_DIR}/MetalApple.cmake")
elseif(gptoss_metal STREQUAL "host")
  include("${CMAKE_CURRENT_LIST_DIR}/MetalHost.cmake")
endif()
