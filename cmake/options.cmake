# Options. In a parent project (add_subdirectory, FetchContent) only the library is built.
if(CMAKE_SOURCE_DIR STREQUAL PROJECT_SOURCE_DIR)
  set(LIGHTCAP_STANDALONE ON)
else()
  set(LIGHTCAP_STANDALONE OFF)
endif()

if(LIGHTCAP_STANDALONE)  # else it is the host's, or nobody's
  option(BUILD_SHARED_LIBS "Build liblightcap as a shared library" OFF)
endif()
option(LIGHTCAP_BUILD_TOOLS "Build lightcap, lightcap-convert and lightcap-quantize" ${LIGHTCAP_STANDALONE})
option(LIGHTCAP_BUILD_TESTS "Build the tests (needs GoogleTest)" OFF)
option(LIGHTCAP_BUILD_BENCH "Build the microbenchmarks (needs Google Benchmark)" OFF)
option(LIGHTCAP_BUILD_PYTHON "Build the Python package (pip does so by pyproject.toml)" OFF)
option(LIGHTCAP_BUILD_FUZZERS "Build the libFuzzer targets (needs Clang)" OFF)
option(LIGHTCAP_JPEG_TURBO "Decode JPEGs by libjpeg-turbo, at a fraction of their size where that serves" OFF)
option(LIGHTCAP_INSTALL "Make install rules" ${LIGHTCAP_STANDALONE})
option(LIGHTCAP_WERROR "Turn warnings into errors" OFF)
set(LIGHTCAP_INSTRUCTION_SETS "" CACHE STRING
  "Rows of kernels/isa.def to build kernels for, as avx2;neondot, beside the baseline; all if empty")
set(LIGHTCAP_SANITIZE "" CACHE STRING "Sanitizers for -fsanitize=, e.g. address,undefined or thread")
set(LIGHTCAP_XSIMD_INCLUDE_DIR "" CACHE PATH "Folder that holds xsimd/xsimd.hpp, if no package does")
set(LIGHTCAP_STB_INCLUDE_DIR "" CACHE PATH "Folder that holds stb_image.h, if no package does")

if(LIGHTCAP_STANDALONE AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(LIGHTCAP_HEADERS_DIR "" CACHE PATH
  "Folder that holds xsimd/, stb/, CLI/ and nlohmann/, to be used instead of packages (cross-compiling)")

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(LIGHTCAP_MACHINE x86_64)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
  set(LIGHTCAP_MACHINE aarch64)
else()
  message(FATAL_ERROR "LightCap has kernels for x86-64 and AArch64, not ${CMAKE_SYSTEM_PROCESSOR}")
endif()
