# A script, run by the build (MetalKernels.cmake) and by tests:
#
#   cmake -DFOLDER=metal -DOUTPUT=kernels.cpp [-DMETALLIBS=folder] -P cmake/EmbedMetalKernels.cmake
#
# Writes the C++ that defines kernel_sources() (source/metal/kernel_source.h): each FOLDER/*.metal with its quoted
# includes put in place, because Metal compiles a library from one text and finds no files; or, where METALLIBS is given,
# METALLIBS/<name>.metallib instead. #line directives make the compiler's messages name the file and line.
#
# Texts are never handled as CMake lists, which would lose `;` and `[`.

cmake_minimum_required(VERSION 3.22)

foreach(argument FOLDER OUTPUT)
  if(NOT DEFINED ${argument})
    message(FATAL_ERROR "EmbedMetalKernels.cmake needs -D${argument}=...")
  endif()
endforeach()
# What messages call the folder.
get_filename_component(folder_name "${FOLDER}" NAME)

include("${CMAKE_CURRENT_LIST_DIR}/MetalFastMath.cmake")

# Sets `result` to the number of lines that `text` ends.
function(count_lines text result)
  string(REGEX REPLACE "[^\n]" "" newlines "${text}")
  string(LENGTH "${newlines}" length)
  set(${result} ${length} PARENT_SCOPE)
endfunction()

# Sets `result` to the text of FOLDER/name with what it includes in quotes, and adds to the global property
# INLINED_FILES: a file that is there already becomes an empty line, as #pragma once would make it.
function(inline_includes name result)
  set_property(GLOBAL APPEND PROPERTY INLINED_FILES "${name}")
  file(READ "${FOLDER}/${name}" rest)
  # In the one file that remains, the compiler would warn of it.
  string(REGEX REPLACE "(^|\n)#pragma once\n" "\\1\n" rest "${rest}")
  set(text "#line 1 \"${folder_name}/${name}\"\n")
  set(line 1)
  while("${rest}" MATCHES "(^|\n)(#include \"([^\"\n]+)\"[^\n]*\n)")
    set(directive "${CMAKE_MATCH_2}")
    set(included "${CMAKE_MATCH_3}")
    string(FIND "${rest}" "${CMAKE_MATCH_0}" position)
    if("${CMAKE_MATCH_1}" STREQUAL "\n")
      math(EXPR position "${position} + 1")
    endif()
    string(SUBSTRING "${rest}" 0 ${position} before)
    string(LENGTH "${directive}" length)
    math(EXPR position "${position} + ${length}")
    string(SUBSTRING "${rest}" ${position} -1 rest)

    count_lines("${before}" num_lines)
    math(EXPR line "${line} + ${num_lines} + 1")
    string(APPEND text "${before}")
    get_property(inlined GLOBAL PROPERTY INLINED_FILES)
    if(included IN_LIST inlined)
      string(APPEND text "\n")
    elseif(EXISTS "${FOLDER}/${included}")
      inline_includes("${included}" inner)
      string(APPEND text "${inner}#line ${line} \"${folder_name}/${name}\"\n")
    else()
      math(EXPR line "${line} - 1")
      message(FATAL_ERROR "${folder_name}/${name}, line ${line}, includes \"${included}\", which is not in ${FOLDER}")
    endif()
  endwhile()
  set(${result} "${text}${rest}" PARENT_SCOPE)
endfunction()

set(definitions "")
set(table "")
file(GLOB kernel_files "${FOLDER}/*.metal") # sorted
if(NOT kernel_files)
  message(FATAL_ERROR "there is no .metal file in ${FOLDER}")
endif()
foreach(path IN LISTS kernel_files)
  get_filename_component(name "${path}" NAME_WE)
  set(fast_math true)
  if(name MATCHES "${gptoss_kernels_without_fast_math}")
    set(fast_math false)
  endif()
  if(DEFINED METALLIBS)
    file(READ "${METALLIBS}/${name}.metallib" bytes HEX)
    string(REGEX REPLACE "(..)" "\\\\x\\1" bytes "${bytes}")
    string(APPEND definitions "alignas(16) const char ${name}_library[] = \"${bytes}\";\n")
    string(APPEND table
      "    {\"${name}\", nullptr, as_bytes(${name}_library, sizeof(${name}_library) - 1), ${fast_math}},\n")
  else()
    set_property(GLOBAL PROPERTY INLINED_FILES "")
    inline_includes("${name}.metal" text)
    string(FIND "${text}" ")metal\"" end_of_literal)
    if(NOT end_of_literal EQUAL -1)
      message(FATAL_ERROR "${folder_name}/${name}.metal or a file that it includes has )metal\" in it")
    endif()
    string(APPEND definitions "const char* const ${name}_source = R\"metal(${text})metal\";\n\n")
    string(APPEND table "    {\"${name}\", ${name}_source, {}, ${fast_math}},\n")
  endif()
endforeach()

set(as_bytes "")
if(DEFINED METALLIBS)
  set(as_bytes "std::span<const std::byte> as_bytes(const char* data, size_t size) {
    return {reinterpret_cast<const std::byte*>(data), size};
}

")
endif()
file(WRITE "${OUTPUT}" "// Made by cmake/EmbedMetalKernels.cmake of ${folder_name}/*.metal.
#include \"metal/kernel_source.h\"

namespace gptoss::metal {

namespace {

${as_bytes}${definitions}
const KernelSource sources[] = {
${table}};

} // namespace

std::span<const KernelSource> kernel_sources() {
    return sources;
}

} // namespace gptoss::metal
")
