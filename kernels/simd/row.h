// The definitions that CMake gives for the row of isa.def that a unit is compiled for:
// LIGHTCAP_ISA_NAME, LIGHTCAP_ISA_ARCH, LIGHTCAP_ISA_PRIMITIVES and LIGHTCAP_ISA_KERNELS
// (isa.cmake).
#ifndef LIGHTCAP_KERNELS_SIMD_ROW_H_
#define LIGHTCAP_KERNELS_SIMD_ROW_H_

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#define LIGHTCAP_QUOTED(...) #__VA_ARGS__
#define LIGHTCAP_STRING(...) LIGHTCAP_QUOTED(__VA_ARGS__)

namespace lightcap::internal {
namespace {
using Arch = LIGHTCAP_ISA_ARCH;
}  // namespace
}  // namespace lightcap::internal

// kernels/simd/NAME.inl, in whose namespace of the same name the row's primitives are.
#include LIGHTCAP_ISA_PRIMITIVES

namespace lightcap::internal {
namespace {
using Primitives = LIGHTCAP_ISA_NAME::Primitives;
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_ROW_H_
