# What `cmake --install` puts where: header, library, CMake package and pkg-config file.

include(CMakePackageConfigHelpers)

set(gptoss_package_directory "${CMAKE_INSTALL_LIBDIR}/cmake/gptoss")

# What a C++ compiler links by itself and a C compiler does not, for C programs that link the
# static library: stdc++ or c++, and m.
set(gptoss_cxx_runtime "${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES}")
list(REMOVE_ITEM gptoss_cxx_runtime ${CMAKE_C_IMPLICIT_LINK_LIBRARIES})
list(REMOVE_DUPLICATES gptoss_cxx_runtime)

get_target_property(gptoss_library_type gptoss TYPE)

install(TARGETS gptoss EXPORT gptossTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(FILES include/gptoss.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT gptossTargets NAMESPACE gptoss:: DESTINATION "${gptoss_package_directory}")

configure_package_config_file(cmake/gptossConfig.cmake.in
  "${CMAKE_CURRENT_BINARY_DIR}/gptossConfig.cmake"
  INSTALL_DESTINATION "${gptoss_package_directory}"
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/gptossConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/gptossConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/gptossConfigVersion.cmake"
  DESTINATION "${gptoss_package_directory}")

# pkg-config's Libs: a static library needs the C++ runtime and the thread library named too.
set(gptoss_pc_libraries "")
if(gptoss_library_type STREQUAL "STATIC_LIBRARY")
  foreach(library IN LISTS gptoss_cxx_runtime)
    string(APPEND gptoss_pc_libraries " -l${library}")
  endforeach()
  if(CMAKE_THREAD_LIBS_INIT)
    string(APPEND gptoss_pc_libraries " ${CMAKE_THREAD_LIBS_INIT}")
  endif()
endif()
if(gptoss_metal STREQUAL "apple" AND gptoss_library_type STREQUAL "STATIC_LIBRARY")
  list(JOIN gptoss_frameworks " " frameworks)
  string(APPEND gptoss_pc_libraries " ${frameworks}")
endif()
file(RELATIVE_PATH gptoss_pc_prefix
  "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
configure_file(cmake/gptoss.pc.in "${CMAKE_CURRENT_BINARY_DIR}/gptoss.pc" @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/gptoss.pc"
  DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
