# The Metal backend's device on Apple's Metal: source/metal/device.mm, the only Objective-C++.
#
# The oldest system that the build runs on stays what it is without Metal. device.mm guards what is newer, and asks for
# macOS 14 when a device is opened: so one binary serves older systems, too, with the CPU backend.

enable_language(OBJCXX)

target_sources(gptoss_objects PRIVATE source/metal/device.mm)
set_source_files_properties(source/metal/device.mm PROPERTIES
  COMPILE_OPTIONS "-fobjc-arc;-Werror=objc-method-access;-Werror=unguarded-availability-new")
set_target_properties(gptoss_objects PROPERTIES
  OBJCXX_STANDARD 20
  OBJCXX_STANDARD_REQUIRED ON
  OBJCXX_EXTENSIONS OFF
  OBJCXX_VISIBILITY_PRESET hidden)

# What everything that links gptoss_objects links as well. Nothing is called in CoreGraphics, but in a program without
# it macOS has no default device: see Apple's page on MTLCreateSystemDefaultDevice.
set(gptoss_frameworks "-framework Metal" "-framework Foundation" "-framework CoreGraphics")
target_link_libraries(gptoss_objects PUBLIC ${gptoss_frameworks})

include("${CMAKE_CURRENT_LIST_DIR}/MetalKernels.cmake")
