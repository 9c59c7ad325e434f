# Reads isa.def and compiles sources once for each instruction set of this machine, or for those of them that
# LIGHTCAP_INSTRUCTION_SETS names.
#   LIGHTCAP_ISAS                          the rows' names
#   LIGHTCAP_ISA_<name>_ARCH, _KERNELS     their xsimd architectures and kernels
#   LIGHTCAP_ISA_<name>_FLAGS              their compiler flags, a list
#   LIGHTCAP_ISA_DEFINITIONS               for sources that include isa.def, see built_rows.h
#   lightcap_add_isa_unit(target isa source)  an object library of `source` with the row's flags

set(LIGHTCAP_ISA_DEF ${CMAKE_CURRENT_LIST_DIR}/isa.def)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${LIGHTCAP_ISA_DEF})

# A CPU without a feature that the compiler may use must not be given the row. Flags are -mFEATURE, or
# -march=armv8.2-a+FEATURE+... on ARM, where compilers know these features from that version on.
function(lightcap_check_isa_flags name features)
  foreach(flag IN LISTS ARGN)
    if(flag MATCHES "^-m(prefer-|tune=)")
      continue()
    elseif(flag MATCHES "^-march=armv8\\.2-a\\+(.+)$")
      string(REPLACE "+" ";" words "${CMAKE_MATCH_1}")
    else()
      string(SUBSTRING "${flag}" 2 -1 words)
    endif()
    foreach(word IN LISTS words)
      string(SUBSTRING "${word}" 0 1 initial)
      string(SUBSTRING "${word}" 1 -1 rest)
      string(TOUPPER "${initial}" initial)
      set(feature k${initial}${rest})
      string(FIND "| ${features} |" "| ${feature} |" place)
      if(place EQUAL -1)
        message(FATAL_ERROR "kernels/isa.def: the row ${name} has ${flag} and does not ask for ${feature}")
      endif()
    endforeach()
  endforeach()
endfunction()

set(known)  # rows of any machine
set(LIGHTCAP_ISAS)
file(STRINGS ${LIGHTCAP_ISA_DEF} rows REGEX "^LIGHTCAP_ISA\\(")
foreach(row IN LISTS rows)
  set(word "([a-z0-9_]+)")
  if(NOT row MATCHES
      "^LIGHTCAP_ISA\\(${word}, ${word}, ${word}, -?[0-9]+, ([^,]+), ([^,]+), \"([^\"]*)\", ([a-z0-9_, ]+)\\)$")
    message(FATAL_ERROR "kernels/isa.def: cannot read the row ${row}")
  endif()
  set(name ${CMAKE_MATCH_1})
  set(machine ${CMAKE_MATCH_2})
  set(parent ${CMAKE_MATCH_3})
  set(LIGHTCAP_ISA_${name}_ARCH ${CMAKE_MATCH_4})
  set(features "${CMAKE_MATCH_5}")
  set(LIGHTCAP_ISA_${name}_KERNELS "${CMAKE_MATCH_7}")
  separate_arguments(LIGHTCAP_ISA_${name}_FLAGS UNIX_COMMAND "${CMAKE_MATCH_6}")
  lightcap_check_isa_flags(${name} "${features}" ${LIGHTCAP_ISA_${name}_FLAGS})
  if(parent STREQUAL "none" AND NOT LIGHTCAP_ISA_${name}_KERNELS STREQUAL "all")
    message(FATAL_ERROR "kernels/isa.def: the row ${name} has no parent to take kernels from")
  endif()
  set(parent_${name} ${parent})
  list(APPEND known ${name})
  if(machine STREQUAL LIGHTCAP_MACHINE)
    list(APPEND LIGHTCAP_ISAS ${name})
    if(features STREQUAL "0")
      set(baseline ${name})
    endif()
  endif()
endforeach()

# Those that are asked for, the rows that they take kernels from, and the baseline, which any CPU can run.
if(NOT LIGHTCAP_INSTRUCTION_SETS STREQUAL "")
  set(wanted ${baseline})
  foreach(name IN LISTS LIGHTCAP_INSTRUCTION_SETS)
    if(NOT name IN_LIST known)
      message(FATAL_ERROR "LIGHTCAP_INSTRUCTION_SETS has ${name}: kernels/isa.def has ${known}")
    endif()
    while(NOT name STREQUAL "none")
      list(APPEND wanted ${name})
      set(name ${parent_${name}})
    endwhile()
  endforeach()
  foreach(name IN LISTS LIGHTCAP_ISAS)
    if(NOT name IN_LIST wanted)
      list(REMOVE_ITEM LIGHTCAP_ISAS ${name})
    endif()
  endforeach()
endif()
set(LIGHTCAP_ISA_DEFINITIONS)
foreach(name IN LISTS known)
  if(name IN_LIST LIGHTCAP_ISAS)
    list(APPEND LIGHTCAP_ISA_DEFINITIONS LIGHTCAP_IF_${name}=LIGHTCAP_BUILT)
  else()
    list(APPEND LIGHTCAP_ISA_DEFINITIONS LIGHTCAP_IF_${name}=LIGHTCAP_NOT_BUILT)
  endif()
