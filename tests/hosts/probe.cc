// Compiled as LightCap's own sources are, in a host that asks for the opposite of each line.
#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)
#error "The host's -ffast-math reaches LightCap"
#endif
#if !defined(__cpp_exceptions)
#error "The host's -fno-exceptions reaches LightCap"
#endif
#if !defined(__cpp_rtti)
#error "The host's -fno-rtti reaches LightCap"
#endif
#if !defined(__OPTIMIZE__)
#error "LightCap is not optimised in a host without a build type"
#endif
