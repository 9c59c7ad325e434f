// For sources that make something of the rows of isa.def that this build has: CMake defines
// LIGHTCAP_IF_avx2, and so on for each row's name, as one of these (isa.cmake).
#ifndef LIGHTCAP_KERNELS_BUILT_ROWS_H_
#define LIGHTCAP_KERNELS_BUILT_ROWS_H_

#define LIGHTCAP_BUILT(...) __VA_ARGS__
#define LIGHTCAP_NOT_BUILT(...)

#endif  // LIGHTCAP_KERNELS_BUILT_ROWS_H_
