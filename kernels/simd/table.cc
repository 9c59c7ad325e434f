// Compiled once for each row of isa.def, which gives LIGHTCAP_ISA_NAME, LIGHTCAP_ISA_ARCH and the
// compiler flags: all kernels, over the xsimd architecture Arch, and the table of them. Everything
// is in an unnamed namespace and calls no inline function of the standard library, so that the
// linker can't replace another unit's copy of a function with one that uses this unit's
// instructions (tests/check_isa_symbols).
#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#include "kernels/kernels.h"

namespace lightcap {
namespace {
using Arch = LIGHTCAP_ISA_ARCH;
}  // namespace
}  // namespace lightcap

#include "kernels/simd/activation.inl"
#include "kernels/simd/attention.inl"
#include "kernels/simd/conv.inl"
#include "kernels/simd/eltwise.inl"
#include "kernels/simd/gemm.inl"
#include "kernels/simd/head.inl"
#include "kernels/simd/norm.inl"
#include "kernels/simd/pool.inl"
#include "kernels/simd/resize.inl"
#include "kernels/simd/roi_align.inl"
#include "kernels/simd/top_k.inl"
#include "kernels/simd/winograd.inl"

#define LIGHTCAP_STRING(name) #name
#define LIGHTCAP_ISA_STRING(name) LIGHTCAP_STRING(name)

namespace lightcap::isa {
extern const KernelTable LIGHTCAP_ISA_NAME;
const KernelTable LIGHTCAP_ISA_NAME = {
    LIGHTCAP_ISA_STRING(LIGHTCAP_ISA_NAME),
    lightcap::kMR,
#define LIGHTCAP_KERNEL(name, Args) lightcap::name,
#include "kernels/kernels.def"
#undef LIGHTCAP_KERNEL
};
}  // namespace lightcap::isa
