# The kernels' object files may share no code with the rest of the program: an inline function compiled for AVX-512
# that the linker takes for the whole program would crash other processors.
#   cmake -DNM=nm -DOBJECTS=a.o,b.o -P check_kernel_symbols.cmake

string(REPLACE "," ";" OBJECTS "${OBJECTS}")
list(FILTER OBJECTS INCLUDE REGEX "cpu/kernels/[a-z0-9_]+\\.cpp\\.o$")
list(LENGTH OBJECTS num_objects)
if(num_objects EQUAL 0)
  message(FATAL_ERROR "no kernel object files were given")
endif()
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND "${NM}" --defined-only --extern-only "${object}"
    OUTPUT_VARIABLE symbols OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(NOT symbols MATCHES "^[0-9a-f]+ [DR] [A-Za-z0-9_]*kKernels[A-Za-z0-9_]*$")
    message(SEND_ERROR "${object} should define its table of kernels and nothing else, but defines:\n${symbols}")
  endif()
endforeach()
