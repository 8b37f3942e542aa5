# The shared library exports gptoss_* alone. Hidden visibility leaves out our own symbols, but not the standard library's
# templates that we instantiate, which would then take the place of another library's.

if(APPLE)
  target_link_options(gptoss PRIVATE "-Wl,-exported_symbol,_gptoss_*")
else()
  set(gptoss_exports "${CMAKE_CURRENT_BINARY_DIR}/gptoss_exports.map")
  file(WRITE "${gptoss_exports}" "{ global: gptoss_*; local: *; };\n")
  target_link_options(gptoss PRIVATE "-Wl,--version-script=${gptoss_exports}")
endif()
