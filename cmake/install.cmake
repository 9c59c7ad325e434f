# `cmake --install`: library, headers, package files for find_package(lightcap) and pkg-config, programs,
# and the demo model.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS lightcap EXPORT lightcapTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES api/lightcap.h api/lightcap.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lightcap)
install(EXPORT lightcapTargets NAMESPACE lightcap:: DESTINATION ${package_dir})
configure_package_config_file(cmake/lightcapConfig.cmake.in ${PROJECT_BINARY_DIR}/lightcapConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lightcapConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES
  ${PROJECT_BINARY_DIR}/lightcapConfig.cmake ${PROJECT_BINARY_DIR}/lightcapConfigVersion.cmake
  DESTINATION ${package_dir})

configure_file(cmake/lightcap.pc.in ${PROJECT_BINARY_DIR}/lightcap.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/lightcap.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(LIGHTCAP_BUILD_TOOLS)
  install(TARGETS lightcap_cli lightcap_convert RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES models/demo/scenes.lcw DESTINATION ${CMAKE_INSTALL_DATADIR}/lightcap)
endif()
