# The kernels' instruction sets: one algorithm (source/cpu/kernels/*.inl) compiled once per set of
# instructions; the library chooses at run time, so that one binary serves every processor.

# With sanitizers, GCC takes minutes for a file at -O3, and Clang at -O1.
if(GPTOSS_SANITIZE)
  set(gptoss_kernel_optimization "$<IF:$<CXX_COMPILER_ID:GNU>,-O1,-O0>")
else()
  set(gptoss_kernel_optimization "$<$<NOT:$<CONFIG:Debug>>:-O3>")
endif()
# Without exceptions: where one could unwind, the object file would name the C++ runtime's handler, and is to name nothing.
# Lines for debuggers and profilers, but no variables, which take GCC as long again.
set(gptoss_kernel_options "${gptoss_kernel_optimization}" "$<$<CONFIG:RelWithDebInfo>:-g1>" -ffp-contract=fast
  -fno-exceptions -Wno-psabi)

# A universal macOS build compiles each file for several architectures in one go, so a file cannot
# have flags of one of them: it gets the baseline alone.
if(APPLE AND CMAKE_OSX_ARCHITECTURES)
  set(gptoss_target_processor "${CMAKE_OSX_ARCHITECTURES}")
else()
  set(gptoss_target_processor "${CMAKE_SYSTEM_PROCESSOR}")
endif()

if(gptoss_target_processor MATCHES "^(x86_64|AMD64|amd64)$")
  target_compile_definitions(gptoss_objects PUBLIC GPTOSS_X86_64_KERNELS)
  target_sources(gptoss_objects PRIVATE
    source/cpu/kernels/x86_64_v3.cpp
    source/cpu/kernels/x86_64_v4.cpp
    source/cpu/kernels/x86_64_v4_vnni.cpp
    source/cpu/kernels/x86_64_v4_amx.cpp)
  set_source_files_properties(source/cpu/kernels/baseline.cpp PROPERTIES
    COMPILE_OPTIONS "${gptoss_kernel_options}")
  set_source_files_properties(source/cpu/kernels/x86_64_v3.cpp PROPERTIES
    COMPILE_OPTIONS "${gptoss_kernel_options};-march=x86-64-v3")
  set_source_files_properties(source/cpu/kernels/x86_64_v4.cpp PROPERTIES
    COMPILE_OPTIONS "${gptoss_kernel_options};-march=x86-64-v4;-mprefer-vector-width=512")
  set_source_files_properties(source/cpu/kernels/x86_64_v4_vnni.cpp PROPERTIES
    COMPILE_OPTIONS "${gptoss_kernel_options};-march=x86-64-v4;-mavx512vnni;-mprefer-vector-width=512")
  set_source_files_properties(source/cpu/kernels/x86_64_v4_amx.cpp PROPERTIES
    COMPILE_OPTIONS
      "${gptoss_kernel_options};-march=x86-64-v4;-mavx512vnni;-mamx-tile;-mamx-int8;-mprefer-vector-width=512")
elseif(gptoss_target_processor MATCHES "^(aarch64|arm64)$")
  target_compile_definitions(gptoss_objects PUBLIC GPTOSS_ARM64_KERNELS)
  target_sources(gptoss_objects PRIVATE
    source/cpu/kernels/arm64_neon.cpp
    source/cpu/kernels/arm64_dotprod.cpp
    source/cpu/kernels/arm64_i8mm.cpp)
  # Every arm64 processor has NEON: the baseline is for tests. Without NEON's intrinsics, GCC takes minutes for it at -O3;
  # at -O1 it takes a vector for uninitialised whose lanes are set one by one.
  set_source_files_properties(source/cpu/kernels/baseline.cpp PROPERTIES
    COMPILE_OPTIONS "${gptoss_kernel_options};$<$<NOT:$<CONFIG:Debug>>:-O1>;$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>")
  set_source_files_properties(source/cpu/kernels/arm64_neon.cpp PROPERTIES
    COMPILE_OPTIONS "${gptoss_kernel_options}")
  set_source_files_properties(source/cpu/kernels/arm64_dotprod.cpp PROPERTIES
    COMPILE_OPTIONS "${gptoss_kernel_options};-march=armv8.2-a+dotprod")
  set_source_files_properties(source/cpu/kernels/arm64_i8mm.cpp PROPERTIES
    COMPILE_OPTIONS "${gptoss_kernel_options};-march=armv8.2-a+dotprod+i8mm")
else()
  set_source_files_properties(source/cpu/kernels/baseline.cpp PROPERTIES
    COMPILE_OPTIONS "${gptoss_kernel_options}")
endif()
