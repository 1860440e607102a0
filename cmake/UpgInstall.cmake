# cmake --install: the command, the libraries, the public headers, and a CMake package.
#
#   find_package(upg REQUIRED)
#   target_link_libraries(mine PRIVATE upg::upg)

include(CMakePackageConfigHelpers)

# What users link: everything behind the public headers.
add_library(upg_all INTERFACE)
set_target_properties(upg_all PROPERTIES EXPORT_NAME upg)
target_link_libraries(upg_all INTERFACE upg_compress upg_runtime)
add_library(upg::upg ALIAS upg_all)

get_property(upg_libraries GLOBAL PROPERTY UPG_LIBRARIES)
install(TARGETS upg RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS upg_all upg_flags ${upg_libraries} EXPORT upg
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/upg DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/upg)
install(EXPORT upg NAMESPACE upg:: DESTINATION ${package_folder})
configure_package_config_file(cmake/upgConfig.cmake.in ${CMAKE_BINARY_DIR}/upgConfig.cmake
  INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/upgConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/upgConfig.cmake ${CMAKE_BINARY_DIR}/upgConfigVersion.cmake
  DESTINATION ${package_folder})
