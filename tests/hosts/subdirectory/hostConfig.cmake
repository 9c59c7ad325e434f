include(CMakeFindDependencyMacro)
find_dependency(lightcap)
include(${CMAKE_CURRENT_LIST_DIR}/hostTargets.cmake)
