# What every LightCap target shares. Nothing here reaches a parent project: flags are per target.
function(lightcap_configure_target target)
  target_compile_features(${target} PRIVATE cxx_std_20)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden C_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wundef -Wshadow $<$<COMPILE_LANGUAGE:CXX>:-Wconversion>
    $<$<BOOL:${LIGHTCAP_WERROR}>:-Werror>)
  if(LIGHTCAP_BUILD_FUZZERS)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
  if(LIGHTCAP_SANITIZE)
    target_compile_options(${target} PRIVATE
      -fsanitize=${LIGHTCAP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1)
    target_link_options(${target} PUBLIC -fsanitize=${LIGHTCAP_SANITIZE})
  endif()
endfunction()

# For sources of the calling folder that are mostly option parsers or JSON: optimising these takes most
# of a build's time, and they run for microseconds.
function(lightcap_optimize_little)
  if(LIGHTCAP_SANITIZE)
    set(level -O0)
  else()
    set(level $<$<CONFIG:Release>:-O1>)
  endif()
  set_property(SOURCE ${ARGN} APPEND PROPERTY COMPILE_OPTIONS ${level})
endfunction()
