# The commit that the sources are of, for benchmark reports: "" where they are not in a repository of their own.

set(gptoss_commit "")
find_package(Git QUIET)
if(Git_FOUND AND EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/.git")
  execute_process(
    COMMAND "${GIT_EXECUTABLE}" -C "${CMAKE_CURRENT_SOURCE_DIR}" describe --always --dirty --abbrev=12 --exclude=*
    OUTPUT_VARIABLE gptoss_commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  # Changes at every commit, which is when CMake has to look again.
  if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/.git/logs/HEAD")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS .git/logs/HEAD)
  endif()
endif()
# In one file alone, or every commit would compile everything.
set_source_files_properties(source/build_info.cpp PROPERTIES
  COMPILE_DEFINITIONS "GPTOSS_COMMIT=\"${gptoss_commit}\"")
