// Vector primitives of AVX-512 with VNNI. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_AVX512VNNI_INL_
#define LIGHTCAP_KERNELS_SIMD_AVX512VNNI_INL_

#include "kernels/simd/avx512.inl"

namespace lightcap::internal {
namespace {
namespace avx512vnni {

struct Primitives : avx512::Primitives {
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    sum = _mm512_dpbusd_epi32(sum, row, weights);
  }
};

}  // namespace avx512vnni
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_AVX512VNNI_INL_
