# The settings that every LightCap target shares. Flags are per target: none reaches a host project, and what a host sets
# for all of its code is answered here, where it would change results or not compile. Target options come
# after CMAKE_CXX_FLAGS and the build type's, and compilers take the last word.

# LightCap throws and catches, and its numbers are a contract: NaN must be seen, sums keep their order.
# GCC's -fno-fast-math takes back no single part of it. Products and sums are contracted as each compiler does
# left alone where FMA is the machine's baseline, and never in x86-64's own code, where a host's -march would
# decide; kernels say otherwise (kernels/CMakeLists.txt).
set(LIGHTCAP_LANGUAGE_OPTIONS
  -fexceptions -frtti -fthreadsafe-statics
  -fno-fast-math -fno-unsafe-math-optimizations -fno-associative-math -fno-reciprocal-math
  -fno-finite-math-only -fsigned-zeros -fno-rounding-math)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Without unique symbols a host can unload a library that has LightCap in it.
  list(APPEND LIGHTCAP_LANGUAGE_OPTIONS -fno-single-precision-constant -fno-gnu-unique)
  set(LIGHTCAP_CONTRACT -ffp-contract=fast)
else()
  set(LIGHTCAP_CONTRACT -ffp-contract=on)
endif()

function(lightcap_configure_target target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  set_target_properties(${target} PROPERTIES
    CXX_STANDARD 20 CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON
    UNITY_BUILD OFF COMPILE_WARNING_AS_ERROR OFF AUTOMOC OFF AUTOUIC OFF AUTORCC OFF
    CXX_CLANG_TIDY "" CXX_CPPCHECK "" CXX_CPPLINT "" CXX_INCLUDE_WHAT_YOU_USE "")
  set(contract ${LIGHTCAP_CONTRACT})
  if(LIGHTCAP_MACHINE STREQUAL "x86_64")
    set(contract -ffp-contract=off)
  endif()
  target_compile_options(${target} PRIVATE
    "$<$<COMPILE_LANGUAGE:CXX>:${LIGHTCAP_LANGUAGE_OPTIONS}>" ${contract})
  if(LIGHTCAP_STANDALONE OR LIGHTCAP_WERROR)
    target_compile_options(${target} PRIVATE
      -Wall -Wextra -Wundef -Wshadow $<$<COMPILE_LANGUAGE:CXX>:-Wconversion>
      $<IF:$<BOOL:${LIGHTCAP_WERROR}>,-Werror,-Wno-error>)
  else()
    target_compile_options(${target} PRIVATE -w)  # what a host asks of its own code, some of it as errors
  endif()
  if(NOT LIGHTCAP_STANDALONE)
    # A debugged host does not debug LightCap, and an unoptimised caption would take seconds.
    target_compile_options(${target} PRIVATE
      $<$<NOT:$<CONFIG:Release,RelWithDebInfo,MinSizeRel>>:-O2>)
  endif()
  if(LIGHTCAP_BUILD_FUZZERS)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  if(LIGHTCAP_SANITIZE)
    target_compile_options(${target} PRIVATE
      -fsanitize=${LIGHTCAP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
    target_link_options(${target} PUBLIC -fsanitize=${LIGHTCAP_SANITIZE})
  endif()
endfunction()

# lightcap_own_folders(TARGET VISIBILITY FOLDER...): a root of includes for the target, in which nothing but these
# folders of the project can be found. Includes are spelled from the project's root everywhere; a target sees its
# own folders and those of what it links, and an include of anything else does not compile.
function(lightcap_own_folders target visibility)
  set(root "${PROJECT_BINARY_DIR}/include/${target}")
  foreach(folder IN LISTS ARGN)
    cmake_path(GET folder PARENT_PATH parent)
    file(MAKE_DIRECTORY "${root}/${parent}")
    file(CREATE_LINK "${PROJECT_SOURCE_DIR}/${folder}" "${root}/${folder}" SYMBOLIC)
  endforeach()
  target_include_directories(${target} ${visibility} "$<BUILD_INTERFACE:${root}>")
endfunction()

# lightcap_add_layer(TARGET FOLDER...): a library that owns these folders. Each links the layers below it. Programs
# and tests of this project link the layers; what others get is `lightcap`, made of the same objects.
function(lightcap_add_layer target)
  add_library(${target} STATIC)
  lightcap_configure_target(${target})
  lightcap_own_folders(${target} PUBLIC ${ARGN})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON EXCLUDE_FROM_ALL ON)
endfunction()

# For sources of the calling folder that are mostly option parsers or JSON: optimising these takes most
# of a build's time, and they run for microseconds.
function(lightcap_reduce_optimization)
  if(LIGHTCAP_SANITIZE)
    set(level -O0)
  else()
    set(level $<$<CONFIG:Release>:-O1>)
  endif()
  set_property(SOURCE ${ARGN} APPEND PROPERTY COMPILE_OPTIONS ${level})
endfunction()
