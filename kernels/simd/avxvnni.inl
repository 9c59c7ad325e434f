// Vector primitives of AVX2 with AVX-VNNI. plain.inl has the contracts.
#ifndef LIGHTCAP_KERNELS_SIMD_AVXVNNI_INL_
#define LIGHTCAP_KERNELS_SIMD_AVXVNNI_INL_

#include "kernels/simd/avx2.inl"

namespace lightcap::internal {
namespace {
namespace avxvnni {

struct Primitives : avx2::Primitives {
  static void add_dots(Integers& sum, Integers row, Integers weights) {
    sum = _mm256_dpbusd_avx_epi32(sum, row, weights);
  }
};

}  // namespace avxvnni
}  // namespace
}  // namespace lightcap::internal

#endif  // LIGHTCAP_KERNELS_SIMD_AVXVNNI_INL_
