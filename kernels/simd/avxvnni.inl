// Vector primitives of AVX2 with AVX-VNNI. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_AVXVNNI_INL_
#define LIGHTCAP_KERNELS_SIMD_AVXVNNI_INL_

#include "kernels/simd/avx2.inl"

namespace lightcap::internal {
namespace {
namespace avxvnni {

struct Primitives : avx2::Primitives {
  // The compiler would let many sums change registers, and spill some; this keeps each where it is.
  // Without {vex} it would be AVX-512's instruction.
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    const __m256i x = row, y = weights;
    __m256i in_place = sum;
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(in_place) : "x"(x), "x"(y));
    sum = in_place;
  }
  static constexpr bool kPrefersIntegerWinograd = false;
};

}  // namespace avxvnni
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_AVXVNNI_INL_
