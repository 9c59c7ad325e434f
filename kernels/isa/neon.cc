// Kernels for AArch64's NEON. Compiled with the flags of its row in isa.def.
#define LIGHTCAP_ISA_NAME neon
#define LIGHTCAP_ISA_ARCH xsimd::neon64
#include "kernels/simd/table.inl"
