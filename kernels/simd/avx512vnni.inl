// Vector primitives of AVX-512 with VNNI. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_AVX512VNNI_INL_
#define LIGHTCAP_KERNELS_SIMD_AVX512VNNI_INL_

#include "kernels/simd/avx512.inl"

namespace lightcap::internal {
namespace {
namespace avx512vnni {

struct Primitives : avx512::Primitives {
  // The compiler would let many sums change registers, and spill some; this keeps each where it is.
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    const __m512i x = row, y = weights;
    __m512i in_place = sum;
    asm("vpdpbusd %2, %1, %0" : "+v"(in_place) : "v"(x), "v"(y));
    sum = in_place;
  }
  static constexpr bool kPrefersIntegerWinograd = false;
};

}  // namespace avx512vnni
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_AVX512VNNI_INL_
