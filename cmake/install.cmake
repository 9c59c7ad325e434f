# `cmake --install`: library, headers, licences, package files for find_package(lightcap) and pkg-config,
# programs, and the demo model. The installed files can be moved, unless CMAKE_INSTALL_LIBDIR or
# CMAKE_INSTALL_INCLUDEDIR is an absolute path.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

target_include_directories(lightcap PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
install(TARGETS lightcap EXPORT lightcapTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES api/lightcap.h api/lightcap.hpp
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE THIRD-PARTY-LICENSES
  DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/lightcap)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lightcap)
install(EXPORT lightcapTargets NAMESPACE lightcap:: DESTINATION ${package_dir})
configure_package_config_file(cmake/lightcapConfig.cmake.in ${PROJECT_BINARY_DIR}/lightcapConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lightcapConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY ${LIGHTCAP_COMPATIBILITY})
install(FILES
  ${PROJECT_BINARY_DIR}/lightcapConfig.cmake ${PROJECT_BINARY_DIR}/lightcapConfigVersion.cmake
  DESTINATION ${package_dir})

# pkg-config's file says where things are from its own place, so that a prefix may be chosen or changed after
# this. pkg-config escapes what is special in its place itself.
file(RELATIVE_PATH pc_up "/prefix/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/prefix")
string(REGEX REPLACE "/$" "" pc_prefix "\${pcfiledir}/${pc_up}")
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}")
  string(REPLACE " " "\\ " pc_prefix "${CMAKE_INSTALL_PREFIX}")
endif()
foreach(dir LIBDIR INCLUDEDIR)
  set(pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
    string(REPLACE " " "\\ " pc_${dir} "${CMAKE_INSTALL_${dir}}")
  endif()
endforeach()
# A static library is of no use without the runtime, and whoever asks for it may forget --static.
set(pc_runtime "")
if(lightcap_type STREQUAL "STATIC_LIBRARY")
  list(TRANSFORM lightcap_cxx_runtime PREPEND " -l" OUTPUT_VARIABLE pc_runtime)
  string(JOIN "" pc_runtime ${pc_runtime} " -pthread")
  if(LIGHTCAP_JPEG_TURBO)
    string(PREPEND pc_runtime " -ljpeg")
  endif()
endif()
configure_file(cmake/lightcap.pc.in ${PROJECT_BINARY_DIR}/lightcap.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/lightcap.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

if(LIGHTCAP_BUILD_TOOLS)
  install(TARGETS lightcap_cli lightcap_convert lightcap_quantize RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(FILES models/demo/scenes.lcw DESTINATION ${CMAKE_INSTALL_DATADIR}/lightcap)
endif()
