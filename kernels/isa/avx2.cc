// Kernels for AVX2 with FMA: Haswell, Zen and newer. Compiled with the flags of its row in isa.def.
#define LIGHTCAP_ISA_NAME avx2
#define LIGHTCAP_ISA_ARCH xsimd::fma3<xsimd::avx2>
#include "kernels/simd/table.inl"
