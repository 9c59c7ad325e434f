// Kernels for the x86-64 baseline: any 64-bit x86 CPU. Compiled with the flags of its row in
// isa.def.
#define LIGHTCAP_ISA_NAME sse2
#define LIGHTCAP_ISA_ARCH xsimd::sse2
#include "kernels/simd/table.inl"
