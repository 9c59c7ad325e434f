# An overlay port, which builds the sources that it lies in, without a download:
#   vcpkg install lightcap --overlay-ports=packaging/vcpkg --editable
# With --editable, since vcpkg's cache of binaries knows a package by the files beside this one, not by the sources:
# it would give an older build for newer ones.
get_filename_component(SOURCE_PATH "${CURRENT_PORT_DIR}/../../.." ABSOLUTE)
if(NOT EXISTS "${SOURCE_PATH}/api/lightcap.map")
  message(FATAL_ERROR
    "This port builds the sources of LightCap that it lies in, and ${SOURCE_PATH} has none: give --overlay-ports the "
    "folder packaging/vcpkg of LightCap's repository")
endif()

vcpkg_cmake_configure(
  SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    -DLIGHTCAP_BUILD_TOOLS=OFF
    "-DLIGHTCAP_STB_INCLUDE_DIR=${CURRENT_INSTALLED_DIR}/include")
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(PACKAGE_NAME lightcap CONFIG_PATH lib/cmake/lightcap)
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE
  "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share"
  "${CURRENT_PACKAGES_DIR}/share/doc")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE" "${SOURCE_PATH}/THIRD-PARTY-LICENSES")