endforeach()

# An instruction set that a host compiles all of its code for is taken back first; what is left of a
# host's options decides nothing about instructions.
set(LIGHTCAP_ISA_BASELINE)
if(LIGHTCAP_MACHINE STREQUAL "x86_64")
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-march=x86-64 LIGHTCAP_TAKES_MARCH)
  check_cxx_compiler_flag(-mtune=generic LIGHTCAP_TAKES_MTUNE)
  # Zig's compiler spells the baseline in its own way, takes a -mno flag for the last word wherever it
  # stands, and knows no generic CPU to tune for.
  set(LIGHTCAP_ISA_BASELINE -march=x86_64)
  if(LIGHTCAP_TAKES_MARCH)
    set(LIGHTCAP_ISA_BASELINE -march=x86-64 -mno-sse3)
  endif()
  if(LIGHTCAP_TAKES_MTUNE)
    list(APPEND LIGHTCAP_ISA_BASELINE -mtune=generic)
  endif()
elseif(LIGHTCAP_MACHINE STREQUAL "aarch64")
  # Zig's compiler names a CPU, and adds features to that.
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-march=armv8.2-a+dotprod LIGHTCAP_TAKES_ARM_MARCH)
  if(NOT LIGHTCAP_TAKES_ARM_MARCH)
    foreach(isa IN LISTS LIGHTCAP_ISAS)
      string(REPLACE "-march=armv8.2-a+" "-mcpu=generic+v8_2a+" LIGHTCAP_ISA_${isa}_FLAGS "${LIGHTCAP_ISA_${isa}_FLAGS}")
    endforeach()
  endif()
endif()

# Kernels are nothing but loops that have to be inlined and kept in registers: they are optimised in every
# build type, and unoptimised GCC has intrinsics with constants as macros, which xsimd can't call. A
# sanitizer's checks in fully unrolled loops take minutes to compile.
if(LIGHTCAP_SANITIZE OR LIGHTCAP_BUILD_FUZZERS OR CMAKE_CXX_FLAGS MATCHES "-fsanitize=")
  set(LIGHTCAP_ISA_LEVEL -O1)
else()
  set(LIGHTCAP_ISA_LEVEL -O3 -finline-functions)
endif()

# Only units made by this function have a row's flags: on any other file they would let the instruction
# set's instructions leak onto older CPUs.
function(lightcap_add_isa_unit target isa source)
  add_library(${target} OBJECT ${source})
  lightcap_configure_target(${target})
  target_compile_definitions(${target} PRIVATE
    LIGHTCAP_ISA_NAME=${isa} "LIGHTCAP_ISA_ARCH=${LIGHTCAP_ISA_${isa}_ARCH}"
    "LIGHTCAP_ISA_PRIMITIVES=\"kernels/simd/${isa}.inl\""
    "LIGHTCAP_ISA_KERNELS=\"${LIGHTCAP_ISA_${isa}_KERNELS}\"" NDEBUG)
  # GCC 11 to 13 warn of their own AVX-512 header's deliberately undefined operands. Scheduling before
  # registers are allocated gathers a tile's loads, and with 32 registers in use two sums then spill:
  # NEON's 6 x 16 takes 13.1 cycles of the 12 that it needs, 12.1 without (bench/arm64_cycles.py).
  target_compile_options(${target} PRIVATE
    ${LIGHTCAP_ISA_LEVEL} ${LIGHTCAP_CONTRACT} -fno-lto ${LIGHTCAP_ISA_BASELINE} ${LIGHTCAP_ISA_${isa}_FLAGS}
    $<$<CXX_COMPILER_ID:GNU>:-finline -fno-keep-inline-functions -Wno-uninitialized -Wno-maybe-uninitialized>
    $<$<AND:$<CXX_COMPILER_ID:GNU>,$<STREQUAL:${LIGHTCAP_MACHINE},aarch64>>:-fno-schedule-insns>)
  if(LIGHTCAP_BUILD_FUZZERS)
    target_compile_options(${target} PRIVATE -fno-sanitize=fuzzer-no-link)  # sizes decide its branches, no data
  endif()
  if(LIGHTCAP_SANITIZE MATCHES "undefined")
    # Pointers out of bounds are AddressSanitizer's to find. It looks at the row of the machine's baseline, which has
    # the same loops: with its checks in them, AVX-512's would take minutes to compile. kernel_test holds the buffers
    # of every row between unmapped pages.
    set(unchecked pointer-overflow)
    if(LIGHTCAP_ISA_${isa}_FLAGS)
      set(unchecked all)
    endif()
    target_compile_options(${target} PRIVATE -fno-sanitize=${unchecked})
  endif()
  lightcap_own_folders(${target} PRIVATE kernels)
  target_link_libraries(${target} PRIVATE lightcap_xsimd)
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON INTERPROCEDURAL_OPTIMIZATION OFF)
endfunction()
