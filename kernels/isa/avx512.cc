// Kernels for AVX-512 F, DQ, BW, VL: Skylake-X, Zen 4 and newer. Compiled with the flags of its row
// in isa.def.
#define LIGHTCAP_ISA_NAME avx512
#define LIGHTCAP_ISA_ARCH xsimd::avx512bw
#include "kernels/simd/table.inl"
